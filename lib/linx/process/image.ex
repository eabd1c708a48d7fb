defmodule Linx.Process.Image do
  @moduledoc false
  # The file that ports execute. A copy of the port program in sealed memory, made once a node: a process that joined a
  # container runs our image until its exec, and whoever is root there must not be able to write to it through
  # /proc/<pid>/exe (CVE-2019-5736). It is reached through the VM's own /proc entry; without /proc, or without the NIF
  # library, it is the file in priv.

  alias Linx.Native

  @doc "The path to execute."
  @spec path() :: charlist()
  def path do
    case :persistent_term.get(__MODULE__, nil) do
      {path, _image} -> path
      nil -> make()
    end
  end

  defp make do
    file = :filename.join(Native.priv_dir(), ~c"linx_process")

    with {:ok, {fd, image}} <- seal(file),
         path = ~c"/proc/" ++ :os.getpid() ++ ~c"/fd/" ++ Integer.to_charlist(fd),
         {:ok, _} <- :file.read_link_all(path) do
      keep(path, image)
    else
      _ -> file
    end
  end

  # Of two that make one at the same time the first is kept; the other's closes with its last reference.
  defp keep(path, image) do
    :persistent_term.put_new(__MODULE__, {path, image})
    path
  rescue
    ArgumentError -> __MODULE__ |> :persistent_term.get() |> elem(0)
  end

  defp seal(file) do
    Native.process_image(List.to_string(file))
  rescue
    ErlangError -> :error
  end
end
