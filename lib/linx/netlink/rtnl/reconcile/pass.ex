defmodule Linx.Netlink.Rtnl.Reconcile.Pass do
  @moduledoc false
  # One pass: read, compare, change, and read again what the changes may have taken along.
  #
  # Order of a round: addresses, routes and rules are made and changed, then rules, routes and
  # addresses deleted. So a gateway is reachable before a route needs it, and no state between is
  # worse than the one before. Links come before all others and go after them.

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Address, Call, Link, Route, Rule}
  alias Linx.Netlink.Rtnl.Reconcile.{Addresses, Apply, Canonical, Clock, Desired, Gateways}
  alias Linx.Netlink.Rtnl.Reconcile.{Links, Observed}
  alias Linx.Netlink.Rtnl.Reconcile.{Report, Restore, Routes, RouteState, Rules, Step}
  alias Linx.Netlink.Socket

  # A round follows as long as the one before changed what may take other things along. Each mends
  # what the last one broke, so more than these mean that somebody else is at work.
  @rounds 6
  @link_rounds 3

  @type options :: %{protocol: 1..255, on_error: :halt | :continue}

  @spec run(Socket.t(), Desired.specs(), map(), options()) ::
          {:ok, Report.t()} | {:error, term()}
  def run(socket, specs, last_applied, options) do
    owned = Map.get(last_applied, :links, MapSet.new())
    run = %{socket: socket, specs: specs, last_applied: last_applied, options: options}

    with {:ok, known} <- Observed.links_of(socket, Desired.names(specs)),
         {:ok, entries} <- entries(specs, known, options),
         do: turn(run, new(last_applied, options), known, entries, owned, :first)
  end

  defp new(last_applied, options),
    do: Apply.new(options.on_error, Map.get(last_applied, :unkept, %{}))

  # A deleted link takes along what is on it, and an entry that names it names a link that is not
  # there: behind the deletion of links all is compared once more.
  defp turn(run, state, known, entries, owned, turn) do
    %{socket: socket, specs: specs, last_applied: last_applied, options: options} = run

    with {:ok, links} <- Links.read(socket, entries.links, owned),
         {:ok, state, known} <-
           make_links(socket, state, entries.links, known, links, owned, specs),
         {:ok, entries} <- again(entries, specs, known, options),
         pass = pass(socket, entries, last_applied, options, known, state.impossible),
         {:ok, state, {observed, done, clocks}} <- rounds(pass, state.apply, @rounds),
         pass = put_in(pass.ctx.clocks, clocks),
         deleted = Apply.run(state, socket, Links.deletions(entries.links, links, owned)) do
      if turn == :first and not Apply.halted?(deleted) and deleted.applied != state.applied,
        do: second(%{run | last_applied: with_clocks(last_applied, clocks)}, deleted, owned),
        else: reported(pass, deleted, {observed, done}, owned)
    end
  end

  defp with_clocks(last_applied, clocks),
    do: put(last_applied, :clocks, clocks, clocks == %{})

  defp second(%{socket: socket, specs: specs, options: options} = run, state, owned) do
    owned = MapSet.union(owned, made(state.applied, MapSet.new(owned, &elem(&1, 0))))

    with {:ok, known} <- Observed.links_of(socket, Desired.names(specs)),
         {:ok, entries} <-
           Desired.entries(specs, index(known), absent(specs, known), options.protocol),
         do: turn(run, %{state | failed: [], pending: []}, known, entries, owned, :second)
  end

  defp reported(pass, state, observed, owned) do
    with {:ok, links} <- Links.read(pass.socket, pass.entries.links, owned),
         do: {:ok, report(pass, state, observed, links)}
  end

  defp pass(socket, entries, last_applied, options, links, impossible) do
    %{
      socket: socket,
      entries: entries,
      last_applied: last_applied,
      links: links,
      impossible: impossible,
      on_error: options.on_error,
      ctx: %{
        protocol: options.protocol,
        owned: Map.get(last_applied, :addresses, MapSet.new()),
        remembered: Map.get(last_applied, :routes),
        clocks: Map.get(last_applied, :clocks, %{}),
        started: Clock.now()
      }
    }
  end

  # -- the desired state -------------------------------------------------------------------------

  # A link that is not there, nor to be made, makes no sense of the desired state where one
  # failure ends the pass.
  defp entries(specs, known, options) do
    made =
      MapSet.new(for spec <- specs.links, is_tuple(spec), tuple_size(spec) > 1, do: elem(spec, 0))

    absent = absent(specs, known)

    absent =
      if options.on_error == :halt,
        do: MapSet.filter(absent, &MapSet.member?(made, &1)),
        else: absent

    Desired.entries(specs, index(known), absent, options.protocol)
  end

  # After links were made: those that are there now have an index.
  defp again(entries, %{links: []}, _known, _options), do: {:ok, entries}

  defp again(_entries, specs, known, options),
    do: Desired.entries(specs, index(known), absent(specs, known), options.protocol)

  defp absent(specs, known) do
    for name <- Desired.names(specs),
        not is_map_key(known, name),
        {:ok, _} <- [Link.Options.identify(name)],
        into: MapSet.new(),
        do: name
  end

  defp index(known) do
    fn
      ref when is_integer(ref) and ref > 0 ->
        {:ok, ref}

      ref ->
        case known do
          %{^ref => link} -> {:ok, link.index}
          %{} -> unknown(ref)
        end
    end
  end

  # ENODEV, as the kernel answers the look-up of one name.
  @enodev 19

  defp unknown(ref) do
    with {:ok, _} <- Link.Options.identify(ref),
         do: {:error, Call.no_such("interface", ref).(Error.from_errno(@enodev))}
  end

  # -- links -------------------------------------------------------------------------------------

  defp make_links(_socket, state, [], known, _links, _owned, _specs),
    do: {:ok, %{apply: state, impossible: []}, known}

  defp make_links(socket, state, entries, _known, links, owned, specs) do
    with {:ok, state, impossible} <-
           link_rounds(socket, state, entries, links, owned, @link_rounds),
         {:ok, known} <- Observed.links_of(socket, Desired.names(specs)),
         do: {:ok, %{apply: state, impossible: impossible}, known}
  end

  # A link changes others: the MTU of a bridge follows that of a new port. So links are read again
  # after a change.
  defp link_rounds(socket, state, entries, links, owned, left) do
    {steps, impossible, waiting} = Links.changes(entries, links, owned, state.unkept)
    start = if Apply.halted?(state), do: state, else: %{state | failed: []}
    made = start |> Apply.run(socket, steps) |> Apply.retry(socket, start)

    if Apply.halted?(made) or Apply.since(made, state) == [] do
      {:ok, waiting(made, waiting), impossible}
    else
      owned = MapSet.union(owned, made(made.applied, MapSet.new(owned, &elem(&1, 0))))

      with {:ok, links} <- Links.read(socket, entries, owned) do
        if left == 0,
          do: unsettled(made, Links.changes(entries, links, owned, made.unkept)),
          else: link_rounds(socket, made, entries, links, owned, left - 1)
      end
    end
  end

  # An option that somebody else sets too differs after every round.
  defp unsettled(state, {steps, impossible, waiting}),
    do: {:ok, waiting(state, Enum.map(steps, & &1.op) ++ waiting), impossible}

  # A failed operation is in the report already.
  defp waiting(state, ops) do
    named = MapSet.new(state.failed, fn {step, _error} -> step.op end)
    left = for op <- Enum.uniq(ops), not MapSet.member?(named, op), do: op
    %{state | pending: Enum.reverse(left, state.pending)}
  end

  # -- rounds ------------------------------------------------------------------------------------

  defp rounds(pass, state, left) do
    # Operations on links that failed are not tried again here.
    with {:ok, observed} <- observe(pass) do
      plan = plan(pass, observed)
      {links, _} = Enum.split_with(state.failed, fn {step, _} -> link?(step.op) end)
      state = if Apply.halted?(state), do: state, else: %{state | failed: links}

      with {:ok, after_round} <- carry_out(pass, state, plan, observed) do
        done = Apply.since(after_round, state)
        pass = set_clocks(pass, done)

        cond do
          done == [] ->
            ended(pass, after_round, plan, observed, MapSet.new())

          not Enum.any?(done, &disturbing?(&1, observed)) ->
            ended(pass, after_round, plan, observed, keys(done))

          left == 0 or Apply.halted?(after_round) ->
            reread(pass, after_round, plan)

          true ->
            rounds(pass, after_round, left - 1)
        end
      end
    end
  end

  # The next round, the second turn and the next pass compare the lifetimes that this round has
  # set from now on.
  defp set_clocks(%{entries: entries, ctx: ctx} = pass, done) do
    made = MapSet.new(for {verb, object} <- done, verb != :delete, do: clock_id(object))

    clocks =
      for {kind, list} <- [route: entries.routes, address: entries.addresses],
          %{spans: [_ | _] = spans, key: key} <- list,
          MapSet.member?(made, {kind, key}),
          into: ctx.clocks,
          do: {{kind, key}, Clock.set(spans, ctx.started)}

    %{pass | ctx: %{ctx | clocks: clocks}}
  end

  defp clock_id(%Route{} = route), do: {:route, Canonical.route_key(route)}
  defp clock_id(%Address{} = address), do: {:address, Canonical.address_id(address)}
  defp clock_id(_other), do: nil

  defp reread(pass, state, plan) do
    with {:ok, observed} <- observe(pass),
         do: ended(pass, state, plan, observed, MapSet.new())
  end

  # Operations that cannot be carried out come last, so that they do not end the pass early.
  defp ended(pass, state, plan, observed, done),
    do: {:ok, Apply.run(state, pass.socket, plan.impossible), {observed, done, pass.ctx.clocks}}

  defp observe(%{ctx: ctx} = pass),
    do: Observed.read(pass.socket, pass.entries, ctx.protocol, ctx.remembered, pass.links)

  # Whether other objects may have changed with it: addresses take routes along, a deletion of a
  # rule takes the first that fits, as does that of a route, which may be another one with the
  # same key. A route between the hops of an IPv6 group is listed when they have gone. A gateway
  # moves with the route to its link.
  defp disturbing?({verb, %Route{} = route}, observed) do
    (verb == :update and crowded?(route, observed)) or
      (verb != :create and group?(route, observed)) or
      (observed.follow != %{} and Enum.any?([route | keyed(route, observed)], &Gateways.leads?/1))
  end

  defp disturbing?({:create, %Rule{}}, _observed), do: false
  defp disturbing?(_op, _observed), do: true

  defp keyed(route, observed), do: Map.get(observed.routes, Canonical.route_key(route), [])

  defp crowded?(route, observed), do: match?([_, _ | _], keyed(route, observed))

  defp group?(route, observed) do
    route
    |> keyed(observed)
    |> Enum.any?(&match?(%{family: 10, nh_id: nil, multipath: [_ | _]}, &1))
  end

  defp keys(ops),
    do:
      for(
        {verb, %Route{} = route} <- ops,
        verb != :delete,
        into: MapSet.new(),
        do: Canonical.route_key(route)
      )

  defp link?({_verb, %Link{}}), do: true
  defp link?(_op), do: false

  defp plan(%{entries: entries, ctx: ctx} = pass, observed) do
    {addresses, impossible} = Addresses.changes(entries.addresses, observed, ctx)
    {rules, rule_deletions} = Rules.steps(entries.rules, observed.rules)

    routes = Routes.changes(entries.routes, observed, ctx)
    {hopeless, routes} = Enum.split_with(routes, & &1.hopeless?)

    {firsts, deletions} =
      entries.wanted |> Routes.deletions(observed, ctx) |> Gateways.in_the_way(routes)

    %{
      addresses: addresses,
      routes: firsts ++ Routes.ordered(routes, observed),
      rules: rules,
      rule_deletions: rule_deletions,
      route_deletions: deletions,
      address_deletions: Addresses.deletions(entries.addresses, observed, ctx),
      impossible: pass.impossible ++ impossible ++ hopeless ++ absent_entries(entries)
    }
  end

  defp absent_entries(entries) do
    for list <- [entries.addresses, entries.routes],
        %{absent: name} = entry when name != nil <- list,
        do: Step.impossible({:create, entry.spec}, {:no_link, name})
  end

  defp carry_out(pass, state, plan, observed) do
    socket = pass.socket

    with {:ok, made} <- guarded(pass, state, plan.addresses, observed),
         made = made |> Apply.run(socket, plan.routes) |> Apply.run(socket, plan.rules),
         made = Apply.retry(made, socket, state),
         deleted = Apply.run(made, socket, plan.rule_deletions ++ plan.route_deletions),
         {:ok, deleted} <- guarded(pass, deleted, plan.address_deletions, observed) do
      {:ok, Apply.retry(deleted, socket, made)}
    end
  end

  # Steps that may delete addresses: what goes along is put back.
  defp guarded(_pass, state, [], _observed), do: {:ok, state}

  defp guarded(pass, state, steps, observed) do
    deleted = if Apply.halted?(state), do: [], else: Restore.deleted(steps, observed.by_id)

    with {:ok, before} <- Restore.before(pass.socket, deleted),
         earlier = state,
         state = Apply.run(state, pass.socket, steps),
         :ok = Addresses.settle(pass.socket, fresh(state, earlier)),
         {:ok, ops, lost} <-
           Restore.put_back(pass.socket, before, meant(steps), pass.ctx.protocol) do
      {:ok, %{state | applied: Enum.reverse(ops, state.applied), lost: state.lost ++ lost}}
    end
  end

  # The IPv6 addresses that steps made: a route may have one as its source.
  defp fresh(state, earlier),
    do: for({verb, %Address{} = new} <- Apply.since(state, earlier), verb != :delete, do: new)

  defp meant(steps) do
    for %{op: {:delete, %Address{} = address}} <- steps,
        into: MapSet.new(),
        do: Canonical.address_id(address)
  end

  # -- the report --------------------------------------------------------------------------------

  defp report(pass, state, {observed, done}, links) do
    {failed, pending} = unfinished(pass, state, observed, done)

    %Report{
      converged?: failed == [] and pending == [],
      applied: Enum.reverse(state.applied),
      failed: failed,
      pending: pending,
      lost: Enum.reject(state.lost, &there?(&1, observed)),
      last_applied: last_applied(pass, state, observed, done, links)
    }
  end

  # An address that could not be put back at once may have been made later in the pass.
  defp there?(%Address{} = address, observed),
    do: is_map_key(observed.by_id, Canonical.address_id(address))

  defp there?(_route, _observed), do: false

  defp unfinished(pass, state, observed, done) do
    failed = for {step, error} <- Enum.reverse(state.failed), do: {step.op, error}
    addresses = Addresses.unusable(pass.entries.addresses, observed)

    duplicates = for address <- addresses.failed, do: {{:update, address}, :dadfailed}
    waiting = for address <- addresses.checked, do: {:update, address}

    # With a link down the two lists may be of thousands each.
    named = MapSet.new(failed, fn {{_verb, item}, _error} -> item end)

    routes =
      for route <- RouteState.unusable(pass.entries.routes, observed, done),
          not MapSet.member?(named, route),
          do: {:update, route}

    {failed, left} = at_most(failed ++ duplicates, pass.on_error)
    {failed, Enum.reverse(state.pending) ++ left ++ waiting ++ routes}
  end

  defp at_most(failed, :continue), do: {failed, []}

  defp at_most(failed, :halt) do
    {first, left} = Enum.split(failed, 1)
    {first, for({op, _error} <- left, do: op)}
  end

  defp last_applied(pass, state, observed, done, links) do
    %{entries: entries, ctx: ctx} = pass

    before = Map.get(pass.last_applied, :links, MapSet.new())
    made = made(state.applied, MapSet.new(before, &elem(&1, 0)))

    clocks =
      Map.merge(
        RouteState.clocks(entries.routes, observed, done, ctx),
        Addresses.clocks(entries.addresses, observed, ctx)
      )

    owned = Links.owned(links, MapSet.union(before, made))
    unkept = Links.still_unkept(entries.links, links, state.unkept)

    pass.last_applied
    |> Map.merge(%{
      addresses: Addresses.owned(observed, ctx),
      routes: remembered(pass, state)
    })
    |> put(:clocks, clocks, clocks == %{})
    |> put(:links, owned, MapSet.size(owned) == 0)
    |> put(:unkept, unkept, unkept == %{})
  end

  # A deletion that was not carried out is one of the next pass.
  defp remembered(%{entries: entries, ctx: ctx}, state) do
    keys = Routes.remember(entries.routes)

    if state.failed == [] and state.pending == [],
      do: keys,
      else: MapSet.union(keys, ctx.remembered || MapSet.new())
  end

  # A link of ours that was made anew may be of another kind now.
  defp made(ops, names) do
    for {verb, %Link{linkinfo: %{kind: kind}, name: name}} <- ops,
        verb == :create or (verb == :update and MapSet.member?(names, name)),
        into: MapSet.new(),
        do: {name, kind}
  end

  defp put(map, key, _value, true), do: Map.delete(map, key)
  defp put(map, key, value, false), do: Map.put(map, key, value)
end
