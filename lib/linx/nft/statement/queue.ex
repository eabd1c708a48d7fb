defmodule Linx.NFT.Statement.Queue do
  @moduledoc false
  # `queue [flags bypass,fanout] [to N[-M] | to EXPRESSION]`, or the older form `queue [num N[-M]]
  # [bypass,fanout]`.
  #
  # Source: nft(8), "QUEUE STATEMENT"; net/netfilter/nft_queue.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [commas: 2, unexpected: 3]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Generate, Operand, Scope, Term, Value}
  alias Linx.NFT.Formatter.{Match, Registers}
  alias Linx.NFT.Parser.Expression

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "queue", meta} | rest]) do
    {flags, rest} = flags(rest)

    {num, rest} =
      case rest do
        [{:identifier, word, _} | rest] when word in ["num", "to"] -> Expression.operand(rest)
        rest -> {nil, rest}
      end

    {late, rest} = flags(rest)
    {{:queue, [num: num, flags: flags ++ late], meta}, rest}
  end

  defp flags([{:identifier, "flags", _} | rest]), do: commas(rest, &flag/1)

  defp flags([{:identifier, flag, _} | _] = tokens) when flag in ["bypass", "fanout"],
    do: commas(tokens, &flag/1)

  defp flags(tokens), do: {[], tokens}

  defp flag([{:identifier, "bypass", _} | rest]), do: {:bypass, rest}
  defp flag([{:identifier, "fanout", _} | rest]), do: {:fanout, rest}
  defp flag(tokens), do: unexpected(tokens, "bypass or fanout", ~w(bypass fanout))

  # -- compiler ----------------------------------------------------------------------------------

  @number %Term{kind: :const, type: :integer, len: 16, order: :big}
  @loaded %{@number | order: :host}

  @impl true
  def compile({:queue, opts, meta}, scope) do
    flags = Enum.filter([:bypass, :fanout], &(&1 in opts[:flags]))
    node = opts[:num] && Scope.resolve(scope, opts[:num])

    cond do
      node == nil -> one(Expr.queue(0, flags: flags), scope)
      Operand.load?(node, scope) -> computed(node, flags, meta, scope)
      true -> one(constant(node, flags, meta, scope), scope)
    end
  end

  defp computed(node, flags, meta, scope) do
    {term, scope} = Operand.operand(node, @loaded, %{scope | expect: @loaded})

    if :fanout in flags,
      do: Fault.fail(meta, "fanout spreads over a range of queues, not over computed ones")

    bound!(term, meta)
    queue = Expr.queue(nil, sreg_qnum: 1, flags: flags)
    {[{:fixed, Generate.load(term, 0) ++ [queue]}], scope}
  end

  defp constant(node, flags, meta, scope) do
    {first, last} = span(Value.constant(node, @number, scope), meta)
    if :fanout in flags and first == last, do: Fault.fail(meta, "fanout needs a range of queues")
    Expr.queue(first, total: last - first + 1, flags: flags)
  end

  defp one(expr, scope), do: {[{:fixed, [expr]}], scope}

  defp span(%Term{kind: :const, data: n}, _meta), do: {n, n}
  defp span(%Term{kind: :range, data: {%Term{data: a}, %Term{data: b}}}, _meta), do: {a, b}
  defp span(_term, meta), do: Fault.fail(meta, "a queue is a number or a range of numbers")

  defp bound!(%Term{kind: :load, data: {_, %{modulus: modulus} = data}}, meta) do
    if Map.get(data, :offset, 0) + modulus > 0x10000,
      do: Fault.fail(meta, "the highest queue is 65535")
  end

  defp bound!(%Term{kind: :order, data: term}, meta), do: bound!(term, meta)
  defp bound!(_term, _meta), do: :ok

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: %{sreg_qnum: register} = data}, context) do
    with {:ok, term} <- Registers.fetch(context.registers, register),
         do: {:ok, ["queue ", written(data), "to ", Match.text(term)]}
  end

  def text(%Expr{data: %{num: num} = data}, _context) do
    total = data[:total] || 1

    range =
      if total > 1,
        do: [Integer.to_string(num), "-", Integer.to_string(num + total - 1)],
        else: Integer.to_string(num)

    {:ok, ["queue ", written(data), "to ", range]}
  end

  def text(_expr, _context), do: :error

  defp written(data) do
    given = List.wrap(data[:flags])

    case for(flag <- [:bypass, :fanout], flag in given, do: Atom.to_string(flag)) do
      [] -> ""
      flags -> ["flags ", Enum.intersperse(flags, ","), " "]
    end
  end
end
