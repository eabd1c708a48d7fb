defmodule Linx.Netfilter do
  @moduledoc """
  The kernel's firewall, nf_tables, as plain values: push a ruleset, pull it back, see what
  differs, watch it change.

  A `Linx.Netfilter.Ruleset` is built with its own functions or written as nft text (`Linx.NFT`).
  Four verbs act on it:

      {:ok, nfnl} = Linx.Netlink.Nfnl.open()
      :ok = Linx.Netfilter.push(nfnl, ruleset)
      {:ok, current} = Linx.Netfilter.pull(nfnl, {:inet, "fw"})
      patch = Linx.Netfilter.diff(current, wanted)
      :ok = Linx.Netfilter.push(nfnl, wanted, mode: :reconcile)

  Everything is one transaction: all of a push takes effect at once or nothing does. A
  `:reconcile` push sends only what differs, and only if nobody else has changed the ruleset since
  it was read.

  A socket belongs to one network namespace, so the namespace is chosen when it is opened:
  `Linx.Netlink.Nfnl.open({:pid, pid})` for a container's. nf_tables asks for CAP_NET_ADMIN there
  (`:eperm` without).

  `create_table/3` makes tables that live as long as the socket: when its owner dies, the firewall
  it made is gone. Changes of a ruleset are reported by `subscribe/2`, packets that rules log by
  `log_listen/2`.

  What this module does not do: it keeps no state, retries nothing but lost races and interrupted
  dumps, and never touches a table that a ruleset does not name.

  Source: nft(8); Documentation/networking/netlink_spec/nftables; net/netfilter/nf_tables_api.c.
  """

  import Linx.Netlink.Constants

  alias Linx.Netfilter.{Diff, Elements, Encoder, Error, Log, Monitor, Object, Patch, Pull, Push}
  alias Linx.Netfilter.{Chain, Rule, Ruleset, Stream, Table, Transaction}
  alias Linx.Netfilter.Encoder.Frames
  alias Linx.Netlink.{Nfnl, Socket}

  @doc """
  Whether this VM can open an nfnetlink socket, that is whether the kernel has nfnetlink.

  Whether it may also change rulesets is answered by the first verb that tries. False also when
  Linx's native library is not loaded.
  """
  @spec supported?() :: boolean()
  def supported? do
    case Nfnl.open() do
      {:ok, socket} -> Socket.close(socket) == :ok
      {:error, _} -> false
    end
  rescue
    ErlangError -> false
  end

  @doc """
  Makes an empty table, owned by the socket: no other socket may change it, and it goes when this
  one is closed. The calling process keeps the socket open as long as it lives, also when its code
  refers to it no more.

  Options:

    * `:family` - default `:inet`.
    * `:persist` - `true` makes a table without an owner, which stays until it is deleted. The
      flag of that name is set where the kernel has it (Linux 6.9).
    * `:comment`

  Answers a ruleset that holds just this table. `{:error, %Linx.Netfilter.Error{errno: :eexist}}`
  when the table exists, `:eperm` without CAP_NET_ADMIN; `{:error, {:bad_table, reason}}` for a
  name or family that cannot be. Source: nft(8), "TABLES"; `enum nft_table_flags`.
  """
  @spec create_table(Socket.t(), String.t(), keyword()) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def create_table(sock, name, opts \\ []) do
    checked!(sock)

    with {:ok, opts} <- options(opts, [:family, :persist, :comment]),
         {:ok, flag} <- lifetime(Keyword.get(opts, :persist, false)),
         {:ok, table} <- new_table(name, flag, opts),
         {:ok, table} <- make_table(sock, table) do
      ruleset = Ruleset.put_table(Ruleset.new(), table)
      hold_owner(sock, ruleset)
      {:ok, ruleset}
    end
  end

  # A push is often the last that refers to its socket.
  defp hold_owner(sock, ruleset) do
    if Enum.any?(ruleset.tables, fn {_key, table} -> :owner in table.flags end),
      do: Socket.hold(sock),
      else: :ok
  end

  defp checked!(sock), do: Socket.check!(sock, netlink_netfilter(), "Linx.Netlink.Nfnl.open/1")

  defp lifetime(true), do: {:ok, :persist}
  defp lifetime(false), do: {:ok, :owner}
  defp lifetime(other), do: {:error, {:bad_option, {:persist, other}}}

  defp new_table(name, flag, opts) do
    Table.new(Keyword.get(opts, :family, :inet), name, [
      {:flags, [flag]} | Keyword.take(opts, [:comment])
    ])
  end

  # A caller's mistake is an answer here, as with values.
  defp options(opts, known) do
    if Keyword.keyword?(opts),
      do: Enum.find_value(opts, {:ok, opts}, &unknown(&1, known)),
      else: {:error, {:bad_options, opts}}
  end

  defp unknown({key, _value} = option, known),
    do: if(key not in known, do: {:error, {:bad_option, option}})

  defp make_table(sock, table) do
    at = [family: table.family, table: table.name]

    frames = Frames.add(Frames.new(), Encoder.table(table, excl: true), at)

    case Transaction.commit(sock, frames, []) do
      :ok -> {:ok, table}
      {:error, %Error{errno: errno} = error} -> older_kernel(sock, table, errno, error)
      {:error, error} -> {:error, error}
    end
  end

  # Linux before 6.9 knows no PERSIST, before 5.12 no OWNER, and refuses unknown flags.
  defp older_kernel(sock, %Table{flags: [flag]} = table, errno, _error)
       when flag in [:persist, :owner] and errno in [:eopnotsupp, :einval],
       do: make_table(sock, %{table | flags: []})

  defp older_kernel(_sock, _table, _errno, error),
    do: {:error, %{error | operation: :create_table}}

  # -- push --------------------------------------------------------------------------------------

  @doc """
  Writes a ruleset to the kernel as one transaction; in its place `Linx.NFT.stream/1` gives a file
  whose sets never become values. Tables that it does not name are left alone.

  Options:

    * `mode: :replace` (the default) deletes each table that the ruleset names, if it is there,
      and makes it anew. Counters start from zero. A table with the flag `:owner` or `:persist`
      keeps it, and its comment where the ruleset gives none.
    * `mode: :reconcile` reads these tables, computes what differs (`diff/2`) and sends that
      alone. The transaction carries the generation that was read: when another writer commits in
      between, the kernel refuses it and the push is computed again, up to three times. What lost
      every race is `errno: :erestart` with the current `ruleset_gen`. Chains of more than one
      rule need a tag on each, else the answer is
      `{:error, {:tag_required, {family, table, chain}}}`. `dry_run/3` answers what would be sent.
    * `tag: :comment` knows rules again by their comments in the place of their tags, as rulesets
      from text have them. In a chain of more than one rule each needs one of its own, else the
      answer is as above, or `{:error, {:duplicate_comment, {family, table, chain, comment}}}`.
      Has no meaning without `mode: :reconcile`.

  Chains, sets, maps, objects and flowtables that rules and map elements name must be in their
  table of the ruleset: what is missing is `errno: :enoent` before anything is sent, with a
  `:message` that names it and the nearest name that is there.

  The kernel's refusal is a `Linx.Netfilter.Error` that says which message it was and where in the
  ruleset (`:at`); when it refused several, the rest is in `:others`. A value that has no form on
  the wire is `{:error, {:bad_rule, {at, text}}}` (or `:bad_set`, `:bad_set_element`, ...) and
  nothing is sent; an option that is none is `{:error, {:bad_option, option}}`. Raises
  `ArgumentError` for a socket of another protocol and for what is no ruleset, such as text.
  Source: nft(8); net/netfilter/nfnetlink.c, `nfnetlink_rcv_batch`.
  """
  @spec push(Socket.t(), Ruleset.t() | Stream.t(), keyword()) ::
          :ok | {:error, Error.t() | term()}
  def push(sock, ruleset, opts \\ []) do
    checked!(sock)
    ruleset!(ruleset)

    with {:ok, opts} <- options(opts, [:mode, :tag]),
         {:ok, by} <- known_by(Keyword.get(opts, :tag)),
         {:ok, sent} <- push_as(Keyword.get(opts, :mode, :replace), sock, ruleset, by),
         do: hold_owner(sock, sent)
  end

  defp push_as(:replace, sock, %Stream{} = stream, _by), do: Push.stream(sock, stream)
  defp push_as(:replace, sock, ruleset, _by), do: Push.replace(sock, ruleset)

  defp push_as(:reconcile, sock, %Stream{} = stream, by) do
    with {:ok, ruleset} <- stream.value.(), do: push_as(:reconcile, sock, ruleset, by)
  end

  defp push_as(:reconcile, sock, ruleset, by), do: Push.reconcile(sock, ruleset, by: by)
  defp push_as(other, _sock, _ruleset, _by), do: {:error, {:bad_option, {:mode, other}}}

  defp known_by(nil), do: {:ok, :tag}
  defp known_by(:comment), do: {:ok, :comment}
  defp known_by(other), do: {:error, {:bad_option, {:tag, other}}}

  defp ruleset!(%Ruleset{} = ruleset), do: ruleset
  defp ruleset!(%Stream{} = stream), do: stream

  defp ruleset!(text) when is_binary(text),
    do: raise(ArgumentError, "not a ruleset but text; Linx.NFT.parse/1 makes a ruleset of it")

  defp ruleset!({:ok, %Ruleset{}}),
    do: raise(ArgumentError, "not a ruleset; the ruleset is inside the {:ok, ruleset}")

  defp ruleset!(other), do: raise(ArgumentError, "not a ruleset: #{inspect(other, limit: 5)}")

  @doc """
  Deletes the one rule of chain `{family, table, chain}` that says what `rule` says, as a diff
  compares rules: counters, dependencies spelled out and names of interfaces are no difference. A
  `:comment` or `:tag` counts where `rule` has one.

      {:ok, rule} =
        Linx.Netfilter.Rule.build([Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), :accept])
      :ok = Linx.Netfilter.delete_rule(nfnl, {:inet, "fw", "input"}, rule)

  `{:error, %Linx.Netfilter.Error{errno: :enoent}}` when no rule of the chain is this one (or
  there is no such table or chain), and `{:error, {:ambiguous_rule, handles}}` when several are:
  nothing is deleted then. The transaction carries the generation that was read, as with
  `mode: :reconcile`. Raises `ArgumentError` for what is no rule, such as text. Source: nft(8),
  "delete rule"; net/netfilter/nf_tables_api.c, `nf_tables_delrule`.
  """
  @spec delete_rule(Socket.t(), {Table.family(), String.t(), String.t()}, Rule.t()) ::
          :ok | {:error, Error.t() | term()}
  def delete_rule(sock, chain, rule) do
    checked!(sock)
    {family, table, chain} = chain!(chain)
    rule = rule!(rule)

    with {:ok, _table} <- Table.new(family, table),
         {:ok, _chain} <- Chain.new(chain),
         do: Push.delete_rule(sock, {family, table, chain}, rule)
  end

  defp chain!({_family, _table, _chain} = chain), do: chain

  defp chain!(other),
    do: raise(ArgumentError, "not a chain {family, table, name}: #{inspect(other, limit: 5)}")

  defp rule!(%Rule{} = rule), do: rule

  defp rule!(text) when is_binary(text),
    do: raise(ArgumentError, "not a rule but text; Linx.NFT.parse_rule/2 makes a rule of it")

  defp rule!({:ok, %Rule{}}),
    do: raise(ArgumentError, "not a rule; the rule is inside the {:ok, rule}")

  defp rule!(other), do: raise(ArgumentError, "not a rule: #{inspect(other, limit: 5)}")

  # -- pull --------------------------------------------------------------------------------------

  @doc """
  Reads the namespace's ruleset, or with `{family, name}` one table.

  Options:

    * `elements: false` - leave the elements of named sets and maps out. Listing a set costs the
      kernel time that grows with the square of its size.
    * `:subscribe_first` - a monitor from `subscribe/2`. It delivers nothing during the pull, and
      after it only the events of changes that the answer does not hold, so that answer and events
      follow each other without a gap.

  The parts come in several dumps. The generation is read before and after, and everything is read
  again when it moved, up to ten times; after that the answer is `errno: :eintr`. So it is with a
  large set that was filled a moment ago: the kernel still rearranges it, and a dump then shows
  elements twice and misses others (`nft list` shows what comes). What the packet path adds and
  what expires meanwhile moves no generation; a pull of such a set is what it was at about that
  time.

  `{:error, %Linx.Netfilter.Error{errno: :enoent}}` when the one table does not exist, `:eperm`
  without CAP_NET_ADMIN. Source: nft(8), "list ruleset".
  """
  @spec pull(Socket.t(), keyword() | {atom(), String.t()}) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def pull(sock, opts_or_scope \\ [])
  def pull(sock, {_family, _name} = scope), do: pull(sock, scope, [])

  def pull(sock, opts) when is_list(opts) do
    checked!(sock)

    with {:ok, opts} <- pull_options(opts),
         do: pulled(opts[:subscribe_first], fn -> Pull.whole(sock, opts) end)
  end

  def pull(_sock, other), do: scope!(other)

  @doc "As `pull/2` for the table `{family, name}`, with options. Errors as there."
  @spec pull(Socket.t(), {atom(), String.t()}, keyword()) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def pull(sock, {family, name} = scope, opts) do
    checked!(sock)

    with {:ok, _table} <- Table.new(family, name),
         {:ok, opts} <- pull_options(opts),
         do: pulled(opts[:subscribe_first], fn -> Pull.table(sock, scope, opts) end)
  end

  def pull(_sock, other, _opts), do: scope!(other)

  @spec scope!(term()) :: no_return()
  defp scope!(other) do
    raise ArgumentError,
          "neither options nor a table {family, name}: #{inspect(other, limit: 5)}"
  end

  defp pull_options(opts) do
    with {:ok, opts} <- options(opts, [:elements, :subscribe_first]),
         do: Enum.find_value(opts, {:ok, opts}, &bad_pull_option/1)
  end

  defp bad_pull_option({:elements, flag}) when is_boolean(flag), do: nil

  defp bad_pull_option({:subscribe_first, monitor}) when is_pid(monitor) or monitor == nil,
    do: nil

  defp bad_pull_option(option), do: {:error, {:bad_option, option}}

  defp pulled(nil, pull) do
    with {:ok, _gen, ruleset} <- pull.(), do: {:ok, ruleset}
  end

  defp pulled(monitor, pull) do
    hold = Monitor.hold(monitor)

    case pull.() do
      {:ok, gen, ruleset} ->
        :ok = Monitor.release(monitor, hold, gen)
        {:ok, ruleset}

      error ->
        :ok = Monitor.release(monitor, hold, 0)
        error
    end
  end

  # -- elements ----------------------------------------------------------------------------------

  @typedoc "A set or map in the kernel: family, table, name."
  @type set_ref :: {Table.family(), String.t(), String.t()}

  @doc """
  Adds elements to a set or map of the kernel, in one transaction and without reading those that
  are there.

  Elements are written as in `Linx.Netfilter.Set` and `Linx.Netfilter.Map` (addresses, prefixes,
  ranges, numbers, names, tuples for concatenations, `{key, value}` in a map,
  `Linx.Netfilter.Element` for one that carries more); the kernel's declaration of the set gives
  their types. An element that is there already stays as it is.

      :ok =
        Linx.Netfilter.add_elements(nfnl, {:inet, "fw", "guests"}, ["192.0.2.7"], timeout: 60_000)

  Options:

    * `:timeout`, `:expires` (milliseconds), `:comment`, `:exprs` - for each element that says
      none of its own; see `t:Linx.Netfilter.Element.t/0`
    * `create: true` - an element that is there already is `errno: :eexist`

  In a set with `:auto_merge` elements may overlap what is there. If they do, the set is read
  once, and the union of both takes the place of the intervals concerned.

  The transaction carries the generation that the declaration was read in: when another writer
  commits in between, who may have made the set anew with another type, the declaration is read
  again, up to 30 times, and after that the answer is `errno: :erestart`.

  `{:error, {:bad_set_element, {element, reason}}}` (in a map `:bad_map_element`) for a value that
  does not fit; a timeout needs the set's flag `:timeout`, a range or prefix its flag `:interval`.
  `{:error, %Linx.Netfilter.Error{}}` with the element in `:at` for one that the kernel refuses,
  `:enoent` without an element when there is no such set. Raises `ArgumentError` for what is no
  list. Source: nft(8), "ELEMENTS".
  """
  @spec add_elements(Socket.t(), set_ref(), [term()], keyword()) ::
          :ok | {:error, Error.t() | term()}
  def add_elements(sock, set, elements, opts \\ []) do
    checked!(sock)
    elements!(elements)

    with :ok <- Elements.check_ref(set),
         {:ok, opts} <- options(opts, [:timeout, :expires, :comment, :exprs, :create]),
         :ok <- flag(opts, :create),
         do: Elements.add(sock, set, elements, opts)
  end

  @doc """
  Deletes elements of a set or map of the kernel by their keys, in one transaction. In a map
  `{key, value}` means the key.

  Option `ignore_missing: true` deletes what is there of them (Linux 6.3), in a set with
  `:auto_merge` also of their parts; without it one that is not there is `errno: :enoent`, with
  the element in `:at`, and nothing is deleted. In a set with `:auto_merge` a part of an interval
  may be deleted: the rest of it stays.

  Errors else as of `add_elements/4`. Source: nft(8), "ELEMENTS".
  """
  @spec delete_elements(Socket.t(), set_ref(), [term()], keyword()) ::
          :ok | {:error, Error.t() | term()}
  def delete_elements(sock, set, elements, opts \\ []) do
    checked!(sock)
    elements!(elements)

    with :ok <- Elements.check_ref(set),
         {:ok, opts} <- options(opts, [:ignore_missing]),
         :ok <- flag(opts, :ignore_missing),
         do: Elements.delete(sock, set, elements, opts)
  end

  @doc """
  The elements of a set or map of the kernel that hold the given keys, one for each and in their
  order, or with `:all` every element.

  An element is given as `pull/2` gives it: what has a timeout, a comment, a counter or a quota is
  a `Linx.Netfilter.Element`. In a set of intervals a key is in the interval that covers it, and
  that is the answer.

  Option `reset: true` sets the counters and quotas of these elements to zero (Linux 6.5); the
  answer has them as they were.

      {:ok, [%Linx.Netfilter.Element{expires: left}]} =
        Linx.Netfilter.get_elements(nfnl, {:inet, "fw", "guests"}, ["192.0.2.7"])

  A key that no element holds is `errno: :enoent` with the key in `:at`. Errors else as of
  `add_elements/4`. Source: nft(8), "ELEMENTS".
  """
  @spec get_elements(Socket.t(), set_ref(), [term()] | :all, keyword()) ::
          {:ok, [term()]} | {:error, Error.t() | term()}
  def get_elements(sock, set, elements, opts \\ []) do
    checked!(sock)
    if elements != :all, do: elements!(elements)

    with :ok <- Elements.check_ref(set),
         {:ok, opts} <- options(opts, [:reset]),
         :ok <- flag(opts, :reset),
         do: Elements.get(sock, set, elements, opts)
  end

  @doc """
  Whether a set or map of the kernel holds `key`: in a set of intervals, whether one interval
  covers it.

  Raises `Linx.Netfilter.Error` when the kernel cannot tell (no such set, no CAP_NET_ADMIN), and
  `ArgumentError` for a key that does not fit the set.
  """
  @spec has_element?(Socket.t(), set_ref(), term()) :: boolean()
  def has_element?(sock, set, key) do
    case get_elements(sock, set, [key]) do
      {:ok, [_element]} -> true
      {:error, %Error{operation: :getsetelem, errno: :enoent}} -> false
      {:error, %Error{} = error} -> raise error
      {:error, reason} -> raise ArgumentError, "not an element of this set: #{inspect(reason)}"
    end
  end

  @doc """
  Sets objects of the kernel to zero and gives them as they were: `kind` is `:counter` or
  `:quota`, `ref` one object (`{family, table, name}`, the answer being `{:ok, object}`) or a
  table (`{family, table}`, `{:ok, objects}`).

  Elements are reset by `get_elements/4`. `errno: :enoent` for an object or table that is not
  there. Source: nft(8), "COUNTERS"; NFT_MSG_GETOBJ_RESET.
  """
  @spec reset(Socket.t(), :counter | :quota, set_ref() | {Table.family(), String.t()}) ::
          {:ok, Object.t() | [Object.t()]} | {:error, Error.t() | term()}
  def reset(sock, kind, ref) do
    checked!(sock)

    unless kind in [:counter, :quota],
      do: raise(ArgumentError, "expected :counter or :quota, got: #{inspect(kind, limit: 5)}")

    checked = if match?({_, _}, ref), do: Tuple.insert_at(ref, 2, "all"), else: ref
    with :ok <- Elements.check_ref(checked), do: Pull.reset(sock, kind, ref)
  end

  defp elements!(elements) do
    unless is_list(elements) and List.improper?(elements) == false,
      do: raise(ArgumentError, "not a list of elements: #{inspect(elements, limit: 5)}")
  end

  defp flag(opts, key) do
    case Keyword.get(opts, key, false) do
      flag when is_boolean(flag) -> :ok
      other -> {:error, {:bad_option, {key, other}}}
    end
  end

  # -- values ------------------------------------------------------------------------------------

  @doc """
  The patch that turns `from` into `to`; see `Linx.Netfilter.Diff`. `from` should be a pulled
  ruleset, whose rules have handles.

  Raises `ArgumentError` for values that have no form on the wire.
  """
  @spec diff(Ruleset.t(), Ruleset.t()) :: Patch.t()
  def diff(%Ruleset{} = from, %Ruleset{} = to), do: Diff.diff(from, to)

  def diff(from, to) do
    for part <- [from, to], not is_struct(part, Ruleset), do: ruleset!(part)

    raise ArgumentError,
          "not a ruleset but a stream; Linx.NFT.parse_file/2 makes a ruleset of a file"
  end

  @doc """
  What a push would change.

  With a socket, exactly what `push(socket, ruleset, mode: :reconcile)` would send now, as
  `{:ok, patch}`: the tables that the ruleset names are read, the names of interfaces resolved in
  the socket's namespace, and nothing is sent. Other tables are in no patch. Option
  `tag: :comment` and errors are those of `push/3`; the patch is empty
  (`Linx.Netfilter.Patch.empty?/1`) when there is nothing to do.

  With two rulesets it is `diff/2` by another name: a patch that deletes every table that `to`
  does not name, and that takes an interface's index and its name for two things. Raises as
  `diff/2`.
  """
  @spec dry_run(Ruleset.t(), Ruleset.t(), []) :: Patch.t()
  @spec dry_run(Socket.t(), Ruleset.t() | Stream.t(), keyword()) ::
          {:ok, Patch.t()} | {:error, Error.t() | term()}
  def dry_run(socket_or_from, to, opts \\ [])
  def dry_run(%Ruleset{} = from, %Ruleset{} = to, []), do: diff(from, to)

  def dry_run(sock, ruleset, opts) do
    checked!(sock)
    ruleset!(ruleset)

    with {:ok, opts} <- options(opts, [:tag]),
         {:ok, by} <- known_by(Keyword.get(opts, :tag)),
         {:ok, ruleset} <- value(ruleset),
         do: Push.dry_run(sock, ruleset, by: by)
  end

  defp value(%Stream{value: value}), do: value.()
  defp value(ruleset), do: {:ok, ruleset}

  # -- processes ---------------------------------------------------------------------------------

  @doc """
  Starts a monitor that reports every change of the namespace's ruleset to `owner_pid`; see
  `Linx.Netfilter.Monitor`.

  Options: `:netns` (default `:host`), `:since_gen` (default 0), `:rcvbuf` (bytes, default 4 MiB).
  The monitor is linked to the caller, as `Linx.Netlink.Rtnl.Monitor.subscribe/2` has it: a
  monitor that crashes is not missed in silence. It ends with its owner. Errors are those of
  opening the socket and joining its group.
  """
  @spec subscribe(pid(), keyword()) :: {:ok, pid()} | {:error, term()}
  def subscribe(owner_pid \\ self(), opts \\ []),
    do: Monitor.start_link([owner: owner_pid] ++ opts)

  @doc "Stops a monitor."
  @spec unsubscribe(pid()) :: :ok
  def unsubscribe(monitor_pid), do: Monitor.stop(monitor_pid)

  @doc """
  Starts a listener for the packets that rules log to an NFLOG group; see `Linx.Netfilter.Log` for
  the options, of which `:group` is required.

  The listener is linked to the caller and ends with its owner.
  `{:error, %Linx.Netfilter.Error{errno: :eperm}}` when the group has a listener or CAP_NET_ADMIN
  is missing.
  """
  @spec log_listen(pid(), keyword()) :: {:ok, pid()} | {:error, term()}
  def log_listen(owner_pid \\ self(), opts \\ []), do: Log.start_link([owner: owner_pid] ++ opts)

  @doc "Stops a listener; its group is unbound first."
  @spec unlog_listen(pid()) :: :ok
  def unlog_listen(listener), do: Log.stop(listener)
end
