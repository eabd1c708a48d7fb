defmodule Linx.NFT.Compiler.Generate do
  @moduledoc false
  # Typed terms to the kernel's expressions. Registers are counted in words of four bytes, 0 to
  # 15, as nft does: a value takes four words, the parts of a concatenation just what they need.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Term}

  @doc false
  # The number that the kernel gives a register: 1 to 4 where 16 bytes begin, else one of the
  # words.
  @spec register(0..15) :: pos_integer()
  def register(word) when rem(word, 4) == 0, do: 1 + div(word, 4)
  def register(word), do: 8 + word

  @doc false
  # The expressions that leave the term in the register. `shifted?: false` leaves a field of part
  # of the bytes where it stands: what it is compared with has been moved there.
  @spec load(Term.t(), 0..15, boolean()) :: [Expr.t()]
  def load(term, word, shifted? \\ true)

  def load(%Term{kind: :load, data: source}, word, _shifted?),
    do: [into(source, register(word))]

  def load(%Term{kind: :part, data: {_, _, count}, shift: shift} = term, word, shifted?) do
    if shifted? and shift > 0,
      do: in_place(term, word) ++ [shift(register(word), :rshift, shift, count)],
      else: in_place(term, word)
  end

  def load(%Term{kind: :bits} = term, word, _shifted?), do: bits(term, word)

  def load(%Term{kind: :bool, data: {op, left, right}, len: len}, word, _shifted?) do
    {reg, other} = {register(word), register(word + 4)}
    op = Map.fetch!(%{amp: :and, pipe: :or, caret: :xor}, op)

    load(left, word) ++
      load(right, word + 4) ++
      [Expr.bool(op, len: div(len + 7, 8), sreg: reg, sreg2: other, dreg: reg)]
  end

  def load(%Term{kind: :concat, data: parts}, word, _shifted?) do
    {exprs, _} =
      Enum.flat_map_reduce(parts, word, fn part, word ->
        {load(part, word), word + div(part.len + 31, 32)}
      end)

    exprs
  end

  # A register holds one value.
  def load(%Term{kind: kind, meta: meta}, _word, _shifted?)
      when kind in [:range, :prefix, :wildcard],
      do: Fault.fail(meta, "one value is needed, not several")

  def load(%Term{kind: :hash, data: {data, key}}, word, _shifted?) do
    source = word + 4
    len = div(key_bits(key), 8)
    hash = Map.merge(data, %{sreg: register(source), dreg: register(word), len: len})
    load(key, source) ++ [Expr.new(:hash, hash)]
  end

  # The kernel shifts numbers of the host's order: a field that lies in two bytes is turned before
  # it is moved down.
  def load(
        %Term{kind: :order, order: :host, data: %Term{kind: :part, data: {_, _, count}} = part},
        word,
        true
      )
      when part.shift > 0 do
    reg = register(word)
    size = if rem(count, 8) == 0, do: 8, else: if(rem(count, 4) == 0, do: 4, else: 2)

    in_place(part, word) ++
      [
        Expr.byteorder(:ntoh, len: count, size: size, sreg: reg, dreg: reg),
        shift(reg, :rshift, part.shift, count)
      ]
  end

  def load(%Term{kind: :order, data: term} = ordered, word, shifted?) do
    # Widened to what it is assigned to, only the bytes that were loaded are turned.
    len = 8 * div(min(ordered.len, term.len) + 7, 8)
    bytes = div(len, 8)
    size = if rem(len, 64) == 0, do: 8, else: if(rem(len, 32) == 0, do: 4, else: 2)
    op = if term.order == :host, do: :hton, else: :ntoh
    reg = register(word)

    load(term, word, shifted?) ++
      [Expr.byteorder(op, len: bytes, size: size, sreg: reg, dreg: reg)]
  end

  def load(%Term{kind: :map, data: {key, lookup}}, word, _shifted?) do
    # The key's register is the value's too.
    load(key, word, not transferred?(lookup, key)) ++
      [%{lookup | data: Map.merge(lookup.data, %{sreg: register(word), dreg: register(word)})}]
  end

  def load(%Term{kind: :const} = term, word, _shifted?),
    do: [Expr.new(:immediate, %{dreg: register(word), data: Term.bytes(term)})]

  # The field where it stands in its bytes, what is beside it masked away.
  defp in_place(%Term{kind: :part, data: {source, mask, count}}, word) do
    reg = register(word)
    [into(source, reg), bitwise(reg, <<mask::size(8 * count)>>, <<0::size(8 * count)>>)]
  end

  # The register is that of the inner load, where a tunnel is looked into.
  defp into({:inner, %{expr: %Expr{data: inner} = expr} = data}, reg),
    do: Expr.new(:inner, %{data | expr: %{expr | data: Map.put(inner, :dreg, reg)}})

  defp into({name, data}, reg), do: Expr.new(name, Map.put(data, :dreg, reg))

  defp key_bits(%Term{kind: :concat, len: len}), do: len
  defp key_bits(%Term{len: len}), do: 8 * div(len + 7, 8)

  # The elements of an anonymous map stand where the field does; those of a named one are the
  # field's value.
  @doc false
  def transferred?(%Expr{name: :__anon_set}, %Term{kind: :part}), do: true
  def transferred?(_lookup, _key), do: false

  # -- bitwise -----------------------------------------------------------------------------------

  # and, or, xor in a row are one mask and one xor; a shift is an expression of its own.
  defp bits(%Term{kind: :bits, data: {op, _, _}} = term, word) when op in [:amp, :pipe, :caret] do
    {inner, mask, xor} = collect(term)
    reg = register(word)
    size = div(term.len + 7, 8)

    load(inner, word) ++
      [bitwise(reg, Term.number(mask, size, term.order), Term.number(xor, size, term.order))]
  end

  defp bits(%Term{kind: :bits, data: {op, inner, n}, len: len}, word),
    do: load(inner, word) ++ [shift(register(word), op, n, div(len + 7, 8))]

  @doc false
  # `{term, mask, xor}` of operations with constants that are one mask and one xor; nil with a
  # shift among them.
  @spec masked(Term.t()) :: {Term.t(), non_neg_integer(), non_neg_integer()} | nil
  def masked(%Term{kind: :bits, data: {op, _, _}} = term) when op in [:amp, :pipe, :caret],
    do: collect(term)

  def masked(_term), do: nil

  defp collect(%Term{kind: :bits, data: {op, inner, n}, len: len})
       when op in [:amp, :pipe, :caret] do
    {inner, mask, xor} = collect_inner(inner, len)
    all = Bitwise.bsl(1, len) - 1

    case op do
      :amp ->
        {inner, Bitwise.band(mask, n), Bitwise.band(xor, n)}

      :caret ->
        {inner, mask, Bitwise.bxor(xor, n)}

      :pipe ->
        {inner, Bitwise.band(mask, Bitwise.bxor(all, n)),
         Bitwise.bor(Bitwise.band(xor, Bitwise.bxor(all, n)), n)}
    end
  end

  defp collect_inner(%Term{kind: :bits, data: {op, _, _}} = inner, _len)
       when op in [:amp, :pipe, :caret], do: collect(inner)

  defp collect_inner(inner, len), do: {inner, Bitwise.bsl(1, len) - 1, 0}

  @doc false
  # A comparison whose value may be an interface that the push looks up.
  def cmp(op, value), do: Expr.new(:cmp, %{op: op, data: value, sreg: 1})

  @doc false
  def bitwise(reg, mask, xor), do: Expr.bitwise(mask, xor, sreg: reg, dreg: reg)

  defp shift(reg, op, n, len), do: Expr.shift(op, n, len: len, sreg: reg, dreg: reg)
end
