defmodule Linx.Netlink.Inbox.FlowTest do
  use ExUnit.Case, async: true

  # How much a listener reads, against owners that are a count of events and of other messages;
  # time is a number.

  alias Linx.Netlink.Inbox.Flow

  # A read of 64 datagrams with an event of 400 bytes each.
  @events 64
  @bytes 64 * 400

  # Runs for `time` milliseconds, with events always there and up to ten reads in each. `owner` is
  # called before them with the time and its mailbox as `{others, events}`, and gives what is left
  # of it. Answers the mailbox and how many events were read in all.
  defp run(mailbox, time, owner), do: run(Flow.new(), mailbox, 0, time, owner, 0, 0)

  defp run(_flow, mailbox, time, time, _owner, _due, read), do: {mailbox, read}

  defp run(flow, mailbox, now, time, owner, due, read) do
    mailbox = owner.(now, mailbox)

    {flow, mailbox, due, read} =
      if now < due,
        do: {flow, mailbox, due, read},
        else: reads(flow, mailbox, now, read, 10)

    run(flow, mailbox, now + 1, time, owner, due, read)
  end

  defp reads(flow, mailbox, now, read, 0), do: {flow, mailbox, now, read}

  defp reads(flow, {others, events} = mailbox, now, read, times) do
    case Flow.room(flow, others + events, now) do
      {:read, most, flow} ->
        count = min(most, @events)
        flow = Flow.spend(flow, count, count * 400)
        reads(flow, {others, events + count}, now, read + count, times - 1)

      {:wait, milliseconds, flow} ->
        {flow, mailbox, now + milliseconds, read}
    end
  end

  defp window, do: div(8 * 1024 * 1024, div(Flow.cost(@events, @bytes), @events))

  test "an owner that reads at once gets everything, without a wait" do
    {_mailbox, read} = run({0, 0}, 1000, fn _now, _mailbox -> {0, 0} end)
    assert read == 1000 * 10 * @events
  end

  test "one that sleeps gets a window, and little more as time goes by" do
    sleep = fn _now, mailbox -> mailbox end
    {{0, soon}, _} = run({0, 0}, 1000, sleep)
    assert soon in window()..(window() + 3 * @events)
    # An hour.
    {{0, late}, _} = run({0, 0}, 3_600_000, sleep)
    assert late - soon < 20 * 16
  end

  test "one that reads slower than events come gets what it reads" do
    # 20 a millisecond.
    slow = fn _now, {others, events} -> {others, max(events - 20, 0)} end

    {{0, events}, read} = run({0, 0}, 10_000, slow)
    assert events <= window() + 3 * @events
    assert read - events > 9_000 * 20
  end

  test "an owner that picks the events out of a long mailbox gets them" do
    {_mailbox, read} = run({1_000_000, 0}, 20_000, fn _now, {o, _} -> {o, 0} end)
    # It is found out within a second, each time that it has to be.
    assert read > 10 * window()
  end

  test "one that works through a long mailbox and leaves the events gets few" do
    # Ten a second, in order.
    work = fn
      now, {others, events} when rem(now, 100) == 0 ->
        if others > 0, do: {others - 1, events}, else: {0, max(events - 1, 0)}

      _now, mailbox ->
        mailbox
    end

    {{_others, events}, _read} = run({100_000, 0}, 600_000, work)
    assert events < 2 * window()
  end

  test "a window is as large for small reads and events" do
    for {events, bytes} <- [{1, 60}, {7, 420}, {64, 5_120}] do
      flow =
        Enum.reduce_while(1..100_000, Flow.new(), fn reads, flow ->
          case Flow.room(flow, (reads - 1) * events, 0) do
            {:read, _, flow} -> {:cont, Flow.spend(flow, events, bytes)}
            {:wait, _, _} -> {:halt, reads - 1}
          end
        end)

      assert_in_delta flow * Flow.cost(events, bytes), 8 * 1024 * 1024, 300_000
    end
  end

  test "large events count by their size" do
    flow = Enum.reduce(1..40, Flow.new(), fn _, flow -> Flow.spend(flow, 1, 65_536) end)
    assert {:wait, _, _} = Flow.room(flow, 40, 0)
    assert {:read, _, _} = Flow.room(flow, 20, 0)
  end
end
