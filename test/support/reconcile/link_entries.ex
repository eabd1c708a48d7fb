defmodule Linx.Test.Reconcile.LinkEntries do
  @moduledoc false
  # Desired links of a case: macvlan (also one on another), vxlan, veth and bridge, and where they
  # are asked for (`use_rare/1`) also dummy, VLAN, ipvlan and bond, which not every kernel has.
  # Names come from a small pool, so that a name meets another kind, another parent and other
  # programs' links. About one in ten is impossible.

  import Linx.Test.Reconcile.Chance

  @kinds %{"m0" => :macvlan, "m1" => :macvlan, "x0" => :vxlan, "v0" => :veth, "g0" => :bridge}

  @rare %{"d0" => :dummy, "l0" => :vlan, "i0" => :ipvlan, "o0" => :bond}

  # Ends of the lab's pairs that no address is on.
  @ports ["b1", "c1"]

  # The kinds that carry addresses and gateways of their own subnet.
  @carrying [:macvlan, :vxlan, :dummy, :vlan, :ipvlan]

  @net4 "203.0.117."
  @net6 "2001:db8:17::"

  @doc "The names of the pool, without far ends."
  def pool, do: Map.keys(kinds())

  @doc "Whether this process's cases also have the kinds that not every kernel has."
  def use_rare(rare?), do: Process.put({__MODULE__, :rare}, rare?)

  defp rare?, do: Process.get({__MODULE__, :rare}) == true
  defp kinds, do: if(rare?(), do: Map.merge(@kinds, @rare), else: @kinds)

  def link do
    name = if rare?() and chance(60), do: pick(Map.keys(@rare)), else: pick(pool())
    kind = kinds()[name]
    link(name, if(chance(6), do: pick([:macvlan, :bridge] -- [kind]), else: kind))
  end

  def link(name, kind) do
    fixed = fixed(name, kind)
    {:link, name, kind, fixed ++ up(kind) ++ options(kind, fixed)}
  end

  defp fixed(name, :macvlan), do: [link: parent(name), mode: pick([:private, :bridge])]
  defp fixed(_name, :vxlan), do: [link: "a0", id: pick([5, 5, 6]), remote: "192.0.2.9"]
  defp fixed(_name, :veth), do: [peer: pick(["v1", "v1", "v2"])]
  defp fixed(_name, :bridge), do: []
  defp fixed(_name, :dummy), do: []
  defp fixed(name, :vlan), do: [link: parent(name), id: pick([5, 5, 6])]
  # On a link of its own: a link that carries ipvlans carries no macvlan.
  defp fixed(_name, :ipvlan),
    do: [link: if(chance(4), do: "nope9", else: "a1"), mode: pick([:l2, :l3])]

  defp fixed(_name, :bond), do: [mode: pick([:balance_rr, :active_backup])]

  defp parent(name) do
    cond do
      chance(4) -> "nope9"
      chance(6) -> "c0"
      name == "m1" and chance(40) -> "m0"
      true -> pick(["a0", "a0", "a0", "b0"])
    end
  end

  defp up(kind), do: if(chance(if(kind in @carrying, do: 90, else: 50)), do: [up: true], else: [])

  defp options(kind, fixed) do
    keys =
      ([:txqlen, :group, :alias, :address, :promisc, :mtu, :down] ++ own(kind)) -- without(kind)

    keys |> some(pick([0, 0, 1, 1, 2])) |> Enum.flat_map(&option(&1, fixed)) |> Enum.uniq()
  end

  @bridge [:forward_delay, :hello_time, :max_age, :mcast_query_interval, :mcast_hash_max] ++
            [:mcast_snooping, :mcast_querier, :mcast_stats_enabled, :mcast_router] ++
            [:mcast_igmp_version, :arp, :multicast, :allmulticast]

  defp own(:bridge),
    do: [:ageing_time, :stp_state, :priority, :ports, :ports, :ports] ++ some(@bridge, 4)

  defp own(:vxlan), do: [:learning, :proxy, :l2miss, :ageing, :ttl]
  defp own(:veth), do: [:master, :arp, :multicast, :allmulticast]
  defp own(:dummy), do: [:master]
  defp own(:bond), do: [:miimon, :miimon]
  defp own(kind) when kind in [:macvlan, :vlan, :ipvlan], do: []

  # An ipvlan has its parent's MAC.
  defp without(:ipvlan), do: [:address]
  defp without(_kind), do: []

  defp option(:txqlen, _), do: [txqlen: pick([10, 20])]
  defp option(:group, _), do: [group: pick([5, 6])]
  defp option(:alias, _), do: [alias: pick(["x", "y"])]
  defp option(:address, _), do: [address: "02:00:00:00:00:0#{pick([1, 2])}"]
  defp option(:promisc, _), do: [promisc: chance(70)]
  defp option(:ageing_time, _), do: [ageing_time: pick([20_000, 25_000])]
  defp option(:stp_state, _), do: [stp_state: pick([0, 1, 3])]
  defp option(:forward_delay, _), do: [forward_delay: pick([400, 1600])]
  defp option(:hello_time, _), do: [hello_time: pick([100, 1000])]
  defp option(:max_age, _), do: [max_age: pick([600, 4000])]
  defp option(:mcast_query_interval, _), do: [mcast_query_interval: pick([100, 8_640_000])]
  defp option(:mcast_hash_max, _), do: [mcast_hash_max: pick([64, 512])]
  defp option(:mcast_router, _), do: [mcast_router: pick([0, 1, 2])]
  defp option(:mcast_igmp_version, _), do: [mcast_igmp_version: pick([2, 3])]
  defp option(key, _) when key in [:proxy, :l2miss, :arp], do: [{key, chance(50)}]
  defp option(key, _) when key in [:multicast, :allmulticast], do: [{key, chance(50)}]
  defp option(:ageing, _), do: [ageing: pick([77, 300])]
  defp option(:ttl, _), do: [ttl: pick([9, 64])]

  defp option(key, _) when key in [:mcast_snooping, :mcast_querier, :mcast_stats_enabled],
    do: [{key, pick([0, 1, 7])}]

  defp option(:priority, _), do: [priority: pick([4096, 8192])]
  defp option(:learning, _), do: [learning: chance(50)]
  defp option(:master, _), do: [master: "g0"]
  defp option(:miimon, _), do: [miimon: pick([100, 200])]

  defp option(:ports, _),
    do: [ports: some(if(chance(6), do: ["nope9" | @ports], else: @ports ++ ["v0"]), pick([1, 2]))]

  # No more than the parent's.
  defp option(:mtu, fixed), do: if(fixed[:link], do: [], else: [mtu: pick([1400, 1300])])
  defp option(:down, _), do: []

  @doc """
  The entries without what contradicts another one: a port of a bridge that is not desired or that
  an earlier bridge has, and a MAC that another link asks for (macvlans of one parent differ).
  """
  def agreeing(entries) do
    links = for {:link, name, _, _} <- entries, do: name
    {entries, _taken} = Enum.map_reduce(entries, [], &agree(&1, &2, links))
    entries
  end

  defp agree({:link, name, kind, opts}, taken, links) do
    opts = if "g0" in links or chance(5), do: opts, else: Keyword.delete(opts, :master)

    ports =
      for port <- (opts[:ports] || []) -- [name], port in links or port not in pool(), do: port

    ports = ports -- taken
    opts = if opts[:ports], do: Keyword.put(opts, :ports, ports), else: opts
    {{:link, name, kind, own_mac(opts, name)}, ports ++ taken}
  end

  defp agree(entry, taken, _links), do: {entry, taken}

  defp own_mac(opts, name) do
    case opts[:address] do
      nil -> opts
      mac -> Keyword.put(opts, :address, "02:00:00:00:#{byte(name)}:#{String.slice(mac, -2, 2)}")
    end
  end

  # The name alone decides it, so that a link keeps its MAC in every pass.
  defp byte(name),
    do:
      name
      |> :binary.first()
      |> Kernel.+(:binary.last(name))
      |> Integer.to_string(16)
      |> String.downcase()

  @doc "Addresses and routes on the links of the entries."
  def users(entries) do
    for {:link, name, kind, opts} <- entries, chance(60), entry <- on(name, kind, opts), do: entry
  end

  defp on(name, kind, opts) when kind in @carrying do
    inet6? = opts[:up] == true and opts[:link] == "a0" and chance(50)
    dst = "198.18.#{pick([4, 5])}.0"

    some(
      [
        {:address, name, @net4 <> "#{pick([1, 2])}", pick([24, 24, 32]), []},
        {:route, dst, 24, nil, [oif: name, metric: pick([0, 50])]},
        {:route, "198.18.6.0", 24, @net4 <> "9", [oif: name]}
      ] ++
        if(inet6?,
          do: [
            {:address, name, @net6 <> "1", 64, []},
            {:route, "2001:db8:c::", 48, @net6 <> "9", []}
          ],
          else: []
        ),
      pick([1, 2, 5])
    )
    |> reachable()
  end

  defp on(name, _kind, _opts), do: [{:address, name, "203.0.118.#{pick([1, 2])}", 24, []}]

  # A gateway without its subnet is impossible; so it is rare.
  defp reachable(entries) do
    nets =
      for {:address, _, ip, len, _} <- entries, len != 32, do: hd(String.split(ip, ~r/[12]$/))

    Enum.filter(entries, fn
      {:route, _, _, gateway, _} when gateway != nil ->
        chance(5) or Enum.any?(nets, &String.starts_with?(gateway, &1))

      _ ->
        true
    end)
  end

  @doc "The link with other options, or another parent or far end."
  def altered({:link, name, kind, opts}) do
    case pick([:all, :add, :drop, :up]) do
      :all ->
        link(name, kind)

      :add ->
        {:link, name, kind, Keyword.merge(opts, options(kind, opts))}

      :drop ->
        dropped = Keyword.keys(opts) -- [:link, :mode, :id, :remote, :peer]
        {:link, name, kind, Keyword.drop(opts, some(dropped, 1))}

      :up ->
        {:link, name, kind, Keyword.put(opts, :up, chance(70))}
    end
  end

  # -- what other programs do ---

  @doc "A link of another program."
  def foreign do
    pick(
      [
        "link add f0 type bridge",
        "link add f1 link a0 type macvlan mode bridge",
        "link add f2 type veth peer name f3",
        "link add g0 type bridge",
        "link add m0 link a0 type macvlan mode bridge",
        "link add m1 type bridge",
        "link add v0 type veth peer name v1"
      ] ++ if(rare?(), do: foreign_rare(), else: [])
    )
  end

  defp foreign_rare do
    [
      "link add f4 type dummy",
      "link add f5 link b0 type vlan id 9",
      "link add d0 type dummy",
      "link add l0 link a0 type vlan id 5",
      "link add i0 link a1 type ipvlan mode l3",
      "link add o0 type bond mode balance-rr",
      "link add o0 type dummy"
    ]
  end

  @doc "What another program does to a desired link."
  def drift({:link, name, kind, _opts}) do
    pick(
      [
        ["link del #{name}"],
        ["link del #{name}", "link add #{name} link b0 type macvlan mode bridge"],
        ["link del #{name}", "link add #{name} type bridge"],
        ["link set #{name} down"],
        ["link set #{name} down", "link set #{name} up"],
        ["link set #{name} alias z"],
        ["link set #{name} txqueuelen 77 group 9"],
        ["link set #{name} nomaster"]
      ] ++ own_drift(name, kind)
    )
  end

  defp own_drift(name, :bridge) do
    [
      ["link set #{name} type bridge ageing_time 29999 stp_state 0"],
      ["link set #{pick(@ports)} nomaster"],
      ["link set #{name} mtu 1290"]
    ]
  end

  defp own_drift(_name, :veth), do: [["link set v1 name v2"], ["link set v1 name v7"]]
  defp own_drift(name, :macvlan), do: [["link set #{name} type macvlan mode vepa"]]
  defp own_drift(name, :ipvlan), do: [["link set #{name} type ipvlan mode l3"]]
  defp own_drift(name, :dummy), do: [["link set #{name} arp off"], ["link set #{name} mtu 1290"]]

  defp own_drift(name, :vlan),
    do: [["link del #{name}", "link add #{name} link a0 type vlan id 7"]]

  defp own_drift(name, :bond) do
    [
      ["link set #{name} type bond miimon 150"],
      ["link set #{name} down", "link set #{name} type bond mode broadcast"]
    ]
  end

  defp own_drift(name, :vxlan), do: [["link set #{name} type vxlan id 5 ttl 9 nolearning"]]
end
