defmodule Linx.Netfilter.Pull do
  @moduledoc false
  # Reads rulesets: a dump for each kind of entity, and everything again when the generation moved
  # meanwhile.

  import Linx.Netfilter.Wire
  import Linx.Netlink.Constants

  alias Linx.Netfilter.Decoder.{Assembly, Elements}
  alias Linx.Netfilter.{Decoder, Encoder, Error, Ruleset, Table}
  alias Linx.Netfilter.Wire.Constants
  alias Linx.Netlink.{Attr, Heap, Request, Socket}
  alias Linx.Netlink.Nfnl.Codec

  @retries 10

  # Heap words that one rule takes while it is decoded: a rule of six expressions takes 110, and
  # keeps half of them.
  @words 250

  @doc "The namespace's ruleset, and the generation that it is of."
  @spec whole(Socket.t(), keyword()) ::
          {:ok, non_neg_integer(), Ruleset.t()} | {:error, Error.t() | term()}
  def whole(sock, opts), do: steady(sock, &all(sock, &1), Keyword.get(opts, :elements, true), 0)

  @doc "One table, in a ruleset of its own."
  @spec table(Socket.t(), {atom(), String.t()}, keyword()) ::
          {:ok, non_neg_integer(), Ruleset.t()} | {:error, Error.t() | term()}
  def table(sock, scope, opts),
    do: steady(sock, &scoped(sock, scope, &1), Keyword.get(opts, :elements, true), 0)

  @doc "The tables that `ruleset` names, as they are, and the generation they were read in."
  @spec named(Socket.t(), Ruleset.t()) ::
          {:ok, non_neg_integer(), Ruleset.t()} | {:error, Error.t() | term()}
  def named(sock, ruleset) do
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

  # A dump of set elements is never marked NLM_F_DUMP_INTR, so the generation decides.
  defp steady(sock, read, elements?, tries) do
    with {:ok, before} <- generation(sock) do
      result = read.(elements?)

      case generation(sock) do
        {:error, error} ->
          {:error, error}

        {:ok, %{id: id}} when id == before.id ->
          with {:ok, ruleset} <- result, do: {:ok, id, ruleset}

        {:ok, _moved} when tries < @retries ->
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

  @doc """
  The elements of one set or map that is declared so; with `reset?` their counters and quotas
  start anew.
  """
  @spec of_set(Socket.t(), atom(), struct(), boolean()) ::
          {:ok, [term()]} | {:error, Error.t() | term()}
  def of_set(sock, family, set, reset?) do
    message = if reset?, do: nft_msg_getsetelem_reset(), else: nft_msg_getsetelem()

    # A dump that resets cannot be read again: what it resets is in it alone.
    tries = if reset?, do: @retries, else: 0

    with {:ok, [{_family, _table, _name, raw}]} <- members(sock, family, set, message, tries),
         do: {:ok, Elements.values(set, raw)}
  end

  @doc """
  GETOBJ_RESET of one object, or of those of a kind in a table: they begin anew, the answer is
  what they were.
  """
  @spec reset(Socket.t(), atom(), tuple()) :: {:ok, term()} | {:error, Error.t() | term()}
  def reset(sock, kind, {family, table, name}) do
    number = Constants.int!(:object, kind)
    attrs = [Attr.text(nfta_obj_name(), name), Attr.u32_be(nfta_obj_type(), number)]
    payload = [Codec.encode_nfgenmsg(family, 0), Attr.text(nfta_obj_table(), table), attrs]

    case Request.talk(sock, 0x0A00 + nft_msg_getobj_reset(), 0, payload) do
      {:ok, [answer | _]} -> {:ok, answer.payload |> Decoder.object() |> elem(1)}
      {:ok, []} -> {:error, Error.from_posix(:enoent, :reset, subsys: :nftables)}
      {:error, error} -> {:error, reset_error(error, family: family, table: table, object: name)}
    end
  end

  def reset(sock, kind, {family, table} = scope) do
    type = Attr.u32_be(nfta_obj_type(), Constants.int!(:object, kind))
    attrs = [Attr.text(nfta_obj_table(), table), type]
    message = Encoder.gettable(family, table)

    # A dump of a table that is not there is empty.
    with {:ok, _} <- Request.talk(sock, message.type, 0, message.payload),
         {:ok, objects} <- dump(sock, nft_msg_getobj_reset(), family, attrs, &Decoder.object/1) do
      {:ok, for({^family, object} <- objects, object.table == table, do: object)}
    else
      {:error, %Error{} = error} ->
        {:error, error}

      {:error, error} ->
        {:error, reset_error(error, Enum.zip([:family, :table], Tuple.to_list(scope)))}
    end
  end

  defp reset_error(error, at) do
    with %Error{} = error <- Error.from_netlink(error, :reset), do: %{error | at: at}
  end

  @doc "The ruleset's generation: the number of commits so far."
  @spec generation(Socket.t()) :: {:ok, map()} | {:error, Error.t() | term()}
  def generation(sock) do
    with {:error, error} <- Codec.get_gen(sock),
         do: {:error, Error.from_netlink(error, :get_gen, sock)}
  end

  @doc "Those of the named tables that are there and can be read, without what is in them."
  @spec tables(Socket.t(), [{Table.family(), String.t()}]) ::
          {:ok, [Table.t()]} | {:error, Linx.Netlink.Error.t()}
  def tables(sock, names) do
    requests =
      for {family, name} <- names do
        message = Encoder.gettable(family, name)
        {message.type, 0, IO.iodata_to_binary(message.payload)}
      end

    with {:ok, answers} <- Request.lookup(sock, requests),
         do: {:ok, for({:ok, body} <- answers, do: Decoder.table(body))}
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
      {:error, error} -> {:error, Error.from_netlink(error, :pull, sock)}
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
      Heap.roomy(length(rules) * @words, fn ->
        {:ok,
         Assembly.ruleset(%{
           tables: tables,
           chains: chains,
           rules: Decoder.Rules.decode(rules),
           sets: sets,
           set_elements: elements,
           objects: objects,
           flowtables: flowtables
         })}
      end)
    end
  end

  defp only(_attribute, nil), do: []
  defp only(attribute, name), do: Attr.text(attribute, name)

  defp elements(sock, sets, name, elements?) do
    wanted =
      for {family, set} <- sets,
          name == nil or set.table == name,
          elements? or :anonymous in set.flags,
          do: {family, set}

    each_list(wanted, fn {family, set} ->
      members(sock, family, set, nft_msg_getsetelem(), 0)
    end)
  end

  # A hash table that grows while it is listed, as it does right after a set was filled, shows
  # some elements twice and others not at all. No mark and no generation tells, but the doubles
  # do.
  defp members(sock, family, set, message, tries) do
    attrs = [
      Attr.text(nfta_set_elem_list_table(), set.table),
      Attr.text(nfta_set_elem_list_set(), set.name)
    ]

    with {:ok, bodies} <- bodies(sock, message, family, attrs) do
      # A word for each byte: a plain element has 16 of these, and is sorted.
      case Heap.roomy(IO.iodata_length(bodies), fn -> consistent(set, bodies) end) do
        {:ok, raw} ->
          {:ok, [{family, set.table, set.name, raw}]}

        :inconsistent when tries < @retries ->
          Process.sleep(min(Bitwise.bsl(1, tries), 100))
          members(sock, family, set, message, tries + 1)

        :inconsistent ->
          text = "the set #{set.name} was rearranged during each of #{tries + 1} reads"
          {:error, Error.from_posix(:eintr, :pull, message: text, subsys: :nftables)}
      end
    end
  end

  defp consistent(set, bodies),
    do: Elements.whole(set, Enum.flat_map(bodies, &elem(Decoder.set_elements(&1), 3)))

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
    payload = IO.iodata_to_binary([Codec.encode_nfgenmsg(family, 0), attrs])

    case Request.run(sock, 0x0A00 + type, nlm_f_dump(), payload, :raw) do
      {:ok, messages} -> {:ok, for({_type, _flags, _seq, body} <- messages, do: body)}
      # A part of nf_tables that this kernel lacks has nothing to list.
      {:error, %{errno: :eopnotsupp}} -> {:ok, []}
      {:error, error} -> {:error, Error.from_netlink(error, :pull, sock)}
    end
  end
end
