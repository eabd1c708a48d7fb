defmodule Linx.Test.Reconcile.Entries do
  @moduledoc false
  # Desired addresses and routes of a case, over all options that `Linx.Test.Reconcile.Options`
  # finds. Values come from small pools, so that entries collide often. About one entry in ten
  # is impossible.

  import Linx.Test.Reconcile.Chance

  alias Linx.Test.Reconcile.{LinkEntries, Options, RuleEntries, View}

  # Options that say where a route leads; `way/2` makes them together.
  @ways [:oif, :via, :multipath, :nh_id, :onlink, :type]

  @rejects [:blackhole, :unreachable, :prohibit, :throw]

  @up ["a0", "b0"]

  # Routes to a link, by which gateways are reached.
  @near4 {:route, "10.7.0.0", 24, nil, [oif: "a0"]}
  @near6 {:route, "2001:db8:70::", 64, nil, [oif: "a0"]}

  @doc "The options that say where a route leads."
  def ways, do: @ways

  @doc "The routes to a link by which gateways are reached."
  def near, do: [{"10.7.0.9", @near4}, {"2001:db8:70::9", @near6}]

  @doc "The options of routes and addresses that `options/0` has and no value is made for."
  def unknown do
    options = Options.options()

    %{
      route: Enum.reject(options.route -- @ways, &known?(:route_option, [&1])),
      hop: options.hop -- [:gateway, :via, :oif, :weight, :onlink],
      metric: Enum.reject(options.metric, &known?(:metric, [&1])),
      address: Enum.reject(options.address, &known?(:address_option, [&1])),
      rule: RuleEntries.unknown()
    }
  end

  defp known?(:route_option, [key]), do: route_option(key, :inet, []) != :unknown
  defp known?(:metric, [key]), do: metric(key) != :unknown

  defp known?(:address_option, [key]),
    do: address_option(key, :inet, "a0", "203.0.113.1", 32) != :unknown

  # -- addresses ---

  @v4 for(n <- [1, 2, 5], do: "203.0.113.#{n}") ++ ["203.0.112.1"]
  @v6 ["2001:db8:7::1", "2001:db8:7::2", "2001:db8:8::1", "fe80::5"]

  # On lo, and of subnets that are no one's gateway: only hosts, so that no subnet is local.
  @on_lo [{"127.0.0.9", 32}, {"127.0.0.9", 8}, {"203.0.119.1", 32}, {"fd00::9", 128}]
  @elsewhere [{"a0", "169.254.3.3", 16}, {"a0", "203.0.120.1", 31}, {"b0", "203.0.120.0", 31}]

  def address do
    cond do
      chance(6) -> address("lo", pick(@on_lo))
      chance(6) -> pick(@elsewhere) |> then(fn {link, ip, len} -> address(link, {ip, len}) end)
      true -> common_address()
    end
  end

  defp address(link, {ip, len}) do
    family = View.family(View.ip(ip))
    {:address, link, ip, len, address_options(family, link, ip, len)}
  end

  defp common_address do
    family = pick([:inet, :inet, :inet6])
    link = link(family, 6)

    {ip, len} =
      if family == :inet,
        do: {pick(@v4), pick([24, 24, 24, 25, 32])},
        else: {pick(@v6), pick([64, 64, 128])}

    {:address, link, ip, len, address_options(family, link, ip, len)}
  end

  # One link in so many percent is not there or cannot carry it.
  defp link(family, percent) do
    cond do
      chance(percent) and family == :inet6 -> pick(["nope0", "b0"])
      chance(percent) -> "nope0"
      family == :inet -> pick(@up ++ @up ++ ["c0"])
      true -> pick(["a0", "a0", "a0", "c0"])
    end
  end

  def address_options(family, link, ip, len) do
    for key <- some(Options.of(:address), pick([0, 0, 0, 1, 1, 2])),
        {:ok, value} <- [address_option(key, family, link, ip, len)],
        reduce: [] do
      opts -> with_lifetime(opts, key, value)
    end
  end

  # Nothing is preferred for longer than it is valid.
  defp with_lifetime(opts, :preferred, value),
    do: Keyword.merge(opts, valid: opts[:valid] || 2000, preferred: value)

  defp with_lifetime(opts, key, value), do: Keyword.put(opts, key, value)

  defp address_option(:peer, :inet, _, "203.0.112.1", 32),
    do: {:ok, pick(["203.0.112.2", "203.0.112.3"])}

  defp address_option(:peer, :inet6, _, "2001:db8:8::1", 128),
    do: {:ok, pick(["2001:db8:8::2", "2001:db8:8::3"])}

  defp address_option(:peer, _, _, _, _), do: :none
  defp address_option(:label, :inet, link, _, _), do: {:ok, "#{link}:#{pick(["x", "y"])}"}

  defp address_option(:broadcast, :inet, _, ip, 24),
    do: {:ok, String.replace(ip, ~r/\.\d+$/, pick([".255", ".127"]))}

  # The addresses of a subnet have one scope.
  defp address_option(:scope, :inet, _, _, 32), do: {:ok, pick([0, 200, 253])}

  defp address_option(:valid, _, _, _, _),
    do: {:ok, pick([2000, 9000, 100_000_000, :forever])}

  defp address_option(:preferred, _, _, _, _), do: {:ok, pick([0, 1000, 2000])}
  defp address_option(:flags, :inet, _, _, _), do: {:ok, [:noprefixroute]}

  defp address_option(:flags, :inet6, _, _, _),
    do: {:ok, pick([[:nodad], [:noprefixroute], [:nodad, :noprefixroute]])}

  defp address_option(:priority, _, _, _, _), do: {:ok, pick([0, 5, 700, 0xFFFFFFFF])}
  defp address_option(key, _, _, _, _) when key in [:label, :broadcast, :scope], do: :none
  defp address_option(_key, _, _, _, _), do: :unknown

  # -- routes ---

  @d4 ["198.18.0.0", "198.18.1.0", "198.18.2.0", "198.18.3.0"]
  @d6 ["2001:db8:9::", "2001:db8:a::", "2001:db8:b::"]

  def route(addresses) do
    family = pick([:inet, :inet, :inet6])

    if chance(6),
      do: if(family == :inet, do: @near4, else: @near6),
      else: route(family, addresses)
  end

  def route(family, addresses) do
    {dst, len} = destination(family)
    {gateway, way} = way(family, addresses)

    opts =
      extra(way, family, addresses, some(Options.of(:route) -- @ways, pick([0, 0, 1, 1, 2, 3])))

    scoped({:route, dst, len, gateway, opts})
  end

  # No gateway is of a link's scope or narrower.
  defp scoped({:route, dst, len, gateway, opts}) when gateway != nil,
    do: {:route, dst, len, gateway, opts -- [scope: :link, scope: :host]}

  defp scoped(route), do: route

  # One in ten has host bits, which the reconciler masks.
  def destination(:inet) do
    cond do
      chance(8) -> {"0.0.0.0", 0}
      chance(8) -> pick([{"198.18.9.1", 32}, {"224.7.0.0", 16}])
      true -> {String.replace(pick(@d4), ~r/0$/, host()), pick([24, 24, 25])}
    end
  end

  def destination(:inet6) do
    cond do
      chance(8) -> {"::", 0}
      chance(8) -> {"2001:db8:9::5", 128}
      true -> {pick(@d6) <> String.replace(host(), "0", ""), pick([48, 48, 49])}
    end
  end

  defp host, do: if(chance(10), do: "7", else: "0")

  # Where a route leads: its gateway and the options that go with that.
  def way(family, addresses) do
    case pick(
           ~w(gateway gateway gateway both both device via onlink)a ++
             ~w(multipath multipath multipath nh_id nh_id reject type)a
         ) do
      :gateway -> {gateway(family, addresses), []}
      :both -> both(family)
      :device -> {nil, [oif: link(family, 8) |> up(family)]}
      :via -> {nil, via(family)}
      :onlink -> {far(family), [oif: device(family), onlink: true]}
      :multipath -> {nil, [multipath: multipath(family)]}
      :nh_id -> {nil, [nh_id: object(family)]}
      :reject -> {nil, [type: pick(@rejects)]}
      :type -> {nil, [type: pick(typed(family)), oif: device(family)]}
    end
  end

  defp typed(:inet), do: [:local, :multicast, :broadcast, :anycast, :unicast]
  defp typed(:inet6), do: [:multicast, :anycast, :unicast]

  # A link that is down makes a route impossible; so it is rare.
  defp up("c0", family), do: if(chance(25), do: "c0", else: device(family))
  defp up(link, _family), do: link

  defp device(:inet), do: pick(@up)
  defp device(:inet6), do: "a0"

  def both(:inet6), do: {pick(["2001:db8:1::2", "2001:db8:1::3", "fe80::1"]), [oif: "a0"]}

  def both(:inet) do
    case pick(["a0", "b0"]) do
      "a0" -> {pick(["192.0.2.2", "192.0.2.3"]), [oif: "a0"]}
      "b0" -> {"198.51.100.9", [oif: "b0"]}
    end
  end

  defp gateway(family, addresses) do
    cond do
      chance(5) -> far(family)
      chance(25) -> by_address(family, addresses)
      chance(10) -> if(family == :inet, do: "10.7.0.9", else: "2001:db8:70::9")
      true -> elem(both(family), 0) |> plain()
    end
  end

  # A link-local gateway needs its link.
  defp plain("fe80::1"), do: "2001:db8:1::4"
  defp plain(gateway), do: gateway

  defp far(:inet), do: "10.9.9.9"
  defp far(:inet6), do: "2001:db8:ff::9"

  # A gateway that a desired address makes reachable.
  defp by_address(family, addresses) do
    case for(
           {:address, link, ip, len, opts} <- addresses,
           View.family(View.ip(ip)) == family,
           len in [24, 25, 64],
           link != "c0",
           opts[:flags] == nil,
           do: ip
         ) do
      [] -> plain(elem(both(family), 0))
      ips -> ips |> pick() |> beside()
    end
  end

  # The host 9 of its subnet; a link-local gateway would need its link.
  defp beside("fe80:" <> _), do: "2001:db8:1::2"
  defp beside(ip), do: String.replace(ip, ~r/(?<=[.:])[^.:]+$/, "9")

  defp via(:inet),
    do:
      pick([
        [via: "192.0.2.2"],
        [via: "2001:db8:1::2", oif: "a0"],
        [via: "2001:db8:1::3", oif: "a0"]
      ])

  defp via(:inet6), do: [via: pick(["2001:db8:1::2", "2001:db8:1::3"])]

  def object(family),
    do:
      if(chance(8),
        do: 30,
        else: pick(if(family == :inet, do: [10, 11, 20, 40], else: [12, 13, 21]))
      )

  defp multipath(family), do: family |> hops() |> some(roll(3)) |> Enum.map(&weighed/1)

  defp hops(:inet) do
    [
      [gateway: "192.0.2.2"],
      [gateway: "192.0.2.3", oif: "a0"],
      [gateway: "198.51.100.9"],
      [via: "2001:db8:1::2", oif: "a0"],
      [gateway: "10.9.9.9", oif: "b0", onlink: true],
      [oif: pick(["a0", "b0"])]
    ]
  end

  defp hops(:inet6) do
    [
      [gateway: "2001:db8:ff::9", oif: "a0", onlink: true],
      [gateway: "2001:db8:1::2"],
      [gateway: "2001:db8:1::3", oif: "a0"],
      [gateway: "2001:db8:1::4"],
      [gateway: "fe80::1", oif: "a0"]
    ]
  end

  defp weighed(hop), do: if(chance(30), do: hop ++ [weight: pick([2, 3, 200])], else: hop)

  def extra(opts, _family, _addresses, []), do: opts

  def extra(opts, family, addresses, [key | keys]) do
    case fits?(key, opts) && route_option(key, family, addresses) do
      {:ok, value} -> extra(opts ++ [{key, value}], family, addresses, keys)
      _ -> extra(opts, family, addresses, keys)
    end
  end

  # Options that say nothing together with where the route leads, or that the kernel refuses
  # there.
  def fits?(:scope, opts), do: opts == [] or Keyword.keys(opts) == [:oif]

  def fits?(key, opts) when key in [:metrics, :prefsrc, :expires, :pref],
    do: opts[:type] in [nil, :unicast] and opts[:nh_id] == nil

  def fits?(_key, _opts), do: true

  defp route_option(:table, _, _), do: {:ok, pick([100, 254, 5000, 0xFFFFFFFF])}
  defp route_option(:metric, _, _), do: {:ok, pick([0, 1, 1024, 50, 0xFFFFFFFF])}
  defp route_option(:tos, :inet, _), do: {:ok, pick([8, 16])}
  defp route_option(:scope, :inet, _), do: {:ok, pick([:site, :universe, :link, :host])}
  defp route_option(:prefsrc, family, addresses), do: {:ok, source(family, addresses)}
  defp route_option(:pref, :inet6, _), do: {:ok, pick([:low, :medium, :high])}
  defp route_option(:expires, :inet6, _), do: {:ok, pick([600, 3000, 100_000])}

  defp route_option(:metrics, _, _),
    do:
      {:ok,
       for(key <- some(Options.of(:metric), pick([1, 1, 2, 3])), do: {key, metric(key)})
       |> locked()}

  defp route_option(key, _, _) when key in [:tos, :scope, :pref, :expires], do: :none
  defp route_option(_key, _, _), do: :unknown

  # The lock is of the MTU.
  defp locked(metrics),
    do: if(metrics[:lock], do: Keyword.put_new(metrics, :mtu, 1300), else: metrics)

  defp source(family, addresses) do
    base = if family == :inet, do: ["192.0.2.1", "198.51.100.1"], else: ["2001:db8:1::1"]

    ours =
      for {:address, link, ip, _, _} <- addresses,
          View.family(View.ip(ip)) == family,
          link == "a0",
          not String.starts_with?(ip, "fe80"),
          do: ip

    pick(base ++ ours)
  end

  defp metric(:lock), do: 4
  defp metric(:mtu), do: pick([1300, 1400])
  defp metric(:advmss), do: pick([600, 1100])
  defp metric(:rtt), do: pick([80, 800])
  defp metric(:rttvar), do: pick([40, 400])
  defp metric(:hoplimit), do: pick([9, 77])
  defp metric(:features), do: 1
  defp metric(:quickack), do: 1
  defp metric(:fastopen_no_cookie), do: 1
  defp metric(:cc_algo), do: pick(["reno", "cubic"])
  defp metric(:rto_min), do: pick([50, 300])

  defp metric(key) when key in [:window, :ssthresh, :cwnd, :reordering, :initcwnd, :initrwnd],
    do: pick([6, 12])

  defp metric(_key), do: :unknown

  # -- changes ---

  @doc "The entry with another value of one option, or another way."
  def altered({:link, _, _, _} = link, _addresses), do: LinkEntries.altered(link)
  def altered({:rule, _} = rule, _addresses), do: RuleEntries.altered(rule)

  def altered({:address, "lo", ip, len, _opts}, _addresses), do: address("lo", {ip, len})

  def altered({:address, link, ip, len, opts}, _addresses) do
    family = View.family(View.ip(ip))

    case pick([:link, :len, :options]) do
      :link ->
        {:address, pick(@up), ip, len, Keyword.drop(opts, [:label])} |> carried()

      :len ->
        {:address, link, ip, pick(if(family == :inet, do: [24, 25, 32], else: [64, 128])),
         Keyword.drop(opts, [:peer, :broadcast, :scope])}

      :options ->
        {:address, link, ip, len, address_options(family, link, ip, len)}
    end
  end

  def altered({:route, dst, len, gateway, opts} = route, addresses) do
    if opts[:type] in @rejects and chance(50),
      do: {:route, dst, len, gateway, Keyword.put(opts, :type, pick(@rejects -- [opts[:type]]))},
      else: scoped(altered_way(route, addresses))
  end

  defp altered_way({:route, dst, len, gateway, opts}, addresses) do
    family = View.family(View.ip(dst))
    {ways, rest} = Keyword.split(opts, @ways)

    case pick([:way, :option, :option]) do
      :way ->
        {gateway, way} = way(family, addresses)

        {:route, dst, len, gateway, way ++ Enum.filter(rest, fn {key, _} -> fits?(key, way) end)}

      :option ->
        key = pick(Options.of(:route) -- @ways)

        {:route, dst, len, gateway,
         extra(
           ways ++ Keyword.delete(rest, key),
           family,
           addresses,
           if(chance(20), do: [], else: [key])
         )}
    end
  end

  # IPv6 is not moved to where it cannot be.
  defp carried({:address, "b0", ip, len, opts} = entry),
    do: if(View.family(View.ip(ip)) == :inet, do: entry, else: {:address, "a0", ip, len, opts})

  defp carried(entry), do: entry
end
