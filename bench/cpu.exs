defmodule Cpu do
  # The CPU time of the whole VM, user and system, in microseconds. Linx makes some system calls
  # on threads that end with them (native/linx_sys/src/work.rs), and the time of an ended thread
  # is in no file under /proc/self/task. The process's CPU clock includes it; the floors of
  # bench/netfilter and bench/netlink read that clock from outside (`floor clock`), since the VM
  # offers no way to.

  def start(floor) do
    {:ok, _} =
      Agent.start_link(
        fn ->
          Port.open({:spawn_executable, floor}, [
            :binary,
            line: 64,
            args: ["clock", System.pid()]
          ])
        end,
        name: __MODULE__
      )

    :ok
  end

  def time do
    Agent.get(__MODULE__, fn port ->
      Port.command(port, "\n")
      receive do: ({^port, {:data, {:eol, text}}} -> String.to_integer(text))
    end)
  end
end
