defmodule Linx.NFT.Formatter.Write do
  @moduledoc false
  # Statements that set something from a register: `meta mark set`, `ct mark set`, `ip dscp set`,
  # `tcp option maxseg size set`.

  import Bitwise

  alias Linx.Netfilter.{Expr, Field}
  alias Linx.NFT.Formatter.{Context, Load, Registers, Rule, Term, Value}

  # `helper`, `mark` and `secmark` are keywords of nft's grammar, which it lists as events and does not read as such.
  @unreadable 0x2C0

  @spec step(Expr.t(), Context.t()) :: {:ok, Context.t()} | :error
  def step(%Expr{name: name, data: %{key: key, sreg: register} = data}, context)
      when name in [:meta, :ct] do
    with {:ok, target} <- Load.written(name, key),
         {:ok, term} <- Registers.fetch(context.registers, register) do
      direction =
        if name == :ct and data[:direction], do: [Atom.to_string(data.direction), " "], else: ""

      words = if direction == "", do: target.text, else: ["ct ", direction, word(target)]
      Context.emit(context, [words, " set ", value(term, target)])
    end
  end

  def step(%Expr{name: :exthdr, data: %{sreg: register} = data}, context) do
    with {:ok, target} <- Load.term(%Expr{name: :exthdr, data: Map.delete(data, :sreg)}, context),
         {:ok, term} <- Registers.fetch(context.registers, register),
         do: Context.emit(context, [target.text, " set ", Rule.operand(term, target)])
  end

  def step(%Expr{name: :payload, data: %{sreg: register} = data}, context) do
    with {:ok, term} <- Registers.fetch(context.registers, register),
         do: payload(data, term, context)
  end

  def step(_expr, _context), do: :error

  defp word(%{text: text}), do: text |> IO.iodata_to_binary() |> String.replace_prefix("ct ", "")

  # Labels and events are written as lists of flags.
  defp value(%Term{value: bytes}, %Term{type: type} = target)
       when is_binary(bytes) and type in [:ct_label, :ct_event] do
    number = Term.number(target, bytes)

    if type == :ct_event and (number &&& @unreadable) != 0,
      do: Value.hex(number),
      else: Value.flags(type, number) || Value.hex(number)
  end

  # The kernel's copy of an 8 or 16 bit key may come in a wider register.
  defp value(term, target), do: Rule.operand(term, target)

  # A field that is no whole words is written together with the bits around it, which are read first.
  defp payload(
         %{base: base, offset: offset, len: len} = data,
         %Term{pending: {mask, xor}, source: %{base: base, offset: offset, len: len}} = term,
         context
       ) do
    written = bnot(mask) &&& Term.ones(len * 8)

    case partial(data, context, &(&1 == written)) do
      {field, shift} when (xor &&& mask) == 0 ->
        value = Value.number(field.type, bsr(xor, shift), field.length)
        Context.emit(context, [Load.words(field), " set ", value])

      _ ->
        changed(data, term, mask, xor, context)
    end
  end

  defp payload(data, term, context), do: whole(data, term, context)

  defp whole(data, term, context) do
    with {:ok, target} <- Load.term(%Expr{name: :payload, data: Map.delete(data, :sreg)}, context),
         do: Context.emit(context, [target.text, " set ", Rule.operand(term, target)])
  end

  # A field that is set to itself, with bits of it set, cleared or flipped.
  defp changed(%{len: len} = data, term, mask, xor, context) do
    changed = (bnot(mask) ||| xor) &&& Term.ones(len * 8)

    case partial(data, context, &((changed &&& bnot(&1)) == 0)) do
      {field, shift} ->
        ones = Term.ones(field.length)
        words = Load.words(field)
        now = combined(field, bsr(mask, shift) &&& ones, bsr(xor, shift) &&& ones)
        Context.emit(context, [words, " set ", words, now])

      nil ->
        whole(data, term, context)
    end
  end

  defp combined(field, mask, xor) do
    set = xor &&& bnot(mask)
    flipped = xor &&& mask
    kept = mask ||| set

    for {word, n, shown?} <- [
          {" & ", kept, kept != Term.ones(field.length) or (set == 0 and flipped == 0)},
          {" ^ ", flipped, flipped != 0},
          {" | ", set, set != 0}
        ],
        shown?,
        do: [word, Value.mask(field.type, n, field.length)]
  end

  # The narrowest field whose bits are the ones wanted: of the protocol that is named, or that the rule is about.
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
          field.protocol == protocol and field.base == base,
          shift = (offset + len) * 8 - field.offset - field.length,
          shift >= 0 and wanted?.(bsl(Term.ones(field.length), shift)),
          do: {field, shift}

    Enum.min_by(places, fn {field, _shift} -> field.length end, fn -> nil end)
  end
end
