defmodule Linx.NFT.Compiler.Match do
  @moduledoc false
  # Comparisons. One statement becomes one or two segments: the load with its operations, and what
  # decides.
  #
  # A segment wrapped in {:fixed, _} is none that nft would join with a neighbouring field.

  alias Linx.Netfilter.{Datatype, Expr}
  alias Linx.NFT.Compiler.{Fault, Generate, Load, MapTerm, Operand, Scope, Term, Value}

  @doc false
  # {segments, scope}
  def match({:match, lhs, op, rhs, meta}, scope) do
    rhs = Scope.resolve(scope, rhs)
    {term, scope} = left(lhs, rhs, scope)
    comparable!(term, meta)
    term = presence(term, rhs)
    {compare(term, op, rhs, meta, scope), scope}
  end

  # A security mark is a number of the kernel's own, which only copies from one place to another
  # mean something.
  defp comparable!(%Term{data: {name, %{key: :secmark}}}, meta) when name in [:meta, :ct],
    do: Fault.fail(meta, "a secmark is set or copied, nft compares it with nothing")

  defp comparable!(_term, _meta), do: :ok

  # A named set says what the constants of a concatenation are: ip saddr . 80 @services
  defp left({:concat, nodes, _} = node, {:set_ref, name, _}, scope) do
    declared = Map.get(scope.sets, Value.text_of(name, scope))

    if match?(%{key: %Term{kind: :concat}}, declared) and
         not Enum.all?(nodes, &Operand.load?(&1, scope)),
       do: constants(Operand.operand(node, declared.key, scope), declared),
       else: Load.load(node, scope)
  end

  defp left(node, _rhs, scope), do: Load.load(node, scope)

  # Intervals are looked up as big-endian numbers, which nft makes of what is loaded only.
  defp constants({%Term{data: parts}, _scope} = found, %{interval?: true}) do
    for %Term{kind: :const, order: :host, data: n} = part when is_integer(n) <- parts,
        do: Fault.fail(part.meta, "#{Value.describe(part)} must be loaded: the set has intervals")

    found
  end

  defp constants(found, _declared), do: found

  # `exists` and `missing` ask for existence alone.
  defp presence(%Term{existence?: true, data: {name, data}} = term, {:identifier, word, _})
       when word in ["exists", "missing"] do
    data = %{data | flags: data.flags ++ [:present]}
    %{term | type: :boolean, len: 8, order: :host, data: {name, data}}
  end

  defp presence(term, _rhs), do: term

  # -- sets --------------------------------------------------------------------------------------

  defp compare(term, op, {:set_ref, name, _}, meta, scope) do
    equality!(op, meta)
    name = Value.text_of(name, scope)
    declared = Map.get(scope.sets, name)
    MapTerm.check_key(term, declared, name, meta, :set)
    key = MapTerm.ordered(term, declared != nil and declared.interval?)
    lookup = Expr.lookup(name, flags: inverted(op))
    [{:fixed, Generate.load(key, 0) ++ [lookup]}]
  end

  defp compare(term, op, {:set_inline, nodes, node_meta}, meta, scope) do
    equality!(op, meta)
    Linx.NFT.Expr.Ct.named_address!(term)

    case alone(term, nodes, scope) do
      nil ->
        set(term, op, nodes, node_meta, scope)

      single ->
        compare(term, singled(op, term.type), single, meta, scope)
    end
  end

  # A list from Elixir is a set, or where flags are expected their union.
  defp compare(term, op, {:elixir_value, list, value_meta} = node, meta, scope)
       when is_list(list) or is_struct(list, MapSet) do
    if Datatype.bitmask?(term.type),
      do: decide(term, op, Value.constant(node, plain(term), scope), meta),
      else:
        compare(
          term,
          op,
          {:set_inline, [node], value_meta},
          meta,
          scope
        )
  end

  # flags / mask
  defp compare(term, op, {:flags, value, mask, _}, meta, scope) do
    unless op in [:implicit, :eq, :neq],
      do: Fault.fail(meta, "flags / mask takes no operator but == and !=")

    unless Datatype.bitmask?(term.type),
      do: Fault.fail(meta, "flags / mask needs a field of flags")

    value = flags(value, term, scope)
    mask = flags(mask, term, scope)
    bits = %{term | kind: :bits, data: {:amp, term, mask.data}}
    [{:fixed, Generate.load(bits, 0) ++ [Expr.cmp(equal(op), Term.bytes(value))]}]
  end

  # Behind a value or a definition `/ mask` reads as the length of a prefix, which flags have not.
  defp compare(term, op, {:prefix, value, mask, at} = prefix, meta, scope) when is_tuple(mask) do
    if Datatype.bitmask?(term.type),
      do: compare(term, op, {:flags, value, mask, at}, meta, scope),
      else: constant(term, op, prefix, meta, scope)
  end

  defp compare(%Term{kind: :concat}, _op, rhs, meta, _scope) when elem(rhs, 0) != :concat,
    do: Fault.fail(meta, "a concatenation is compared with a set, a concatenation or @name")

  # (x ^ c) == v is x == (v ^ c): nft moves the constant over.
  defp compare(%Term{kind: :bits, data: {:caret, inner, n}} = term, op, rhs, meta, scope)
       when op in [:implicit, :eq, :neq] do
    case Value.constant(rhs, plain(term), scope) do
      %Term{kind: :const, data: m} = value when is_integer(m) ->
        decide(
          inner,
          if(op == :implicit, do: :eq, else: op),
          %{value | data: Bitwise.bxor(m, n)},
          meta
        )

      value ->
        decide(term, op, value, meta)
    end
  end

  # From an hour of one day to one of the next is all but what lies between them.
  defp compare(%Term{type: :hour} = term, op, {:range, low, high, range}, meta, scope)
       when op in [:implicit, :eq, :neq] do
    first = Value.constant(low, plain(term), scope)
    last = Value.constant(high, plain(term), scope)

    if first.kind == :const and last.kind == :const and first.data > last.data do
      value = %{plain(term) | kind: :range, data: {last, first}, meta: range}
      decide(term, if(op == :neq, do: :eq, else: :neq), value, meta)
    else
      value = Value.constant({:range, low, high, range}, plain(term), scope)
      decide(term, op, value, meta)
    end
  end

  defp compare(term, op, rhs, meta, scope), do: constant(term, op, rhs, meta, scope)

  defp constant(term, op, node, meta, scope) do
    value = Value.constant(node, plain(term), scope)
    decide(term, op, value, meta)
  end

  defp flags(node, term, scope) do
    with %Term{kind: kind} when kind != :const <- Value.constant(node, plain(term), scope),
         do: Fault.fail(node, "flags / mask takes one value on either side")
  end

  # In a set flags are a value. Of the states of a connection only one is there at a time, so that
  # nft leaves them flags.
  defp singled(:implicit, type) when type != :ct_state, do: :eq
  defp singled(op, _type), do: op

  # A set of one element is that element; a comment or a timeout would have nothing to stand at.
  # Concatenations stay sets.
  defp alone(%Term{kind: :concat}, _nodes, _scope), do: nil

  defp alone(_term, [node], scope) do
    case Scope.resolve(scope, node) do
      {kind, _, _} when kind in [:set_inline, :list, :elixir_value] -> nil
      {:element, key, opts, _} -> if opts[:stmt], do: nil, else: Scope.resolve(scope, key)
      {:mapping, _, _, _} -> nil
      {:wildcard, _} -> nil
      single -> single
    end
  end

  defp alone(_term, _nodes, _scope), do: nil

  defp set(term, op, nodes, meta, scope) do
    {data, interval?} = MapTerm.literal(term, nodes, nil, meta, scope)
    key = MapTerm.ordered(term, interval?)
    data = Map.put(data, :sreg, 1)
    data = if op == :neq, do: Map.put(data, :lookup_flags, [:inv]), else: data
    # A field of part of the bytes is compared in place, in a concatenation moved to the right.
    [{:fixed, Generate.load(key, 0, false) ++ [Expr.new(:__anon_set, data)]}]
  end

  @doc false
  # The bytes that the last expression of the comparison compares with.
  def compared(term, op, value, meta) do
    {:fixed, segment} = term |> decide(op, value, meta) |> List.last()
    %Expr{name: :cmp, data: %{data: bytes}} = List.last(segment)
    bytes
  end

  # -- one value ---------------------------------------------------------------------------------

  defp decide(term, op, %Term{kind: :range, data: {low, high}}, meta) do
    equality!(op, meta)
    key = MapTerm.big(term)
    low = place(key, low)
    high = place(key, high)
    load = Generate.load(key, 0, false)

    if op == :neq,
      do: [{:fixed, load ++ [Expr.range(:neq, low, high)]}],
      else: [{:fixed, load ++ [Expr.cmp(:gte, low)]}, {:fixed, [Expr.cmp(:lte, high)]}]
  end

  defp decide(term, op, %Term{kind: :prefix, data: {stem, _bits}}, meta) when is_binary(stem) do
    equality!(op, meta)
    [{:fixed, Generate.load(term, 0) ++ [Expr.cmp(equal(op), stem)]}]
  end

  defp decide(term, op, %Term{kind: :prefix, data: {n, bits}, len: len}, meta) do
    equality!(op, meta)
    prefix(term, op, n, bits, len)
  end

  defp decide(_term, _op, %Term{kind: :wildcard}, meta),
    do: Fault.fail(meta, "* stands in sets only")

  defp decide(term, op, %Term{kind: :concat, data: parts}, meta) do
    equality!(op, meta)
    Enum.each(parts, &Value.indexed!/1)

    for %Term{kind: kind, meta: part} when kind != :const <- parts,
        do: Fault.fail(part, "a range or a prefix in a concatenation stands in sets only")

    bytes =
      for part <- parts,
          into: <<>>,
          do: padded(Term.bytes(%{part | len: 8 * div(part.len + 7, 8)}))

    [{:fixed, Generate.load(term, 0) ++ [Expr.cmp(equal(op), bytes)]}]
  end

  # A value beside a masked field is compared: `tcp flags & (syn | ack) syn`.
  defp decide(%Term{kind: kind} = term, :implicit, value, meta) when kind in [:bits, :bool],
    do: decide(term, :eq, value, meta)

  defp decide(%Term{kind: kind}, :not, _value, meta) when kind in [:bits, :bool],
    do: Fault.fail(meta, "! does not stand after an operation: compare with == or !=")

  # Flags without an operator: any of them.
  defp decide(%Term{type: type} = term, op, value, meta) when op in [:implicit, :not] do
    if Datatype.bitmask?(type) do
      mask = %{term | kind: :bits, data: {:amp, term, value.data}}
      zero = Term.bytes(%{value | data: 0})
      [{:fixed, Generate.load(mask, 0) ++ [Expr.cmp(if(op == :not, do: :eq, else: :neq), zero)]}]
    else
      if op == :not, do: Fault.fail(meta, "! needs a field of flags")
      decide(term, :eq, value, meta)
    end
  end

  defp decide(term, op, value, meta) when op in [:lt, :gt, :lte, :gte] do
    if term.type in [:ifname, :string], do: Fault.fail(meta, "text has no order")

    if Datatype.bitmask?(term.type) and term.kind == :load,
      do: Fault.fail(meta, "flags have no order")

    Value.indexed!(value)
    key = MapTerm.big(term)
    [{:fixed, Generate.load(key, 0, false) ++ [Expr.cmp(op, place(key, value))]}]
  end

  defp decide(term, op, value, _meta) do
    segment = Generate.load(term, 0, false) ++ [Generate.cmp(op, place(term, value))]

    if term.kind == :load and match?({:payload, _}, term.data),
      do: [segment],
      else: [{:fixed, segment}]
  end

  # On a byte boundary only the bytes that count are compared, and of the packet only they are
  # loaded.
  defp prefix(%Term{kind: :load, data: {name, data}} = term, op, n, bits, len)
       when rem(bits, 8) == 0 and bits > 0 do
    bytes = binary_part(Term.number(n, div(len, 8), term.order), 0, div(bits, 8))
    big? = term.order != :host

    cond do
      not big? ->
        masked_prefix(term, op, n, bits, len)

      name in [:payload, :inner] ->
        short = %{term | data: {name, shortened(data, div(bits, 8))}}
        [{:fixed, Generate.load(short, 0) ++ [Expr.cmp(equal(op), bytes)]}]

      true ->
        [{:fixed, Generate.load(term, 0) ++ [Expr.cmp(equal(op), bytes)]}]
    end
  end

  defp prefix(term, op, n, bits, len), do: masked_prefix(term, op, n, bits, len)

  defp shortened(%{expr: %Expr{data: inner} = expr} = data, len),
    do: %{data | expr: %{expr | data: %{inner | len: len}}}

  defp shortened(data, len), do: %{data | len: len}

  defp masked_prefix(term, op, n, bits, len) do
    mask = Bitwise.bsl(1, len) - Bitwise.bsl(1, len - bits)
    size = div(len + 7, 8)
    zero = Term.number(0, size, term.order)
    mask = Generate.bitwise(1, Term.number(mask, size, term.order), zero)

    [
      {:fixed,
       Generate.load(term, 0) ++ [mask, Expr.cmp(equal(op), Term.number(n, size, term.order))]}
    ]
  end

  @doc false
  # The constant as bytes, moved to where a field of part of the bytes stands.
  def place(%Term{kind: :part} = term, value), do: place_part(term, value)

  def place(%Term{kind: :order, data: %Term{kind: :part} = term}, value),
    do: place_part(term, value)

  def place(%Term{order: order}, %Term{data: n} = value) when is_integer(n),
    do: Term.bytes(%{value | order: order})

  def place(_term, value), do: Term.bytes(value)

  defp place_part(%Term{data: {_, _, count}, shift: shift}, %Term{data: n}),
    do: Term.number(Bitwise.bsl(n, shift), count, :big)

  @doc false
  # The type of a constant that is compared with the term.
  def plain(%Term{kind: :concat} = term), do: term
  def plain(%Term{} = term), do: %{term | kind: :const, shift: 0}

  defp equality!(op, _meta) when op in [:implicit, :eq, :neq], do: :ok

  defp equality!(_op, meta),
    do: Fault.fail(meta, "only == and != compare with a set, a range or a prefix")

  defp equal(:neq), do: :neq
  defp equal(_op), do: :eq

  defp inverted(:neq), do: [:inv]
  defp inverted(_op), do: []

  defp padded(bytes), do: <<bytes::binary, 0::size(8 * rem(4 - rem(byte_size(bytes), 4), 4))>>
end
