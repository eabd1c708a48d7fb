defmodule Linx.NFT.Compiler.Declare do
  @moduledoc false
  # Sets and maps that have names: what they hold, and their value structs.

  alias Linx.Netfilter.{Datatype, Datum, Element, Set}
  alias Linx.Netfilter.Map, as: NMap

  alias Linx.NFT.Compiler.{
    Elements,
    Fault,
    Later,
    Load,
    MapTerm,
    Reason,
    Scope,
    Term,
    Typeof,
    Value
  }

  alias Linx.NFT.{ParseError, Statement}

  @doc false
  # The types and options of a set, for rules that are compiled against it: %{key:, data:,
  # interval?:, data_interval?:}.
  def signature(kind, opts, meta, scope) do
    {key, data} = types(opts, meta, scope)
    map? = kind in [:map, :vmap]

    if map? and data == nil and kind == :map,
      do: Fault.fail(meta, "a map needs a type for its values: type KEY : VALUE")

    if not map? and data != nil, do: Fault.fail(meta, "a set has no values: declare a map")
    data = if kind == :vmap, do: data || :verdict, else: data

    {data, data_interval?} =
      if match?({:interval, _}, data), do: {elem(data, 1), true}, else: {data, false}

    flags = Keyword.get_values(opts, :flags) |> List.flatten()

    %{
      kind: kind,
      key: key,
      data: data,
      interval?: :interval in flags,
      data_interval?: data_interval?,
      opts: opts,
      meta: meta
    }
  end

  defp types(opts, meta, scope) do
    found = for entry <- opts, elem(entry, 0) in [:type, :typeof], do: entry

    case found do
      [{:type, {key, data, _}}] -> {concat(Enum.map(key, &named/1)), data_named(data)}
      [{:typeof, {key, data, _}}] -> {typeof(key, scope), data_typeof(data, scope)}
      [] -> Fault.fail(meta, "a set needs a type: type NAME or typeof EXPRESSION")
      [_, {_, {_, _, second}} | _] -> Fault.fail(second, "the type is given twice")
    end
  end

  defp data_named({:interval, types}), do: {:interval, concat(Enum.map(types, &named/1))}
  defp data_named(types) when is_list(types), do: concat(Enum.map(types, &named/1))
  defp data_named(other), do: other

  defp data_typeof({:interval, node}, scope), do: {:interval, typeof(node, scope)}
  defp data_typeof({:object, _} = object, _scope), do: object
  defp data_typeof(other, _scope) when other in [nil, :verdict], do: other
  defp data_typeof(node, scope), do: typeof(node, scope)

  defp named({name, meta}) do
    with {:ok, type} <- Datatype.by_text(name),
         %{size: size} = found when size > 0 <- Datatype.fetch!(type) do
      %Term{kind: :const, type: type, len: size, order: found.order || :host, meta: meta}
    else
      %{name: :verdict} ->
        Fault.fail(meta, "a verdict is a value of a map, not a key")

      %{} ->
        Fault.fail(meta, "#{name} has no size of its own: use typeof")

      :error ->
        Fault.fail(
          meta,
          "unknown datatype #{name}#{ParseError.suggestion(name, Datatype.names())}"
        )
    end
  end

  defp concat([one]), do: one

  defp concat(parts) do
    len = Enum.reduce(parts, 0, &(&2 + 32 * div(&1.len + 31, 32)))
    if len > 512, do: Fault.fail(hd(parts).meta, "a concatenation has at most 64 bytes")
    %Term{kind: :concat, type: :concat, len: len, data: parts}
  end

  # Only the type of the expression counts: there is no rule that depends on it.
  defp typeof(node, scope) do
    {term, _} = Load.load(node, %{Scope.rule(scope) | typeof?: true})

    if term.type in [nil, :verdict],
      do: Fault.fail(node, "this expression has no type of its own")

    strip(term)
  end

  defp strip(%Term{kind: :concat, data: parts} = term),
    do: %{term | data: Enum.map(parts, &strip/1)}

  defp strip(term),
    do: %Term{
      kind: :const,
      type: term.type,
      len: term.len,
      order: term.order,
      source: if(term.kind in [:load, :part, :hash], do: term.source),
      meta: term.meta
    }

  @doc false
  # The struct, with the elements of its declaration and of later commands: [{nodes, scope}].
  def build(name, signature, elements, scope) do
    {key, data} = {clean(signature.key), clean(signature.data)}

    case Later.new(elements, key, data, flags(signature.opts)) do
      nil ->
        build_now(name, signature, elements, scope)

      later ->
        {kind, value} = build_now(name, signature, [], scope)
        {kind, %{value | elements: later}}
    end
  end

  defp build_now(name, signature, elements, scope) do
    %{key: key, data: data, opts: opts, meta: meta} = signature

    found =
      Enum.map(elements, fn
        {nodes, scope} -> Elements.elements(nodes, clean(key), clean(data), scope)
        gone -> gone
      end)

    list = found |> Enum.reduce([], &collect(&1, &2, clean(key), data)) |> Enum.reverse()
    list = Enum.concat(list)
    # Elements that were text are in their one form already.
    normal? = Enum.all?(found, &match?(%Elements{normal?: true}, &1))
    final? = normal? and Enum.all?(found, & &1.final?)
    distinct? = match?([%Elements{distinct?: true}], found)
    found = Enum.filter(found, &is_struct(&1, Elements))
    flags = flags(opts)

    if Enum.any?(found, & &1.interval?) and :interval not in flags,
      do: Fault.fail(meta, "set #{name} has ranges or prefixes: add flags interval to it")

    if Enum.any?(list, &timed?/1) and :timeout not in flags,
      do: Fault.fail(meta, "elements of #{name} have a timeout: add flags timeout to it")

    key_type = Term.key_type(clean(key))
    # In one table an element may be written twice: the kernel keeps one.
    list = if normal?, do: list, else: MapTerm.normalised(list, key_type, data != nil, meta)

    list =
      cond do
        :auto_merge in flags and data == nil and key.kind != :concat ->
          Elements.merge(list, key_type)

        distinct? ->
          list

        true ->
          unique(list)
      end

    common =
      [
        key_type: key_type,
        flags: flags,
        elements: if(final?, do: [], else: list),
        timeout: Elements.duration(opts[:timeout], scope),
        gc_interval: Elements.duration(opts[:gc_interval], scope),
        size: size(opts[:size], scope, meta),
        comment: Value.comment_of(opts[:comment], scope),
        policy: if(opts[:policy] == :memory, do: :memory),
        exprs: for({:stmt, node} <- opts, expr <- Statement.Kinds.exprs(node, scope), do: expr),
        typeof:
          if(Enum.any?(opts, &(elem(&1, 0) == :typeof)), do: Typeof.record(key, {:named, data}))
      ]
      |> Enum.reject(fn {_, value} -> value in [nil, []] end)

    {kind, value} =
      if data == nil,
        do: {:set, checked(Set.new(name, common), meta)},
        else:
          {:map,
           checked(
             NMap.new(
               name,
               [data_type: MapTerm.data_type(clean(data), signature.data_interval?)] ++ common
             ),
             meta
           )}

    {kind, if(final?, do: %{value | elements: list}, else: value)}
  end

  # Lists of elements, the last first; a deletion removes its elements from the lists before it,
  # in whichever form each is written.
  defp collect(%Elements{list: list}, lists, _key, _data), do: [list | lists]

  defp collect({verb, nodes, scope, meta}, lists, key, data) do
    type = Term.key_type(key)
    gone = nodes |> keys_only() |> Elements.elements(key, nil, scope) |> Map.fetch!(:list)
    gone = MapSet.new(gone, &element_key(&1, nil, type))

    {taken, lists} =
      lists
      |> Enum.map(
        &Enum.split_with(&1, fn element -> element_key(element, data, type) in gone end)
      )
      |> Enum.unzip()

    taken = taken |> Enum.concat() |> MapSet.new(&element_key(&1, data, type))

    if verb == :delete and MapSet.size(taken) < MapSet.size(gone),
      do: Fault.fail(meta, "no such element in this text")

    lists
  end

  # A deletion from a map may give values; only the keys count.
  defp keys_only(nodes) when is_list(nodes), do: Enum.map(nodes, &keys_only/1)
  defp keys_only({:mapping, key, _data, _meta}), do: keys_only(key)
  defp keys_only({:element, key, _opts, _meta}), do: key
  defp keys_only({:set_inline, nodes, meta}), do: {:set_inline, keys_only(nodes), meta}
  defp keys_only(node), do: node

  defp element_key(%Element{key: key}, _data, type), do: one_form(key, type)
  defp element_key({key, _value}, data, type) when data != nil, do: one_form(key, type)
  defp element_key(key, _data, type), do: one_form(key, type)

  defp one_form(key, type) do
    case Datum.Form.normalise(type, key) do
      {:ok, key} -> key
      {:error, _reason} -> key
    end
  end

  defp size(nil, _scope, _meta), do: nil

  # `size 0` means no limit, as in nft.
  defp size(node, scope, meta) do
    case Value.number_within(node, 0xFFFFFFFF, "a size", meta, scope) do
      0 -> nil
      n -> n
    end
  end

  defp clean(%Term{kind: :concat, data: parts} = term),
    do: %{term | data: Enum.map(parts, &clean/1)}

  defp clean(%Term{} = term), do: %{term | data: nil}
  defp clean(other), do: other

  # Sorting takes less room than a map of all elements, and hardly any list has one twice.
  defp unique(list),
    do: if(length(:lists.usort(list)) == length(list), do: list, else: Enum.uniq(list))

  @set_flags [:constant, :interval, :timeout, :dynamic, :auto_merge]

  defp flags(opts) do
    given = Keyword.get_values(opts, :flags) |> List.flatten()
    given = if opts[:timeout], do: [:timeout | given], else: given
    given = if opts[:auto_merge], do: [:auto_merge | given], else: given
    Enum.filter(@set_flags, &(&1 in given))
  end

  defp timed?(%Element{timeout: timeout}), do: timeout != nil
  defp timed?(_element), do: false

  defp checked({:ok, set}, _meta), do: set
  defp checked({:error, reason}, meta), do: Fault.fail(meta, Reason.text(reason))
end
