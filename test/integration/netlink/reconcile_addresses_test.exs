defmodule Linx.Netlink.ReconcileAddressesTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Address, Diff, Reconcile}
  alias Linx.Test.Netns

  setup do: start()

  defp info(bench, link, address) do
    Enum.find_value(Netns.ip!(bench.ns, "addr show dev #{link}"), fn %{"addr_info" => infos} ->
      Enum.find(infos, &(&1["local"] == address))
    end)
  end

  defp ours(bench) do
    {:ok, list} = Address.list(bench.socket)
    for %{proto: 76} = address <- list, do: to_string(address.local || address.address)
  end

  # Two sets of options of one address, and what of the second ip(8) shows.
  @options [
    {"203.0.113.5", 24, [], [valid: 100, preferred: 50], []},
    {"203.0.113.5", 24, [valid: 100], [valid: 1000, preferred: 0], %{"deprecated" => true}},
    {"203.0.113.5", 24, [], [scope: 253], %{"scope" => "link"}},
    {"203.0.113.5", 24, [label: "a0:x"], [label: "a0:y"], %{"label" => "a0:y"}},
    {"203.0.113.5", 24, [], [broadcast: "203.0.113.255"], %{"broadcast" => "203.0.113.255"}},
    {"203.0.113.5", 24, [priority: 5], [priority: 7], %{"metric" => 7}},
    {"203.0.113.5", 24, [], [flags: [:noprefixroute]], %{"noprefixroute" => true}},
    {"203.0.113.5", 24, [flags: [:noprefixroute]], [flags: []], %{"noprefixroute" => nil}},
    {"203.0.113.5", 32, [], [peer: "203.0.113.9"], %{"address" => "203.0.113.9"}},
    {"203.0.113.5", 32, [peer: "203.0.113.8"], [peer: "203.0.113.9"],
     %{"address" => "203.0.113.9"}},
    {"2001:db8:7::1", 64, [], [valid: 100, preferred: 50], []},
    {"2001:db8:7::1", 64, [valid: 100], [valid: 1000, preferred: 0], %{"deprecated" => true}},
    {"2001:db8:7::1", 64, [priority: 5], [priority: 7], %{"metric" => 7}},
    {"2001:db8:7::1", 64, [priority: 5], [priority: 0], %{"metric" => nil}},
    {"203.0.113.5", 24, [priority: 5], [priority: 0], %{"metric" => nil}},
    {"2001:db8:7::1", 64, [], [flags: [:nodad]], %{"nodad" => true}},
    {"2001:db8:7::1", 64, [flags: [:nodad]], [flags: [:home, :noprefixroute]],
     %{"home" => true, "noprefixroute" => true, "nodad" => nil}},
    {"2001:db8:7::1", 64, [], [flags: [:mngtmpaddr]], %{"mngtmpaddr" => true}},
    {"2001:db8:7::1", 128, [], [peer: "2001:db8:7::9"], %{"address" => "2001:db8:7::9"}},
    {"2001:db8:7::1", 128, [peer: "2001:db8:7::8"], [peer: "2001:db8:7::9"],
     %{"address" => "2001:db8:7::9"}},
    {"2001:db8:7::1", 128, [peer: "2001:db8:7::8"], [], %{"address" => nil}}
  ]

  test "each option is made, seen and changed", bench do
    for {ip, prefix, a, b, shown} <- @options do
      desired = &%{addresses: [{"a0", ip, prefix, &1}]}
      report = converge(bench, desired.(a))
      report = converge(bench, desired.(b), report.last_applied)
      info = info(bench, "a0", ip)
      for {key, value} <- shown, do: assert(info[key] == value, inspect({key, b, info}))

      if b[:valid] do
        assert info["valid_life_time"] in (b[:valid] - 60)..b[:valid]
        assert info["preferred_life_time"] in max(b[:preferred] - 60, 0)..b[:preferred]
      end

      assert length(addresses(bench, "a0", if(ip =~ ":", do: 6, else: 4))) == 2
      converge(bench, %{}, report.last_applied)
      assert info(bench, "a0", ip) == nil
    end
  end

  test "an IPv4 address that stays for ever is preferred or is not", bench do
    desired = &%{addresses: [{"a0", "203.0.113.5", 24, &1}]}
    deprecated = fn -> info(bench, "a0", "203.0.113.5")["deprecated"] end

    report = converge(bench, desired.(preferred: 0))
    assert deprecated.()
    # Without memory.
    converge(bench, desired.(valid: :forever, preferred: 0))
    report = converge(bench, desired.(valid: :forever), report.last_applied)
    refute deprecated.()

    for options <- [[], [preferred: :forever]] do
      ips!(bench.ns, "addr change 203.0.113.5/24 dev a0 preferred_lft 0")
      assert deprecated.()
      converge(bench, desired.(options), report.last_applied)
      refute deprecated.()
    end

    # The kernel never comes to its end.
    for options <- [[preferred: 500], [valid: :forever, preferred: 500]] do
      assert {:error, {:normalize, {_, {:bad_option, {:preferred, 500}}}}} =
               Reconcile.reconcile(bench.socket, desired.(options))
    end

    converge(bench, %{addresses: [{"a0", "2001:db8:7::1", 64, preferred: 500}]})
  end

  test "another's address that is not preferred is put back as it was", bench do
    report =
      converge(bench, %{addresses: [{"a0", "203.0.113.1", 24}, {"a0", "203.0.113.2", 24}]})

    ips!(bench.ns, "addr add 203.0.113.77/24 dev a0 preferred_lft 0")
    converge(bench, %{addresses: [{"a0", "203.0.113.2", 24}]}, report.last_applied)
    assert info(bench, "a0", "203.0.113.77")["deprecated"]
  end

  test "a change by ip(8) is seen and repaired, with and without a mark", bench do
    for {ip, prefix} <- [{"203.0.113.5", 24}, {"2001:db8:7::1", 64}] do
      desired = %{addresses: [{"a0", ip, prefix, priority: 5}]}

      for drift <- [
            "addr change #{ip}/#{prefix} dev a0 valid_lft 100 preferred_lft 0 metric 5",
            "addr change #{ip}/#{prefix} dev a0 metric 9",
            "addr change #{ip}/#{prefix} dev a0",
            "addr del #{ip}/#{prefix} dev a0"
          ] do
        report = converge(bench, desired)
        ips!(bench.ns, drift)
        report = converge(bench, desired, report.last_applied)
        info = info(bench, "a0", ip)
        assert %{"metric" => 5, "valid_life_time" => 4_294_967_295} = info
        refute info["deprecated"]
        # The mark is back: ours without any memory.
        assert ours(bench) == [ip]
        converge(bench, %{}, report.last_applied)
      end
    end
  end

  test "an IPv6 address changes its prefix length in one pass", bench do
    for on_error <- [:halt, :continue] do
      at = &%{addresses: [{"a0", &1, &2}], routes: [{"203.0.114.0", 24, "192.0.2.2"}]}

      for ip <- ["2001:db8:7::1", "fe80::5"] do
        first = converge(bench, at.(ip, 64), %{}, on_error: on_error)
        second = converge(bench, at.(ip, 128), first.last_applied, on_error: on_error)
        assert "#{ip}/128" in addresses(bench, "a0", 6)
        refute "#{ip}/64" in addresses(bench, "a0", 6)
        assert [{_, 10, _, 128}] = MapSet.to_list(second.last_applied.addresses)
        third = converge(bench, at.(ip, 64), second.last_applied, on_error: on_error)
        assert "#{ip}/64" in addresses(bench, "a0", 6)
        converge(bench, %{}, third.last_applied, on_error: on_error)
        refute "#{ip}/64" in addresses(bench, "a0", 6)
      end
    end
  end

  test "a foreign IPv6 address with another prefix length is left, and holds nothing up", bench do
    ips!(bench.ns, "addr add 2001:db8:7::1/64 dev a0 nodad")
    first = pass(bench, %{addresses: [{"b0", "10.0.0.1", 24}]})

    desired = %{
      addresses: [{"a0", "2001:db8:7::1", 128}, {"a0", "203.0.113.5", 24}],
      routes: [{"203.0.114.0", 24, "192.0.2.2"}]
    }

    for on_error <- [:continue, :halt] do
      report = pass(bench, desired, first.last_applied, on_error: on_error)
      assert %{converged?: false, failed: [{{:create, _}, %Error{errno: :eexist}}]} = report
      assert report.pending == []
      assert "2001:db8:7::1/64" in addresses(bench, "a0", 6)
      assert "203.0.113.5/24" in addresses(bench, "a0")
      refute "10.0.0.1/24" in addresses(bench, "b0")
      assert [_] = routes(bench, "203.0.114.0/24")
      settled(bench, desired, report, on_error: on_error)
      pass(bench, %{}, report.last_applied)
    end
  end

  test "a foreign address with other values is neither changed nor deleted", bench do
    ips!(bench.ns, "addr add 203.0.113.5/24 dev a0 valid_lft 1000 preferred_lft 500")
    desired = %{addresses: [{"a0", "203.0.113.5", 24}]}
    report = pass(bench, desired)
    assert %{converged?: false, failed: [{_, %Error{errno: :eexist}}], applied: []} = report
    settled(bench, desired, report)
    pass(bench, %{}, report.last_applied)
    assert info(bench, "a0", "203.0.113.5")["valid_life_time"] < 1001
  end

  test "what goes with a primary address is put back, ours and others', with its options",
       bench do
    foreign = """
    addr add 203.0.113.77/24 dev b0 label b0:x
    addr add 203.0.113.78/24 dev b0 valid_lft 1000 preferred_lft 500 metric 9 broadcast \
    203.0.113.255
    """

    for promote <- [0, 1] do
      Netns.run!(bench.ns, "sysctl -qw net.ipv4.conf.b0.promote_secondaries=#{promote}")
      a = {"b0", "203.0.113.1", 24}
      b = {"b0", "203.0.113.2", 24}
      route = {"198.18.0.0", 16, "203.0.113.9", [prefsrc: "203.0.113.2"]}
      first = converge(bench, %{addresses: [a, b], routes: [route]})
      ips!(bench.ns, foreign)
      before = for ip <- ["203.0.113.77", "203.0.113.78"], do: values(info(bench, "b0", ip))

      second = pass(bench, %{addresses: [b], routes: [route]}, first.last_applied)
      assert second.converged?
      assert second.lost == []
      shown = addresses(bench, "b0")
      refute "203.0.113.1/24" in shown
      for n <- [2, 77, 78], do: assert("203.0.113.#{n}/24" in shown)

      assert before ==
               for(ip <- ["203.0.113.77", "203.0.113.78"], do: values(info(bench, "b0", ip)))

      assert [%{"prefsrc" => "203.0.113.2"}] = routes(bench, "198.18.0.0/16")
      settled(bench, %{addresses: [b], routes: [route]}, second)

      # Ours is no secondary of theirs that takes anything along.
      converge(bench, %{}, second.last_applied)
      assert length(addresses(bench, "b0")) == 3
      ips!(bench.ns, "addr flush dev b0\naddr add 198.51.100.1/24 dev b0")
    end
  end

  # The values that a program gave, with the lifetimes as they run down.
  defp values(info) do
    info
    |> Map.drop(["secondary", "dynamic"])
    |> Map.update!("valid_life_time", &round_up/1)
    |> Map.update!("preferred_life_time", &round_up/1)
  end

  defp round_up(4_294_967_295), do: :forever
  defp round_up(seconds), do: div(seconds + 20, 100)

  test "others' routes that go with the last address of a link are put back, or named", bench do
    foreign = """
    addr del 198.51.100.1/24 dev b0
    """

    ips!(bench.ns, foreign)
    first = converge(bench, %{addresses: [{"b0", "203.0.113.1", 24}]})

    ips!(bench.ns, """
    route add 198.18.1.0/24 dev b0 proto static metric 5 mtu 1300
    route add 198.18.2.0/24 via 203.0.113.9 proto static
    route add 198.18.3.0/24 via 203.0.113.9 dev b0 onlink proto static
    route add 198.18.4.0/24 via 192.0.2.9 proto static
    route append 198.18.1.0/24 dev b0 scope host proto static metric 5
    """)

    before = for n <- [1, 3, 4], do: routes(bench, "198.18.#{n}.0/24")
    report = converge(bench, %{}, first.last_applied)
    assert before == for(n <- [1, 3, 4], do: routes(bench, "198.18.#{n}.0/24"))
    # Nothing reaches its gateway any more.
    assert [%{dst: dst}] = report.lost
    assert to_string(dst) == "198.18.2.0"
  end

  test "the source of others' IPv6 routes is put back when its address is made anew", bench do
    desired = &%{addresses: [{"a0", "2001:db8:7::1", &1}]}
    report = converge(bench, desired.(64))
    ips!(bench.ns, "route add 2001:db8:9::/48 via 2001:db8:1::2 src 2001:db8:7::1 proto static")
    report = converge(bench, desired.(80), report.last_applied)

    assert [%{"prefsrc" => "2001:db8:7::1", "protocol" => "static"}] =
             routes(bench, "2001:db8:9::/48")

    report = converge(bench, %{}, report.last_applied)
    assert [%{dst: _}] = report.lost
  end

  test "a source that is put back takes no other route of the key away", bench do
    desired = &%{addresses: [{"a0", "2001:db8:7::1", &1}]}

    plain = "2001:db8:9::/48 dev b0"
    sourced = "2001:db8:9::/48 dev a0 src 2001:db8:7::1"

    for {first, second} <- [
          {plain, sourced},
          {sourced, plain},
          {"blackhole 2001:db8:9::/48", sourced}
        ] do
      report = converge(bench, desired.(64))

      ips!(bench.ns, """
      route add #{first} proto static
      route append #{second} proto static
      """)

      before = routes(bench, "2001:db8:9::/48")
      assert length(before) == 2
      report = converge(bench, desired.(80), report.last_applied)
      assert routes(bench, "2001:db8:9::/48") == before

      # Without its source it stays, too.
      assert [%{prefsrc: %{}}] = converge(bench, %{}, report.last_applied).lost
      assert routes(bench, "2001:db8:9::/48") == Enum.map(before, &Map.delete(&1, "prefsrc"))
      ips!(bench.ns, "route del 2001:db8:9::/48\nroute del 2001:db8:9::/48")
    end
  end

  test "addresses of another scope are deleted again, and the kernel's own stay", bench do
    ips!(bench.ns, "addr add fe80::1234/64 dev a0")
    kernel = addresses(bench, "a0", 6)

    desired = %{
      addresses: [
        {"a0", "fe80::5", 64},
        {"lo", "127.0.0.2", 8},
        {"lo", "127.0.0.3", 32},
        {"a0", "203.0.113.5", 24, scope: 254}
      ]
    }

    report = converge(bench, desired)
    assert MapSet.size(report.last_applied.addresses) == 4
    assert info(bench, "lo", "127.0.0.2")["scope"] == "host"
    assert info(bench, "lo", "127.0.0.3")["scope"] == "host"
    converge(bench, %{}, report.last_applied)
    assert addresses(bench, "a0", 6) == kernel
    assert addresses(bench, "a0") == ["192.0.2.1/24"]
    assert addresses(bench, "lo") == ["127.0.0.1/8"]
    assert addresses(bench, "lo", 6) == ["::1/128"]
  end

  test "the mark tells whose an address is where the memory is lost", bench do
    converge(bench, %{addresses: [{"a0", "203.0.113.5", 24}, {"a0", "2001:db8:7::1", 64}]})
    # The same text without a mark, and with another's.
    :ok = Address.add(bench.socket, "b0", "203.0.113.5", 24)
    :ok = Address.add(bench.socket, "b0", "203.0.113.6", 24, proto: 77)
    converge(bench, %{addresses: [{"a0", "203.0.114.5", 24}]})
    assert addresses(bench, "a0") == ["192.0.2.1/24", "203.0.114.5/24"]
    assert addresses(bench, "a0", 6) == ["2001:db8:1::1/64"]
    assert length(addresses(bench, "b0")) == 3
    # Another's mark counts for more than what is remembered.
    {:ok, list} = Address.list(bench.socket, "b0")
    keys = MapSet.new(list, &Diff.address_key/1)
    pass(bench, %{}, %{addresses: MapSet.filter(keys, &(elem(&1, 2) |> to_string() =~ "113.6"))})
    assert "203.0.113.6/24" in addresses(bench, "b0")
  end

  test "options without effect, and the mark, are refused", bench do
    for {ip, option} <- [
          {"2001:db8:7::1", {:scope, 253}},
          {"2001:db8:7::1", {:label, "a0:x"}},
          {"2001:db8:7::1", {:broadcast, "2001:db8::2"}},
          {"203.0.113.5", {:flags, [:nodad]}},
          {"203.0.113.5", {:flags, [:noprefixroute, :mngtmpaddr]}},
          {"203.0.113.5", {:proto, 9}},
          {"203.0.113.5", {:colour, 9}}
        ] do
      assert {:error, {:normalize, {_, {:bad_option, ^option}}}} =
               Reconcile.reconcile(bench.socket, %{addresses: [{"a0", ip, 24, [option]}]})
    end
  end

  test "an address that is in use on the link is reported, while it is checked and after",
       bench do
    for link <- ["a0", "a1"],
        do: Netns.run!(bench.ns, "sysctl -qw net.ipv6.conf.#{link}.accept_dad=1")

    desired = %{
      addresses: [{"a0", "2001:db8:7::1", 64}],
      routes: [{"203.0.114.0", 24, "192.0.2.2"}]
    }

    report = pass(bench, desired)
    assert %{converged?: false, failed: [], pending: [{:update, %Address{}}]} = report
    assert Netns.eventually(fn -> pass(bench, desired, report.last_applied).converged? end)
    converge(bench, %{}, report.last_applied)

    ips!(bench.ns, "addr add 2001:db8:7::1/64 dev a1 nodad")
    report = pass(bench, desired)

    assert Netns.eventually(fn ->
             match?(%{failed: [{_, :dadfailed}]}, pass(bench, desired, report.last_applied))
           end)

    settled(bench, desired, pass(bench, desired, report.last_applied))
    assert [_] = routes(bench, "203.0.114.0/24")
  end

  # Whether the function sleeps, in a process of its own.
  defp sleeps?(fun) do
    :erlang.trace_pattern({Process, :sleep, 1}, true, [:global])
    task = Task.async(fn -> receive(do: (:go -> fun.())) end)
    :erlang.trace(task.pid, true, [:call])
    send(task.pid, :go)
    result = Task.await(task, :infinity)
    ref = :erlang.trace_delivered(task.pid)
    receive do: ({:trace_delivered, _pid, ^ref} -> :ok)

    slept? =
      receive do
        {:trace, _pid, :call, {Process, :sleep, _}} -> true
      after
        0 -> false
      end

    {slept?, result}
  end

  test "a check that the setting of all links asks for is not waited for", bench do
    # 30 transmissions are half a minute.
    for setting <- ["all.accept_dad=1", "a0.dad_transmits=30"],
        do: Netns.run!(bench.ns, "sysctl -qw net.ipv6.conf.#{setting}")

    desired = %{addresses: [{"a0", "2001:db8:7::1", 64}]}
    assert {false, report} = sleeps?(fn -> pass(bench, desired) end)
    assert %{converged?: false, failed: [], pending: [{:update, %Address{}}]} = report
    settled(bench, desired, report)
    pass(bench, %{}, report.last_applied)

    # A link without neighbours checks nothing, whatever the settings say.
    Netns.run!(bench.ns, "ip link set b0 arp off")

    for link <- ["lo", "b0"] do
      Netns.run!(bench.ns, "sysctl -qw net.ipv6.conf.#{link}.accept_dad=1")
      source = [oif: "a0", prefsrc: "fd00::7"]

      desired = %{
        addresses: [{link, "fd00::7", 128}],
        routes: [{"2001:db8:9::", 48, "2001:db8:1::2", source}]
      }

      report = converge(bench, desired)
      converge(bench, %{}, report.last_applied)
    end
  end

  test "addresses of one subnet change their scope together", bench do
    desired = fn opts ->
      %{addresses: for(n <- 1..3, do: {"b0", "203.0.113.#{n}", 24, opts})}
    end

    report = converge(bench, desired.([]))
    report = converge(bench, desired.(scope: 253), report.last_applied)
    assert report.lost == []
    for n <- 1..3, do: assert(info(bench, "b0", "203.0.113.#{n}")["scope"] == "link")
    converge(bench, %{}, report.last_applied)
  end

  test "an update that cannot be done leaves the address in peace", bench do
    report =
      converge(bench, %{addresses: [{"b0", "203.0.113.1", 24}, {"b0", "2001:db8:7::1", 64}]})

    ips!(bench.ns, "addr add 203.0.113.77/24 dev b0")

    for {ip, prefix, opts} <- [
          {"203.0.113.1", 24, [scope: 253]},
          {"203.0.113.1", 24, [flags: [:autojoin]]},
          {"2001:db8:7::1", 80, [flags: [:mngtmpaddr]]}
        ] do
      others =
        Enum.reject(
          [{"b0", "203.0.113.1", 24}, {"b0", "2001:db8:7::1", 64}],
          &(elem(&1, 1) == ip)
        )

      before = Netns.ip!(bench.ns, "addr show dev b0")
      desired = %{addresses: [{"b0", ip, prefix, opts} | others]}
      report = pass(bench, desired, report.last_applied)
      assert %{applied: [], failed: [{{:update, _}, %Error{errno: :einval}}]} = report
      settled(bench, desired, report)
      assert before == Netns.ip!(bench.ns, "addr show dev b0")
    end
  end
end
