# Ours, and JSON.decode! for what ip(8) printed.
#
#     ours.exs dump-routes CASE N | dump-links CASE N | json CASE FILE |
#              add CASE IFINDEX COUNT | batch CASE IFINDEX COUNT | reconcile CASE IFINDEX COUNT

Code.require_file("../long_schedule.exs", __DIR__)
Code.require_file("../cpu.exs", __DIR__)
LongSchedule.watch()
Cpu.start(System.fetch_env!("LINX_BENCH_FLOOR"))

alias Linx.Netlink.Rtnl
alias Linx.Netlink.Rtnl.{Link, Reconcile, Route}

defmodule Ours do
  # In a process of its own each time, so that one measurement's heap is not the next one's work.
  # The first is not counted: under mix it has the code loaded, which a release does at its start.
  # `undo` is not counted either, nor is making the input: the floor's messages are there before
  # its clock runs as well.
  def measured(case, who, input, fun, undo) do
    apart(fn -> fun.(input.()) end)

    for _ <- 1..3 do
      undo.(input.())

      apart(fn ->
        input = settled(input.())
        clocked(case, who, 1, fn -> fun.(input) end)
        # Until now it is in use.
        length(input)
      end)
    end

    undo.(input.())
  end

  # Moves `input` to the old heap, as data that a process has had for a while: minor collections
  # do not touch it there.
  defp settled(input) do
    :erlang.garbage_collect()
    :erlang.garbage_collect(self(), type: :minor)
    input
  end

  # Repeats a short operation `times` times and divides the time.
  def repeated(case, who, times, fun) do
    clocked(case, who, times, fn -> Enum.reduce(1..times, 0, fn _, _ -> apart(fun) end) end)
  end

  defp clocked(case, who, times, fun) do
    # Once for the code's sake.
    Cpu.time()
    before = Cpu.time()
    {wall, count} = :timer.tc(fun)
    cpu = Cpu.time() - before
    IO.puts("#{case}\t#{who}\t#{div(cpu, times)}\t#{div(wall, times)}\t#{count}")
  end

  defp apart(fun), do: fun |> Task.async() |> Task.await(:infinity)

  def routes(count, ifindex) do
    ifindex = String.to_integer(ifindex)
    for n <- 0..(String.to_integer(count) - 1), do: route(n, ifindex)
  end

  def desired(count, ifindex) do
    for {dst, prefix, gateway, opts} <- routes(count, ifindex),
        do: {dst, prefix, gateway, Keyword.delete(opts, :protocol)}
  end

  defp route(n, ifindex) do
    dst = %Linx.IP{
      bytes: <<21 + Bitwise.bsr(n, 16), Bitwise.bsr(n, 8)::8, n::8, 0>>,
      family: :inet
    }

    {dst, 24, nil, oif: ifindex, table: 201, protocol: :static}
  end
end

{:ok, socket} = Rtnl.open()

case System.argv() do
  ["dump-routes", name, n] ->
    times = if name =~ "100 000", do: 1, else: 10

    for _ <- 1..String.to_integer(n) do
      Ours.repeated(name, "Linx", times, fn ->
        {:ok, routes} = Route.list(socket)
        length(routes)
      end)
    end

  ["dump-links", name, n] ->
    for _ <- 1..String.to_integer(n) do
      Ours.repeated(name, "Linx", 10, fn ->
        {:ok, links} = Link.list(socket)
        length(links)
      end)
    end

  ["add", name, ifindex, count] ->
    Ours.measured(
      name,
      "Linx",
      fn -> Ours.routes(count, ifindex) end,
      fn routes ->
        for {dst, prefix, gateway, opts} <- routes, reduce: 0 do
          count ->
            :ok = Route.add(socket, dst, prefix, gateway, opts)
            count + 1
        end
      end,
      fn routes -> {:ok, _} = Route.delete_many(socket, routes) end
    )

  ["batch", name, ifindex, count] ->
    Ours.measured(
      name,
      "Linx",
      fn -> Ours.routes(count, ifindex) end,
      fn routes ->
        {:ok, results} = Route.add_many(socket, routes)
        Enum.count(results, &(&1 == :ok))
      end,
      fn routes -> {:ok, _} = Route.delete_many(socket, routes) end
    )

  # The desired routes are the kernel's but for one, which somebody has deleted.
  ["reconcile", name, ifindex, count] ->
    Ours.measured(
      name,
      "Linx",
      fn -> Ours.desired(count, ifindex) end,
      fn routes ->
        {:ok, %{converged?: true}} = Reconcile.reconcile(socket, %{routes: routes}, %{})
        length(routes)
      end,
      fn [{dst, prefix, _gateway, _opts} | _] ->
        :ok = Route.delete(socket, dst, prefix, nil, table: 201)
      end
    )

    Ours.repeated(name, "Linx, reading them", 10, fn ->
      {:ok, routes} = Route.list(socket, table: 201)
      length(routes)
    end)

  ["json", name, file] ->
    json = File.read!(file)

    Ours.repeated(name, "decode", 3, fn -> json |> JSON.decode!() |> length() end)
end
