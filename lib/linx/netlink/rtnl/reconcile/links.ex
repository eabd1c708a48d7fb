defmodule Linx.Netlink.Rtnl.Reconcile.Links do
  @moduledoc false
  # The steps that make links as desired. A link is ours if `last_applied` names it with its kind;
  # no other is deleted or made anew. The options that an entry sets are set on a link that was
  # there already, too.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Diff, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Reconcile.{Desired, Kept, LinkState, Observed, Step}

  @ebusy 16
  @eexist 17
  # Options of a kind that the kernel takes and forgets in a change.
  @fixed %{"vlan" => [:id, :protocol], "vxlan" => [:id]}

  # MACVLAN_MODE_PASSTHRU, a mode that a macvlan keeps or never has (macvlan_changelink).
  @passthru 8

  @type owned :: MapSet.t({String.t(), String.t()})

  @doc """
  The links that entries name, by name: themselves, their masters, parents, far ends and ports,
  and those that are ours.
  """
  @spec read(Socket.t(), [Desired.Entry.t()], owned()) :: {:ok, map()} | {:error, term()}
  def read(socket, entries, owned) do
    named =
      for %{key: name, opts: opts} <- entries,
          ref <- [name, opts[:master], opts[:link], opts[:peer] | Keyword.get(opts, :ports, [])],
          is_binary(ref),
          do: ref

    Observed.links_of(socket, named ++ for({name, _kind} <- owned, do: name))
  end

  @doc """
  Creations and updates, those that cannot be, and the links of which an option is not kept as it
  is desired. An entry comes behind those that make its parent and its master, and ports are
  placed when all links are there; otherwise the order is that of the entries.
  """
  @spec changes([Desired.Entry.t()], map(), owned(), LinkState.unkept()) ::
          {[Step.t()], [Step.t()], [Diff.op()]}
  def changes(entries, links, owned, unkept) do
    masters = masters(entries, links)

    {links_of, ports} =
      entries
      |> ordered()
      |> Enum.map(&change(&1, %{links: links, owned: owned, unkept: unkept, masters: masters}))
      |> Enum.unzip()

    {steps, others} =
      Enum.split_with(Enum.concat(links_of) ++ Enum.concat(ports), &is_struct(&1, Step))

    {steps, for({:impossible, step} <- others, do: step),
     for(
       entry <- entries,
       LinkState.waits?(placed(entry, links), links, unkept),
       do: {:update, entry.item}
     )}
  end

  # The first entry that wants each link under itself or under its master, by the link's index: a
  # link has more than one name.
  defp masters(entries, links) do
    wanted =
      for(
        %{key: name} = entry <- entries,
        port <- Keyword.get(entry.opts, :ports, []),
        do: {port, name}
      ) ++ for(%{key: name, opts: opts} <- entries, {:master, ref} <- opts, do: {name, ref})

    for {link, master} <- Enum.reverse(wanted),
        index = LinkState.index(link, links),
        into: %{},
        do: {index, LinkState.index(master, links) || master}
  end

  defp ordered(entries) do
    makers =
      for entry <- entries,
          name <- [entry.key, entry.opts[:peer]],
          name != nil,
          into: %{},
          do: {name, entry}

    {ordered, _seen} = Enum.reduce(entries, {[], MapSet.new()}, &place(&1, &2, makers))
    Enum.reverse(ordered)
  end

  # Entries that need each other keep their order.
  defp place(entry, {ordered, seen}, makers) do
    if MapSet.member?(seen, entry.key) do
      {ordered, seen}
    else
      needed = for key <- [:link, :master], maker = makers[entry.opts[key]], do: maker

      {ordered, seen} =
        Enum.reduce(needed, {ordered, MapSet.put(seen, entry.key)}, &place(&1, &2, makers))

      {[entry | ordered], seen}
    end
  end

  # The steps of an entry's link, and those of its ports.
  defp change(%{key: name} = entry, %{links: links, owned: owned} = state) do
    entry = placed(entry, links)
    kind = entry.item.linkinfo.kind

    case Map.get(links, name) do
      nil ->
        {[create(entry, kind)], ports(entry, nil, state)}

      %{linkinfo: %{kind: ^kind}} = seen ->
        ours? = MapSet.member?(owned, {name, kind})
        {values(entry, seen, state, ours?), ports(entry, seen.index, state)}

      seen ->
        if MapSet.member?(owned, {name, kind(seen)}),
          do: {[anew(entry, seen)], ports(entry, nil, state)},
          else: {[impossible({:create, entry.item}, taken(name, kind(seen)))], []}
    end
  end

  defp impossible(op, reason), do: {:impossible, Step.impossible(op, reason)}

  # A VXLAN has its link among its options, by index.
  defp placed(
         %{item: %{linkinfo: %{info_data: %LinkInfo.Vxlan{} = data} = info} = item} = entry,
         links
       ) do
    link = if ref = entry.opts[:link], do: LinkState.index(ref, links)
    %{entry | item: %{item | linkinfo: %{info | info_data: %{data | link: link}}}}
  end

  defp placed(entry, _links), do: entry

  defp kind(%{linkinfo: %{kind: kind}}), do: kind
  defp kind(_link), do: nil

  defp taken(name, nil), do: taken(name, "device without a kind")

  defp taken(name, kind),
    do:
      Error.from_errno(@eexist, "interface #{inspect(name)} is a #{kind} that was not made here")

  defp create(entry, kind) do
    LinkState.confirmed(
      %Step{op: {:create, entry.item}, run: &Link.create(&1, entry.key, kind, made(entry))},
      entry
    )
  end

  defp made(entry), do: Keyword.delete(entry.opts, :ports)

  defp anew(entry, seen) do
    LinkState.confirmed(
      %Step{
        op: {:update, entry.item},
        run: fn socket ->
          with :ok <- Step.delete(socket, Link.__op__(:delete, [seen.index], nil)),
               do: Link.create(socket, entry.key, entry.item.linkinfo.kind, made(entry))
        end
      },
      entry
    )
  end

  defp values(entry, seen, %{links: links, unkept: unkept}, ours?) do
    general =
      Enum.filter(entry.opts, fn {key, _} = option ->
        LinkState.differs?(option, entry.item, seen, links) and
          (key == :master or not LinkState.unkept?(key, entry, seen, unkept))
      end)

    own =
      Kept.normal(entry.item.linkinfo)
      |> LinkInfo.differing(Kept.normal(seen.linkinfo))
      |> Enum.reject(&LinkState.unkept?(&1, entry, seen, unkept))

    fixed =
      Enum.filter(own, &fixed?(&1, entry.item.linkinfo, seen.linkinfo)) ++
        elsewhere(entry, seen, links)

    parent = entry.opts[:link]

    cond do
      parent != nil and LinkState.index(parent, links) == nil ->
        [impossible({:update, entry.item}, {:no_link, parent})]

      fixed != [] and ours? ->
        [anew(entry, seen)]

      fixed != [] ->
        [impossible({:update, entry.item}, another(entry.key, fixed))]

      own != [] ->
        [configure(entry, seen, general, ours?)]

      general != [] ->
        [set(entry, seen, general, ours?)]

      true ->
        []
    end ++ far_end(entry, seen, links, ours?)
  end

  defp fixed?(:mode, %{info_data: %LinkInfo.Macvlan{mode: a}}, %{info_data: %{mode: b}}),
    do: @passthru in [a, b]

  defp fixed?(option, _wanted, seen), do: option in Map.get(@fixed, seen.kind, [])

  # `[:link]` of a link that is on another parent than its entry says, which no request changes.
  defp elsewhere(%{item: %{linkinfo: %{info_data: %LinkInfo.Vxlan{}}}}, _seen, _links), do: []

  defp elsewhere(entry, seen, links) do
    ref = entry.opts[:link]

    if ref == nil or seen.link == nil or seen.link_netnsid != nil or
         seen.link in parents(entry.item.linkinfo.kind, ref, links),
       do: [],
       else: [:link]
  end

  # The driver puts a macvlan on a macvlan, and an ipvlan on an ipvlan, beside it on its parent.
  @stacked %{
    "macvlan" => :macvlan,
    "macvtap" => :macvlan,
    "ipvlan" => :ipvlan,
    "ipvtap" => :ipvlan
  }

  defp parents(_kind, ref, _links) when is_integer(ref), do: [ref]

  defp parents(kind, ref, links) do
    case links do
      %{^ref => link} ->
        if is_map_key(@stacked, kind) and @stacked[kind] == @stacked[kind(link)],
          do: [link.index, link.link],
          else: [link.index]

      %{} ->
        []
    end
  end

  # The far end of a veth pair gets the name that the entry says, unless it is in another
  # namespace.
  defp far_end(
         %{item: %{linkinfo: %{kind: "veth"}}} = entry,
         %{link: far, link_netnsid: nil},
         links,
         ours?
       )
       when far != nil do
    peer = entry.opts[:peer]

    cond do
      peer == nil or LinkState.index(peer, links) == far -> []
      ours? -> [%Step{op: {:update, entry.item}, run: &Link.set_name(&1, far, peer)}]
      true -> [impossible({:update, entry.item}, another(entry.key, [:peer]))]
    end
  end

  defp far_end(_entry, _seen, _links, _ours?), do: []

  defp another(name, fields) do
    text =
      "interface #{inspect(name)} was not made here and has another #{Enum.join(fields, ", ")}"

    Error.from_errno(@eexist, text)
  end

  defp set(entry, seen, general, ours?) do
    LinkState.confirmed(
      %Step{op: {:update, entry.item}, run: &set(&1, entry, seen, general, ours?)},
      entry
    )
  end

  defp set(_socket, _entry, _seen, [], _ours?), do: :ok

  # A MAC that the driver takes from a new link only (ifb): whatever else is refused stays so in a
  # new link, and the old one stays.
  defp set(socket, entry, seen, general, ours?) do
    {mac, others} = Keyword.split(general, [:address])

    case Link.set(socket, seen.index, general) do
      {:error, %Error{errno: :eopnotsupp}} when ours? and mac != [] ->
        with :ok <- set(socket, entry, seen, others, false),
             do: anew(entry, seen).run.(socket)

      result ->
        result
    end
  end

  # The kind's options in a request of their own: of a link that is there the kernel takes all or
  # none of them.
  defp configure(entry, seen, general, ours?) do
    request = %Link{index: seen.index, linkinfo: entry.item.linkinfo}

    LinkState.confirmed(
      %Step{
        op: {:update, entry.item},
        run: fn socket ->
          case Call.change(socket, Call.op(rtm_newlink(), 0, request)) do
            :ok ->
              set(socket, entry, seen, general, ours?)

            {:error, %Error{errno: errno}} = error ->
              if ours? and anew?(errno, kind(seen)),
                do: anew(entry, seen).run.(socket),
                else: error

            error ->
              error
          end
        end
      },
      entry
    )
  end

  # Refusals of a change that a new link does not meet: of a kind that takes no changes, and of a
  # bond that is up or has ports, whose mode is fixed (bond_opt_check_deps).
  defp anew?(:eopnotsupp, _kind), do: true
  defp anew?(errno, "bond"), do: errno in [:ebusy, :enotempty]
  defp anew?(_errno, _kind), do: false

  # Ports are links of their own: each is put under the bridge that names it.
  defp ports(entry, index, %{links: links, masters: masters}) do
    for port <- Keyword.get(entry.opts, :ports, []),
        seen = links[port] || %Link{name: port},
        index == nil or seen.master != index do
      if Map.get(masters, seen.index, entry.key) in [entry.key, index],
        do: %Step{op: {:update, seen}, run: &Link.set_master(&1, port, entry.key)},
        else: impossible({:update, seen}, two_masters(port, seen))
    end
  end

  defp two_masters(port, seen) do
    text = "interface #{inspect(port)} is #{inspect(seen.name)}, which has another master"
    Error.from_errno(@ebusy, text)
  end

  @doc "Those of the values that are still desired and still read as they did."
  @spec still_unkept([Desired.Entry.t()], map(), LinkState.unkept()) :: LinkState.unkept()
  def still_unkept(entries, links, unkept),
    do: entries |> Enum.map(&placed(&1, links)) |> LinkState.still_unkept(links, unkept)

  @doc "Deletions of links of ours that no entry names."
  @spec deletions([Desired.Entry.t()], map(), owned()) :: [Step.t()]
  def deletions(entries, links, owned) do
    wanted = MapSet.new(entries, & &1.key)

    for {name, kind} <- Enum.sort(owned),
        not MapSet.member?(wanted, name),
        %{^name => %{linkinfo: %{kind: ^kind}} = link} <- [links],
        do: Step.deletion({:delete, link}, Link.__op__(:delete, [link.index], nil))
  end

  @doc "Those of the links that were ours or made, as `{name, kind}`, that are there."
  @spec owned(map(), owned()) :: owned()
  def owned(links, known) do
    MapSet.filter(known, fn {name, kind} ->
      match?(%{^name => %{linkinfo: %{kind: ^kind}}}, links)
    end)
  end
end
