defmodule Linx.Netns.Id do
  @moduledoc false
  # The ids that a network namespace has for others: RTM_NEWNSID and RTM_GETNSID of rtnetlink.
  # `struct rtgenmsg` and NETNSA_* of include/uapi/linux/net_namespace.h.

  use Linx.Netlink.Codec

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Request, Socket}

  codec do
    header do
      field(:family, :u8)
      pad(3)
    end

    attr(1, :nsid, :s32)
    attr(3, :fd, :u32)
  end

  # NETNSA_NSID_NOT_ASSIGNED; as a wish it means the smallest that is free.
  @none -1

  @doc "The id that the socket's namespace has for the one behind the descriptor `fd`."
  @spec get(Socket.t(), non_neg_integer()) :: {:ok, non_neg_integer() | nil} | {:error, Error.t()}
  def get(socket, fd) do
    with {:ok, answers} <- ask(socket, rtm_getnsid(), 0, %__MODULE__{fd: fd}),
         do: {:ok, answers |> Enum.map(& &1.nsid) |> Enum.find(&(&1 not in [nil, @none]))}
  end

  @doc "Gives it one: a number, or `:auto` for the smallest that is free."
  @spec set(Socket.t(), non_neg_integer(), non_neg_integer() | :auto) :: :ok | {:error, Error.t()}
  def set(socket, fd, id) do
    nsid = if id == :auto, do: @none, else: id

    with {:ok, _none} <- ask(socket, rtm_newnsid(), 0, %__MODULE__{fd: fd, nsid: nsid}),
         do: :ok
  end

  @doc "Every id of the socket's namespace, in order."
  @spec list(Socket.t()) :: {:ok, [non_neg_integer()]} | {:error, Error.t()}
  def list(socket) do
    with {:ok, answers} <- ask(socket, rtm_getnsid(), nlm_f_dump(), %__MODULE__{}),
         do:
           {:ok,
            for(%{nsid: id} when is_integer(id) and id >= 0 <- answers, do: id) |> Enum.sort()}
  end

  defp ask(socket, type, flags, request) do
    with {:ok, messages} <- Request.talk(socket, type, flags, encode(request)),
         do: {:ok, Enum.map(messages, &decode(&1.payload))}
  end
end
