defmodule Linx.NFT.Compiler.Assign do
  @moduledoc false
  # `... set VALUE`: packet metadata, conntrack, header fields and TCP options.

  alias Linx.Netfilter.{Expr, Field, Protocol}
  alias Linx.NFT.Compiler.{Fault, Generate, Load, Operand, Term}
  alias Linx.NFT.Keys

  @meta_writable [:mark, :priority, :pkttype, :nftrace, :secmark, :bri_broute]
  @ct_writable [:mark, :secmark, :labels, :eventmask, :zone, :helper]

  @doc false
  def assign({:meta_set, key, value, meta}, scope) do
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

  def assign({:ct_set, key, value, meta}, scope) do
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

  def assign({:assign, lhs, value, meta}, scope) do
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

  # The kernel's code for the Internet checksum works on 16-bit words: a field of one byte is written with its neighbour.
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

  # What is written as (what is there & mask) ^ xor: a constant, or bits of the field itself set, cleared or flipped.
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

  # What a raw payload holds is not known.
  defp mends(_raw), do: %{}

  defp const(%Term{} = target), do: %{target | kind: :const, shift: 0}

  defp single!(%Term{kind: kind}, meta) when kind in [:range, :prefix, :wildcard, :concat],
    do: Fault.fail(meta, "one value is needed, not several")

  defp single!(_term, _meta), do: :ok
end
