defmodule Linx.Netns.Native do
  @moduledoc false
  # Descriptors and names of network namespaces, as native/linx_nif/src/netns.rs has them.

  alias Linx.{Native, Pool}

  @type held() :: {Native.held_netns(), descriptor :: non_neg_integer()}

  @doc "A network namespace that no process is in."
  @spec make(pid()) :: {:ok, held()} | Native.fault()
  def make(owner), do: owner |> Native.netns_make() |> Pool.Native.await()

  @doc "The network namespace of `target`, held open."
  @spec hold(Native.target(), pid()) :: {:ok, held()} | Native.fault()
  def hold(target, owner), do: target |> Native.netns_hold(owner) |> Pool.Native.await()

  @doc "Closes the descriptor, if it is open."
  @spec close(Native.held_netns()) :: :ok
  def close(handle), do: Native.netns_close(handle)

  @doc "The descriptor's number while it is open, and the namespace's inode number."
  @spec number(Native.held_netns()) ::
          {:ok, {descriptor :: non_neg_integer(), inode :: pos_integer()}} | Native.fault()
  def number(handle), do: Native.netns_number(handle)

  @doc "The inode number of the target's network namespace."
  @spec inode(Native.target()) :: {:ok, pos_integer()} | Native.fault()
  def inode(target), do: target |> Native.netns_inode() |> Pool.Native.await()

  @doc "The processes in the target's network namespace, in ascending order."
  @spec processes(Native.target()) :: {:ok, [pos_integer()]} | Native.fault()
  def processes(target), do: target |> Native.netns_processes() |> Pool.Native.await()

  @doc "Gives the namespace of `source`, or with `:new` one that is made, a name."
  @spec create(binary(), binary(), Native.target() | :new) :: :ok | Native.fault()
  def create(directory, name, source),
    do: directory |> Native.netns_create(name, source) |> Pool.Native.await()

  @doc "Takes a name away."
  @spec delete(binary(), binary()) :: :ok | Native.fault()
  def delete(directory, name), do: directory |> Native.netns_delete(name) |> Pool.Native.await()
end
