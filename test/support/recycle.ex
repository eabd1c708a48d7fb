defmodule Linx.Test.Recycle do
  @moduledoc false
  # Gives a pid that was in use to another process, in a pid namespace of the caller's own:
  # ns_last_pid says where the kernel looks for the next free number.

  alias Linx.Test.Poll

  @doc """
  Starts `command` until it gets `pid`; a port to it.

  The number may be taken for a while: its process is reaped after its end was reported, and
  whatever else forks in the namespace may come first.
  """
  @spec take!(pos_integer(), [String.t()]) :: port()
  def take!(pid, command),
    do: take!(pid, command, System.monotonic_time(:millisecond) + Poll.patience())

  defp take!(pid, [name | args] = command, deadline) do
    File.write!("/proc/sys/kernel/ns_last_pid", "#{pid - 1}")
    port = Port.open({:spawn_executable, System.find_executable(name)}, [:binary, args: args])

    if Port.info(port, :os_pid) == {:os_pid, pid} do
      await_exec(port, pid)
    else
      Port.close(port)

      if System.monotonic_time(:millisecond) > deadline,
        do: raise("no new process got pid #{pid}, which is #{holder(pid)}")

      take!(pid, command, deadline)
    end
  end

  # A process or a thread; a thread's directory is there though it is not listed.
  defp holder(pid) do
    case File.read("/proc/#{pid}/status") do
      {:ok, status} -> status |> String.split("\n") |> Enum.take(7) |> inspect()
      {:error, reason} -> "free (#{reason})"
    end
  end

  # It echoes once it is in the namespaces that it is to have.
  defp await_exec(port, pid) do
    Port.command(port, "ready\n")

    receive do
      {^port, {:data, "ready\n"}} -> port
    after
      60_000 -> raise "the successor with pid #{pid} does not answer"
    end
  end
end
