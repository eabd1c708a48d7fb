# A monitor of its own sees both events, the change and its repair. What lies between them is the
# debounce, a pass over everything, and the request. Three kinds of drift in turn: a route
# deleted, an address deleted, a route's gateway changed.

alias Linx.Netlink.Rtnl
alias Linx.Netlink.Rtnl.{Link, Monitor}
alias Linx.Netlink.Rtnl.Monitor.Event
alias Linx.Netlink.Rtnl.Reconcile.{Report, Source}

defmodule Drift do
  def measure(times, debounce, desired) do
    {:ok, loop} =
      Linx.Reconcile.start_link(
        source: Source,
        scope: :host,
        desired: desired,
        owner: self(),
        interval: :infinity,
        debounce: debounce
      )

    converged()
    {:ok, monitor} = Monitor.subscribe()
    latencies = for n <- 1..times, do: drifted(n)
    :ok = Monitor.unsubscribe(monitor)
    GenServer.stop(loop)
    latencies
  end

  # Milliseconds from the event of the change to the event of its repair.
  defp drifted(n) do
    {command, changed?, repaired?} = drift(n)
    forget()
    {_, 0} = System.cmd("ip", command)
    start = await(changed?)
    (await(repaired?) - start) / 1000
  end

  defp drift(n) do
    case rem(n, 3) do
      0 ->
        dst = route(n)

        {["route", "del", "#{dst}/24"], &(key(&1) == {:del_route, dst}),
         &(key(&1) == {:new_route, dst})}

      1 ->
        ip = address(n)

        {["addr", "del", "#{ip}/32", "dev", "v0"], &(key(&1) == {:del_addr, ip}),
         &(key(&1) == {:new_addr, ip})}

      2 ->
        dst = route(n)

        {["route", "change", "#{dst}/24", "via", "192.0.2.3", "proto", "76"],
         &(key(&1) == {:new_route, dst} and to_string(&1.resource.gateway) == "192.0.2.3"),
         &(key(&1) == {:new_route, dst} and to_string(&1.resource.gateway) == "192.0.2.9")}
    end
  end

  def route(n), do: "10.#{div(n, 250)}.#{rem(n, 250)}.0"
  def address(n), do: "10.#{64 + div(n, 250)}.#{rem(n, 250)}.1"

  defp key(%Event{op: op, resource: %Rtnl.Route{dst: dst}}), do: {op, to_string(dst)}
  defp key(%Event{op: op, resource: %Rtnl.Address{local: local}}), do: {op, to_string(local)}
  defp key(_event), do: nil

  defp await(wanted?) do
    receive do
      {:linx_rtnl, :event, event} ->
        now = System.monotonic_time(:microsecond)
        if wanted?.(event), do: now, else: await(wanted?)
    after
      10_000 -> raise "the drift was not repaired"
    end
  end

  defp forget do
    receive do
      _ -> forget()
    after
      0 -> :ok
    end
  end

  defp converged do
    receive do
      {:linx_reconcile, :report, %Report{converged?: true}} -> :ok
      {:linx_reconcile, :report, _} -> converged()
    after
      60_000 -> raise "the loop does not converge"
    end
  end

  def show(latencies, what) do
    sorted = Enum.sort(latencies)
    at = fn share -> sorted |> Enum.at(ceil(length(sorted) * share) - 1) |> Float.round(1) end
    late = Enum.count(sorted, &(&1 > 200))

    IO.puts(
      "| #{what} | #{length(sorted)} | #{at.(0.01)} | #{at.(0.5)} | #{at.(0.99)} | " <>
        "#{at.(1.0)} | #{late} |"
    )
  end
end

[times] = System.argv()
{:ok, socket} = Rtnl.open()
:ok = Link.create_veth(socket, "v0", "v1")
for name <- ["lo", "v0", "v1"], do: :ok = Link.set_up(socket, name)

desired = %{
  addresses: [{"v0", "192.0.2.1", 24}] ++ for(n <- 1..1_000, do: {"v0", Drift.address(n), 32}),
  routes: for(n <- 1..5_000, do: {Drift.route(n), 24, "192.0.2.9"})
}

IO.puts(
  "| milliseconds from the event to the repair | drifts | least | median | p99 | most | " <>
    "over 200 |"
)

IO.puts("|---|---|---|---|---|---|---|")

for debounce <- [20, 100] do
  times
  |> String.to_integer()
  |> Drift.measure(debounce, desired)
  |> Drift.show("debounce of #{debounce} ms")
end
