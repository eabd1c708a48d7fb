# Ours, and JSON.decode! for what ip(8) printed.
#
#     ours.exs dump-routes CASE N | dump-links CASE N | add CASE IFINDEX COUNT | batch CASE IFINDEX COUNT | json CASE FILE

Code.require_file("../long_schedule.exs", __DIR__)
LongSchedule.watch()

alias Linx.Netlink.Rtnl
alias Linx.Netlink.Rtnl.{Link, Route}

defmodule Ours do
  # In a process of its own each time, so that one measurement's heap is not the next one's work. The first is not
  # counted: under mix it has the code loaded, which a release does at its start. `undo` is not counted either.
  def measured(case, who, fun, undo) do
    apart(fun)

    for _ <- 1..3 do
      undo.()
      repeated(case, who, 1, fun)
    end

    undo.()
  end

  # What is short is done several times and divided.
  def repeated(case, who, times, fun) do
    apart(fn -> :ok end)
    before = cpu()
    {wall, count} = :timer.tc(fn -> Enum.reduce(1..times, 0, fn _, _ -> apart(fun) end) end)
    cpu = cpu() - before
    IO.puts("#{case}\t#{who}\t#{div(cpu, 1000 * times)}\t#{div(wall, times)}\t#{count}")
  end

  # Nanoseconds that all threads of the VM have run. statistics(:runtime) counts in hundredths of a second.
  defp cpu do
    for task <- File.ls!("/proc/self/task"), reduce: 0 do
      sum ->
        [ran | _] = "/proc/self/task/#{task}/schedstat" |> File.read!() |> String.split()
        sum + String.to_integer(ran)
    end
  end

  defp apart(fun), do: fun |> Task.async() |> Task.await(:infinity)

  def routes(count, ifindex) do
    ifindex = String.to_integer(ifindex)
    for n <- 0..(String.to_integer(count) - 1), do: route(n, ifindex)
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
    routes = Ours.routes(count, ifindex)

    Ours.measured(
      name,
      "Linx",
      fn ->
        for {dst, prefix, gateway, opts} <- routes,
            do: :ok = Route.add(socket, dst, prefix, gateway, opts)

        length(routes)
      end,
      fn -> {:ok, _} = Route.delete_many(socket, routes) end
    )

  ["batch", name, ifindex, count] ->
    routes = Ours.routes(count, ifindex)

    Ours.measured(
      name,
      "Linx",
      fn ->
        {:ok, results} = Route.add_many(socket, routes)
        Enum.count(results, &(&1 == :ok))
      end,
      fn -> {:ok, _} = Route.delete_many(socket, routes) end
    )

  ["json", name, file] ->
    json = File.read!(file)

    Ours.repeated(name, "decode", 3, fn -> json |> JSON.decode!() |> length() end)
end
