defmodule Linx.Netlink.ReconcileFailuresTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.Netns

  setup do: start()

  @addresses [{"a0", "10.1.0.1", 24}, {"b0", "2001:db8:5::1", 64, flags: [:nodad]}]
  @routes [
    {"203.0.113.0", 25, "192.0.2.2"},
    {"203.0.114.0", 24, "10.1.0.9"},
    {"2001:db8:9::", 48, "2001:db8:1::2"}
  ]
  @gone %{addresses: [{"a0", "10.2.0.1", 24}], routes: [{"203.0.113.128", 25, "192.0.2.3"}]}

  # An entry that cannot be made, what makes it so, and the error.
  @impossible [
    {:routes, {:default, "198.51.100.254", oif: "b0"}, "link set b0 down", :enetdown},
    {:routes, {"203.0.115.0", 24, "10.99.0.1"}, nil, :enetunreach},
    {:routes, {"203.0.115.0", 24, nil, nh_id: 99}, nil, :einval},
    {:routes, {"203.0.115.0", 24, "192.0.2.2", prefsrc: "10.99.0.1"}, nil, :einval},
    {:routes, {"2001:db8:a::", 48, "2001:db8:ffff::1"}, nil, :ehostunreach},
    {:routes, {:default, "2001:db8:1::2"},
     "route add default via 2001:db8:1::9 proto ra metric 1024", :eexist},
    {:routes, {"203.0.115.0", 24, "192.0.2.2"}, "route add 203.0.115.0/24 via 192.0.2.9 proto 9",
     :eexist},
    {:routes, {"203.0.115.0", 24, "192.0.2.2", oif: "wan0"}, nil, {:no_link, "wan0"}},
    {:routes, {"203.0.115.0", 24, nil, multipath: [[gateway: "192.0.2.2"], [oif: "wan0"]]}, nil,
     {:no_link, "wan0"}},
    {:addresses, {"wan0", "203.0.116.6", 32}, nil, {:no_link, "wan0"}},
    {:addresses, {"a1", "2001:db8:6::1", 64}, "link set a1 mtu 1200", :einval},
    {:addresses, {"a1", "2001:db8:6::1", 64}, "addr add 2001:db8:6::1/80 dev a1 nodad", :eexist}
  ]

  defp impossible(n), do: Enum.fetch!(@impossible, n)

  for {_, n} <- Enum.with_index(@impossible) do
    test "one entry that cannot be made holds up no other (#{n})", bench do
      {kind, entry, command, error} = impossible(unquote(n))
      if command, do: ips!(bench.ns, command)
      # A link that is down has no possible entries.
      addresses = if command == "link set b0 down", do: Enum.take(@addresses, 1), else: @addresses
      possible = %{addresses: addresses, routes: @routes}

      for place <- [:first, :middle, :last] do
        first = pass(bench, @gone)
        assert first.converged?
        desired = Map.update!(possible, kind, &put(&1, place, entry))
        report = pass(bench, desired, first.last_applied)
        assert %{converged?: false, failed: [{{:create, failed}, reason}], pending: []} = report
        assert failed?(error, reason, failed, entry)

        deletions = for {:delete, item} <- report.applied, do: item.__struct__
        assert length(deletions) == 2
        assert length(report.applied) == 2 + length(addresses) + length(@routes)
        settled(bench, desired, report)
        assert length(halting(bench, desired, report.last_applied)) <= 1
        pass(bench, %{}, report.last_applied)
      end
    end
  end

  defp failed?({:no_link, _} = error, reason, failed, entry),
    do: {error, entry} == {reason, failed}

  defp failed?(errno, %Error{errno: errno}, _failed, _entry), do: true
  # The kernels differ in which it is.
  defp failed?(:enetdown, %Error{errno: :enetunreach}, _failed, _entry), do: true
  defp failed?(_errno, _reason, _failed, _entry), do: false

  defp put(list, :first, entry), do: [entry | list]
  defp put(list, :middle, entry), do: List.insert_at(list, 1, entry)
  defp put(list, :last, entry), do: list ++ [entry]

  defp halting(bench, desired, last_applied) do
    case Reconcile.reconcile(bench.socket, desired, last_applied) do
      {:error, {:normalize, _}} -> []
      {:ok, report} -> report.failed
    end
  end

  test "an MTU that is too small for IPv6 is named", bench do
    ips!(bench.ns, "link set a1 mtu 1200")
    report = pass(bench, %{addresses: [{"a1", "2001:db8:6::1", 64}]})
    assert [{_, %Error{errno: :einval, message: "IPv6 needs an MTU of 1280"}}] = report.failed
  end

  test "an entry that another one makes possible is made in that pass, in any order", bench do
    chain = [
      {"198.18.3.0", 24, nil, [oif: "a0", scope: :link]},
      {"198.18.4.0", 24, "198.18.3.9"},
      {"198.18.5.0", 24, "192.0.2.2", [prefsrc: "10.1.0.1"]},
      {"2001:db8:a::", 48, "2001:db8:b::1"},
      {"2001:db8:b::", 48, nil, [oif: "a0"]},
      {"2001:db8:c::", 48, "2001:db8:5::9", [prefsrc: "2001:db8:5::1"]}
    ]

    for routes <- [chain, Enum.reverse(chain), Enum.shuffle(chain)] do
      desired = %{addresses: @addresses, routes: routes}
      report = converge(bench, desired)
      # And goes, whatever depends on what.
      converge(bench, %{}, report.last_applied)
      assert {:ok, []} = Linx.Netlink.Rtnl.Route.list(bench.socket, protocol: 76)
    end
  end

  test "without links that are there nothing but failures is left, and deletions are done",
       bench do
    first = converge(bench, @gone)
    desired = %{addresses: [{"wan0", "203.0.113.6", 32}]}
    report = pass(bench, desired, first.last_applied)
    assert report.failed == [{{:create, {"wan0", "203.0.113.6", 32}}, {:no_link, "wan0"}}]
    assert length(report.applied) == 2

    assert {:error, {:normalize, {{"wan0", "203.0.113.6", 32}, %Error{errno: :enodev}}}} =
             Reconcile.reconcile(bench.socket, desired)

    # An address that makes no sense on any link is still refused.
    assert {:error, {:normalize, {_, {:invalid_ip, "x"}}}} =
             Reconcile.reconcile(bench.socket, %{addresses: [{"wan0", "x", 32}]}, %{},
               on_error: :continue
             )

    assert {:error, {:normalize, {:bad_option, {:on_error, :stop}}}} =
             Reconcile.reconcile(bench.socket, %{}, %{}, on_error: :stop)
  end

  test "an entry as one text with its prefix length is on its link, too", bench do
    desired = %{addresses: [{"a0", "203.0.113.5/24"}, {"wan0", "203.0.113.6/32"}]}
    report = pass(bench, desired)
    assert report.failed == [{{:create, {"wan0", "203.0.113.6/32"}}, {:no_link, "wan0"}}]
    assert "203.0.113.5/24" in addresses(bench, "a0")

    assert {:error, {:normalize, {{"wan0", "203.0.113.6/32"}, %Error{errno: :enodev}}}} =
             Reconcile.reconcile(bench.socket, desired)
  end

  test "an absent link takes no route of its key away, and its entry is made when it comes",
       bench do
    report = converge(bench, %{routes: [{"203.0.113.0", 24, "192.0.2.2"}]})
    desired = %{routes: [{"203.0.113.0", 24, nil, oif: "wan0"}]}
    report = pass(bench, desired, report.last_applied)
    assert [%{"gateway" => "192.0.2.2"}] = routes(bench, "203.0.113.0/24")
    ips!(bench.ns, "link add wan0 type veth peer name wan1\nlink set wan0 up\nlink set wan1 up")
    true = Netns.eventually(fn -> Netns.run!(bench.ns, "ip link show wan0") =~ "state UP" end)
    converge(bench, desired, report.last_applied)
    assert [%{"dev" => "wan0"}] = routes(bench, "203.0.113.0/24")
  end

  test "a loop goes on by itself", bench do
    start_supervised!(
      {Linx.Reconcile,
       source: Reconcile.Source,
       scope: Netns.target(bench.ns),
       desired: %{
         addresses: [{"wan0", "203.0.113.6", 32}, {"a0", "203.0.113.5", 32}],
         rules: [[from: "10.0.0.0/8", table: 100, priority: 77]]
       },
       owner: self(),
       interval: :infinity}
    )

    assert_receive {:linx_reconcile, :report, %{failed: [{_, {:no_link, "wan0"}}]}}, 5_000
    assert "203.0.113.5/32" in addresses(bench, "a0")
    # It hears of rules.
    ips!(bench.ns, "rule del pref 77")
    assert Netns.eventually(fn -> Netns.run!(bench.ns, "ip rule show pref 77") != "" end)
  end
end
