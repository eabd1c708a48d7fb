defmodule Linx.Test.Recycle do
  @moduledoc false
  # Gives a pid that was in use to another process, in a pid namespace of the caller's own: ns_last_pid says where the
  # kernel looks for the next free number.

  @doc "Starts `command` until it gets `pid`; a port to it."
  @spec take!(pos_integer(), [String.t()]) :: port()
  def take!(pid, command, attempts \\ 200)

  def take!(pid, _command, 0), do: raise("no new process got pid #{pid}")

  def take!(pid, [name | args] = command, attempts) do
    File.write!("/proc/sys/kernel/ns_last_pid", "#{pid - 1}")
    port = Port.open({:spawn_executable, System.find_executable(name)}, [:binary, args: args])

    if Port.info(port, :os_pid) == {:os_pid, pid} do
      await_exec(port, pid)
    else
      Port.close(port)
      take!(pid, command, attempts - 1)
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
