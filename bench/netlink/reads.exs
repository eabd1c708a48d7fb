# File reads while long netlink requests run: what a read waits for is one of the VM's dirty I/O
# threads, and a processor.
#
#     reads.exs            in a network namespace of its own

alias Linx.Netfilter
alias Linx.Netfilter.{Ruleset, Set}
alias Linx.Netlink.Nfnl

defmodule Reads do
  @reads 1_000
  @pushes 20
  @elements 100_000

  def ruleset do
    elements =
      for n <- 1..@elements, do: {10, div(n, 65_536), rem(div(n, 256), 256), rem(n, 256)}

    Ruleset.new()
    |> Ruleset.add_table!(:inet, "t")
    |> Ruleset.add_set!("t", Set.new!("s", key_type: :ipv4_addr, elements: elements))
  end

  # So many reads, spread over the time until `done?` holds.
  def times(done?, times \\ [], count \\ 0) do
    {time, {:ok, _text}} = :timer.tc(fn -> :prim_file.read_file("/etc/hostname") end)

    cond do
      count >= @reads and done?.() -> [time | times]
      true -> receive after: (1 -> times(done?, [time | times], count + 1))
    end
  end

  # The sockets are open before, because opening one waits for a thread as well.
  def sockets, do: for(_ <- 1..@pushes, do: elem(Nfnl.open(), 1))

  def pushing(ruleset, sockets) do
    for socket <- sockets, do: Task.async(fn -> :ok = Netfilter.push(socket, ruleset) end)
  end

  def row(what, times) do
    sorted = Enum.sort(times)
    at = fn share -> Enum.at(sorted, ceil(length(sorted) * share) - 1) end

    IO.puts("| #{what} | #{at.(0.5)} | #{ms(at.(0.99))} | #{ms(at.(1.0))} | #{length(sorted)} |")
  end

  defp ms(microseconds), do: Float.round(microseconds / 1000, 1)
end

ruleset = Reads.ruleset()
{:ok, socket} = Nfnl.open()
:ok = Netfilter.push(socket, ruleset)
idle = Reads.times(fn -> true end)
tasks = Reads.pushing(ruleset, Reads.sockets())
beside = Reads.times(fn -> not Enum.any?(tasks, &Process.alive?(&1.pid)) end)
Task.await_many(tasks, :infinity)

IO.puts("\n| file reads | median us | p99 ms | worst ms | reads |\n|---|---|---|---|---|")
Reads.row("nothing else", idle)
Reads.row("beside 20 pushes of 100 000 elements", beside)
