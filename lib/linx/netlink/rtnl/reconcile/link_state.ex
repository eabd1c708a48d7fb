defmodule Linx.Netlink.Rtnl.Reconcile.LinkState do
  @moduledoc false
  # Observed links beside the desired ones: the options that differ, and those that the kernel
  # keeps otherwise than they were sent.

  import Bitwise

  alias Linx.Netlink.Rtnl.{Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Reconcile.{Desired, Kept, Observed, Step}

  @iff_up 1
  @general [:up, :mtu, :address, :txqlen, :group, :alias, :master]

  @switches [:arp, :promisc, :multicast, :allmulticast]

  @typedoc """
  Options of links, by name and option, that read otherwise right after they were set: what was
  sent, and what was read. They are not sent again while they read so.
  """
  @type unkept :: %{optional({String.t(), atom()}) => {sent :: term(), read :: term()}}

  @doc "Whether a desired option in general differs in a link."
  @spec differs?({atom(), term()}, Link.t(), Link.t(), map()) :: boolean()
  def differs?({:up, up?}, _item, seen, _links), do: (seen.flags &&& @iff_up) != 0 != up?
  def differs?({:master, nil}, _item, seen, _links), do: seen.master not in [nil, 0]

  def differs?({:master, ref}, _item, seen, links),
    do: seen.master == nil or seen.master != index(ref, links)

  def differs?({:alias, ""}, _item, seen, _links), do: seen.alias not in [nil, ""]

  def differs?({key, _value}, item, seen, _links) when key in @general,
    do: Map.fetch!(item, key) != Map.fetch!(seen, key)

  def differs?({key, _on?}, item, seen, _links) when key in @switches do
    {:ok, switch, []} = Link.Options.set([{key, true}], %Link{}, nil)
    (bxor(item.flags, seen.flags) &&& switch.change) != 0
  end

  def differs?(_option, _item, _seen, _links), do: false

  @doc "The index of a link that is named or numbered, or `nil`."
  @spec index(Link.ref(), map()) :: pos_integer() | nil
  def index(ref, _links) when is_integer(ref), do: ref

  def index(ref, links) do
    case links do
      %{^ref => link} -> link.index
      %{} -> nil
    end
  end

  @doc """
  The step, behind which the link is read again: it answers with the options that are not kept as
  they were sent.
  """
  @spec confirmed(Step.t(), Desired.Entry.t()) :: Step.t()
  def confirmed(%Step{run: run} = step, entry),
    do: %{step | run: fn socket -> with :ok <- run.(socket), do: confirm(socket, entry) end}

  defp confirm(socket, %{key: name} = entry) do
    case Observed.links_of(socket, [name]) do
      {:ok, %{^name => seen}} ->
        case readings(entry, seen) do
          none when none == %{} -> :ok
          unkept -> {:ok, unkept}
        end

      # The next round reads it anyway, and tells what it cannot read.
      _absent_or_unread ->
        :ok
    end
  end

  # The options of an entry that differ in a link that was just set, with their values there.
  defp readings(entry, seen) do
    own = LinkInfo.differing(Kept.normal(entry.item.linkinfo), Kept.normal(seen.linkinfo))

    for option <- own ++ general(entry, seen), into: %{} do
      {{entry.key, option}, reading(option, entry, seen)}
    end
  end

  # A master is another link.
  defp general(entry, seen) do
    for {key, _value} = option <- entry.opts,
        key != :master,
        differs?(option, entry.item, seen, %{}),
        do: key
  end

  defp reading(:up, entry, seen), do: {entry.item.flags &&& @iff_up, seen.flags &&& @iff_up}

  defp reading(key, entry, seen) when key in @switches do
    {:ok, %{change: flag}, []} = Link.Options.set([{key, true}], %Link{}, nil)
    {entry.item.flags &&& flag, seen.flags &&& flag}
  end

  defp reading(key, entry, seen) when key in @general,
    do: {Map.fetch!(entry.item, key), Map.fetch!(seen, key)}

  defp reading(key, entry, seen),
    do: {value(entry.item.linkinfo, key), value(seen.linkinfo, key)}

  defp value(%{info_data: %_{} = data}, key), do: Map.fetch!(data, key)
  defp value(_info, _key), do: nil

  @doc "Whether an option reads as it did right after it was set to the same value."
  @spec unkept?(atom(), Desired.Entry.t(), Link.t(), unkept()) :: boolean()
  def unkept?(option, entry, seen, unkept),
    do: Map.get(unkept, {entry.key, option}) == reading(option, entry, seen)

  @doc "Whether an option of an entry's link is not kept as it is desired."
  @spec waits?(Desired.Entry.t(), map(), unkept()) :: boolean()
  def waits?(_entry, _links, unkept) when unkept == %{}, do: false

  def waits?(entry, links, unkept) do
    case Map.get(links, entry.key) do
      nil ->
        false

      seen ->
        Enum.any?(readings(entry, seen), fn {{_name, option} = id, values} ->
          unkept[id] == values and not Kept.rounded?(entry.item.linkinfo, option, values)
        end)
    end
  end

  @doc "Those of the values that are still desired and still read as they did."
  @spec still_unkept([Desired.Entry.t()], map(), unkept()) :: unkept()
  def still_unkept(_entries, _links, unkept) when unkept == %{}, do: unkept

  def still_unkept(entries, links, unkept) do
    for entry <- entries,
        seen = links[entry.key],
        {id, values} <- readings(entry, seen),
        unkept[id] == values,
        into: %{},
        do: {id, values}
  end
end
