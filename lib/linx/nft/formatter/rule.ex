defmodule Linx.NFT.Formatter.Rule do
  @moduledoc false
  # Reads a rule's expressions in the order in which the kernel runs them, keeps what each
  # register holds, and writes a match or statement whenever an expression consumes registers.

  alias Linx.Netfilter.{Expr, Field, Protocol}
  alias Linx.NFT.Expr.{Kinds, Payload}
  alias Linx.NFT.Statement

  alias Linx.NFT.Formatter.{
    Context,
    Lookup,
    Match,
    Registers,
    Term,
    Value
  }

  @doc "The statements of a rule, or the name of the first expression that has no text."
  @spec statements([Expr.t()], Context.t()) :: {:ok, [iodata()]} | {:error, String.t()}
  def statements(exprs, %Context{} = context) do
    with {:ok, %{out: out}} <- run(exprs, %{context | registers: %{}, out: []}),
         do: {:ok, Enum.reverse(out)}
  rescue
    # A value may hold anything; what does not have the documented shape has no text.
    _ -> {:error, "malformed"}
  end

  defp run([], context), do: {:ok, context}

  # Two comparisons of one register, as nft makes of a range.
  defp run(
         [
           %Expr{name: :cmp, data: %{op: :gte} = from},
           %Expr{name: :cmp, data: %{op: :lte} = to} | rest
         ],
         context
       ) do
    if from[:sreg] == to[:sreg] and is_binary(from.data) and is_binary(to.data) do
      range(context, from[:sreg], :eq, from.data, to.data) |> continue(rest, "cmp")
    else
      with {:ok, context} <- step(%Expr{name: :cmp, data: from}, context),
           do: run([%Expr{name: :cmp, data: to} | rest], context)
    end
  end

  defp run([expr | rest], context), do: expr |> step(context) |> continue(rest, name(expr))

  defp continue({:ok, context}, rest, _name), do: run(rest, context)
  defp continue({:error, name}, _rest, _name), do: {:error, name}
  defp continue(:error, _rest, name), do: {:error, name}

  defp name(%Expr{name: name}), do: to_string(name)
  defp name(_), do: "malformed"

  ## One expression

  # Operations on a register, beside which an expression with a `dreg` is a load.
  @operations [:immediate, :bitwise, :byteorder, :lookup, :__anon_set]

  defp step(%Expr{name: :immediate, data: %{dreg: register, data: bytes}}, context)
       when is_binary(bytes) do
    term = %Term{text: nil, type: :integer, size: byte_size(bytes), value: bytes}
    load(context, register, term)
  end

  # An interface by name, until its index is known.
  defp step(%Expr{name: :immediate, data: %{dreg: register, data: {tag, name} = value}}, context)
       when is_atom(tag) and is_binary(name) do
    load(context, register, %Term{text: nil, type: :iface_index, size: 4, value: value})
  end

  defp step(%Expr{name: name, data: %{dreg: register}} = expr, context)
       when name not in @operations do
    with {:ok, term} <- Kinds.term(expr, context), do: load(context, register, term)
  end

  # The inner expression has the register.
  defp step(%Expr{name: :inner, data: %{expr: %Expr{data: %{dreg: register}}}} = expr, context) do
    with {:ok, term} <- Kinds.term(expr, context), do: load(context, register, term)
  end

  defp step(%Expr{name: :bitwise, data: data}, context), do: bitwise(data, context)

  defp step(%Expr{name: :byteorder, data: %{op: op, sreg: sreg, dreg: dreg}}, context) do
    with {:ok, term} <- Registers.fetch(context.registers, sreg),
         do: load(context, dreg, Match.byteorder(term, op))
  end

  defp step(%Expr{name: :cmp, data: %{op: op, data: data} = cmp}, context),
    do: compare(context, cmp[:sreg] || 1, op, data)

  defp step(%Expr{name: :range, data: %{op: op, from_data: from, to_data: to} = data}, context),
    do: range(context, data[:sreg] || 1, op, from, to)

  defp step(%Expr{name: name} = expr, context) when name in [:lookup, :__anon_set],
    do: Lookup.step(expr, context)

  defp step(%Expr{} = expr, context), do: plain(expr, context)
  defp step(_other, _context), do: {:error, "malformed"}

  defp plain(expr, context) do
    with {:ok, text} <- Statement.Kinds.text(expr, context), do: Context.emit(context, text)
  end

  defp load(context, register, term) do
    context = Context.field(context, term)
    {:ok, %{context | registers: Registers.put(context.registers, register, term)}}
  end

  ## Bit operations

  defp bitwise(%{sreg: sreg, dreg: dreg} = data, context) do
    with {:ok, term} <- Registers.fetch(context.registers, sreg),
         {:ok, term} <- bitwise(data[:op] || :mask_xor, data, term, context),
         do: load(context, dreg, term)
  end

  defp bitwise(_data, _context), do: :error

  defp bitwise(:mask_xor, %{mask: mask, xor: xor}, term, _context)
       when byte_size(mask) == byte_size(xor),
       do: {:ok, Match.bitwise(term, mask, xor)}

  defp bitwise(op, %{data: bits}, term, _context) when op in [:lshift, :rshift],
    do: {:ok, Match.shift(term, op, number(bits))}

  defp bitwise(op, %{sreg2: register}, term, context) when op in [:and, :or, :xor] do
    with {:ok, other} <- Registers.fetch(context.registers, register),
         do: {:ok, Match.bool(term, op, Match.text(other, if(op == :or, do: :xor, else: :shift)))}
  end

  defp bitwise(op, %{data: bytes}, term, _context)
       when op in [:and, :or, :xor] and is_binary(bytes),
       do:
         {:ok,
          Match.bool(
            term,
            op,
            Value.mask(term.type, Term.number(term, bytes), byte_size(bytes) * 8)
          )}

  defp bitwise(_op, _data, _term, _context), do: :error

  defp number(bits) when is_integer(bits), do: bits
  defp number(<<bits::native-32>>), do: bits

  ## Comparisons

  defp compare(context, register, op, data) do
    with {:ok, term} <- Registers.fetch(context.registers, register) do
      term = term |> port(context) |> check(data)
      context = Context.learn(context, term, op, data)

      cond do
        fields = op == :eq && Payload.fields(term, data) -> {:ok, fields(context, fields)}
        joined?(term, data) -> concatenation(context, register, op, data)
        short = short(term, op, data) -> Context.emit(context, short)
        true -> Context.emit(context, Match.relation(term, op, data))
      end
    end
  end

  # Two bytes where all transports have their ports, as long as the rule does not speak of another
  # one.
  defp port(%Term{source: source, pending: nil} = term, context)
       when not is_map_key(source, :inside) do
    if context.transport == nil or Protocol.ports?(context.transport),
      do: Payload.port(term),
      else: term
  end

  defp port(term, _context), do: term

  # The size is that of the constant: nft 1.0 compares four bytes.
  defp check(%Term{existence: text} = term, data)
       when text != nil and data in [<<0>>, <<1>>, <<0::native-32>>, <<1::native-32>>],
       do: %{term | text: text, size: byte_size(data)}

  defp check(term, _data), do: term

  defp fields(context, fields) do
    matches = for {term, bytes} <- fields, do: Match.relation(term, :eq, bytes)
    %{context | out: Enum.reverse(matches, context.out)}
  end

  defp joined?(%Term{size: size, pending: nil, type: type}, data)
       when is_binary(data) and type not in [:ifname, :string],
       do: byte_size(data) > max(4, div(size + 3, 4) * 4)

  defp joined?(_term, _data), do: false

  defp concatenation(context, register, op, data) do
    with {:ok, terms} <- Registers.filling(context.registers, register, byte_size(data)) do
      sign = if op == :neq, do: " != ", else: " "
      Context.emit(context, [Lookup.joined(terms), sign, constants(terms, data)])
    end
  end

  defp constants(terms, data) do
    {texts, _rest} =
      Enum.map_reduce(terms, data, fn term, data ->
        size = term.size
        <<part::binary-size(^size), rest::binary>> = data
        padding = min(byte_size(rest), Registers.words(term) * 4 - term.size)
        <<_::binary-size(^padding), rest::binary>> = rest
        {Value.constant(term, part), rest}
      end)

    Enum.intersperse(texts, " . ")
  end

  # A prefix of whole bytes is compared without a mask: the field is read, or looked at, only that
  # far.
  defp short(%Term{source: %{field: name, len: len}, pending: nil} = term, op, data)
       when is_binary(data) do
    with {:ok, field} <- Field.fetch(name),
         true <- len * 8 < field.length and byte_size(data) == len,
         do: Match.short(term, op, data, div(field.length, 8)),
         else: (_ -> nil)
  end

  defp short(%Term{size: size, pending: nil, type: type} = term, op, data)
       when type in [:ipv4_addr, :ipv6_addr] and byte_size(data) < size,
       do: Match.short(term, op, data, size)

  defp short(_term, _op, _data), do: nil

  defp range(context, register, op, from, to) do
    with {:ok, term} <- Registers.fetch(context.registers, register || 1),
         do: Context.emit(context, Match.range(port(term, context), op, from, to))
  end

  @doc "The text of a value in a register for a statement that takes a value of `as`."
  @spec operand(Term.t(), Term.t()) :: iodata()
  def operand(%Term{value: nil} = term, _as), do: Match.text(term)

  def operand(%Term{value: value}, %Term{} = as), do: Value.constant(as, value)
end
