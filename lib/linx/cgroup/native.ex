defmodule Linx.Cgroup.Native do
  @moduledoc false
  # Whether a path is a cgroup at all, and when the last process has left it.

  alias Linx.{Errno, Native, Pool}

  # The longest that a native wait goes on after its caller's death, in milliseconds.
  @slice 1_000

  @doc """
  `:ok` for a directory of a cgroup2 file system, `{:error, :not_cgroup2}` for another one. A
  temporary directory, below `System.tmp_dir!/0` or a folder called `tmp`, passes: there plain
  files stand in for a cgroup's.
  """
  @spec check(String.t()) :: :ok | {:error, atom()}
  def check(path) do
    case Pool.Native.await(Native.cgroup_is(path)) do
      {:ok, true} -> :ok
      {:ok, false} -> if stand_in?(path), do: :ok, else: {:error, :not_cgroup2}
      {:error, {_stage, errno}} -> {:error, Errno.name(errno)}
    end
  end

  defp stand_in?(path) do
    path = Path.expand(path)
    "tmp" in Path.split(path) or String.starts_with?(path, Path.expand(System.tmp_dir!()) <> "/")
  end

  @doc """
  Waits until no process is in the cgroup at `path` or below it; false where that takes more than
  `timeout` milliseconds. A cgroup that is gone, or cannot be looked at, is not waited for.
  """
  @spec await_empty(String.t(), integer()) :: boolean()
  def await_empty(path, timeout) do
    slice = timeout |> min(@slice) |> max(0)

    case Pool.Native.await(Native.cgroup_wait_empty(path, slice)) do
      {:ok, false} when timeout > slice -> await_empty(path, timeout - slice)
      {:ok, empty?} -> empty?
      {:error, _fault} -> true
    end
  end
end
