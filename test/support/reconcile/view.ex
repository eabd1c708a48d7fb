defmodule Linx.Test.Reconcile.View do
  @moduledoc false
  # A namespace as `ip -j -d -N` shows it. Shares no code with Linx: addresses are those of
  # `:inet`, JSON is read by OTP.
  #
  #   links      name => %{name, index, up, carrier, mtu, kind, parent, master, data, raw}
  #   rules      [%{key, priority, proto, raw}]
  #   addresses  [%{link, family, ip, len, peer, proto, raw}]
  #   routes     [%{key, family, proto, type, scope, hops, nhid, raw}]
  #   key        {family, table, {network, len}, metric, tos} of a route
  #   hops       [%{gateway, dev, weight, onlink}] of a route
  #   nexthops   ids of nexthop objects

  import Bitwise

  defstruct [:links, :addresses, :routes, :nexthops, :locks, :rules]

  @forever 4_294_967_295

  @doc "The view of the eight outputs that `Lab.view/1` reads."
  def parse([links, v4, v6, nexthops, text4, text6, rules4, rules6]) do
    links = decode(links)

    %__MODULE__{
      links: Map.new(links, &{&1["ifname"], link(&1)}),
      rules:
        Enum.map(decode(rules4), &rule(:inet, &1)) ++ Enum.map(decode(rules6), &rule(:inet6, &1)),
      addresses:
        for(
          link <- links,
          a <- link["addr_info"] || [],
          a != %{},
          do: address(link["ifname"], a)
        ),
      routes: Enum.map(decode(v4), &route(:inet, &1)) ++ Enum.map(decode(v6), &route(:inet6, &1)),
      nexthops: MapSet.new(decode(nexthops), & &1["id"]),
      locks: text4 <> text6
    }
  end

  defp decode(text) do
    case String.trim(text) do
      "" -> []
      json -> :json.decode(json)
    end
  end

  defp link(raw) do
    info = raw["linkinfo"] || %{}

    %{
      name: raw["ifname"],
      index: raw["ifindex"],
      up: "UP" in raw["flags"],
      carrier: "LOWER_UP" in raw["flags"],
      mtu: raw["mtu"],
      kind: info["info_kind"],
      parent: raw["link"] || info["info_data"]["link"],
      master: raw["master"],
      data: info["info_data"] || %{},
      raw: raw
    }
  end

  defp rule(family, raw) do
    %{
      key: rule_key(family, raw),
      priority: raw["priority"],
      proto: String.to_integer(raw["protocol"] || "0"),
      raw: raw
    }
  end

  # Everything but the priority and the protocol.
  defp rule_key(family, raw) do
    {family, subnet(raw["src"], raw["srclen"], family), subnet(raw["dst"], raw["dstlen"], family),
     mark(raw["fwmark"] && hex(raw["fwmark"]), raw["fwmask"] && hex(raw["fwmask"])), raw["iif"],
     raw["oif"], hex(raw["tos"] || raw["dsfield"]) || 0, number(raw["ipproto"]),
     range(raw, "sport"), range(raw, "dport"), range(raw, "uid"), raw["suppress_prefixlen"],
     number(raw["suppress_ifgroup"]), Map.has_key?(raw, "not"), rule_target(raw)}
  end

  defp subnet(none, _, _) when none in [nil, "all"], do: nil
  defp subnet(text, len, family), do: {ip(text), len || width(family)}

  defp mark(nil, nil), do: nil
  defp mark(mark, mask), do: {mark || 0, mask || 0xFFFFFFFF}

  defp number(nil), do: nil
  defp number(text), do: text |> String.replace(~r/\D/, "") |> String.to_integer()

  defp range(raw, name) do
    cond do
      n = raw[name] -> {n, n}
      n = raw[name <> "_start"] -> {n, raw[name <> "_end"]}
      true -> nil
    end
  end

  defp rule_target(%{"goto" => n}), do: {:goto, n}
  defp rule_target(%{"action" => name}), do: {:action, name}
  defp rule_target(%{"table" => table}), do: {:table, table}
  defp rule_target(_raw), do: nil

  @doc "The family of a desired rule."
  def rule_family(opts) do
    case opts[:from] || opts[:to] do
      nil -> opts[:family] || :inet
      text -> text |> String.split("/") |> hd() |> ip() |> family()
    end
  end

  @actions %{blackhole: "blackhole", unreachable: "unreachable", prohibit: "prohibit"}
  @action_numbers %{blackhole: "6", unreachable: "7", prohibit: "8"}

  @doc "Whether an observed rule is the desired one, whatever its priority."
  def rule?({:rule, opts}, seen) do
    selectors?({:rule, opts}, seen) and
      case opts[:action] do
        nil ->
          elem(seen.key, 14) == {:table, "#{opts[:table]}"}

        {:goto, n} ->
          elem(seen.key, 14) == {:goto, n}

        name ->
          elem(seen.key, 14) in [{:action, @actions[name]}, {:action, @action_numbers[name]}]
      end
  end

  @doc "Whether an observed rule has the selectors of the desired one."
  def selectors?({:rule, opts}, seen), do: rule_wanted(opts) == put_elem(seen.key, 14, nil)

  defp rule_wanted(opts) do
    family = rule_family(opts)

    {family, written(opts[:from]), written(opts[:to]), mark(opts[:fwmark], opts[:fwmask]),
     opts[:iif], opts[:oif], opts[:tos] || 0, opts[:ipproto], ends(opts[:sport]),
     ends(opts[:dport]), ends(opts[:uid]), opts[:suppress_prefixlength], opts[:suppress_ifgroup],
     opts[:invert] == true, nil}
  end

  defp written(nil), do: nil

  defp written(text) do
    [ip, len] = String.split(text, "/")
    {ip(ip), String.to_integer(len)}
  end

  defp ends(nil), do: nil
  defp ends(%Range{} = range), do: {range.first, range.last}
  defp ends(n), do: {n, n}

  defp address(link, raw) do
    ip = ip(raw["local"])

    %{
      link: link,
      family: family(ip),
      ip: ip,
      len: raw["prefixlen"],
      peer: if(raw["address"], do: ip(raw["address"])),
      proto: hex(raw["protocol"]),
      raw: raw
    }
  end

  defp route(family, raw) do
    %{
      key: key(family, raw),
      family: family,
      proto: String.to_integer(raw["protocol"]),
      type: String.to_integer(raw["type"]),
      scope: String.to_integer(raw["scope"]),
      hops: Enum.map(raw["nexthops"] || [raw], &hop/1),
      nhid: raw["nhid"],
      raw: raw
    }
  end

  defp key(family, raw) do
    {family, String.to_integer(raw["table"]), destination(family, raw["dst"]), raw["metric"] || 0,
     hex(raw["tos"]) || 0}
  end

  defp destination(:inet, "default"), do: {{0, 0, 0, 0}, 0}
  defp destination(:inet6, "default"), do: {{0, 0, 0, 0, 0, 0, 0, 0}, 0}

  defp destination(family, text) do
    case String.split(text, "/") do
      [ip, len] -> {ip(ip), String.to_integer(len)}
      [ip] -> {ip(ip), width(family)}
    end
  end

  defp hop(raw) do
    via = raw["via"]

    %{
      gateway: ip(raw["gateway"] || (via && via["host"])),
      dev: raw["dev"],
      weight: raw["weight"] || 1,
      onlink: "onlink" in raw["flags"]
    }
  end

  defp hex(nil), do: nil
  defp hex("0x" <> digits), do: String.to_integer(digits, 16)
  defp hex(digits), do: String.to_integer(digits)

  # -- addresses as tuples ---

  def ip(nil), do: nil

  def ip(text) do
    {:ok, ip} = text |> String.to_charlist() |> :inet.parse_address()
    ip
  end

  def family(ip) when tuple_size(ip) == 4, do: :inet
  def family(_ip), do: :inet6

  def width(:inet), do: 32
  def width(:inet6), do: 128

  def link_local?(ip), do: elem(ip, 0) == 0xFE80

  @doc "Desired addresses in the form of observed ones."
  def seen(entries) do
    for {:address, link, ip, len, opts} <- entries do
      flags = Map.new(opts[:flags] || [], &{"#{&1}", true})
      %{link: link, ip: ip(ip), len: len, peer: ip(opts[:peer]), raw: flags}
    end
  end

  @doc "Whether `ip` is in the network of `other` with `len` bits."
  def inside?(ip, other, len),
    do: family(ip) == family(other) and network(ip, len) == network(other, len)

  def network(ip, len) do
    family = family(ip)
    part = if family == :inet, do: 8, else: 16
    number = ip |> Tuple.to_list() |> Enum.reduce(0, &((&2 <<< part) + &1))
    host = width(family) - len
    number = (number >>> host) <<< host

    for(n <- (tuple_size(ip) - 1)..0//-1, do: number >>> (n * part) &&& (1 <<< part) - 1)
    |> List.to_tuple()
  end

  # -- whether a desired entry is there ---

  @types %{
    unicast: 1,
    local: 2,
    broadcast: 3,
    anycast: 4,
    multicast: 5,
    blackhole: 6,
    unreachable: 7,
    prohibit: 8,
    throw: 9
  }
  @scopes %{universe: 0, site: 200, link: 253, host: 254, nowhere: 255}
  @metrics %{rtt: 8, rttvar: 4}

  def types, do: @types
  def scopes, do: @scopes

  @doc "The kernel's key of an entry."
  def key_of({:link, name, _kind, _opts}), do: {:link, name}

  def key_of({:rule, opts}),
    do: {:rule, opts[:priority], rule_wanted(opts), opts[:action] || opts[:table]}

  def key_of({:address, link, ip, len, _opts}) do
    ip = ip(ip)
    if family(ip) == :inet, do: {:address, link, ip, len}, else: {:address, link, ip}
  end

  def key_of({:route, dst, len, _gateway, opts}) do
    ip = ip(dst)
    family = family(ip)
    metric = if family == :inet, do: opts[:metric] || 0, else: metric6(opts[:metric])
    {family, opts[:table] || 254, {network(ip, len), len}, metric, opts[:tos] || 0}
  end

  defp metric6(none) when none in [nil, 0], do: 1024
  defp metric6(n), do: n

  @doc "The key of an observed address in the form of `key_of/1`."
  def key_of_address(%{family: :inet} = a), do: {:address, a.link, a.ip, a.len}
  def key_of_address(a), do: {:address, a.link, a.ip}

  @doc "The next hops that an entry asks for."
  def hops({:route, _dst, _len, gateway, opts}) do
    # A group of one hop is stored as that hop, without its weight.
    hops =
      case opts[:multipath] do
        nil -> [[{:gateway, gateway} | opts]]
        [hop] -> [Keyword.delete(hop, :weight)]
        hops -> hops
      end

    for hop <- hops do
      %{
        gateway: ip(hop[:gateway] || hop[:via]),
        dev: hop[:oif],
        weight: hop[:weight],
        onlink: hop[:onlink]
      }
    end
  end

  @doc "Whether a desired link is there with all options that it sets."
  def link?({:link, name, kind, opts}, links) do
    seen = links[name]

    seen != nil and seen.kind == "#{kind}" and
      Enum.all?(opts, fn option -> link_option?(option, seen, links) end)
  end

  @doc "Whether a link is on a parent; the driver puts a macvlan on a macvlan beside it."
  def on?(seen, parent, links),
    do:
      links[parent] != nil and
        (seen.parent == parent or
           (links[parent].kind == "macvlan" and seen.parent == links[parent].parent))

  @doc "The mode of a link as ip(8) writes it."
  def mode(mode), do: String.replace("#{mode}", "_", "-")

  @switches %{promisc: "PROMISC", multicast: "MULTICAST", allmulticast: "ALLMULTI"}
  @kind_switches [:stp_state, :mcast_snooping, :mcast_querier, :mcast_stats_enabled]
  @kind_names %{mcast_query_interval: "mcast_query_intvl"}
  @texts %{alias: "ifalias", address: "address", txqlen: "txqlen", mtu: "mtu"}

  defp link_option?({:link, parent}, seen, links), do: on?(seen, parent, links)
  defp link_option?({:peer, peer}, seen, _), do: seen.parent == peer
  defp link_option?({:up, up?}, seen, _), do: seen.up == up?
  defp link_option?({:master, master}, seen, _), do: seen.master == master
  defp link_option?({:group, n}, seen, _), do: seen.raw["group"] == "#{n}"
  defp link_option?({:mode, mode}, seen, _), do: seen.data["mode"] == mode(mode)

  defp link_option?({:ports, ports}, seen, links),
    do: Enum.all?(ports, &(links[&1] != nil and links[&1].master == seen.name))

  defp link_option?({:arp, on?}, seen, _), do: "NOARP" in seen.raw["flags"] != on?

  defp link_option?({key, n}, seen, _) when key in @kind_switches,
    do: n != 0 == (seen.data["#{key}"] != 0)

  defp link_option?({key, on?}, seen, _) when is_map_key(@switches, key),
    do: @switches[key] in seen.raw["flags"] == on?

  defp link_option?({key, value}, seen, _) when is_map_key(@texts, key),
    do: seen.raw[@texts[key]] == value

  defp link_option?({key, value}, seen, _) when is_map_key(@kind_names, key),
    do: seen.data[@kind_names[key]] == value

  defp link_option?({key, value}, seen, _), do: seen.data["#{key}"] == value

  @doc """
  Whether an observed address is the one that the entry asks for, usable and with all options
  that it sets.
  """
  def address?({:address, link, ip, len, opts}, %{raw: raw} = seen) do
    {link, ip(ip), len} == {seen.link, seen.ip, seen.len} and
      seen.peer == ip(opts[:peer]) and
      not Map.has_key?(raw, "dadfailed") and
      life?(opts[:valid], raw["valid_life_time"]) and
      life?(opts[:preferred] || opts[:valid], raw["preferred_life_time"]) and
      Enum.all?(opts, &address_option?(&1, raw))
  end

  # Without an option an address stays.
  defp life?(none, left) when none in [nil, :forever], do: left == @forever
  defp life?(wanted, left), do: left <= wanted and left > wanted - 120

  defp address_option?({:label, label}, raw), do: raw["label"] == label
  defp address_option?({:broadcast, ip}, raw), do: raw["broadcast"] == ip
  defp address_option?({:scope, scope}, raw), do: raw["scope"] == "#{scope}"
  defp address_option?({:priority, n}, raw), do: (raw["metric"] || 0) == n
  defp address_option?({:flags, flags}, raw), do: Enum.all?(flags, &(raw["#{&1}"] == true))
  defp address_option?({key, _}, _raw) when key in [:peer, :valid, :preferred], do: true

  @doc """
  Whether an observed route is the one that the entry asks for, with all options that it sets.
  `reach` gives the links on which a gateway is; `foreign` are hops of the observed group that are
  somebody else's.
  """
  def route?({:route, _, _, _, opts} = entry, seen, reach, foreign, locks) do
    ours = seen.hops -- foreign

    key_of(entry) == seen.key and seen.type == @types[opts[:type] || :unicast] and
      seen.nhid == opts[:nh_id] and
      (opts[:nh_id] != nil or seen.type in 6..9 or same_hops?(hops(entry), ours, reach)) and
      (foreign != [] or Enum.all?(opts, &route_option?(&1, seen, locks)))
  end

  defp same_hops?(wanted, seen, reach) do
    length(wanted) == length(seen) and
      Enum.all?(wanted, fn hop -> Enum.any?(seen, &hop?(hop, &1, reach)) end)
  end

  def hop?(wanted, seen, reach) do
    wanted.gateway == seen.gateway and
      (wanted.dev == seen.dev or (wanted.dev == nil and seen.dev in reach.(wanted.gateway))) and
      wanted.weight in [nil, seen.weight] and (wanted.onlink != true or seen.onlink)
  end

  defp route_option?({:scope, scope}, seen, _), do: seen.scope == @scopes[scope]
  defp route_option?({:prefsrc, ip}, seen, _), do: seen.raw["prefsrc"] == ip
  defp route_option?({:pref, pref}, seen, _), do: seen.raw["pref"] == "#{pref}"
  defp route_option?({:expires, n}, seen, _), do: life?(n, seen.raw["expires"] || 0)

  defp route_option?({:metrics, metrics}, seen, locks) do
    raw = seen.raw |> Map.get("metrics", [%{}]) |> List.first()
    Enum.all?(metrics, &metric?(&1, raw, seen, locks))
  end

  defp route_option?({_key_or_hop, _}, _seen, _), do: true

  defp metric?({:cc_algo, name}, raw, _, _), do: raw["congestion"] == name
  defp metric?({:features, n}, raw, _, _), do: Map.has_key?(raw, "ecn") == (n == 1)

  # JSON leaves it out; the bit of the MTU is 4.
  defp metric?({:lock, 4}, raw, seen, locks) do
    raw["mtu"] == nil or
      Enum.any?(String.split(locks, "\n"), fn line ->
        String.contains?(line, seen.raw["dst"] <> " ") and line =~ "mtu lock"
      end)
  end

  defp metric?({name, n}, raw, _, _), do: raw["#{name}"] == div(n, @metrics[name] || 1)
end
