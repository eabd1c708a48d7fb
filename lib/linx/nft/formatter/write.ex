defmodule Linx.NFT.Formatter.Write do
  @moduledoc false
  # Statements that set something from a register: `meta mark set`, `ct mark set`, `ip dscp set`,
  # `tcp option maxseg size set`.

  import Bitwise

  alias Linx.Netfilter.{Expr, Field}
  alias Linx.NFT.Formatter.{Context, Load, Registers, Rule, Term, Value}

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
    with {:ok, target} <- Load.term(%Expr{name: :exthdr, data: Map.delete(data, :sreg)}),
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
    Value.flags(type, number) || Value.hex(number)
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

    case partial(data, written, Context.protocol(context, base)) do
      {field, shift} when (xor &&& mask) == 0 ->
        value = Value.number(field.type, bsr(xor, shift), field.length)
        Context.emit(context, [Load.words(field), " set ", value])

      _ ->
        whole(data, term, context)
    end
  end

  defp payload(data, term, context), do: whole(data, term, context)

  defp whole(data, term, context) do
    with {:ok, target} <- Load.term(%Expr{name: :payload, data: Map.delete(data, :sreg)}),
         do: Context.emit(context, [target.text, " set ", Rule.operand(term, target)])
  end

  # The field whose bits these are: the one named, or one of the protocol that the rule is about.
  defp partial(%{base: base, offset: offset, len: len} = data, written, known) do
    protocol =
      case data do
        %{field: name} ->
          with {:ok, field} <- Field.fetch(name), do: field.protocol, else: (_ -> known)

        _ ->
          known
      end

    Enum.find_value(Field.all(), fn field ->
      shift = (offset + len) * 8 - field.offset - field.length

      if field.protocol == protocol and field.base == base and shift >= 0 and
           bsl(Term.ones(field.length), shift) == written,
         do: {field, shift}
    end)
  end
end
