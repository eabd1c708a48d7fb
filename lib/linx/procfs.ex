defmodule Linx.Procfs do
  @moduledoc false
  # Files below /proc/<pid> of the process that is meant: the native side pins it, takes one
  # descriptor of its directory, sees that this is procfs and that the process lives, and opens
  # the file below that.

  alias Linx.{Errno, Native, Target}
  alias Linx.Pool

  @type process :: pos_integer() | Linx.Process.t()
  @type failure ::
          {:errno, errno :: atom(), code :: pos_integer(), path :: String.t()} | Target.unready()

  @doc "The whole of `/proc/<pid>/<name>`."
  @spec read(process(), String.t()) :: {:ok, binary()} | {:error, failure()}
  def read(process, name), do: on(process, name, &Native.procfs_read(&1, name))

  @doc "Writes `data` to `/proc/<pid>/<name>` in one write(2)."
  @spec write(process(), String.t(), binary()) :: :ok | {:error, failure()}
  def write(process, name, data), do: on(process, name, &Native.procfs_write(&1, name, data))

  @doc "The path of the file, for a text: what is opened is found by the process, not by this."
  @spec path(pos_integer(), String.t()) :: Path.t()
  def path(pid, name), do: Target.proc_path(pid, name)

  @doc "The pid of a live session's workload."
  @spec pid(Linx.Process.t()) :: {:ok, pos_integer()} | {:error, Target.unready()}
  def pid(session) when is_pid(session) do
    with {:ok, pin} <- Target.resolve(session) do
      if Native.pid_alive(pin), do: {:ok, Native.pid_of(pin)}, else: {:error, :no_process}
    end
  end

  defp on(process, name, work) do
    with {:ok, target} <- target(process) do
      case Pool.Native.await(work.(target)) do
        {:error, {_stage, errno}} -> {:error, failure(target, name, errno)}
        answer -> answer
      end
    end
  end

  defp target(pid) when is_integer(pid) and pid > 0 do
    # A number that pid_t cannot hold is nobody's.
    case Target.resolve({:pid, pid}) do
      {:ok, target} -> {:ok, target}
      {:error, {:bad_in, _}} -> {:error, {:errno, :enoent, 2, Target.proc_path(pid, "")}}
    end
  end

  defp target(session) when is_pid(session), do: Target.resolve(session)

  defp target(other) do
    raise ArgumentError, "expected a pid of the kernel's or a session, got: #{inspect(other)}"
  end

  defp failure(target, name, errno) do
    if Target.ended?(target, errno),
      do: :no_process,
      else: {:errno, Errno.name(errno), errno, Target.proc_path(target, name)}
  end
end
