defmodule Linx.Netlink.Rtnl.Reconcile.Addresses do
  @moduledoc false
  # The steps that make addresses as desired.
  #
  # An address is ours if it carries our mark (IFA_PROTO), or if it carries none and an earlier
  # pass made it: a change by ip(8) takes the mark off.

  import Bitwise
  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Attr, Error, Request, Socket}
  alias Linx.Netlink.Rtnl.{Address, Call, Diff, Link}
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Clock, Desired, Observed, Step}

  @inet6 10
  # IFA_F_SECONDARY of an IPv4 address
  @secondary 0x01
  # IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_OPTIMISTIC
  @dadfailed 0x08
  @tentative 0x40
  @optimistic 0x04
  @eexist 17

  @type ctx :: %{
          protocol: 1..255,
          owned: MapSet.t(),
          clocks: Clock.memory(),
          started: integer()
        }

  @doc "Creations and updates, in the order of the entries, and those that cannot be."
  @spec changes([Desired.Entry.t()], Observed.t(), ctx()) :: {[Step.t()], [Step.t()]}
  def changes(entries, observed, ctx) do
    entries
    |> Enum.filter(&(&1.absent == nil))
    |> Enum.reduce({[], []}, fn entry, {steps, impossible} ->
      case change(entry, Map.get(observed.by_id, entry.key, []), observed, ctx) do
        nil -> {steps, impossible}
        {:impossible, step} -> {steps, [step | impossible]}
        step -> {[step | steps], impossible}
      end
    end)
    |> then(fn {steps, impossible} -> {Enum.reverse(steps), Enum.reverse(impossible)} end)
  end

  defp change(entry, [], observed, _ctx),
    do: Step.request({:create, entry.item}, add(entry.item, observed))

  defp change(entry, [seen | _], observed, ctx) do
    difference =
      case Canonical.compare_address(entry.item, entry.set, seen) do
        :same -> if lifetimes?(entry, seen, ctx), do: :same, else: :values
        other -> other
      end

    cond do
      not ours?(seen, ctx) and difference == :same ->
        nil

      not ours?(seen, ctx) ->
        {:impossible, Step.impossible({:create, entry.item}, not_ours(seen))}

      difference == :same and seen.proto == ctx.protocol ->
        nil

      difference == :identity ->
        case refusal(entry, seen, observed, ctx) do
          nil -> again(entry.item, seen, observed)
          reason -> {:impossible, Step.impossible({:update, entry.item}, reason)}
        end

      true ->
        replace(entry, seen)
    end
  end

  defp lifetimes?(entry, seen, ctx),
    do: Clock.same?(entry.spans, rests(seen), ctx.clocks, {:address, entry.key}, ctx.started)

  defp rests(seen), do: seen |> Canonical.lifetime() |> Tuple.to_list()

  defp not_ours(seen) do
    text =
      "#{Canonical.own(seen)}/#{seen.prefixlen} is there, with other values, and was not " <>
        "made here"

    Error.from_errno(@eexist, text)
  end

  # A replacement that says nothing of flags and metric would take them off.
  defp replace(entry, seen) do
    item = entry.item
    flags = if :flags in entry.set, do: Canonical.flags(item), else: Canonical.kept_flags(seen)
    priority = if :priority in entry.set, do: item.priority, else: seen.priority

    sent = %{
      item
      | flags: flags &&& 0xFF,
        flags_ext: flags,
        priority: priority,
        lifetime: item.lifetime || {:forever, :forever}
    }

    Step.request({:update, item}, Address.change(:replace, sent))
  end

  @einval 22
  # IFA_F_MANAGETEMPADDR, IFA_F_MCAUTOJOIN
  @mngtmpaddr 0x100
  @autojoin 0x400

  # The error with which the kernel would refuse the address once the old one is gone: the old one
  # stays then.
  defp refusal(%{item: %{family: @inet6} = item}, _seen, _observed, _ctx) do
    if (Canonical.flags(item) &&& @mngtmpaddr) != 0 and item.prefixlen != 64,
      do: Error.from_errno(@einval, "temporary addresses need a prefix length of 64")
  end

  defp refusal(%{item: item} = entry, seen, observed, ctx) do
    cond do
      (Canonical.flags(item) &&& @autojoin) != 0 and not multicast?(item.local) ->
        Error.from_errno(@einval, "only a multicast address is joined")

      :scope in entry.set and Enum.any?(observed.addresses, &stays?(&1, item, seen, ctx)) ->
        Error.from_errno(@einval, "another address of the subnet has another scope")

      true ->
        nil
    end
  end

  defp multicast?(%{bytes: <<first, _::24>>}), do: first in 224..239

  # Another program's address of the same subnet, where the kernel takes one scope only.
  defp stays?(other, item, seen, ctx) do
    other.index == item.index and other.family == item.family and other != seen and
      other.prefixlen == item.prefixlen and other.scope != item.scope and
      not ours?(other, ctx) and
      Canonical.address_net(other) == Canonical.address_net(item)
  end

  # An address that cannot be made anew is put back as it was.
  defp again(item, seen, observed) do
    %Step{
      op: {:update, item},
      run: fn socket ->
        with :ok <- Step.delete(socket, Address.change(:delete, seen)),
             {:error, _} = error <- Call.change(socket, add(item, observed)),
             do: Step.undone(error, [{{:create, seen}, fn -> put_back(socket, seen) end}])
      end
    }
  end

  # The kernel has no words for the refusal of an IPv6 address on a link that is too small for
  # IPv6.
  defp add(item, observed) do
    with {:ok, {type, flags, message, explain}} <- Address.change(:add, item) do
      small? = item.family == @inet6 and small?(item.index, observed.links)

      {:ok,
       {type, flags, message,
        fn error ->
          if small? and error.errno == :einval and error.message == nil,
            do: %{error | message: "IPv6 needs an MTU of 1280"},
            else: explain.(error)
        end}}
    end
  end

  defp small?(index, links), do: match?(%{^index => %{mtu: mtu}} when mtu < 1280, links)

  @doc """
  Deletions of addresses of ours that no entry names: secondaries first, which would go with their
  primary.
  """
  @spec deletions([Desired.Entry.t()], Observed.t(), ctx()) :: [Step.t()]
  def deletions(entries, observed, ctx) do
    wanted = MapSet.new(for %{absent: nil} = entry <- entries, do: entry.key)

    {secondaries, primaries} =
      observed.addresses
      |> Enum.filter(&(ours?(&1, ctx) and not MapSet.member?(wanted, Canonical.address_id(&1))))
      |> Enum.split_with(&secondary?/1)

    for address <- secondaries ++ primaries,
        do: Step.deletion({:delete, address}, Address.change(:delete, address))
  end

  defp secondary?(%{family: @inet6}), do: false
  defp secondary?(%{flags: flags}), do: (flags &&& @secondary) != 0

  defp ours?(%{proto: protocol}, %{protocol: protocol}), do: true

  defp ours?(%{proto: mark} = address, ctx) when mark in [nil, 0],
    do: MapSet.member?(ctx.owned, Diff.address_key(address))

  defp ours?(_address, _ctx), do: false

  @doc "The keys of the addresses that are ours."
  @spec owned(Observed.t(), ctx()) :: MapSet.t()
  def owned(observed, ctx) do
    for address <- observed.addresses,
        ours?(address, ctx),
        into: MapSet.new(),
        do: Diff.address_key(address)
  end

  @doc """
  The desired addresses that are there and of no use: those that failed the check for duplicates,
  and those in it.
  """
  @spec unusable([Desired.Entry.t()], Observed.t()) :: %{
          failed: [Address.t()],
          checked: [Address.t()]
        }
  def unusable(entries, observed) do
    flagged =
      for %{item: %{family: @inet6} = item, absent: nil, key: key} <- entries,
          seen <- Map.get(observed.by_id, key, []),
          state = state(seen),
          do: {state, item}

    %{
      failed: for({:failed, item} <- flagged, do: item),
      checked: for({:checked, item} <- flagged, do: item)
    }
  end

  defp state(address) do
    cond do
      (Canonical.flags(address) &&& @dadfailed) != 0 -> :failed
      tentative?(address) -> :checked
      true -> nil
    end
  end

  defp tentative?(address) do
    flags = Canonical.flags(address)
    (flags &&& @tentative) != 0 and (flags &&& @optimistic) == 0
  end

  @doc "What to remember of the lifetimes of desired addresses that are there."
  @spec clocks([Desired.Entry.t()], Observed.t(), ctx()) :: Clock.memory()
  def clocks(entries, observed, ctx) do
    for %{spans: spans, key: key} <- entries,
        spans != [:forever, :forever],
        [seen | _] <- [Map.get(observed.by_id, key)],
        id = {:address, key},
        into: %{},
        do: {id, Clock.remember(ctx.clocks, id, spans, rests(seen), ctx.started)}
  end

  # A check that is off still ends in a work queue of the kernel: within a millisecond, or when a
  # machine with more work than processors comes to it.
  @checked_within 2_000
  @longest_pause 50
  @ifla_af_spec 26
  @ifla_inet6_conf 2
  # DEVCONF_ACCEPT_DAD, a place in an array of 32-bit numbers
  @accept_dad 27

  @doc """
  Waits until the given new addresses are out of the check for duplicates, where their links do no
  check. Where they do, it takes a second, and nobody waits. The kernel checks on a link if the
  link's `accept_dad` or that of all links says so, unless the link has no neighbours
  (addrconf_dad_begin).
  """
  @spec settle(Socket.t(), [Address.t()]) :: :ok
  def settle(socket, addresses) do
    fresh = for %{family: @inet6} = address <- addresses, do: address
    unchecked = fresh |> Enum.map(& &1.index) |> Enum.uniq() |> unchecked(socket)

    ids =
      for address <- fresh,
          address.index in unchecked,
          into: MapSet.new(),
          do: Canonical.address_id(address)

    deadline = System.monotonic_time(:millisecond) + @checked_within
    if MapSet.size(ids) > 0, do: settled(socket, ids, 1, deadline), else: :ok
  end

  defp settled(socket, ids, pause, deadline) do
    with {:ok, addresses} <- Address.list(socket, family: :inet6),
         true <- Enum.any?(addresses, &(tentative?(&1) and Canonical.address_id(&1) in ids)),
         true <- System.monotonic_time(:millisecond) < deadline do
      Process.sleep(pause)
      settled(socket, ids, min(2 * pause, @longest_pause), deadline)
    else
      _settled_or_unreadable_or_late -> :ok
    end
  end

  defp unchecked(indices, socket) do
    checks = Enum.map(indices, &{&1, check(socket, &1)})
    alone = for {index, :never} <- checks, do: index
    off = for {index, :off} <- checks, do: index
    if off != [] and all_off?(socket), do: alone ++ off, else: alone
  end

  @accept_dad_of_all "net/ipv6/conf/all/accept_dad"

  # Where it cannot be read the link's own setting counts: the wait has an end.
  defp all_off?(socket) do
    with {:ok, text} <- Socket.sysctl(socket, @accept_dad_of_all),
         {accept, _newline} <- Integer.parse(text) do
      accept < 1
    else
      _unreadable -> true
    end
  end

  # IFF_LOOPBACK, IFF_NOARP
  @no_neighbours 0x88

  # `:never` on a link without neighbours, `:on` or `:off` by the link's own setting.
  defp check(socket, index) do
    request = {rtm_getlink(), 0, Link.encode(%Link{index: index})}

    with {:ok, [{:ok, <<_::64, flags::native-32, _::32, attrs::binary>>}]} <-
           Request.lookup(socket, [request]),
         true <- (flags &&& @no_neighbours) == 0 or :never,
         {_, families} <- List.keyfind(Attr.scan(attrs), @ifla_af_spec, 0),
         {_, inet6} <- List.keyfind(Attr.scan(families), @inet6, 0),
         {_, conf} <- List.keyfind(Attr.scan(inet6), @ifla_inet6_conf, 0),
         <<_::binary-size(4 * @accept_dad), accept::native-signed-32, _::binary>> <- conf do
      if accept > 0, do: :on, else: :off
    else
      :never -> :never
      _no_ipv6 -> :off
    end
  end

  @doc "Makes an address again that went with another one."
  @spec put_back(Socket.t(), Address.t()) :: :ok | {:error, term()}
  def put_back(socket, address),
    do: Call.change(socket, Address.change(:add, Canonical.again_address(address)))
end
