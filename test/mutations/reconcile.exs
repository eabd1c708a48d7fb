canonical = "lib/linx/netlink/rtnl/reconcile/canonical.ex"
addresses = "lib/linx/netlink/rtnl/reconcile/addresses.ex"
groups = "lib/linx/netlink/rtnl/reconcile/groups.ex"
change = "lib/linx/netlink/rtnl/route/change.ex"
desired = "lib/linx/netlink/rtnl/reconcile/desired.ex"
links = "lib/linx/netlink/rtnl/reconcile/links.ex"
links_test = ["mix", "test", "test/integration/netlink/reconcile_links_rules_test.exs"]

# Each row puts one fault of the old reconciler back; the property test finds it by its laws
# alone.
laws = [
  "env",
  "LINX_SEEDS=200",
  "mix",
  "test",
  "test/integration/netlink/reconcile_property_test.exs"
]

[
  %{
    name: "reconcile-options",
    promise: "An option that a desired route sets is compared with the kernel's.",
    file: canonical,
    replace:
      "  def same_options?(want, set, seen), do: Enum.all?(set, &option?(&1, want, seen))\n",
    with:
      "  def same_options?(want, set, seen),\n" <>
        "    do: set == [] or Enum.count(set, &option?(&1, want, seen)) >= 0\n",
    run: laws
  },
  %{
    name: "reconcile-type",
    promise: "A route of another type than the desired one is changed.",
    file: canonical,
    replace: "    type(want) == type(seen) and same_hops?(want, seen)",
    with: "    type(want) > 0 and same_hops?(want, seen)",
    run: laws
  },
  %{
    name: "reconcile-inet6-update",
    promise: "An IPv6 route is changed by replacing it, not by appending to its group.",
    file: groups,
    replace: "      [fn -> Call.change(socket, Route.change(:replace, route)) end] ++",
    with: "      [fn -> Call.change(socket, Route.change(:append, route)) end] ++",
    run: laws
  },
  %{
    name: "reconcile-one-hop",
    promise: "A multipath of one hop is compared as the gateway that the kernel stores.",
    file: canonical,
    replace: "    do: route |> masked() |> own_via() |> flagged_hops() |> single_hop()",
    with: "    do: route |> masked() |> own_via() |> flagged_hops()",
    run: laws
  },
  %{
    name: "reconcile-nexthop-object",
    promise:
      "A route by a nexthop object is compared by the object, not by the gateway listed with it.",
    file: canonical,
    replace: "  def hops(%{nh_id: id}) when id != nil, do: {:object, id}\n",
    with: "",
    run: laws
  },
  %{
    name: "reconcile-nexthop-deletion",
    promise: "A route by a nexthop object is deleted by the object alone.",
    file: change,
    replace: "  def bare(%{nh_id: id} = route) when id != nil do",
    with: "  def bare(%{nh_id: id} = route) when id == :never do",
    run: laws
  },
  %{
    name: "reconcile-groups",
    promise: "An IPv6 group that others have joined is compared and changed hop by hop.",
    file: groups,
    replace: "      Canonical.grouped?(want) and group != nil and group.multipath != nil ->",
    with: "      Canonical.grouped?(want) and group == :never ->",
    run: laws
  },
  %{
    name: "reconcile-group-deletion",
    promise:
      "A deletion of a hop names its gateway, so that no other program's hop goes with it.",
    file: canonical,
    replace:
      "        gateway: hop.gateway,\n        via: hop.via,\n        oif: oif,\n" <>
        "        protocol: protocol",
    with:
      "        gateway: nil,\n        via: nil,\n        oif: oif,\n        protocol: protocol",
    run: laws
  },
  %{
    name: "reconcile-inet6-prefix",
    promise: "An IPv6 address of another prefix length is the same address to the kernel.",
    file: canonical,
    replace:
      "  def address_id(%{family: @inet6} = address), do: {address.index, @inet6, own(address)}",
    with:
      "  def address_id(%{family: @inet6} = address),\n" <>
        "    do: {address.index, @inet6, own(address), address.prefixlen}",
    run: laws
  },
  %{
    name: "reconcile-secondaries",
    promise: "Addresses that go with a primary are put back in the same pass.",
    file: "lib/linx/netlink/rtnl/reconcile/pass.ex",
    replace:
      "    deleted = if Apply.halted?(state), do: [], else: Restore.deleted(steps, " <>
        "observed.by_id)",
    with:
      "    deleted = if Apply.halted?(state), do: [], else: Enum.take(steps, 0 * " <>
        "map_size(observed.by_id))",
    run: laws
  },
  %{
    name: "reconcile-hold-up",
    promise: "Under on_error: :continue an operation that fails keeps no other from being tried.",
    file: "lib/linx/netlink/rtnl/reconcile/apply.ex",
    replace: "  def halted?(%{on_error: :halt, failed: [_ | _]}), do: true",
    with: "  def halted?(%{failed: [_ | _]}), do: true",
    run: laws
  },
  %{
    name: "reconcile-missing-link",
    promise: "Under on_error: :continue a link that is not there fails its entries alone.",
    file: "lib/linx/netlink/rtnl/reconcile/pass.ex",
    replace: "      if options.on_error == :halt,\n",
    with: "      if options.on_error != nil,\n",
    run: laws
  },
  %{
    name: "reconcile-scope",
    promise: "An address of ours of another scope than global is deleted.",
    file: addresses,
    replace: "      |> Enum.filter(&(ours?(&1, ctx) and not",
    with: "      |> Enum.filter(&(ours?(&1, ctx) and &1.scope == 0 and not",
    run: laws
  },
  %{
    name: "reconcile-parent",
    promise: "A link of ours on another parent than the desired one is made anew.",
    file: links,
    replace: "       do: [],\n       else: [:link]\n",
    with: "       do: [],\n       else: []\n",
    run: links_test
  },
  %{
    name: "reconcile-far-end",
    promise: "The far end of a veth pair of ours gets the name that is desired.",
    file: links,
    replace: "      peer == nil or LinkState.index(peer, links) == far -> []\n",
    with: "      peer == nil or is_map(links) -> []\n",
    run: links_test
  },
  %{
    name: "reconcile-option-twice",
    promise: "A link's option with two values is refused.",
    file: desired,
    replace: "      %{^key => other} when other != value -> option\n",
    with: "      %{^key => other} when other == {value} -> option\n",
    run: links_test
  },
  %{
    name: "reconcile-two-masters",
    promise: "A link under two masters is refused.",
    file: desired,
    replace: "        %{^link => other} when other != master ->\n",
    with: "        %{^link => other} when other == {master} ->\n",
    run: links_test
  },
  %{
    name: "reconcile-link-order",
    promise: "A link is made behind its parent and its master.",
    file: links,
    replace: "      needed = for key <- [:link, :master], maker",
    with: "      needed = for key <- [:index], maker",
    run: links_test
  },
  %{
    name: "reconcile-unsettled",
    promise: "What differs after every round is pending.",
    file: "lib/linx/netlink/rtnl/reconcile/pass.ex",
    replace: "    left = for op <- Enum.uniq(ops), not MapSet.member?(named, op), do: op\n",
    with: "    left = for op <- Enum.uniq(ops), MapSet.member?(named, op), do: op\n",
    run: links_test
  },
  %{
    name: "link-parentless",
    promise: "A parent is refused for a kind that has none.",
    file: "lib/linx/netlink/rtnl/link/change.ex",
    replace: "when index != nil and kind in @parentless,",
    with: "when index == 0 and kind in @parentless,",
    run: ["mix", "test", "test/integration/netlink/link_options_test.exs"]
  },
  %{
    name: "reconcile-behind-deletions",
    promise: "What is desired on a link that the pass deletes is not there.",
    file: "lib/linx/netlink/rtnl/reconcile/pass.ex",
    replace: "      if turn == :first and not Apply.halted?",
    with: "      if turn == :never and not Apply.halted?",
    run: laws
  },
  %{
    name: "reconcile-rule-of-less",
    promise: "A rule that leaves out what another one says is made beside it.",
    file: "lib/linx/netlink/rtnl/reconcile/rules.ex",
    replace: "  defp open(rule), do: Enum.filter(@open, &open?(rule, &1))\n",
    with: "  defp open(rule), do: Enum.filter(@open, &(&1 == nil and open?(rule, &1)))\n",
    run: links_test
  }
]
