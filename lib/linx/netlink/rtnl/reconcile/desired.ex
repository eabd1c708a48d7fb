defmodule Linx.Netlink.Rtnl.Reconcile.Desired do
  @moduledoc false
  # The desired state as entries: each as it was written, with its object in the kernel's form,
  # the key that it has in the kernel, and the options that are compared. Options without an
  # effect in the entry's family are refused here.

  import Bitwise

  alias Linx.Netlink.Rtnl.{Address, Link, Route, Rule}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Kept}

  defmodule Entry do
    @moduledoc false

    # `item` is the object in the kernel's form, `key` what makes it that object, `set` the
    # compared options, `spans` its lifetimes, `absent` the name of a link that is not there,
    # `opts` those of a link.
    @enforce_keys [:kind, :spec, :item, :key]
    defstruct [:kind, :spec, :item, :key, :absent, :spans, set: [], opts: []]

    @type t :: %__MODULE__{
            kind: :link | :address | :route | :rule,
            spec: term(),
            item: struct(),
            key: term(),
            absent: String.t() | nil,
            spans: [non_neg_integer() | :forever] | nil,
            set: keyword() | [atom()],
            opts: keyword()
          }
  end

  defguardp is_subnet(term) when is_binary(term) or is_struct(term, Linx.IP.Subnet)

  @kinds [:links, :addresses, :routes, :rules]

  @type specs :: %{
          links: [term()],
          addresses: [term()],
          routes: [{term(), [term()] | :error}],
          rules: [term()]
        }

  @type entries :: %{
          links: [Entry.t()],
          addresses: [Entry.t()],
          routes: [Entry.t()],
          rules: [Entry.t()],
          wanted: %{optional(term()) => Entry.t()}
        }

  @doc "The lists of a desired state; a key that is absent is an empty list."
  @spec specs(term()) :: {:ok, specs()} | {:error, {:normalize, term()}}
  def specs(%{} = desired) do
    lists = Map.new(@kinds, &{&1, Map.get(desired, &1, [])})

    cond do
      (unknown = Map.keys(desired) -- @kinds) != [] ->
        {:error, {:normalize, {:unknown_key, hd(unknown)}}}

      Enum.any?(lists, fn {_kind, list} -> not proper?(list) end) ->
        {:error, {:normalize, {:not_a_list, desired}}}

      true ->
        {:ok, %{lists | routes: Enum.map(lists.routes, &route_args/1)}}
    end
  end

  def specs(desired), do: {:error, {:normalize, {:not_a_map, desired}}}

  defp proper?(list), do: is_list(list) and not List.improper?(list)

  # A default route has no destination; in its gateway's place may stand a family.
  defp route_args({:default, gateway} = spec), do: {spec, [nil, 0, gateway, []]}

  defp route_args({:default, gateway, opts} = spec) when is_list(opts),
    do: {spec, [nil, 0, gateway, opts]}

  # The destination has its prefix length, as in the verbs.
  defp route_args({subnet, gateway} = spec) when is_subnet(subnet),
    do: {spec, [subnet, gateway, []]}

  defp route_args({subnet, gateway, opts} = spec) when is_subnet(subnet) and is_list(opts),
    do: {spec, [subnet, gateway, opts]}

  defp route_args({dst, prefix, gateway} = spec), do: {spec, [dst, prefix, gateway, []]}

  defp route_args({dst, prefix, gateway, opts} = spec) when is_list(opts),
    do: {spec, [dst, prefix, gateway, opts]}

  defp route_args(spec), do: {spec, :error}

  @doc "The number of entries."
  @spec count(specs()) :: non_neg_integer()
  def count(specs), do: Enum.sum(Enum.map(@kinds, &length(Map.fetch!(specs, &1))))

  @doc "The names of links that addresses and routes are on."
  @spec names(specs()) :: [String.t()]
  def names(specs) do
    for(
      spec <- specs.addresses,
      is_tuple(spec) and tuple_size(spec) > 1,
      name = elem(spec, 0),
      is_binary(name),
      do: name
    ) ++
      for({_spec, args} when is_list(args) <- specs.routes, name <- route_names(args), do: name)
  end

  defp route_names(args), do: Route.__names__(:add, args)

  @doc """
  The entries. `index` turns a name into an index; a name in `absent` is that of a link that is
  not there, and what names it is checked all the same.
  """
  @spec entries(specs(), Index.index(), MapSet.t(), 1..255) ::
          {:ok, entries()} | {:error, {:normalize, term()}}
  def entries(specs, index, absent, protocol) do
    index =
      if MapSet.size(absent) == 0,
        do: index,
        else: fn ref -> if MapSet.member?(absent, ref), do: {:ok, 1}, else: index.(ref) end

    with {:ok, links, _} <- built(specs.links, &link/1),
         :ok <- one_master(links),
         {:ok, addresses, _} <- built(specs.addresses, &address(&1, index, absent, protocol)),
         {:ok, routes, wanted} <- built(specs.routes, &route(&1, index, absent, protocol)),
         {:ok, rules, _} <- built(specs.rules, &rule(&1, protocol)) do
      {:ok, %{links: links, addresses: addresses, routes: routes, rules: rules, wanted: wanted}}
    end
  end

  defp built(specs, build) do
    with {:ok, entries} <- built(specs, build, []),
         {:ok, keys} <- distinct(entries),
         do: {:ok, entries, keys}
  end

  defp built([], _build, entries), do: {:ok, Enum.reverse(entries)}

  defp built([spec | specs], build, entries) do
    case build.(spec) do
      {:ok, entry} -> built(specs, build, [entry | entries])
      {:error, reason} -> {:error, {:normalize, {shown(spec), reason}}}
    end
  end

  defp shown({spec, args}) when is_list(args) or args == :error, do: spec
  defp shown(spec), do: spec

  # The entries by key. An entry on an absent link has no index: the link's name stands for it.
  defp distinct(entries) do
    by_key = Map.new(entries, &{key(&1), &1})

    if map_size(by_key) == length(entries),
      do: {:ok, by_key},
      else: {:error, {:normalize, {:duplicate, again(entries, Enum.map(entries, &key/1), %{})}}}
  end

  defp key(%{kind: :address, absent: name, key: key}) when name != nil, do: {name, key}
  defp key(%{key: key}), do: key

  # The first spec whose key an earlier one has.
  defp again([entry | entries], [key | keys], before) do
    if is_map_key(before, key),
      do: entry.spec,
      else: again(entries, keys, Map.put(before, key, true))
  end

  # -- links -------------------------------------------------------------------------------------

  defp link({name, kind} = spec), do: link(spec, name, kind, [])
  defp link({name, kind, opts} = spec), do: link(spec, name, kind, opts)
  defp link(_spec), do: {:error, :not_a_link}

  defp link(spec, name, kind, opts) do
    with {:ok, opts, ports} <- ports(opts),
         {:ok, {_type, _flags, item, _explain}} <-
           Link.Change.op(:create, [name, kind, opts], fn _ref -> {:ok, 1} end),
         :ok <- Kept.check(item.linkinfo) do
      item = unplaced(item)
      opts = if ports == [], do: opts, else: opts ++ [ports: ports]
      {:ok, %Entry{kind: :link, spec: spec, item: item, key: name, opts: opts}}
    end
  end

  # The index that stood for a VXLAN's link until its name is looked up.
  defp unplaced(%{linkinfo: %{info_data: %{link: _} = data} = info} = item),
    do: %{item | linkinfo: %{info | info_data: %{data | link: nil}}}

  defp unplaced(item), do: item

  # A link under two masters, or with one and without, would be moved to and fro.
  defp one_master(links) do
    wanted = for entry <- links, {link, master} <- masters(entry), do: {link, master, entry.spec}

    Enum.reduce_while(wanted, {:ok, %{}}, fn {link, master, spec}, {:ok, seen} ->
      case seen do
        %{^link => other} when other != master ->
          {:halt, {:error, {:normalize, {:duplicate, spec}}}}

        %{} ->
          {:cont, {:ok, Map.put(seen, link, master)}}
      end
    end)
    |> case do
      {:ok, _masters} -> :ok
      error -> error
    end
  end

  defp masters(%{key: name, opts: opts}) do
    for(port <- Keyword.get(opts, :ports, []), do: {port, name}) ++
      for {:master, master} <- opts, do: {name, master}
  end

  # A link with one of these is in another namespace, or has an index that cannot be given to it
  # later.
  @unfit [:netns, :index]

  defp ports(opts) do
    cond do
      not Keyword.keyword?(opts) -> {:error, {:bad_option, opts}}
      option = List.first(Keyword.take(opts, @unfit)) -> {:error, {:bad_option, option}}
      option = contradiction(opts, %{}) -> {:error, {:bad_option, option}}
      true -> ports(opts, Keyword.get(opts, :ports, []))
    end
  end

  # The first option that an earlier one gives another value.
  defp contradiction([], _before), do: nil

  defp contradiction([{key, value} = option | opts], before) do
    case before do
      %{^key => other} when other != value -> option
      %{} -> contradiction(opts, Map.put(before, key, value))
    end
  end

  defp ports(opts, ports) do
    if proper?(ports) and Enum.all?(ports, &(is_binary(&1) and byte_size(&1) in 1..127)),
      do: {:ok, Keyword.delete(opts, :ports), ports},
      else: {:error, {:bad_option, {:ports, ports}}}
  end

  # -- addresses ---------------------------------------------------------------------------------

  @forever [:forever, :forever]
  @inet6_only [:nodad, :optimistic, :home, :mngtmpaddr]

  defp address({name, subnet} = spec, index, absent, protocol)
       when is_binary(name) and is_subnet(subnet),
       do: address(spec, name, [subnet], [], index, absent, protocol)

  defp address({name, subnet, opts} = spec, index, absent, protocol)
       when is_binary(name) and is_subnet(subnet) and is_list(opts),
       do: address(spec, name, [subnet], opts, index, absent, protocol)

  defp address({name, ip, prefix} = spec, index, absent, protocol) when is_binary(name),
    do: address(spec, name, [ip, prefix], [], index, absent, protocol)

  defp address({name, ip, prefix, opts} = spec, index, absent, protocol)
       when is_binary(name) and is_list(opts),
       do: address(spec, name, [ip, prefix], opts, index, absent, protocol)

  defp address(_spec, _index, _absent, _protocol), do: {:error, :not_an_address}

  defp address(spec, name, args, opts, index, absent, protocol) do
    with {:ok, {_type, _flags, item, _explain}} <-
           Address.__op__(:add, [name | args] ++ [opts], index),
         :ok <- effective(opts, &address_option?(&1, item)) do
      item = %{item | proto: protocol}
      key = Canonical.address_id(item)

      entry = %Entry{
        kind: :address,
        spec: spec,
        item: item,
        key: key,
        absent: absent(name, absent),
        spans: spans(item.lifetime),
        set: Keyword.keys(opts)
      }

      {:ok, entry}
    end
  end

  defp spans(nil), do: @forever
  defp spans({preferred, valid}), do: [preferred, valid]

  # The mark is the option :protocol of the pass.
  defp address_option?({:proto, _}, _item), do: false
  defp address_option?({key, _}, %{family: 10}), do: key not in [:scope, :label, :broadcast]

  defp address_option?({:flags, flags}, %{family: 2}),
    do: not Enum.any?(flags, &(&1 in @inet6_only))

  # IPv4 looks at the lifetimes of an address that stays for ever only when it is made
  # (check_lifetime): it is preferred or is not.
  defp address_option?({:preferred, n}, %{family: 2, lifetime: {_, :forever}}),
    do: n in [0, :forever]

  defp address_option?(_option, _item), do: true

  defp effective(opts, effective?) do
    case Enum.find(opts, &(not effective?.(&1))) do
      nil -> :ok
      option -> {:error, {:bad_option, option}}
    end
  end

  defp absent(_name, absent) when absent == %MapSet{}, do: nil
  defp absent(name, absent), do: if(MapSet.member?(absent, name), do: name)

  # -- routes ------------------------------------------------------------------------------------

  @rejects 6..9

  defp route({_spec, :error}, _index, _absent, _protocol), do: {:error, :not_a_route}

  defp route({spec, args}, index, absent, protocol) do
    opts = List.last(args)

    with {:ok, {_type, _flags, item, _explain}} <- Route.__op__(:add, args, index),
         absent = absent_of(args, absent),
         :ok <- effective(opts, &route_option?(&1, item)),
         item = %{Canonical.route(item) | protocol: protocol},
         :ok <- effective(opts, &(absent != nil or lifelike?(&1, item))) do
      entry = %Entry{
        kind: :route,
        spec: spec,
        item: item,
        key: Canonical.route_key(item),
        absent: absent,
        spans: item.expires && [item.expires],
        set: Canonical.set(opts)
      }

      valid(entry)
    end
  end

  defp absent_of(_args, absent) when absent == %MapSet{}, do: nil
  defp absent_of(args, absent), do: Enum.find(route_names(args), &MapSet.member?(absent, &1))

  # A gateway of IPv4 on an IPv6 route.
  defp valid(%Entry{item: %{family: 10, via: via}}) when via != nil,
    do: {:error, {:bad_option, {:via, via}}}

  defp valid(%Entry{item: %{family: 10, multipath: [_ | _] = hops}} = entry) do
    case Enum.find(hops, & &1.via) do
      nil -> {:ok, entry}
      hop -> {:error, {:bad_option, {:via, hop.via}}}
    end
  end

  defp valid(entry), do: {:ok, entry}

  defp route_option?({key, _}, %{family: 2}) when key in [:pref, :expires], do: false
  defp route_option?({key, _}, %{family: 10}) when key in [:scope, :tos], do: false
  defp route_option?({:expires, 0}, _item), do: false

  # IPv4 takes the flags of each hop, and a nexthop object has its own.
  defp route_option?({:onlink, true}, %{family: 2, multipath: [_ | _]}), do: false
  defp route_option?({:onlink, true}, %{nh_id: id}) when id != nil, do: false
  defp route_option?({:onlink, true}, %{type: type}) when type in @rejects, do: false

  # IPv6 takes a link or hops of a route that goes nowhere, and forgets them.
  defp route_option?({key, _}, %{family: 10, type: type})
       when type in @rejects and key in [:oif, :via, :multipath, :nh_id, :onlink],
       do: false

  defp route_option?(_option, _item), do: true

  # IPv6 takes a preference and a lifetime of a route that goes nowhere, and forgets them. A route
  # by the loopback link is one of these (fib6_is_reject), unless it leads to the host itself.
  @loopback_index 1
  @local 2
  @loopback_ip <<1::128>>

  defp lifelike?({key, _}, %{family: 10} = item) when key in [:pref, :expires] do
    item.type not in @rejects and
      not (item.oif == @loopback_index and item.type != @local and
             not match?(%{bytes: @loopback_ip}, item.dst))
  end

  defp lifelike?(_option, _item), do: true

  # -- rules -------------------------------------------------------------------------------------

  # A rule without a priority is of any.
  defp rule_key(%{priority: nil} = rule), do: put_elem(Canonical.rule_key(rule), 0, nil)
  defp rule_key(rule), do: Canonical.rule_key(rule)

  defp rule(opts, protocol) do
    with true <- Keyword.keyword?(opts) or {:error, :not_a_rule},
         {:ok, {_type, _flags, item, _explain}} <-
           Rule.__op__(:add, [Keyword.put(opts, :protocol, protocol)], nil) do
      item = %{item | flags: item.flags &&& 2}
      {:ok, %Entry{kind: :rule, spec: opts, item: item, key: rule_key(item)}}
    end
  end
end
