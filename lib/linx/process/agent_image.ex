defmodule Linx.Process.AgentImage do
  @moduledoc false
  # The file that ports execute: an image of the agent that no process can write to, made once a
  # node. A process that joins a container runs it until its exec, and root in the container
  # reaches it through /proc/<pid>/exe (CVE-2019-5736).
  #
  # The image's path is in the VM's own /proc directory and is verified at each use. If the image
  # cannot be made or reached, the path is the file in priv: the agent then seals itself, and
  # refuses enter/2 if it cannot.

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

  @doc "The protection of the VM's image; `{:error, {stage, errno}}` if the VM could make none."
  @spec protection() :: {:ok, :sealed | :read_only} | Native.fault()
  def protection do
    with {:ok, {protection, _image}} <- image(), do: {:ok, protection}
  end

  @doc """
  The errnos of calls that a session is best off with, 0 for one that is there; and the VM's
  numbers.
  """
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
    # The NIF library is not loaded.
    ErlangError -> {:error, {:image, Linx.Errno.code(:enosys)}}
  end

  # The first of two concurrent images is kept; the other closes with its last reference.
  defp keep(made) do
    :persistent_term.put_new(__MODULE__, made)
    {:ok, made}
  rescue
    ArgumentError -> {:ok, :persistent_term.get(__MODULE__)}
  end

  defp file, do: :filename.join(Native.priv_dir(), ~c"linx_process")
end
