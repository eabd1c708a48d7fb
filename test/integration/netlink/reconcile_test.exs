defmodule Linx.Netlink.ReconcileTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Address, Diff, Link, Reconcile, Route}
  alias Linx.Netlink.Rtnl.Reconcile.{Report, Source}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "v0", "v1")
    :ok = Link.set_up(socket, "v0")
    :ok = Link.set_up(socket, "v1")
    # The kernel tells its other parts of a carrier from a work queue.
    true = Netns.eventually(fn -> Netns.run!(ns, "ip link show v0") =~ "state UP" end)
    %{ns: ns, socket: socket}
  end

  @desired %{
    addresses: [{"v0", "192.0.2.1", 24}, {"v0", "2001:db8::1", 64}],
    routes: [
      {"203.0.113.0", 24, "192.0.2.9"},
      {"203.0.114.0", 24, "192.0.2.9", table: 1000, metric: 50},
      {:default, "192.0.2.254"},
      {:default, "2001:db8::2"}
    ]
  }

  defp converge(socket, desired, last_applied, opts \\ []) do
    assert {:ok, %Report{converged?: true} = report} =
             Reconcile.reconcile(socket, desired, last_applied, opts)

    report
  end

  test "one pass makes it so, the next has nothing to do", %{socket: socket} do
    report = converge(socket, @desired, %{})
    assert length(report.applied) == 6

    assert inspect(report) ==
             "#Linx.Netlink.Rtnl.Reconcile.Report<converged: 6 applied>"

    assert MapSet.size(report.last_applied.addresses) == 2
    again = converge(socket, @desired, report.last_applied)
    assert again.applied == []
    assert again.last_applied == report.last_applied
  end

  test "the gateway changes in place, what is no longer wanted goes, in the right order", %{
    ns: ns,
    socket: socket
  } do
    first = converge(socket, @desired, %{})

    changed = %{
      addresses: [{"v0", "192.0.2.1", 24}],
      routes: [{"203.0.113.0", 24, "192.0.2.8"}]
    }

    second = converge(socket, changed, first.last_applied)
    assert [{:update, %Route{}} | deletions] = second.applied
    assert [{:delete, %Address{}} | _] = Enum.reverse(deletions)
    assert Enum.all?(deletions, &match?({:delete, _}, &1))
    assert [%{"gateway" => "192.0.2.8"}] = Netns.ip!(ns, "route show 203.0.113.0/24")
    assert [] = Netns.ip!(ns, "route show table 1000")

    third = converge(socket, %{}, second.last_applied)
    assert MapSet.size(third.last_applied.addresses) == 0
    assert {:ok, []} = Route.list(socket, protocol: Reconcile.default_protocol())
    assert {:ok, []} = Address.list(socket, link: "v0", family: :inet)
  end

  test "what others have made is neither changed nor deleted", %{ns: ns, socket: socket} do
    foreign = """
    ip addr add 192.0.2.1/24 dev v0
    ip addr add 192.0.2.77/24 dev v0
    ip route add 203.0.120.0/24 via 192.0.2.9
    ip route add 203.0.121.0/24 via 192.0.2.9 proto static table 1000
    ip route add 203.0.122.0/24 via 192.0.2.9 proto 77
    """

    for command <- String.split(foreign, "\n", trim: true), do: Netns.run!(ns, command)
    {:ok, before} = Route.list(socket)
    {:ok, addresses} = Address.list(socket, "v0")

    desired = %{addresses: [{"v0", "192.0.2.1", 24}], routes: [{"203.0.113.0", 24, "192.0.2.9"}]}
    first = converge(socket, desired, %{})
    # 192.0.2.1 was there: it is used, and it is not ours.
    assert first.last_applied.addresses == MapSet.new()
    second = converge(socket, %{}, first.last_applied)
    assert [{:delete, %Route{}}] = second.applied

    assert {:ok, ^before} = Route.list(socket)
    assert {:ok, ^addresses} = Address.list(socket, "v0")
  end

  test "a foreign route with our key is not replaced, nor when ours beside it changes", %{
    ns: ns,
    socket: socket
  } do
    Netns.run!(ns, "ip addr add 192.0.2.1/24 dev v0")
    Netns.run!(ns, "ip route add 203.0.113.0/24 via 192.0.2.7 proto static")
    desired = &%{routes: [{"203.0.113.0", 24, &1}]}

    assert {:ok, %Report{converged?: false, failed: [{{:create, _}, %Error{errno: :eexist}}]}} =
             Reconcile.reconcile(socket, desired.("192.0.2.9"))

    Netns.run!(ns, "ip route append 203.0.113.0/24 via 192.0.2.9 proto 76")
    converge(socket, desired.("192.0.2.9"), %{})
    report = converge(socket, desired.("192.0.2.8"), %{})
    assert [{:update, _}] = report.applied

    assert [{"192.0.2.7", "static"}, {"192.0.2.8", "76"}] =
             for(
               route <- Netns.ip!(ns, "route show 203.0.113.0/24"),
               do: {route["gateway"], route["protocol"]}
             )
  end

  test "IPv6 gateways change too", %{ns: ns, socket: socket} do
    Netns.run!(ns, "ip addr add 2001:db8::1/64 dev v0 nodad")
    converge(socket, %{routes: [{"2001:db8:9::", 48, "2001:db8::2"}]}, %{})
    report = converge(socket, %{routes: [{"2001:db8:9::", 48, "2001:db8::3"}]}, %{})
    assert [{:update, _}] = report.applied

    assert [%{"gateway" => "2001:db8::3"}] =
             Netns.ip!(ns, "-6 route show 2001:db8:9::/48")

    assert converge(socket, %{routes: [{"2001:db8:9::7", 48, "2001:db8::3"}]}, %{}).applied == []
  end

  test "the first failure ends the pass, and the next one goes on", %{ns: ns, socket: socket} do
    desired = %{
      addresses: [{"v0", "192.0.2.1", 24}],
      routes: [
        {"203.0.113.0", 24, "192.0.2.9"},
        {"203.0.114.0", 24, "10.9.9.9"},
        {"203.0.115.0", 24, "192.0.2.9"}
      ]
    }

    assert {:ok, report} = Reconcile.reconcile(socket, desired)
    assert %Report{converged?: false, failed: [{{:create, failed}, %Error{}}]} = report
    assert failed.gateway == ~s(10.9.9.9) |> Linx.IP.parse() |> elem(1)
    assert [{:create, %Address{}}, {:create, %Route{}}] = report.applied
    assert [{:create, %Route{}}] = report.pending

    assert inspect(report) ==
             "#Linx.Netlink.Rtnl.Reconcile.Report<2 applied, 1 failed, 1 pending>"

    Netns.run!(ns, "ip addr add 10.9.9.1/24 dev v1")
    report = converge(socket, desired, report.last_applied)
    assert length(report.applied) == 2
  end

  test "two reconcilers with two protocols share a namespace", %{socket: socket} do
    address = converge(socket, %{addresses: [{"v0", "192.0.2.1", 24}]}, %{})
    converge(socket, %{routes: [{"203.0.113.0", 24, "192.0.2.9"}]}, %{}, protocol: 100)
    converge(socket, %{routes: [{"203.0.114.0", 24, "192.0.2.9"}]}, %{}, protocol: :static)
    converge(socket, %{}, %{}, protocol: 100)
    assert {:ok, [%Route{protocol: 4}]} = Route.list(socket, protocol: :static)
    assert {:ok, []} = Route.list(socket, protocol: 100)
    assert MapSet.size(address.last_applied.addresses) == 1
  end

  test "a desired state that makes no sense changes nothing", %{socket: socket} do
    good = {"v0", "192.0.2.1", 24}

    for bad <- [
          %{addresses: [good, {"nope0", "192.0.2.1", 24}]},
          %{addresses: [good, {"v0", "192.0.2", 24}]},
          %{addresses: [good, {"v0", "192.0.2.2", 33}]},
          %{addresses: [good, good]},
          %{addresses: [good, :bad]},
          %{addresses: [good, {"v0", "192.0.2.2"}]},
          %{addresses: :bad},
          %{addresses: [good], routes: [{"x", 24, "192.0.2.9"}]},
          %{addresses: [good], routes: [{"10.0.0.0", 24, "2001:db8::1"}]},
          %{addresses: [good], routes: [{"10.0.0.0", 24, "192.0.2.9", [table: 0]}]},
          %{addresses: [good], routes: [{"10.0.0.0", 24, "192.0.2.9", [colour: 0]}]},
          %{addresses: [good], routes: [{:default, "x"}]},
          %{addresses: [good], routes: [:bad]},
          %{addresses: [good], colours: []},
          []
        ] do
      assert {:error, {:normalize, _}} = Reconcile.reconcile(socket, bad)
    end

    {other, again} = {{"v0", "192.0.2.2", 24}, {"10.0.0.9", 24, "192.0.2.8", metric: 0}}

    assert {:error, {:normalize, {:duplicate, ^good}}} =
             Reconcile.reconcile(socket, %{addresses: [other, good, good, other]})

    # The host bits are off and a metric that is absent is 0.
    assert {:error, {:normalize, {:duplicate, ^again}}} =
             Reconcile.reconcile(socket, %{
               addresses: [good],
               routes: [{"10.0.0.0", 24, "192.0.2.9"}, {:default, "192.0.2.9"}, again]
             })

    for opts <- [[protocol: 0], [protocol: 256], [protocol: :nobody], [colour: 1]],
        do: assert({:error, {:normalize, _}} = Reconcile.reconcile(socket, %{}, %{}, opts))

    assert {:ok, []} = Address.list(socket, link: "v0", family: :inet)
  end

  test "an address that left with its link is no longer ours", %{ns: ns, socket: socket} do
    first = converge(socket, %{addresses: [{"v0", "192.0.2.1", 24}]}, %{})
    Netns.run!(ns, "ip link del v0")
    Netns.run!(ns, "ip link add v0 type veth peer name v1")
    second = converge(socket, %{addresses: [{"v0", "192.0.2.1", 24}]}, first.last_applied)
    assert [{:create, _}] = second.applied
    assert MapSet.size(second.last_applied.addresses) == 1
    assert MapSet.disjoint?(first.last_applied.addresses, second.last_applied.addresses)
  end

  test "a link-local address that is desired is made once", %{socket: socket} do
    desired = %{addresses: [{"v0", "fe80::77", 64}]}
    report = converge(socket, desired, %{})
    assert converge(socket, desired, report.last_applied).applied == []
  end

  test "the source's observe shows what a pass looks at", %{ns: ns, socket: socket} do
    converge(socket, @desired, %{})
    assert {:ok, %{addresses: addresses, routes: routes}} = Source.observe(Netns.target(ns), [])
    assert length(routes) == 4
    assert Enum.any?(addresses, &(Diff.address_key(&1) |> elem(3) == 24))
    assert {:error, %Error{errno: :enoent}} = Source.observe({:path, "/nowhere"}, [])
  end

  describe "the loop" do
    defp loop(ns, desired, opts \\ []) do
      {Linx.Reconcile,
       [
         source: Source,
         scope: Netns.target(ns),
         desired: desired,
         owner: self(),
         interval: :infinity,
         debounce: 20
       ]
       |> Keyword.merge(opts)}
    end

    # The first converged report, however many passes it takes.
    defp await_converged do
      assert_receive {:linx_reconcile, :report, report}
      if report.converged?, do: report, else: await_converged()
    end

    defp many(addresses, routes) do
      %{
        addresses:
          [{"v0", "192.0.2.1", 24}] ++
            for(n <- 1..addresses, do: {"v0", "10.#{64 + div(n, 250)}.#{rem(n, 250)}.1", 32}),
        routes: for(n <- 1..routes, do: {"10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, "192.0.2.9"})
      }
    end

    test "heals drift on the event", %{ns: ns} do
      drift(ns, 20, 100)
    end

    @tag :slow
    @tag timeout: :infinity
    test "heals drift on the event, with 1 000 addresses and 5 000 routes", %{ns: ns} do
      drift(ns, 1_000, 5_000)
    end

    # Each drift by ip(8) is repaired well before the 200 ms that the debounce and a pass are
    # given together.
    defp drift(ns, addresses, routes) do
      start_supervised!(loop(ns, many(addresses, routes)))
      await_converged()

      for {command, check} <- [
            {"ip route del 10.0.7.0/24", "ip -j route show 10.0.7.0/24"},
            {"ip addr del 10.64.9.1/32 dev v0", "ip -j addr show to 10.64.9.1"},
            {"ip route change 10.0.8.0/24 via 192.0.2.3 proto 76", "ip -j route show 10.0.8.0/24"}
          ] do
        Netns.run!(ns, command)
        assert Netns.eventually(fn -> healed?(Netns.run!(ns, check)) end)
      end

      Netns.run!(ns, "ip route add 10.99.0.0/24 via 192.0.2.9 proto static")
      Netns.run!(ns, "ip route del 10.0.9.0/24")
      assert Netns.eventually(fn -> Netns.run!(ns, "ip -j route show 10.0.9.0/24") != "[ ]\n" end)
      assert Netns.run!(ns, "ip route show 10.99.0.0/24") =~ "proto static"
    end

    defp healed?(json) do
      case JSON.decode!(json) do
        [] -> false
        [%{"gateway" => gateway}] -> gateway == "192.0.2.9"
        [%{"addr_info" => [_ | _]} | _] -> true
        _ -> false
      end
    end

    test "killed at any moment and started again it converges", %{ns: ns, socket: socket} do
      desired = many(30, 200)
      Process.flag(:trap_exit, true)

      for round <- 1..12 do
        # A killed loop leaves whatever it had done; the next one takes it from there.
        {:ok, pid} = ns |> loop(desired) |> elem(1) |> Linx.Reconcile.start_link()
        ref = Process.monitor(pid)
        spin(round * 300)
        Process.exit(pid, :kill)
        assert_receive {:DOWN, ^ref, _, _, _}
        if rem(round, 3) == 0, do: Netns.run!(ns, "ip addr flush dev v0")
      end

      flush()
      start_supervised!(loop(ns, desired))
      await_converged()
      {:ok, routes} = Route.list(socket, protocol: Reconcile.default_protocol())
      assert length(routes) == 200
      {:ok, addresses} = Address.list(socket, link: "v0", family: :inet)
      assert length(addresses) == 31
    end

    # Some work, without a clock: where in its pass the loop is then is up to the schedulers.
    defp spin(0), do: :ok

    defp spin(n) do
      :erlang.yield()
      spin(n - 1)
    end

    defp flush do
      receive do
        {:linx_reconcile, _, _} -> flush()
      after
        0 -> :ok
      end
    end
  end
end
