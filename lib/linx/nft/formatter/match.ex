defmodule Linx.NFT.Formatter.Match do
  @moduledoc false
  # Bit operations and comparisons, turned back into what their author wrote: fields that are no
  # whole bytes, prefixes, flag lists, ranges.

  import Bitwise

  alias Linx.Netfilter.Datatype
  alias Linx.NFT.Formatter.{Term, Value}

  @rank %{atom: 4, shift: 3, and: 2, xor: 1, or: 0}
  @words %{neq: "!=", lt: "<", lte: "<=", gt: ">", gte: ">="}

  @doc "`term` after `(value & mask) ^ xor`."
  @spec bitwise(Term.t(), binary(), binary()) :: Term.t()
  def bitwise(%Term{mask: {bits, shift, whole}} = term, mask, xor) do
    {and_bits, xor_bits} = {Term.number(term, mask), Term.number(term, xor)}

    cond do
      xor_bits == 0 and and_bits == bits ->
        %{whole | shift: shift}

      xor_bits == 0 and (and_bits &&& bits) == and_bits ->
        %{whole | shift: shift, pending: {and_bits, 0}}

      true ->
        %{term | mask: nil, pending: {and_bits, xor_bits}}
    end
  end

  def bitwise(%Term{} = term, mask, xor) do
    term = term |> flush() |> widened(byte_size(mask))
    %{term | pending: {Term.number(term, mask), Term.number(term, xor)}}
  end

  # Computed with more bytes than were loaded: a number of the host's order by then.
  defp widened(%Term{size: size, parts: nil} = term, bytes) when size < bytes,
    do: %{term | size: bytes, order: :host}

  defp widened(term, _bytes), do: term

  @doc """
  `term` moved by `bits`. Shifting a masked field down to the bottom leaves the field itself.
  """
  @spec shift(Term.t(), :lshift | :rshift, non_neg_integer()) :: Term.t()
  def shift(%Term{} = term, op, bits) do
    term = flush(term)
    left = if op == :lshift, do: term.shift + bits, else: term.shift - bits

    cond do
      left == 0 -> %{term | shift: 0}
      left > 0 -> operator(term, " << ", Integer.to_string(left), :shift)
      true -> operator(term, " >> ", Integer.to_string(-left), :shift)
    end
  end

  @doc "`term` combined with another one, or with a constant's text."
  @spec bool(Term.t(), :and | :or | :xor, iodata()) :: Term.t()
  def bool(term, :and, text), do: operator(flush(term), " & ", text, :and)
  def bool(term, :or, text), do: operator(flush(term), " | ", text, :or)
  def bool(term, :xor, text), do: operator(flush(term), " ^ ", text, :xor)

  @doc "`term` with its bytes swapped: constants that meet it later are in the other order."
  @spec byteorder(Term.t(), :ntoh | :hton) :: Term.t()
  def byteorder(%Term{} = term, op) do
    term = flush(term)
    %{term | order: if(op == :hton, do: :big, else: :host)}
  end

  # term with its bit operations written out.
  @spec flush(Term.t()) :: Term.t()
  defp flush(%Term{pending: nil} = term), do: term

  # (x & m) ^ v is and, xor, or: the bits of v outside m are set whatever x holds.
  defp flush(%Term{pending: {mask, xor}} = term) do
    bits = term.size * 8
    set = xor &&& bnot(mask) &&& Term.ones(bits)
    kept = mask ||| set
    flipped = xor &&& mask
    term = %{term | pending: nil}

    term =
      if kept == Term.ones(bits) and (set != 0 or flipped != 0),
        do: term,
        else: operator(term, " & ", constant(term, kept), :and)

    term = if flipped == 0, do: term, else: operator(term, " ^ ", constant(term, flipped), :xor)
    if set == 0, do: term, else: operator(term, " | ", constant(term, set), :or)
  end

  defp constant(term, bits), do: Value.mask(term.type, bsr(bits, term.shift), term.size * 8)

  @doc "The text of a term, in parentheses where `inside` binds tighter than it."
  @spec text(Term.t(), :atom | :shift | :and | :xor | :or) :: iodata()
  def text(term, inside \\ :or) do
    term = flush(term)
    if @rank[term.binds] < @rank[inside], do: ["(", term.text, ")"], else: term.text
  end

  defp operator(term, word, operand, binds),
    do: %{
      term
      | text: [text(term, binds), word, operand],
        binds: binds,
        shift: if(binds == :shift, do: 0, else: term.shift)
    }

  @doc "`term op constant` as a match."
  @spec relation(Term.t(), atom(), term()) :: iodata()
  def relation(%Term{pending: {mask, 0}} = term, op, bytes)
      when op in [:eq, :neq] and is_binary(bytes) do
    number = Term.number(term, bytes)

    flags =
      (op == :neq and number == 0 and Datatype.bitmask?(term.type)) &&
        Value.flags(term.type, mask)

    prefix = prefix(term, mask, number)

    cond do
      flags -> [term.text, " ", flags]
      prefix -> [term.text, word(op, false), prefix]
      true -> compare(flush(term), op, bytes)
    end
  end

  def relation(%Term{} = term, op, bytes), do: compare(flush(term), op, bytes)

  defp compare(term, op, bytes) do
    explicit? = term.binds != :atom or Datatype.bitmask?(term.type)
    [text(term, :or), word(op, explicit?), Value.constant(term, bytes)]
  end

  defp word(:eq, false), do: " "
  defp word(:eq, true), do: " == "
  defp word(op, _), do: [" ", Map.fetch!(@words, op), " "]

  # A prefix mask over an address, with no bit of the constant outside it.
  defp prefix(%Term{type: type, shift: 0} = term, mask, number)
       when type in [:ipv4_addr, :ipv6_addr] do
    bits = term.size * 8
    length = bits - trailing_zeros(mask, bits)

    # A prefix of whole bytes compiles to a comparison without a mask, so a mask of whole bytes
    # was written as a mask.
    if (rem(length, 8) != 0 or length == 0) and length < bits and
         mask == bsl(Term.ones(length), bits - length) and
         (number &&& mask) == number,
       do: [Value.number(type, number, bits), "/", Integer.to_string(length)]
  end

  defp prefix(_term, _mask, _number), do: nil

  defp trailing_zeros(0, bits), do: bits
  defp trailing_zeros(n, bits) when (n &&& 1) == 0, do: 1 + trailing_zeros(bsr(n, 1), bits - 1)
  defp trailing_zeros(_n, _bits), do: 0

  @doc "`term` between two constants, or outside them."
  @spec range(Term.t(), :eq | :neq, binary(), binary()) :: iodata()
  def range(term, op, from, to) do
    term = flush(term)
    explicit? = term.binds != :atom or Datatype.bitmask?(term.type)

    [
      text(term, :or),
      word(op, explicit?),
      Value.plain_constant(term, from),
      "-",
      Value.plain_constant(term, to)
    ]
  end

  @doc """
  A load that stops short of the field's end and meets a constant of that length: a prefix of
  whole bytes.
  """
  @spec short(Term.t(), atom(), binary(), pos_integer()) :: iodata() | nil
  def short(%Term{type: type, text: text}, op, bytes, size)
      when type in [:ipv4_addr, :ipv6_addr] and op in [:eq, :neq] do
    length = byte_size(bytes) * 8
    padded = bytes <> <<0::size(size * 8 - length)>>
    [text, word(op, false), Value.address(padded), "/", Integer.to_string(length)]
  end

  def short(_term, _op, _bytes, _size), do: nil
end
