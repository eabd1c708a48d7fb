defmodule Linx.Process.ScaleTest do
  use ExUnit.Case, async: false

  import Linx.Test.Session

  alias Linx.Process, as: P

  defp count, do: if(Linx.Test.Host.slow?(), do: 1_000, else: 50)

  defp descriptors, do: length(File.ls!("/proc/self/fd"))

  @tag timeout: 600_000
  test "many sessions at once, parked, then proceeded: all end and nothing is left" do
    P.wait(elem(P.spawn(argv: ["/bin/true"], auto_proceed: true), 1))
    before = {descriptors(), length(Port.list()), length(Process.list())}
    test = self()

    {maker, ref} =
      spawn_monitor(fn ->
        sessions = for _ <- 1..count(), do: elem(P.spawn(argv: ["/bin/true"], stdio: :devnull), 1)
        assert Enum.all?(sessions, &match?({:ok, %{stage: :ready}}, P.info(&1)))
        Enum.each(sessions, &(:ok = P.proceed(&1)))
        assert Enum.all?(sessions, &(P.wait(&1, 60_000) == {:ok, {:exited, 0}}))
        ready = receive_all(:ready, 0)
        exited = receive_all(:exited, 0)
        running = receive_all(:running, 0)
        {:message_queue_len, left} = Process.info(self(), :message_queue_len)
        send(test, {:counts, ready, running, exited, left})
      end)

    assert_receive {:counts, ready, running, exited, 0}, 280_000
    assert {ready, running, exited} == {count(), count(), count()}
    assert_receive {:DOWN, ^ref, :process, ^maker, :normal}

    # Ports that the rest of the VM has are not ours to count; nothing may have grown.
    until(
      fn ->
        {fds, ports, processes} = before

        descriptors() <= fds and length(Port.list()) <= ports and
          length(Process.list()) <= processes
      end,
      30_000
    )
  end

  defp receive_all(kind, count) do
    receive do
      {:linx_process, ^kind} -> receive_all(kind, count + 1)
      {:linx_process, ^kind, _} -> receive_all(kind, count + 1)
    after
      0 -> count
    end
  end
end
