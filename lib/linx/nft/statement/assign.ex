defmodule Linx.NFT.Statement.Assign do
  @moduledoc false
  # `... set VALUE`: packet metadata, conntrack, header fields and TCP options. The target is
  # parsed as a load.
  #
  # Source: nft(8), "META STATEMENT", "CT STATEMENT", "PAYLOAD STATEMENT", "EXTENSION HEADER
  # STATEMENT"; net/netfilter/nft_meta.c, nft_ct.c, nft_payload.c, nft_exthdr.c.

  @behaviour Linx.NFT.Statement

  import Bitwise, only: [bnot: 1, bsl: 2, bsr: 2, &&&: 2, |||: 2]
  import Linx.NFT.Parser.Tokens, only: [commas: 2, meta: 1]

  alias Linx.Netfilter.{Expr, Field, Keys, Protocol}
  alias Linx.NFT.Compiler.{Fault, Generate, Load, Operand, Term}
  alias Linx.NFT.Formatter.{Context, Registers, Rule, Value}
  alias Linx.NFT.Formatter.Term, as: Text
  alias Linx.NFT.Expr.{Kinds, Payload}
  alias Linx.NFT.Parser.Expression

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([_ | _] = tokens) do
    {left, [{:identifier, "set", _} | rest]} = Expression.load(tokens)
    value(left, rest, meta(tokens))
  end

  @doc "Parses the value behind `set`; `left` is the target."
  @spec value(tuple(), [tuple()], map()) :: {tuple(), [tuple()]}
  def value(left, tokens, meta) do
    {value, rest} = assigned(tokens)
    {set_statement(left, value, meta), rest}
  end

  # The value may be a list of flags.
  defp assigned(tokens) do
    meta = meta(tokens)
    {first, rest} = Expression.operand(tokens)

    case rest do
      [{:comma, _} | more] ->
        {others, rest} = commas(more, &Expression.operand/1)
        {{:list, [first | others], meta}, rest}

      _ ->
        {first, rest}
    end
  end

  defp set_statement({:meta, :secmark, _}, value, meta) when elem(value, 0) != :ct,
    do: {:objref, :secmark, value, meta}

  defp set_statement({:meta, key, _}, value, meta), do: {:meta_set, key, value, meta}
  defp set_statement({:ct, key, _}, value, meta), do: {:ct_set, key, value, meta}
  defp set_statement(lhs, value, meta), do: {:assign, lhs, value, meta}

  # -- compiler ----------------------------------------------------------------------------------

  @meta_writable [:mark, :priority, :pkttype, :nftrace, :secmark, :bri_broute]
  @ct_writable [:mark, :secmark, :labels, :eventmask, :zone, :helper]

  @impl true
  def compile({:meta_set, key, value, meta}, scope) do
    unless key in @meta_writable,
      do:
        Fault.fail(
          meta,
          "meta #{key} cannot be set: only mark, priority, pkttype, nftrace and secmark can"
        )

    {type, len, order} = Keys.type(:meta, key)
    like = %Term{kind: :const, type: type, len: len, order: order}
    {term, scope} = Operand.operand(value, like, scope)
    single!(term, meta)
    {[{:fixed, Generate.load(term, 0) ++ [Expr.new(:meta, %{key: key, sreg: 1})]}], scope}
  end

  def compile({:ct_set, key, value, meta}, scope) do
    {key, direction} = if is_tuple(key), do: key, else: {key, nil}

    unless key in @ct_writable,
      do:
        Fault.fail(
          meta,
          "this ct key cannot be set: only mark, label, event, zone and secmark can"
        )

    if direction && key != :zone, do: Fault.fail(meta, "only the zone is set for one direction")
    {type, len, order} = Keys.type(:ct, key)
    like = %Term{kind: :const, type: type, len: len, order: order}
    {term, scope} = Operand.operand(value, like, scope)
    single!(term, meta)

    data =
      if direction, do: %{key: key, sreg: 1, direction: direction}, else: %{key: key, sreg: 1}

    {[{:fixed, Generate.load(term, 0) ++ [Expr.new(:ct, data)]}], scope}
  end

  def compile({:assign, lhs, value, meta}, scope) do
    {target, scope} = Load.load(lhs, scope)
    payload(target, lhs, value, meta, scope)
  end

  defp payload(%Term{data: {:exthdr, data}} = target, _lhs, value, meta, scope) do
    unless data.op == :tcpopt and target.kind == :load,
      do: Fault.fail(meta, "only whole fields of TCP options can be set")

    {term, scope} = Operand.operand(value, const(target), scope)
    single!(term, meta)
    {[{:fixed, Generate.load(term, 0) ++ [Expr.new(:exthdr, Map.put(data, :sreg, 1))]}], scope}
  end

  defp payload(%Term{kind: :load, data: {:payload, data}} = target, lhs, value, meta, scope) do
    {term, scope} = Operand.operand(value, const(target), scope)
    single!(term, meta)
    term = if term.generated, do: Operand.order(term, const(target)), else: term
    write(target, data, 0, lhs, term, meta, scope)
  end

  defp payload(
         %Term{kind: :part, data: {{:payload, data}, _, _}, shift: shift} = target,
         lhs,
         value,
         meta,
         scope
       ) do
    {term, scope} = Operand.operand(value, const(target), scope)
    write(target, data, shift, lhs, term, meta, scope)
  end

  defp payload(_target, _lhs, _value, meta, _scope),
    do: Fault.fail(meta, "only header fields, TCP options, meta and ct can be set")

  # The kernel's code for the Internet checksum works on 16-bit words: a field of one byte is
  # written with its neighbour.
  defp write(target, data, shift, lhs, term, meta, scope) do
    mends = mends(lhs)

    {offset, len, shift} =
      if mends[:csum_type] == :inet,
        do: words(data.offset, data.len, shift),
        else: {data.offset, data.len, shift}

    write = Map.merge(%{base: data.base, offset: offset, len: len, sreg: 1}, mends)

    cond do
      {offset, len, target.kind} == {data.offset, data.len, :load} ->
        {[{:fixed, Generate.load(term, 0) ++ [Expr.new(:payload, write)]}], scope}

      bits = bits(term, target) ->
        {mask, xor} = bits
        field = Bitwise.bsl(Bitwise.bsl(1, target.len) - 1, shift)
        beside = Bitwise.bxor(Bitwise.bsl(1, 8 * len) - 1, field)
        mask = Term.number(Bitwise.bor(beside, Bitwise.bsl(mask, shift)), len, :big)
        xor = Term.number(Bitwise.bsl(xor, shift), len, :big)
        load = Expr.payload(data.base, offset, len)
        {[{:fixed, [load, Generate.bitwise(1, mask, xor), Expr.new(:payload, write)]}], scope}

      true ->
        Fault.fail(
          meta,
          "this field can only be set to a constant, or to itself combined with one"
        )
    end
  end

  # {mask, xor} of a value of the form (field & mask) ^ xor: a constant, or bits of the field
  # itself set, cleared or flipped.
  defp bits(%Term{kind: :const, data: n}, _target) when is_integer(n), do: {0, n}

  defp bits(%Term{kind: :bits} = term, target) do
    case Generate.masked(term) do
      {%Term{data: data, shift: shift}, mask, xor}
      when data == target.data and shift == target.shift ->
        {mask, xor}

      _ ->
        nil
    end
  end

  defp bits(_term, _target), do: nil

  defp words(offset, len, shift) do
    {offset, len} = if rem(offset, 2) == 1, do: {offset - 1, len + 1}, else: {offset, len}
    if rem(len, 2) == 1, do: {offset, len + 1, shift + 8}, else: {offset, len, shift}
  end

  defp mends({:payload, protocol, text, _meta}) do
    {:ok, field} = Field.fetch(protocol, text)
    Protocol.mends(field)
  end

  # The protocol of a raw payload is unknown, and so is its checksum.
  defp mends(_raw), do: %{}

  defp const(%Term{} = target), do: %{target | kind: :const, shift: 0}

  defp single!(%Term{kind: kind}, meta) when kind in [:range, :prefix, :wildcard, :concat],
    do: Fault.fail(meta, "one value is needed, not several")

  defp single!(_term, _meta), do: :ok

  # -- formatter ---------------------------------------------------------------------------------

  # `helper`, `mark` and `secmark` are keywords of nft's grammar, which it lists as events and
  # does not read as such.
  @unreadable 0x2C0

  @impl true
  def text(%Expr{name: name, data: %{key: key, sreg: register} = data}, context)
      when name in [:meta, :ct] do
    with {:ok, target} <- Text.keyed(name, key, [Atom.to_string(name), " "]),
         {:ok, term} <- Registers.fetch(context.registers, register) do
      direction =
        if name == :ct and data[:direction], do: [Atom.to_string(data.direction), " "], else: ""

      words = if direction == "", do: target.text, else: ["ct ", direction, word(target)]
      {:ok, [words, " set ", value(term, target)]}
    end
  end

  def text(%Expr{name: :exthdr, data: %{sreg: register} = data}, context) do
    with {:ok, target} <-
           Kinds.term(%Expr{name: :exthdr, data: Map.delete(data, :sreg)}, context),
         {:ok, term} <- Registers.fetch(context.registers, register),
         do: {:ok, [target.text, " set ", Rule.operand(term, target)]}
  end

  def text(%Expr{name: :payload, data: %{sreg: register} = data}, context) do
    with {:ok, term} <- Registers.fetch(context.registers, register),
         do: payload_text(data, term, context)
  end

  def text(_expr, _context), do: :error

  defp word(%{text: text}), do: text |> IO.iodata_to_binary() |> String.replace_prefix("ct ", "")

  # Labels and events are written as lists of flags.
  defp value(%Text{value: bytes}, %Text{type: type} = target)
       when is_binary(bytes) and type in [:ct_label, :ct_event] do
    number = Text.number(target, bytes)

    if type == :ct_event and (number &&& @unreadable) != 0,
      do: Value.hex(number),
      else: Value.flags(type, number) || Value.hex(number)
  end

  # The kernel's copy of an 8 or 16 bit key may come in a wider register.
  defp value(term, target), do: Rule.operand(term, target)

  # A field that is no whole words is written together with the bits around it, which are read
  # first.
  defp payload_text(
         %{base: base, offset: offset, len: len} = data,
         %Text{pending: {mask, xor}, source: %{base: base, offset: offset, len: len}} = term,
         context
       ) do
    written = bnot(mask) &&& Text.ones(len * 8)

    case partial(data, context, &(&1 == written)) do
      {field, shift} when (xor &&& mask) == 0 ->
        value = Value.number(field.type, bsr(xor, shift), field.length)
        {:ok, [Text.words(field), " set ", value]}

      _ ->
        changed(data, term, mask, xor, context)
    end
  end

  defp payload_text(data, term, context), do: whole(data, term, context)

  defp whole(data, term, context) do
    place = Map.delete(data, :sreg)
    # The name of a field would mend the checksum, which this write leaves alone.
    bare? = bare?(data)
    place = if bare?, do: Map.delete(place, :field), else: place
    term = if bare? and place?(term, data), do: Payload.bytes(term) || term, else: term

    with {:ok, target} <- Kinds.term(%Expr{name: :payload, data: place}, context),
         do: {:ok, [target.text, " set ", Rule.operand(term, target)]}
  end

  defp bare?(%{field: name} = data) do
    case Field.fetch(name) do
      {:ok, field} -> bare?(data, field)
      _unknown -> false
    end
  end

  defp bare?(_data), do: false

  # Whether the write leaves a checksum alone that a write under the field's name mends.
  defp bare?(data, field),
    do:
      not is_map_key(data, :csum_type) and not is_map_key(data, :csum_flags) and
        Protocol.mends(field) != %{}

  defp place?(%Text{source: %{base: base, offset: offset, len: len}}, %{
         base: base,
         offset: offset,
         len: len
       }),
       do: true

  defp place?(_term, _data), do: false

  # A field that is set to itself, with bits of it set, cleared or flipped.
  defp changed(%{len: len} = data, term, mask, xor, context) do
    changed = (bnot(mask) ||| xor) &&& Text.ones(len * 8)

    case partial(data, context, &((changed &&& bnot(&1)) == 0)) do
      {field, shift} ->
        ones = Text.ones(field.length)
        words = Text.words(field)
        now = combined(field, bsr(mask, shift) &&& ones, bsr(xor, shift) &&& ones)
        {:ok, [words, " set ", words, now]}

      nil ->
        whole(data, term, context)
    end
  end

  defp combined(field, mask, xor) do
    set = xor &&& bnot(mask)
    flipped = xor &&& mask
    kept = mask ||| set

    for {word, n, shown?} <- [
          {" & ", kept, kept != Text.ones(field.length) or (set == 0 and flipped == 0)},
          {" ^ ", flipped, flipped != 0},
          {" | ", set, set != 0}
        ],
        shown?,
        do: [word, Value.mask(field.type, n, field.length)]
  end

  # The narrowest field whose bits are the ones wanted: of the protocol that is named, or that the
  # rule is about.
  defp partial(%{base: base, offset: offset, len: len} = data, context, wanted?) do
    known = Context.protocol(context, base)

    protocol =
      case data do
        %{field: name} ->
          with {:ok, field} <- Field.fetch(name), do: field.protocol, else: (_ -> known)

        _ ->
          known
      end

    places =
      for field <- Field.all(),
          field.protocol == protocol and field.base == base and not bare?(data, field),
          shift = (offset + len) * 8 - field.offset - field.length,
          shift >= 0 and wanted?.(bsl(Text.ones(field.length), shift)),
          do: {field, shift}

    Enum.min_by(places, fn {field, _shift} -> field.length end, fn -> nil end)
  end
end
