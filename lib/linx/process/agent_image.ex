defmodule Linx.Process.AgentImage do
  @moduledoc false
  # The file that ports execute: an image of the agent that nobody can write to, made once a node. A process that joined a
  # container runs it until its exec, and whoever is root there reaches it through /proc/<pid>/exe (CVE-2019-5736).
  #
  # It is reached through the VM's own entry in /proc, which is proven to be that image each time. Where it cannot be, or
  # cannot be made, it is the file in priv: the agent then seals itself, and refuses enter/2 where it cannot either.

  alias Linx.Native

  @doc "The path to execute."
  @spec path() :: charlist()
  def path do
    with {:ok, {_protection, image}} <- image(),
         {:ok, path} <- Native.process_image_path(image) do
      String.to_charlist(path)
    else
      _ -> file()
    end
  end

  @doc "What protects the image that the VM made; `{:error, {stage, errno}}` where it could make none."
  @spec protection() :: {:ok, :sealed | :read_only} | Native.fault()
  def protection do
    with {:ok, {protection, _image}} <- image(), do: {:ok, protection}
  end

  @doc "The errnos of calls that a session is best off with, 0 for one that is there; and the VM's numbers."
  @spec calls() :: {tuple(), {non_neg_integer(), pos_integer()}}
  def calls, do: Native.process_calls()

  defp image do
    case :persistent_term.get(__MODULE__, nil) do
      nil -> make()
      made -> {:ok, made}
    end
  end

  defp make do
    with {:ok, made} <- Native.process_image(List.to_string(file())), do: keep(made)
  rescue
    # No library.
    ErlangError -> {:error, {:image, Linx.Errno.code(:enosys)}}
  end

  # Of two that make one at the same time the first is kept; the other's closes with its last reference.
  defp keep(made) do
    :persistent_term.put_new(__MODULE__, made)
    {:ok, made}
  rescue
    ArgumentError -> {:ok, :persistent_term.get(__MODULE__)}
  end

  defp file, do: :filename.join(Native.priv_dir(), ~c"linx_process")
end
