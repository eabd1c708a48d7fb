defmodule Linx.NFT.Compiler.Arithmetic do
  @moduledoc false
  # A load combined with a constant or with another load: & | ^ << >>.

  alias Linx.NFT.Compiler.{Fault, Load, Operand, Scope, Term, Value}

  @doc false
  @spec load(tuple(), Scope.t()) :: {Term.t(), Scope.t()}
  def load({:binop, op, left, right, meta}, scope) do
    {left, right} = if swap?(op, left, right, scope), do: {right, left}, else: {left, right}
    {term, scope} = Load.load(left, scope)
    right = Scope.resolve(scope, right)
    term = if byte?(op, term, right), do: term, else: widened(term, scope.expect)
    combine(op, term, right, scope, meta)
  end

  # Two loads are combined where a statement takes the result (Linux 6.13); a comparison has a
  # constant on the right.
  defp combine(op, term, right, %Scope{expect: %Term{} = like} = scope, meta)
       when op in [:amp, :pipe, :caret] and elem(right, 0) != :list do
    if Operand.load?(right, scope) do
      numbers!(term, meta)
      {other, scope} = Load.load(right, scope)
      other = widened(other, like)
      numbers!(other, meta)

      if other.len > max(term.len, like.len),
        do: Fault.fail(meta, "#{Value.describe(other)} is wider than #{Value.describe(term)}")

      other = Operand.order(other, term)

      %Term{} = wide = widened(term, like)
      {%{wide | kind: :bool, data: {op, term, other}, shift: 0, meta: meta}, scope}
    else
      {bits(op, term, right, scope, meta), scope}
    end
  end

  defp combine(op, term, right, scope, meta), do: {bits(op, term, right, scope, meta), scope}

  # meta mark set 0x10 | meta mark
  defp swap?(op, left, right, %Scope{expect: %Term{}} = scope) when op in [:amp, :pipe, :caret],
    do: not Operand.load?(left, scope) and Operand.load?(right, scope)

  defp swap?(_op, _left, _right, _scope), do: false

  # A byte has no order and stays one, until a constant needs more room.
  defp byte?(op, %Term{type: :integer, len: 8, order: :big, kind: kind}, {:integer, n, _})
       when op in [:amp, :pipe, :caret] and kind in [:load, :bits],
       do: n <= 0xFF

  defp byte?(_op, _term, _right), do: false

  # A statement computes in the width of what it sets: a narrower field becomes a number of the
  # host's order first.
  defp widened(%Term{kind: kind} = term, %Term{kind: :const} = like)
       when kind in [:load, :part, :order, :bits] do
    if is_integer(like.len) and term.len < like.len and like.order == :host and number?(term) and
         (kind != :bits or term.len == 8),
       do: %{Operand.order(term, like) | len: like.len, order: like.order},
       else: term
  end

  defp widened(term, _expect), do: term

  defp number?(%Term{type: type}), do: type not in [:ifname, :string, nil]

  defp numbers!(%Term{type: type} = term, meta) do
    if term.kind == :concat or type in [:ifname, :string, nil],
      do: Fault.fail(meta, "only numbers can be combined")
  end

  defp bits(op, %Term{type: type} = term, right, scope, meta) do
    numbers!(term, meta)

    operand =
      if op in [:lshift, :rshift],
        do: Value.constant(right, %Term{type: :integer, len: 32, order: :host}, scope),
        else: Value.constant(right, constant_like(term), scope)

    unless operand.kind == :const and is_integer(operand.data),
      do: Fault.fail(meta, "only a constant can stand right of an operator")

    if op in [:lshift, :rshift] and operand.data >= max(term.len, 32),
      do: Fault.fail(meta, "shifted too far")

    # The result of arithmetic has the type of its operand, except that a shifted header field is
    # a number.
    type =
      if op in [:lshift, :rshift] and (term.order == :big or term.kind == :order),
        do: :integer,
        else: type

    %Term{
      term
      | kind: :bits,
        data: {op, term, operand.data},
        shift: 0,
        meta: meta,
        type: type
    }
  end

  # A port has 16 bits, wherever it is computed with.
  defp constant_like(%Term{type: :inet_service} = term),
    do: %{term | kind: :const, shift: 0, max: 0xFFFF}

  defp constant_like(term), do: %{term | kind: :const, shift: 0}
end
