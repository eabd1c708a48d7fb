defmodule Linx.Netfilter.Push do
  @moduledoc false
  # The ways a ruleset reaches the kernel: whole tables anew, or what differs and only if nobody
  # else has committed meanwhile.

  alias Linx.Netfilter.Encoder.{Batch, Frames, Patches, Sets}
  alias Linx.Netfilter.{Canonical, Chain, Diff, Error, Interfaces, Patch, Pull, References}
  alias Linx.Netfilter.{Rule, Ruleset, Stream, Table, Transaction}
  alias Linx.Netlink.Heap
  alias Linx.Netlink.Nfnl.Codec
  alias Linx.Netlink.Socket

  # A push that lost the race is computed anew this often, after 1, 2, 4, ... ms.
  @reconcile_retries 3

  # Bytes that a rule and an element take outside the heap while they are encoded: a binary that
  # grows is up to twice as large as what is in it, and elements are copied once from their
  # message to the batch.
  @rule 1_200
  @element 100

  @doc """
  Deletes each table that the ruleset names, if it is there, and makes it anew. Answers the
  ruleset as it was sent.

  An owned or persistent table stays one (and keeps its comment where none is given): a ruleset
  from text says nothing of the socket that owns the table, and the table's life is not to change
  with its rules.
  """
  @spec replace(Socket.t(), Ruleset.t()) :: {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def replace(sock, ruleset), do: replace(sock, ruleset, [])

  # `large` has the elements of the sets that are no values (Linx.Netfilter.Stream).
  defp replace(sock, ruleset, large) do
    with :ok <- References.check(ruleset),
         {:ok, ruleset} <- Interfaces.resolve(ruleset, sock) do
      ruleset = lasting(sock, ruleset)
      with :ok <- replace(sock, ruleset, large, :destroy), do: {:ok, ruleset}
    end
  end

  # A refusal here is that of the batch that follows.
  defp lasting(_sock, %Ruleset{tables: tables} = ruleset) when map_size(tables) == 0, do: ruleset

  defp lasting(sock, %Ruleset{tables: tables} = ruleset) do
    case Pull.tables(sock, Map.keys(tables)) do
      {:ok, there} ->
        %{ruleset | tables: Enum.reduce(there, tables, &last/2)}

      {:error, _refused} ->
        ruleset
    end
  end

  defp last(%Table{family: family, name: name, flags: flags} = there, tables) do
    case {tables, Enum.filter(flags, &(&1 in [:owner, :persist]))} do
      {%{{^family, ^name} => wanted}, [_ | _] = lasting} ->
        flags = Enum.uniq(wanted.flags ++ lasting)
        comment = wanted.comment || there.comment
        %{tables | {family, name} => %{wanted | flags: flags, comment: comment}}

      _ ->
        tables
    end
  end

  defp replace(sock, ruleset, large, destroy) do
    encoded = Heap.roomy(0, room(ruleset), fn -> Batch.frames(ruleset, destroy: destroy) end)

    with {:ok, frames} <- encoded,
         {:ok, frames} <- appended(large, frames) do
      case Transaction.commit(sock, frames, []) do
        # Linux before 6.3 does not know DESTROYTABLE.
        {:error, %Error{operation: :destroytable, errno: errno}}
        when errno in [:einval, :eopnotsupp] and destroy == :destroy ->
          replace(sock, ruleset, large, :delete)

        result ->
          result
      end
    end
  end

  @doc "As `replace/2` for a stream, whose large sets become messages without having been values."
  @spec stream(Socket.t(), Stream.t()) :: {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def stream(sock, %Stream{} = stream) do
    with {:ok, ruleset, large} <- stream.read.(),
         {:ok, ruleset} <- replace(sock, ruleset, large) do
      {:ok, ruleset}
    else
      {:error, :invalid} ->
        as_value(sock, stream)

      # The kernel names neither the elements that overlap nor the chain or object that is absent;
      # the checks of a value do.
      {:error, %Error{operation: :newsetelem, errno: errno}} when errno in [:eexist, :enoent] ->
        as_value(sock, stream)

      {:error, error} ->
        {:error, error}
    end
  end

  defp as_value(sock, stream) do
    with {:ok, ruleset} <- stream.value.(), do: replace(sock, ruleset)
  end

  defp appended([], frames), do: {:ok, frames}

  defp appended([{family, set, more} | rest], frames) do
    at = [family: family, table: set.table, set: set.name]
    with {:ok, frames} <- append(more.(), set, at, frames), do: appended(rest, frames)
  end

  defp append(:done, _set, _at, frames), do: {:ok, frames}
  defp append({:error, error}, _set, _at, _frames), do: {:error, error}

  defp append({:ok, elements, more}, set, at, frames) do
    case part(set, elements, at) do
      {:ok, part} -> append(more.(), set, at, Frames.part(frames, part.bytes, part.count, at))
      {:error, text} -> {:error, {:bad_set_element, {at, text}}}
    end
  end

  defp part(set, elements, at) do
    {:ok,
     set
     |> Sets.elements(at[:family], elements, [])
     |> Enum.reduce(Frames.new(), &Frames.add(&2, &1, at))}
  rescue
    error in ArgumentError -> {:error, error.message}
  end

  defp room(%Ruleset{tables: tables}) do
    for {_key, table} <- tables, reduce: 0 do
      sum ->
        rules = for {_, c} <- table.chains, reduce: 0, do: (sum -> sum + length(c.rules))
        sets = for {_, s} <- table.sets, reduce: 0, do: (sum -> sum + length(s.elements))
        maps = for {_, m} <- table.maps, reduce: 0, do: (sum -> sum + length(m.elements))
        sum + rules * @rule + (sets + maps) * @element
    end
  end

  @doc """
  Sends what differs from the tables as they are. Option `by:` as for
  `Linx.Netfilter.Diff.diff/3`.
  """
  @spec reconcile(Socket.t(), Ruleset.t(), keyword()) ::
          {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def reconcile(sock, ruleset, opts) do
    planned(sock, ruleset, opts, fn patch, gen, ruleset ->
      with {:ok, frames} <- Patches.frames(patch),
           :ok <- commit(sock, frames, gen),
           do: {:ok, ruleset}
    end)
  end

  @doc "What `reconcile/3` would send, without sending it."
  @spec dry_run(Socket.t(), Ruleset.t(), keyword()) ::
          {:ok, Patch.t()} | {:error, Error.t() | term()}
  def dry_run(sock, ruleset, opts) do
    planned(sock, ruleset, opts, fn patch, gen, _ruleset ->
      with {:ok, _frames} <- Patches.frames(patch),
           :ok <- steady(sock, gen),
           do: {:ok, patch}
    end)
  end

  @doc "Deletes the one rule of a chain that is this one; see `Linx.Netfilter.delete_rule/3`."
  @spec delete_rule(Socket.t(), {Table.family(), String.t(), String.t()}, Rule.t()) ::
          :ok | {:error, Error.t() | term()}
  def delete_rule(sock, {family, table, name} = place, rule) do
    {:ok, chain} = Chain.new(name, rules: [rule])
    wanted = Table.new!(family, table)
    alone = %Ruleset{tables: %{{family, table} => %{wanted | chains: %{name => chain}}}}

    with {:ok, %Ruleset{tables: tables}} <- Interfaces.resolve(alone, sock) do
      [rule] = tables[{family, table}].chains[name].rules
      delete_rule(sock, place, rule, 0)
    end
  end

  defp delete_rule(sock, {family, table, name} = place, rule, tries) do
    with {:ok, gen, %Ruleset{tables: tables}} <- Pull.table(sock, {family, table}, []),
         {:ok, there} <- rules(tables[{family, table}], place),
         wanted = Canonical.carried(rule, Canonical.carriers(tables[{family, table}])),
         {:ok, handle} <- only(for(r <- there, alike?(r, wanted, family), do: r.handle), place),
         {:ok, frames} <-
           Patches.frames(Patch.new([{:delete_rule, family, table, name, handle}])) do
      case commit(sock, frames, gen) do
        {:error, %Error{errno: :erestart}} when tries < @reconcile_retries ->
          Process.sleep(Bitwise.bsl(1, tries))
          delete_rule(sock, place, rule, tries + 1)

        result ->
          result
      end
    end
  end

  defp rules(table, {_family, _table, name} = place) do
    case table && table.chains[name] do
      nil -> {:error, absent(place, "no such chain")}
      chain -> {:ok, chain.rules}
    end
  end

  # A comment or tag counts where one is given.
  defp alike?(there, rule, family) do
    there = %{there | userdata: rule.userdata}
    there = if rule.comment == nil, do: %{there | comment: nil}, else: there
    there = if rule.tag == nil, do: %{there | tag: nil}, else: there
    Canonical.same_rule?(there, rule, family)
  end

  defp only([handle], _place), do: {:ok, handle}
  defp only([], place), do: {:error, absent(place, "no such rule in this chain")}
  defp only(handles, _place), do: {:error, {:ambiguous_rule, handles}}

  defp absent({family, table, chain}, text) do
    at = [family: family, table: table, chain: chain]
    Error.from_posix(:enoent, :delete_rule, at: at, message: text, subsys: :nftables)
  end

  # Checks, resolves, reads and compares, and hands the patch and the generation it is for to
  # `fun`.
  defp planned(sock, ruleset, opts, fun) do
    with :ok <- Diff.validate_for_reconcile(ruleset, opts),
         :ok <- References.check(ruleset),
         {:ok, ruleset} <- Interfaces.resolve(ruleset, sock),
         do: planned(sock, ruleset, opts, fun, 0)
  end

  defp planned(sock, ruleset, opts, fun, tries) do
    with {:ok, gen, current} <- Pull.named(sock, ruleset),
         {:ok, patch} <- patch(current, ruleset, opts) do
      case fun.(patch, gen, ruleset) do
        # ERESTART: another writer moved the generation since we read it (nfnetlink_rcv_batch);
        # the diff is stale.
        {:error, %Error{errno: :erestart}} when tries < @reconcile_retries ->
          Process.sleep(Bitwise.bsl(1, tries))
          planned(sock, ruleset, opts, fun, tries + 1)

        {:error, %Error{errno: :erestart} = error} ->
          {:error, %{error | operation: :push, ruleset_gen: latest_gen(sock, gen)}}

        result ->
          result
      end
    end
  end

  # Where there is nothing to send the kernel compares no generations, and what was read in parts
  # may never have been so.
  defp commit(sock, %Frames{count: 0}, gen), do: steady(sock, gen)
  defp commit(sock, frames, gen), do: Transaction.commit(sock, frames, genid: gen)

  defp steady(sock, gen) do
    case Pull.generation(sock) do
      {:ok, %{id: ^gen}} -> :ok
      {:ok, _moved} -> {:error, Error.from_posix(:erestart, :push, subsys: :nftables)}
      {:error, error} -> {:error, error}
    end
  end

  defp patch(current, ruleset, opts) do
    {:ok, Diff.diff(current, ruleset, opts)}
  rescue
    error in ArgumentError -> {:error, {:bad_ruleset, Exception.message(error)}}
  end

  defp latest_gen(sock, known) do
    case Codec.get_gen(sock) do
      {:ok, gen} -> gen.id
      {:error, _} -> known
    end
  end
end
