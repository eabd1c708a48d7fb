defmodule Linx.Process.CreditTest do
  # Measures time and memory of the whole VM.
  use ExUnit.Case, async: false

  alias Linx.Process, as: P

  @moduletag timeout: 300_000

  defp flood(owner) do
    {:ok, session} =
      P.spawn(argv: ["/usr/bin/yes"], stdio: [stdout: :pipe], owner: owner, auto_proceed: true)

    session
  end

  defp filled(owner, messages) do
    for n <- 1..messages//1, do: send(owner, {:other, n})
    owner
  end

  defp unread(owner) do
    {:messages, messages} = Process.info(owner, :messages)
    Enum.sum(for {:linx_process, :stdout, bytes} <- messages, do: byte_size(bytes))
  end

  test "an owner with half a million messages costs ten sessions nothing" do
    owner = filled(spawn_link(fn -> Process.sleep(:infinity) end), 500_000)
    before = :erlang.memory(:binary)
    sessions = for _ <- 1..10, do: flood(owner)

    {times, memory} =
      Enum.unzip(
        for session <- List.flatten(List.duplicate(sessions, 20)) do
          {time, {:ok, _}} = :timer.tc(fn -> P.info(session) end)
          {:memory, memory} = Process.info(session, :memory)
          Process.sleep(5)
          {time, memory}
        end
      )

    # The machine may take the processor away for longer than a session needs; not every time.
    assert times |> Enum.sort() |> Enum.at(div(length(times) * 9, 10)) < 5_000
    assert Enum.max(memory) < 4 * 1024 * 1024
    assert :erlang.memory(:binary) - before < 10 * 4 * 1024 * 1024
    assert unread(owner) < 10 * 2 * 1024 * 1024
    for session <- sessions, do: P.stop(session, 0)
  end

  defp count(sum) do
    receive do
      {:linx_process, :stdout, bytes} ->
        count(sum + byte_size(bytes))

      {:sum, from} ->
        send(from, {:sum, sum})
        count(sum)
    end
  end

  defp counted(owner) do
    send(owner, {:sum, self()})
    assert_receive {:sum, sum}, 60_000
    sum
  end

  test "one that reads its output gets it, however long its mailbox" do
    for messages <- [0, 100, 20_000] do
      owner = filled(spawn_link(fn -> count(0) end), messages)
      session = flood(owner)
      Linx.Test.Poll.until(fn -> counted(owner) > 8 * 1024 * 1024 end, 60_000)
      P.stop(session, 0)
    end
  end

  test "one that works through other messages first is given little meanwhile" do
    owner =
      spawn_link(fn ->
        loop = fn loop ->
          receive do
            {:other, _} -> Process.sleep(1)
            _output -> Process.sleep(1)
          end

          loop.(loop)
        end

        loop.(loop)
      end)

    session = flood(filled(owner, 3_000))
    most = for _ <- 1..20, do: Process.sleep(50) && unread(owner)
    assert {:message_queue_len, length} = Process.info(owner, :message_queue_len)
    assert length > 100, "the machine is too slow for this test"
    assert Enum.max(most) < 2 * 1024 * 1024
    P.stop(session, 0)
  end

  test "one that comes back after a while has its output soon" do
    owner =
      spawn_link(fn ->
        receive do: (:go -> :ok)
        count(0)
      end)

    session = flood(filled(owner, 1_000))
    Process.sleep(3_000)
    assert unread(owner) < 2 * 1024 * 1024
    send(owner, :go)
    Linx.Test.Poll.until(fn -> counted(owner) > 8 * 1024 * 1024 end, 60_000)
    P.stop(session, 0)
  end

  test "no session looks into a mailbox" do
    for file <- Path.wildcard("lib/linx/process/*.ex"),
        do: refute(File.read!(file) =~ ~r/info\([^)]*:messages/)
  end
end
