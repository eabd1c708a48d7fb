defmodule Linx.Test.Reconcile.Laws do
  @moduledoc false
  # One case of the property test: other programs' state, passes and drift in a namespace of its
  # own, and after each pass the five laws, checked with ip(8).

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.Reconcile.{Command, Lab, Model, Register, Reported, View}

  defmodule Broken do
    @moduledoc false
    defexception [:law, :pass, :message, :history]
  end

  @ours 76

  @doc "`{:ok, %{passes, entries, possible}}`, or the first law that is broken."
  def run(c) do
    lab = Lab.start()
    {:ok, socket} = Rtnl.open(Lab.target(lab))

    state = %{
      lab: lab,
      socket: socket,
      case: c,
      pass: 0,
      last: %{},
      # Addresses that a pass made, and IPv6 hops that others made: the kernel shows neither.
      made: MapSet.new(),
      hops: MapSet.new(),
      # Links that a pass made, as `{name, kind}`.
      links: MapSet.new(),
      view: Lab.view(lab),
      history: [],
      counts: %{passes: 0, entries: 0, possible: 0}
    }

    try do
      [foreign1, foreign2] = c.foreign
      [drift1, drift2] = c.drift

      state =
        state
        |> outside(foreign1)
        |> pass(c.first)
        |> outside(drift1)
        |> pass(c.first)
        |> outside(foreign2)
        |> pass(c.second)
        |> outside(drift2)
        |> pass(c.second)
        |> pass([])

      {:ok, state.counts}
    rescue
      error in Broken -> {:broken, error}
    after
      Socket.close(socket)
      Lab.stop(lab)
    end
  end

  # -- what others do ---

  # Commands of one owner at a time: whose a new hop of an IPv6 group is, only the time of its
  # coming tells.
  defp outside(state, commands) do
    commands
    |> chunks()
    |> Enum.reduce(state, fn [{owner, _} | _] = chunk, state ->
      commands = for {owner, command} <- chunk, sure?(owner, state), do: command
      said = Lab.ip(state.lab, commands)
      if Enum.any?(commands, &String.starts_with?(&1, "link")), do: Lab.carrier(state.lab)
      Lab.taken(state.lab)
      syntax!(said, state)
      state = %{state | history: [{owner, commands, said} | state.history]}
      before = state.view
      replaces? = Enum.any?(commands, &replaces?/1)
      Register.seen(%{state | view: Lab.view(state.lab)}, before, owner, replaces?)
    end)
  end

  defp replaces?(command), do: String.starts_with?(command, "route replace")

  # A hop that goes and comes again is another's than before: what takes hops away ends a chunk,
  # and what puts others in their place is one.
  defp chunks(commands) do
    commands
    |> Enum.chunk_by(fn {owner, command} -> {owner, replaces?(command) and command} end)
    |> Enum.flat_map(
      &Enum.chunk_while(
        &1,
        [],
        fn {_owner, command} = step, chunk ->
          if command =~ ~r/^route del/,
            do: {:cont, Enum.reverse([step | chunk]), []},
            else: {:cont, [step | chunk]}
        end,
        fn
          [] -> {:cont, []}
          chunk -> {:cont, Enum.reverse(chunk), []}
        end
      )
    )
  end

  # An address without our mark is ours only if it is there and `last_applied` remembers it.
  defp sure?({:unmark, key}, state),
    do: state.case.forget == nil and MapSet.member?(state.made, key)

  defp sure?(_owner, _state), do: true

  defp syntax!(said, state) do
    if said =~ ~r/garbage|is wrong|Usage|end of line|is invalid/,
      do: broken(state, :test, "ip(8) does not understand: #{said}")
  end

  # -- a pass ---

  defp pass(state, entries) do
    state = %{state | pass: state.pass + 1}
    last = if state.case.forget == state.pass, do: %{}, else: state.last

    state =
      if last == state.last, do: state, else: %{state | made: MapSet.new(), links: MapSet.new()}

    before = state
    report = reconcile(state, entries, last)
    state = %{state | history: [{:pass, entries, report} | state.history]}
    Lab.carrier(state.lab)
    Lab.taken(state.lab)
    view = Lab.view(state.lab)
    state = Register.seen(%{state | view: view, last: report.last_applied}, before.view, :linx)

    state = %{
      state
      | made: MapSet.union(state.made, Register.made(view, before.view)),
        links: MapSet.union(state.links, Register.links(view, before.view))
    }

    world = before |> Register.world() |> Map.put(:after, view.links)
    possible = Model.possible(entries, world)
    halted? = state.case.mode == :halt and not report.converged?
    verdict = judge(state, entries, possible, world, halted?)
    reported = Reported.keys(report, entries, state.socket)

    untouched(before, state, entries)
    repaired(state, verdict, report)
    truthful(state, verdict, report, reported)
    tried(state, verdict, report)
    idle(state, entries, report)
    count(state, entries, possible)
  end

  defp count(state, entries, possible) do
    counts = state.counts

    %{
      state
      | counts: %{
          passes: counts.passes + 1,
          entries: counts.entries + length(entries),
          possible: counts.possible + length(possible)
        }
    }
  end

  defp reconcile(state, entries, last) do
    case Reconcile.reconcile(state.socket, Command.desired(entries), last,
           on_error: state.case.mode
         ) do
      {:ok, report} -> report
      {:error, reason} -> broken(state, 3, "the pass answers #{inspect({:error, reason})}")
    end
  rescue
    error in [Broken] ->
      reraise error, __STACKTRACE__

    error ->
      broken(state, 3, "the pass raises #{Exception.format(:error, error, __STACKTRACE__)}")
  end

  # `[{entry, possible?, there?, perhaps?}]`: `perhaps?` also counts a hop that may be somebody
  # else's.
  defp judge(state, entries, possible, world, halted?) do
    reach = &Model.reach(&1, possible, world)

    for entry <- entries do
      # A route that is there although it could not be made now is on any link, and so is one
      # whose gateway is also on a link from which a halted pass has not removed an address.
      reach =
        if entry in possible and not halted?,
          do: reach,
          else: fn _gateway -> Map.keys(state.view.links) end

      {entry, entry in possible, there?(entry, state, reach, {:ours, entries}),
       there?(entry, state, reach, {:any, entries})}
    end
  end

  defp there?({:address, _, _, _, _} = entry, state, _reach, _whose),
    do: Enum.any?(state.view.addresses, &View.address?(entry, &1))

  defp there?({:link, _, _, _} = entry, state, _reach, _whose),
    do: View.link?(entry, state.view.links)

  # Without a priority it is any rule of that sort that no other entry is.
  defp there?({:rule, opts} = entry, state, _reach, {_, entries}) do
    seen = for rule <- state.view.rules, rule.proto == @ours, View.rule?(entry, rule), do: rule

    if opts[:priority] do
      Enum.any?(seen, &(&1.priority == opts[:priority]))
    else
      sort = &Map.new(Keyword.delete(elem(&1, 1), :priority))
      length(seen) >= Enum.count(entries, &(match?({:rule, _}, &1) and sort.(&1) == sort.(entry)))
    end
  end

  defp there?(entry, state, reach, {whose, _entries}) do
    Enum.any?(state.view.routes, fn route ->
      foreign = Register.foreign_hops(route, state)

      case whose do
        :ours ->
          (route.family == :inet6 or route.proto == @ours) and foreign != route.hops and
            View.route?(entry, route, reach, foreign, state.view.locks)

        :any ->
          View.route?(entry, route, reach, [], state.view.locks) or
            (foreign != [] and
               Enum.all?(View.hops(entry), fn hop ->
                 Enum.any?(route.hops, &View.hop?(hop, &1, reach))
               end) and
               route.key == View.key_of(entry))
      end
    end)
  end

  # -- the laws ---

  # 1 and 3: what is possible is there, whatever else is not. Under :halt one failure may keep
  # others from being made.
  defp repaired(state, verdict, report) do
    all? = Enum.all?(verdict, fn {_, possible?, _, _} -> possible? end)

    if state.case.mode == :continue or all? do
      for {entry, true, false, _} <- verdict,
          do: broken(state, if(all?, do: 1, else: 3), "possible and not there: #{show(entry)}")

      if all? and not report.converged? and not waiting?(verdict, state),
        do: broken(state, 2, "all is possible and the pass does not converge")
    end
  end

  # A link that is up without a carrier: what is on it is pending.
  defp waiting?(_verdict, state),
    do: Enum.any?(state.view.links, fn {_name, link} -> link.up and not link.carrier end)

  # 2: `converged?` is true; what is not there is named, what is there is not.
  defp truthful(state, verdict, report, reported) do
    for {entry, possible?, there?, perhaps?} <- verdict do
      named? = Enum.any?(names(entry), &MapSet.member?(reported, &1))

      cond do
        not perhaps? and report.converged? ->
          broken(state, 2, "converged, and not there: #{show(entry)}")

        not perhaps? and not named? ->
          broken(state, 2, "not there, and in neither failed nor pending: #{show(entry)}")

        there? and possible? and named? and state.case.mode == :continue and
          not match?({:link, _, _, _}, entry) and not waiting?(verdict, state) ->
          broken(state, 2, "there, and reported as not done: #{show(entry)}")

        true ->
          :ok
      end
    end

    if report.converged? != (report.failed == [] and report.pending == []),
      do: broken(state, 2, "converged?, failed and pending disagree")

    if report.converged? or state.case.mode == :continue, do: leftovers(state, verdict, report)
  end

  # A link, and what goes under it.
  defp names({:link, name, _, opts}),
    do: Enum.map([name, opts[:peer] | opts[:ports] || []], &{:link, &1})

  defp names(entry), do: [View.key_of(entry)]

  # Nothing of ours that is not desired; the old form of what could not be changed may stay.
  defp leftovers(state, verdict, report) do
    keys = MapSet.new(verdict, fn {entry, _, _, _} -> View.key_of(entry) end)
    possible = for {entry, true, _, _} <- verdict, do: View.key_of(entry)
    old? = fn entry, rule -> View.key_of(entry) not in possible and old_form?(entry, rule) end
    wrong = &if(report.converged?, do: 2, else: &1)

    for a <- state.view.addresses,
        Register.ours?(a, state),
        View.key_of_address(a) not in keys,
        do: broken(state, wrong.(3), "ours and not desired: #{inspect(a.raw)}")

    for {name, _kind} <- state.links,
        {:link, name} not in keys,
        do: broken(state, wrong.(3), "ours and not desired: link #{name}")

    rules = for {{:rule, _} = entry, _, _, _} <- verdict, do: entry

    for %{proto: @ours} = rule <- state.view.rules,
        not Enum.any?(rules, &(wanted?(&1, rule) or old?.(&1, rule))),
        do: broken(state, wrong.(3), "ours and not desired: #{inspect(rule.raw)}")

    if length(rules) < Enum.count(state.view.rules, &(&1.proto == @ours)),
      do: broken(state, wrong.(3), "more rules of ours than desired ones")

    for route <- state.view.routes,
        leftover?(route, state),
        route.key not in keys,
        do: broken(state, wrong.(3), "ours and not desired: #{inspect(route.raw)}")

    # As many routes of ours as desired ones, of each key.
    for {key, [_, _ | _] = routes} <- Enum.group_by(state.view.routes, & &1.key),
        key in possible,
        [_, _ | _] = ours <- [Enum.filter(routes, &leftover?(&1, state))],
        do:
          broken(state, wrong.(3), "#{length(ours)} routes of ours with one key: #{inspect(key)}")
  end

  defp wanted?({:rule, opts} = entry, rule),
    do: View.rule?(entry, rule) and opts[:priority] in [nil, rule.priority]

  # To the kernel a rule that leads elsewhere is the same rule.
  defp old_form?({:rule, opts} = entry, rule),
    do: View.selectors?(entry, rule) and opts[:priority] in [nil, rule.priority]

  defp leftover?(%{family: :inet} = route, _state), do: route.proto == @ours

  defp leftover?(route, state),
    do: route.proto != 2 and Register.foreign_hops(route, state) != route.hops

  # The entries that the model calls impossible are so for ip(8) too. Those that a halted pass did
  # not come to may be possible before its deletions, which the model takes as done.
  defp tried(state, verdict, report) do
    entries = for {entry, _, _, _} <- verdict, do: entry
    report = if state.case.mode == :halt, do: %{report | pending: []}, else: report
    reported = Reported.keys(report, entries, state.socket)

    missing =
      for {entry, false, _, false} <- verdict,
          state.case.mode == :continue or Enum.any?(names(entry), &(&1 in reported)),
          do: entry

    commands = Enum.map(missing, &attempt(&1, state))

    for {command, 0, _} <- Lab.try_each(state.lab, commands),
        do: broken(state, 3, "not there, and ip(8) can make it: #{command}")
  end

  defp attempt({:address, _, _, _, _} = entry, _state),
    do: Command.address("add", entry) <> nodad(entry)

  defp attempt({:rule, _} = entry, _state), do: Command.rule("add", entry)

  defp attempt({:link, name, _, opts} = entry, state) do
    links = state.view.links

    # The master or a port of an existing link may be the impossible part; otherwise its kind, its
    # parent or its far end is.
    case Enum.find(opts[:ports] || [], &(links[&1] == nil)) do
      nil ->
        if opts[:master] && links[name] && not match?(%{kind: "bridge"}, links[opts[:master]]),
          do: "link set #{name} master #{opts[:master]}",
          else: Command.link(entry)

      port ->
        "link set #{port} master #{name}"
    end
  end

  defp attempt(entry, state) do
    key = View.key_of(entry)
    here = Enum.filter(state.view.routes, &(&1.key == key))

    ours? =
      here != [] and
        Enum.all?(here, &(&1.proto == @ours and Register.foreign_hops(&1, state) == []))

    Command.route(if(ours?, do: "replace", else: "add"), entry)
  end

  defp nodad({:address, _, ip, _, opts}) do
    if View.family(View.ip(ip)) == :inet6 and :nodad not in (opts[:flags] || []),
      do: " nodad",
      else: ""
  end

  # 4: what is foreign is as it was.
  defp untouched(before, state, entries) do
    old = foreign(before, before, state, entries)
    now = foreign(state, before, state, entries)
    {lost, new} = {old -- now, now -- old}

    if lost != [] or new != [],
      do:
        broken(
          state,
          4,
          "foreign state changed\n  lost: #{long(lost)}\n  new: #{long(new)}"
        )
  end

  # Objects of the reconciler in either view are not foreign in the other.
  defp foreign(state, before, later, entries) do
    Register.foreign(
      %{state | links: MapSet.union(before.links, later.links)},
      before,
      entries
    )
  end

  # 5: nothing to do means nothing done.
  defp idle(state, entries, report) do
    {said, again} =
      Lab.watched(state.lab, fn -> reconcile(state, entries, report.last_applied) end)

    if report.converged? or state.case.mode == :continue do
      if again.applied != [],
        do: broken(state, 5, "a second pass applies #{inspect(again.applied)}")

      if again.converged? != report.converged?,
        do: broken(state, 5, "a second pass answers #{inspect(again)}")

      if said != [], do: broken(state, 5, "a second pass makes `ip monitor` say #{inspect(said)}")
    end
  end

  defp long(term), do: inspect(term, pretty: true, limit: :infinity)

  defp show(entry), do: inspect(Command.entry(entry), limit: :infinity)

  defp broken(state, law, message),
    do:
      raise(Broken,
        law: law,
        pass: state.pass,
        message: message,
        history: Enum.reverse(state.history)
      )
end
