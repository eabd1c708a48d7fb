defmodule Linx.KernelFile do
  @moduledoc false
  # Files below /proc and /sys/fs/cgroup by their paths. Whoever can mount may put a plain file
  # where the kernel's is expected, so the file system of what was opened decides: procfs below
  # /proc, cgroup2 below /sys/fs/cgroup. A file of another one is :exdev, and nothing is read from
  # it or written to it. Behind a link of a process (/proc/<pid>/root, cwd, fd) lies any file
  # system.

  alias Linx.{Errno, Native, Pool}

  # linux/magic.h.
  @proc 0x9FA0
  @cgroup2 0x63677270

  @doc "The whole file at `path`. Without the native library nothing checks the file system."
  @spec read(Path.t()) :: {:ok, binary()} | {:error, atom()}
  def read(path) do
    case magic(path) do
      nil -> :file.read_file(path, [:raw])
      magic -> path |> Native.kernel_file_read(magic) |> Pool.Native.await() |> named()
    end
  rescue
    ErlangError -> :file.read_file(path, [:raw])
  end

  @doc "Writes `data` in one write(2) to the file at `path`, which has to be there."
  @spec write(Path.t(), iodata()) :: :ok | {:error, atom()}
  def write(path, data) do
    case magic(path) do
      nil -> write_plainly(path, data)
      magic -> write_checked(path, magic, IO.iodata_to_binary(data))
    end
  end

  defp write_checked(path, magic, data),
    do: path |> Native.kernel_file_write(magic, data) |> Pool.Native.await() |> named()

  # Opening for writing would make a file that is not there.
  defp write_plainly(path, data) do
    with {:ok, _} <- :file.read_file_info(path, [:raw, time: :posix]),
         do: :file.write_file(path, data, [:raw])
  end

  @doc "Whether the file at `path` can be read and is the kernel's."
  @spec readable?(Path.t()) :: boolean()
  def readable?(path), do: match?({:ok, _}, read(path))

  defp magic("/proc/" <> rest) do
    if rest =~ ~r"\A[^/]+/(task/[^/]+/)?(root|cwd|fd|map_files)/", do: nil, else: @proc
  end

  defp magic("/sys/fs/cgroup/" <> _), do: @cgroup2
  defp magic(_path), do: nil

  defp named({:error, {_stage, errno}}), do: {:error, Errno.name(errno)}
  defp named(answer), do: answer
end
