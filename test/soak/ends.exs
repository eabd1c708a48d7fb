defmodule Soak.Ends do
  # How sessions begin here, and every way for them to end.
  alias Linx.Process

  def spawn_tagged(tag, options) do
    Process.spawn([env: {:clean, [tag]}, stdio: :devnull] ++ options)
  end

  # Every way for a session to end, the rude ones included.
  def finish(session) do
    case :rand.uniform(7) do
      1 -> Process.stop(session, Enum.random([0, 50]))
      2 -> Process.abort(session)
      3 -> kill(workload(session))
      4 -> kill(parent(workload(session)))
      5 -> Elixir.Process.unlink(session) && Elixir.Process.exit(session, :kill)
      6 -> Process.signal(session, 15)
      7 -> :ok
    end

    Process.stop(session, 0)
  end

  def workload(session) do
    case Process.host_pid(session) do
      {:ok, pid} -> pid
      {:error, _} -> nil
    end
  end

  # The agent is the workload's parent, or the parent of its init.
  def parent(nil), do: nil

  def parent(pid) do
    with {:ok, status} <- File.read("/proc/#{pid}/status"),
         [_, parent] <- Regex.run(~r/^PPid:\s+(\d+)$/m, status),
         parent = String.to_integer(parent),
         true <- parent > 1 and parent != String.to_integer(System.pid()),
         {:ok, "linx_process\n"} <- File.read("/proc/#{parent}/comm") do
      parent
    else
      _ -> nil
    end
  end

  def kill(nil), do: :ok
  def kill(pid), do: System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true)
  def signal(nil, _name), do: :ok
  def signal(pid, name), do: System.cmd("kill", ["-#{name}", "#{pid}"], stderr_to_stdout: true)

  # Takes what comes for so long.
  def drain(milliseconds), do: drain_until(System.monotonic_time(:millisecond) + milliseconds)

  defp drain_until(deadline) do
    left = deadline - System.monotonic_time(:millisecond)

    receive do
      {:linx_process, _, _} when left > 0 -> drain_until(deadline)
    after
      max(left, 0) -> :ok
    end
  end

  # Kills the workload at some moment while another verb is at work on it.
  def sabotage(session) do
    pid = workload(session)

    Task.async(fn ->
      if Enum.random([true, false]) do
        Elixir.Process.sleep(:rand.uniform(5))
        kill(pid)
      end
    end)
  end

  def join(task), do: Task.await(task)
end
