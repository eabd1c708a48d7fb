defmodule Linx.Netlink.Rtnl.Reconcile.Links do
  @moduledoc false
  # The steps that make links as desired. A link is ours if `last_applied` names it with its kind; no other is deleted or
  # made anew. The options that an entry sets are set on a link that was there already, too.

  import Bitwise

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Reconcile.{Desired, Observed, Step}

  @rtm_newlink 16
  @iff_up 1
  @eexist 17
  @general [:up, :mtu, :address, :txqlen, :group, :alias, :master]

  @switches [:arp, :promisc, :multicast, :allmulticast]

  # Options of a kind that the kernel takes and forgets in a change.
  @fixed %{"vlan" => [:id, :protocol], "vxlan" => [:id]}

  @type owned :: MapSet.t({String.t(), String.t()})

  @doc "The links that entries name, by name: themselves, their masters, parents and ports, and those that are ours."
  @spec read(Socket.t(), [Desired.Entry.t()], owned()) :: {:ok, map()} | {:error, term()}
  def read(socket, entries, owned) do
    named =
      for %{key: name, opts: opts} <- entries,
          ref <- [name, opts[:master], opts[:link] | Keyword.get(opts, :ports, [])],
          ref != nil,
          do: ref

    Observed.links_of(socket, named ++ for({name, _kind} <- owned, do: name))
  end

  @doc "Creations and updates in the order of the entries, and those that cannot be."
  @spec changes([Desired.Entry.t()], map(), owned()) :: {[Step.t()], [Step.t()]}
  def changes(entries, links, owned) do
    steps = Enum.flat_map(entries, &change(&1, links, owned))

    Enum.split_with(steps, &is_struct(&1, Step))
    |> then(fn {steps, others} -> {steps, Enum.map(others, &elem(&1, 1))} end)
  end

  defp change(%{key: name} = entry, links, owned) do
    kind = entry.item.linkinfo.kind

    case Map.get(links, name) do
      nil ->
        [create(entry, kind) | ports(entry, nil, links)]

      %{linkinfo: %{kind: ^kind}} = seen ->
        values(entry, seen, links, MapSet.member?(owned, {name, kind})) ++
          ports(entry, seen.index, links)

      seen ->
        if MapSet.member?(owned, {name, kind(seen)}),
          do: [anew(entry, seen) | ports(entry, nil, links)],
          else: [{:impossible, Step.impossible({:create, entry.item}, taken(name, kind(seen)))}]
    end
  end

  defp kind(%{linkinfo: %{kind: kind}}), do: kind
  defp kind(_link), do: nil

  defp taken(name, nil), do: taken(name, "device without a kind")

  defp taken(name, kind),
    do:
      Error.from_errno(@eexist, "interface #{inspect(name)} is a #{kind} that was not made here")

  defp create(entry, kind),
    do: %Step{op: {:create, entry.item}, run: &Link.create(&1, entry.key, kind, made(entry))}

  defp made(entry), do: Keyword.delete(entry.opts, :ports)

  defp anew(entry, seen) do
    %Step{
      op: {:update, entry.item},
      run: fn socket ->
        with :ok <- Step.delete(socket, Link.__op__(:delete, [seen.index], nil)),
             do: Link.create(socket, entry.key, entry.item.linkinfo.kind, made(entry))
      end
    }
  end

  defp values(entry, seen, links, ours?) do
    general = Enum.filter(entry.opts, &differs?(&1, entry.item, seen, links))
    own = LinkInfo.differing(entry.item.linkinfo, seen.linkinfo)
    kind = seen.linkinfo.kind

    cond do
      own == [] and general == [] -> []
      ours? and Enum.any?(own, &(&1 in Map.get(@fixed, kind, []))) -> [anew(entry, seen)]
      own == [] -> [set(entry, seen, general)]
      true -> [configure(entry, seen, general, ours?)]
    end
  end

  defp differs?({:up, up?}, _item, seen, _links), do: (seen.flags &&& @iff_up) != 0 != up?
  defp differs?({:master, nil}, _item, seen, _links), do: seen.master not in [nil, 0]

  defp differs?({:master, ref}, _item, seen, links),
    do: seen.master == nil or seen.master != index(ref, links)

  defp differs?({:alias, ""}, _item, seen, _links), do: seen.alias not in [nil, ""]

  defp differs?({key, _value}, item, seen, _links) when key in @general,
    do: Map.fetch!(item, key) != Map.fetch!(seen, key)

  defp differs?({key, _on?}, item, seen, _links) when key in @switches do
    {:ok, switch, []} = Link.Options.set([{key, true}], %Link{}, nil)
    (bxor(item.flags, seen.flags) &&& switch.change) != 0
  end

  defp differs?(_option, _item, _seen, _links), do: false

  defp index(ref, _links) when is_integer(ref), do: ref

  defp index(ref, links) do
    case links do
      %{^ref => link} -> link.index
      %{} -> nil
    end
  end

  defp set(entry, seen, general),
    do: %Step{op: {:update, entry.item}, run: &Link.set(&1, seen.index, general)}

  # The kind's options in a request of their own: of a link that is there the kernel takes all or none of them.
  defp configure(entry, seen, general, ours?) do
    request = %Link{index: seen.index, linkinfo: entry.item.linkinfo}

    %Step{
      op: {:update, entry.item},
      run: fn socket ->
        case Call.change(socket, Call.op(@rtm_newlink, 0, request)) do
          :ok ->
            if general == [], do: :ok, else: Link.set(socket, seen.index, general)

          {:error, %Error{errno: :eopnotsupp}} when ours? ->
            anew(entry, seen).run.(socket)

          error ->
            error
        end
      end
    }
  end

  # Ports are links of their own: each is put under the bridge that names it.
  defp ports(entry, index, links) do
    for port <- Keyword.get(entry.opts, :ports, []),
        seen = links[port] || %Link{name: port},
        index == nil or seen.master != index,
        do: %Step{op: {:update, seen}, run: &Link.set_master(&1, port, entry.key)}
  end

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
