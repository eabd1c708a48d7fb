defmodule Linx.Netfilter do
  @moduledoc """
  The kernel's firewall, nf_tables, as plain values: push a ruleset, pull it back, see what differs, watch it change.

  A `Linx.Netfilter.Ruleset` is built with its own functions or written as nft text (`Linx.NFT`). Four verbs act on it:

      {:ok, nfnl} = Linx.Netlink.Nfnl.open()
      :ok = Linx.Netfilter.push(nfnl, ruleset)
      {:ok, current} = Linx.Netfilter.pull(nfnl, {:inet, "fw"})
      patch = Linx.Netfilter.diff(current, wanted)
      :ok = Linx.Netfilter.push(nfnl, wanted, mode: :reconcile)

  Everything is one transaction: all of a push takes effect at once or nothing does. A `:reconcile` push sends only what differs, and only if nobody
  else has changed the ruleset since it was read.

  A socket belongs to one network namespace, so the namespace is chosen when it is opened: `Linx.Netlink.Nfnl.open({:pid, pid})` for a
  container's. nf_tables asks for CAP_NET_ADMIN there (`:eperm` without).

  `create_table/3` makes tables that live as long as the socket: when its owner dies, the firewall it made is gone. Changes of a ruleset are
  reported by `subscribe/2`, packets that rules log by `log_listen/2`.

  What this module does not do: it keeps no state, retries nothing but lost races and torn dumps, and never touches a table that a
  ruleset does not name.

  Source: nft(8); Documentation/networking/netlink_spec/nftables; net/netfilter/nf_tables_api.c.
  """

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{
    Decoder,
    Diff,
    Encoder,
    Error,
    Interfaces,
    Log,
    Monitor,
    Patch,
    Ruleset,
    Table
  }

  alias Linx.Netfilter.Wire.{Constants, Reader, Writer}
  alias Linx.Netlink.{Nfnl, Request, Socket}
  alias Linx.Netlink.Nfnl.Codec

  @dump 0x300

  # A push that lost the race is computed anew this often, after 1, 2, 4, ... ms.
  @reconcile_retries 3
  @pull_retries 10

  @doc """
  Whether this VM can open an nfnetlink socket, that is whether the kernel has nfnetlink.

  Whether it may also change rulesets is answered by the first verb that tries. False also when Linx's native library is
  not loaded.
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
  Makes an empty table, owned by the socket: no other socket may change it, and it goes when this one is closed.

  Options:

    * `:family` - default `:inet`.
    * `:persist` - `true` makes a table without an owner, which stays until it is deleted. The flag of that name is set where the kernel has
      it (Linux 6.9).
    * `:comment`

  Answers a ruleset that holds just this table. `{:error, %Linx.Netfilter.Error{errno: :eexist}}` when the table exists, `:eperm` without
  CAP_NET_ADMIN; `{:error, {:bad_table, reason}}` for a name or family that cannot be.
  Source: nft(8), "TABLES"; `enum nft_table_flags`.
  """
  @spec create_table(Socket.t(), String.t(), keyword()) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def create_table(%Socket{} = sock, name, opts \\ []) do
    {persist?, opts} = Keyword.pop(opts, :persist, false)
    {family, opts} = Keyword.pop(opts, :family, :inet)
    flags = if persist?, do: [:persist], else: [:owner]

    with {:ok, table} <- Table.new(family, name, [flags: flags] ++ opts),
         {:ok, table} <- make_table(sock, table) do
      {:ok, Ruleset.put_table(Ruleset.new(), table)}
    end
  end

  defp make_table(sock, table) do
    case send_placed(
           sock,
           [{Encoder.table(table, excl: true), [family: table.family, table: table.name]}],
           []
         ) do
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

  # -- push ------------------------------------------------------------------------------------------------------------

  @doc """
  Writes a ruleset to the kernel as one transaction. Tables that it does not name are left alone.

  Options:

    * `mode: :replace` (the default) deletes each table that the ruleset names, if it is there, and makes it anew. Counters start from
      zero.
    * `mode: :reconcile` reads these tables, computes what differs (`diff/2`) and sends that alone. The transaction carries the generation that was
      read: when another writer commits in between, the kernel refuses it and the push is computed again, up to three times. What
      lost every race is `errno: :erestart` with the current `ruleset_gen`. Chains of more than one rule need a tag on each, else the answer is
      `{:error, {:tag_required, {family, table, chain}}}`.

  The kernel's refusal is a `Linx.Netfilter.Error` that says which message it was and where in the ruleset (`:at`); when it refused several,
  the rest is in `:others`. A value that has no form on the wire is `{:error, {:bad_rule, {at, text}}}` (or `:bad_set`, `:bad_set_element`, ...)
  and nothing is sent. Source: nft(8); net/netfilter/nfnetlink.c, `nfnetlink_rcv_batch`.
  """
  @spec push(Socket.t(), Ruleset.t(), keyword()) :: :ok | {:error, Error.t() | term()}
  def push(%Socket{} = sock, %Ruleset{} = ruleset, opts \\ []) do
    case Keyword.get(opts, :mode, :replace) do
      :replace ->
        with {:ok, ruleset} <- Interfaces.resolve(ruleset, sock),
             do: replace(sock, ruleset, :destroy)

      :reconcile ->
        with :ok <- Diff.validate_for_reconcile(ruleset),
             {:ok, ruleset} <- Interfaces.resolve(ruleset, sock),
             do: reconcile(sock, ruleset, 0)

      other ->
        raise ArgumentError, "unknown mode #{inspect(other)}; :replace or :reconcile"
    end
  end

  defp replace(sock, ruleset, destroy) do
    encoded = roomy(size(ruleset), fn -> Encoder.batch(ruleset, destroy: destroy) end)

    with {:ok, placed} <- encoded do
      case send_placed(sock, placed, []) do
        # Linux before 6.3 does not know DESTROYTABLE.
        {:error, %Error{operation: :destroytable, errno: errno}}
        when errno in [:einval, :eopnotsupp] and destroy == :destroy ->
          replace(sock, ruleset, :delete)

        result ->
          result
      end
    end
  end

  # About as many entities as will be written.
  defp size(%Ruleset{tables: tables}) do
    for {_key, table} <- tables, {_name, chain} <- table.chains, reduce: 0 do
      sum -> sum + length(chain.rules)
    end
  end

  # Most of what decoding thousands of rules costs is the collector copying those already decoded, again and again while the heap grows.
  # For that time the heap may be as large as it is going to be: some 1 000 words a rule, at most 128 MB.
  defp roomy(rules, fun) when rules < 500, do: fun.()

  defp roomy(rules, fun) do
    before = Process.flag(:min_heap_size, min(rules * 1_000, 16_000_000))

    try do
      fun.()
    after
      Process.flag(:min_heap_size, before)
    end
  end

  defp reconcile(sock, ruleset, tries) do
    with {:ok, gen, current} <- current(sock, ruleset),
         {:ok, patch} <- patch(current, ruleset),
         {:ok, placed} <- Encoder.patch_batch(patch) do
      case send_placed(sock, placed, genid: gen) do
        # ERESTART: another writer moved the generation since we read it (nfnetlink_rcv_batch); the diff is stale.
        {:error, %Error{errno: :erestart}} when tries < @reconcile_retries ->
          Process.sleep(Bitwise.bsl(1, tries))
          reconcile(sock, ruleset, tries + 1)

        {:error, %Error{errno: :erestart} = error} ->
          {:error, %{error | operation: :push, ruleset_gen: latest_gen(sock, gen)}}

        result ->
          result
      end
    end
  end

  defp patch(current, ruleset) do
    {:ok, Diff.diff(current, ruleset)}
  rescue
    error in ArgumentError -> {:error, {:bad_ruleset, Exception.message(error)}}
  end

  defp latest_gen(sock, known) do
    case Codec.get_gen(sock) do
      {:ok, gen} -> gen.id
      {:error, _} -> known
    end
  end

  # The tables that the ruleset names, as they are, and the generation they were read in.
  defp current(sock, ruleset) do
    scopes = for {family, name, _table} <- Ruleset.tables(ruleset), do: {family, name}

    with {:ok, gen} <- generation(sock),
         {:ok, parts} <- each(scopes, &scoped(sock, &1, true)) do
      tables =
        for {:ok, %Ruleset{tables: tables}} <- parts,
            {key, table} <- tables,
            into: %{},
            do: {key, table}

      {:ok, gen.id, %Ruleset{tables: tables}}
    end
  end

  defp each(items, fun) do
    Enum.reduce_while(items, {:ok, []}, fn item, {:ok, done} ->
      case fun.(item) do
        {:error, %Error{errno: :enoent}} -> {:cont, {:ok, done}}
        {:error, error} -> {:halt, {:error, error}}
        ok -> {:cont, {:ok, [ok | done]}}
      end
    end)
  end

  defp send_placed(_sock, [], _opts), do: :ok

  defp send_placed(sock, placed, opts) do
    case Nfnl.transact(sock, for({message, _at} <- placed, do: message), :nftables, opts) do
      {:ok, []} -> :ok
      {:ok, failures} -> {:error, refusal(failures, placed)}
      {:error, error} -> {:error, from_netlink(error, :push)}
    end
  end

  defp refusal(failures, placed) do
    placed = List.to_tuple(placed)
    [first | others] = Enum.map(failures, &refused(&1, placed))
    %{first | others: others}
  end

  defp refused({0, error}, _placed), do: from_netlink(error, :batch_begin)

  defp refused({position, error}, placed) when position > tuple_size(placed),
    do: from_netlink(error, :batch_end)

  defp refused({position, error}, placed) do
    {message, at} = elem(placed, position - 1)
    type = Bitwise.band(message.type, 0xFF)

    %{
      from_netlink(error, Constants.atom(:message, type))
      | msg_type: type,
        batch_seq: position,
        at: at ++ expression(message, error.offset)
    }
  end

  # The offset counts from the header; which expression of the rule does it lie in?
  defp expression(%{type: 0x0A06, payload: <<_header::32, attrs::binary>>}, offset)
       when is_integer(offset) do
    case within(attrs, offset - 20) do
      {nfta_rule_expressions(), list, inside} ->
        case nth(list, inside, 0) do
          nil -> []
          index -> [expr: index]
        end

      _ ->
        []
    end
  end

  defp expression(_message, _offset), do: []

  # The attribute that holds a byte, its inside, and the byte's place in there.
  defp within(<<size::native-16, type::native-16, _::binary>> = attrs, offset)
       when size >= 4 and offset >= 0 do
    padded = Bitwise.band(size + 3, 0xFFFC)

    cond do
      offset < padded and size <= byte_size(attrs) ->
        {Bitwise.band(type, 0x3FFF), binary_part(attrs, 4, size - 4), offset - 4}

      padded < byte_size(attrs) ->
        within(binary_part(attrs, padded, byte_size(attrs) - padded), offset - padded)

      true ->
        nil
    end
  end

  defp within(_attrs, _offset), do: nil

  defp nth(<<size::native-16, _type::native-16, _::binary>> = list, offset, index)
       when size >= 4 and offset >= 0 do
    padded = Bitwise.band(size + 3, 0xFFFC)

    cond do
      offset < padded ->
        index

      padded < byte_size(list) ->
        nth(binary_part(list, padded, byte_size(list) - padded), offset - padded, index + 1)

      true ->
        nil
    end
  end

  defp nth(_list, _offset, _index), do: nil

  defp from_netlink(%Linx.Netlink.Error{} = error, operation) do
    %Error{
      operation: operation,
      errno: error.errno,
      code: error.code,
      message: error.message,
      subsys: :nftables,
      attr_offset: error.offset
    }
  end

  defp from_netlink(other, _operation), do: other

  # -- pull ------------------------------------------------------------------------------------------------------------

  @doc """
  Reads the namespace's ruleset, or with `{family, name}` one table.

  Options:

    * `elements: false` - leave the elements of named sets and maps out. Listing a set costs the kernel time that grows with the square
      of its size.
    * `:subscribe_first` - a monitor from `subscribe/2`. Events of changes that the answer holds already are kept back from its owner, so
      that the answer and the events after it follow each other without a gap.

  The parts come in several dumps. The generation is read before and after, and everything is read again when it moved, up to ten times; after that
  the answer is `errno: :eintr`.

  `{:error, %Linx.Netfilter.Error{errno: :enoent}}` when the one table does not exist, `:eperm` without CAP_NET_ADMIN.
  Source: nft(8), "list ruleset".
  """
  @spec pull(Socket.t(), keyword() | {atom(), String.t()}) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def pull(sock, opts_or_scope \\ [])
  def pull(%Socket{} = sock, {_family, _name} = scope), do: pull(sock, scope, [])

  def pull(%Socket{} = sock, opts) when is_list(opts) do
    with :ok <- hold_back(sock, opts[:subscribe_first]),
         do: whole(sock, Keyword.get(opts, :elements, true), 0)
  end

  @doc "As `pull/2` for the table `{family, name}`, with options. Errors as there."
  @spec pull(Socket.t(), {atom(), String.t()}, keyword()) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def pull(%Socket{} = sock, {family, name} = scope, opts)
      when is_atom(family) and is_binary(name) do
    with :ok <- hold_back(sock, opts[:subscribe_first]),
         do: steady(sock, &scoped(sock, scope, &1), Keyword.get(opts, :elements, true), 0)
  end

  defp hold_back(_sock, nil), do: :ok

  defp hold_back(sock, monitor) do
    with {:ok, gen} <- generation(sock), do: Monitor.set_min_gen(monitor, gen.id)
  end

  defp generation(sock) do
    with {:error, error} <- Codec.get_gen(sock), do: {:error, from_netlink(error, :get_gen)}
  end

  defp whole(sock, elements?, tries), do: steady(sock, &all(sock, &1), elements?, tries)

  # A dump of set elements is never marked as torn, so the generation decides.
  defp steady(sock, read, elements?, tries) do
    with {:ok, before} <- generation(sock) do
      result = read.(elements?)

      case generation(sock) do
        {:error, error} ->
          {:error, error}

        {:ok, %{id: id}} when id == before.id ->
          result

        {:ok, _moved} when tries < @pull_retries ->
          Process.sleep(min(Bitwise.bsl(1, tries), 100))
          steady(sock, read, elements?, tries + 1)

        {:ok, moved} ->
          text = "the ruleset changed during each of #{tries + 1} reads"

          {:error,
           Error.from_posix(:eintr, :pull,
             message: text,
             ruleset_gen: moved.id,
             subsys: :nftables
           )}
      end
    end
  end

  defp all(sock, elements?) do
    with {:ok, tables} <- dump(sock, nft_msg_gettable(), :unspec, [], &Decoder.table/1),
         do: parts(sock, tables, :unspec, nil, elements?)
  end

  defp scoped(sock, {family, name}, elements?) do
    message = Encoder.gettable(family, name)

    case Request.talk(sock, message.type, 0, message.payload) do
      {:ok, [answer | _]} -> parts(sock, [Decoder.table(answer.payload)], family, name, elements?)
      {:ok, []} -> {:error, Error.from_posix(:enoent, :pull, subsys: :nftables)}
      {:error, error} -> {:error, from_netlink(error, :pull)}
    end
  end

  # The kernel filters what it dumps by the table's name, chains excepted.
  defp parts(sock, tables, family, name, elements?) do
    with {:ok, chains} <- dump(sock, nft_msg_getchain(), family, [], &Decoder.chain/1),
         {:ok, sets} <-
           dump(sock, nft_msg_getset(), family, only(nfta_set_table(), name), &Decoder.set/1),
         {:ok, objects} <-
           dump(sock, nft_msg_getobj(), family, only(nfta_obj_table(), name), &Decoder.object/1),
         {:ok, flowtables} <-
           dump(
             sock,
             nft_msg_getflowtable(),
             family,
             only(nfta_flowtable_table(), name),
             &Decoder.flowtable/1
           ),
         {:ok, rules} <-
           bodies(sock, nft_msg_getrule(), family, only(nfta_rule_table(), name)),
         {:ok, elements} <- elements(sock, sets, name, elements?) do
      roomy(length(rules), fn ->
        {:ok,
         Decoder.assemble(%{
           tables: tables,
           chains: chains,
           rules: Decoder.rules(rules),
           sets: sets,
           set_elements: elements,
           objects: objects,
           flowtables: flowtables
         })}
      end)
    end
  end

  defp only(_attribute, nil), do: []
  defp only(attribute, name), do: Writer.text(attribute, name)

  defp elements(sock, sets, name, elements?) do
    wanted =
      for {family, set} <- sets,
          name == nil or set.table == name,
          elements? or :anonymous in set.flags,
          do: {family, set.table, set.name}

    each_list(wanted, fn {family, table, set} ->
      attrs = [
        Writer.text(nfta_set_elem_list_table(), table),
        Writer.text(nfta_set_elem_list_set(), set)
      ]

      dump(sock, nft_msg_getsetelem(), family, attrs, &Decoder.set_elements/1)
    end)
  end

  defp each_list(items, fun) do
    result =
      Enum.reduce_while(items, [], fn item, done ->
        case fun.(item) do
          {:ok, list} -> {:cont, [list | done]}
          # The set went away since it was listed: the generation moved, and all is read again.
          {:error, %Error{errno: :enoent}} -> {:cont, done}
          {:error, error} -> {:halt, {:error, error}}
        end
      end)

    case result do
      {:error, error} -> {:error, error}
      lists -> {:ok, lists |> Enum.reverse() |> Enum.concat()}
    end
  end

  defp dump(sock, type, family, attrs, decode) do
    with {:ok, bodies} <- bodies(sock, type, family, attrs), do: {:ok, Enum.map(bodies, decode)}
  end

  defp bodies(sock, type, family, attrs) do
    payload = [Codec.encode_nfgenmsg(family, 0), attrs]

    case Request.run(sock, 0x0A00 + type, @dump, payload, :raw) do
      {:ok, messages} -> {:ok, for({_type, _flags, _seq, body} <- messages, do: body)}
      # A part of nf_tables that this kernel lacks has nothing to list.
      {:error, %{errno: :eopnotsupp}} -> {:ok, []}
      {:error, error} -> {:error, from_netlink(error, :pull)}
    end
  end

  # -- values ----------------------------------------------------------------------------------------------------------

  @doc """
  The patch that turns `from` into `to`; see `Linx.Netfilter.Diff`. `from` should be a pulled ruleset, whose rules have handles.

  Raises `ArgumentError` for values that have no form on the wire.
  """
  @spec diff(Ruleset.t(), Ruleset.t()) :: Patch.t()
  def diff(%Ruleset{} = from, %Ruleset{} = to), do: Diff.diff(from, to)

  @doc "`diff/2` by the name that reads well where the question is what a push would change. Raises as `diff/2`."
  @spec dry_run(Ruleset.t(), Ruleset.t()) :: Patch.t()
  def dry_run(%Ruleset{} = from, %Ruleset{} = to), do: diff(from, to)

  # -- processes -------------------------------------------------------------------------------------------------------

  @doc """
  Starts a monitor that reports every change of the namespace's ruleset to `owner_pid`; see `Linx.Netfilter.Monitor`.

  Options: `:netns` (default `:host`), `:since_gen` (default 0), `:rcvbuf` (bytes, default 4 MiB). The monitor is not linked to the
  caller and ends with its owner. Errors are those of opening the socket and joining its group.
  """
  @spec subscribe(pid(), keyword()) :: {:ok, pid()} | {:error, term()}
  def subscribe(owner_pid \\ self(), opts \\ []), do: Monitor.start([owner: owner_pid] ++ opts)

  @doc "Stops a monitor."
  @spec unsubscribe(pid()) :: :ok
  def unsubscribe(monitor_pid), do: Monitor.stop(monitor_pid)

  @doc """
  Starts a listener for the packets that rules log to an NFLOG group; see `Linx.Netfilter.Log` for the options, of which `:group` is required.

  The listener is not linked to the caller and ends with its owner. `{:error, %Linx.Netfilter.Error{errno: :eperm}}` when the group has a listener or CAP_NET_ADMIN is missing.
  """
  @spec log_listen(pid(), keyword()) :: {:ok, pid()} | {:error, term()}
  def log_listen(owner_pid \\ self(), opts \\ []), do: Log.start([owner: owner_pid] ++ opts)

  @doc "Stops a listener; its group is unbound first."
  @spec unlog_listen(pid()) :: :ok
  def unlog_listen(listener), do: Log.stop(listener)

  # For tests: the attributes of a payload.
  @doc false
  @spec attributes(binary()) :: [{non_neg_integer(), binary()}]
  def attributes(<<_header::32, attrs::binary>>), do: Reader.attrs(attrs)
end
