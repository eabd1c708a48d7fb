defmodule Linx.NFT.Statement.Limit do
  @moduledoc false
  # `limit rate [over|until] N/UNIT [burst N packets]`, `limit rate [over|until] N kbytes/UNIT
  # [burst N kbytes]`. A limit object has the same words behind `rate`.
  #
  # Source: nft(8), "LIMIT STATEMENT"; net/netfilter/nft_limit.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [unexpected: 2, unexpected: 3, word: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Value}
  alias Linx.NFT.Statement.Amount

  @units ~w(second minute hour day week)a
  @unit_atoms Map.new(@units, &{Atom.to_string(&1), &1})

  # nft's default burst of a limit by packets.
  @burst 5

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "limit", meta} | rest]) do
    {rate, opts, rest} = rest |> word("rate") |> rate()
    {{:limit, rate, opts, meta}, rest}
  end

  @doc "Parses the rate behind the word `rate`: `{{n, unit, :packets | :bytes}, options, rest}`."
  @spec rate([tuple()]) :: {tuple(), keyword(), [tuple()]}
  def rate(tokens) do
    {over, rest} = Amount.over(tokens)
    {n, rest} = Amount.number(rest)
    {type, factor, unit, rest} = per(rest)
    {burst, rest} = parsed_burst(rest)
    {{Amount.scaled(n, factor), unit, type}, [over: over, burst: burst], rest}
  end

  defp per([{:slash, _} | rest]) do
    {unit, rest} = time_unit(rest)
    {:packets, 1, unit, rest}
  end

  # "mbytes/second" is one word to the tokenizer.
  defp per([{:identifier, text, meta} = token | rest]) do
    [word | unit] = String.split(text, "/")

    case {Amount.size(word), unit, rest} do
      {{:ok, size}, [unit], rest} ->
        {unit, _} = time_unit([{:identifier, unit, meta}])
        {:bytes, size, unit, rest}

      {{:ok, size}, [], [{:slash, _} | rest]} ->
        {unit, rest} = time_unit(rest)
        {:bytes, size, unit, rest}

      _ ->
        unexpected([token], "a rate such as 10/second or 1 mbytes/second")
    end
  end

  defp per(tokens), do: unexpected(tokens, "'/' and a unit of time")

  defp time_unit([{:identifier, unit, _} | rest]) when is_map_key(@unit_atoms, unit),
    do: {@unit_atoms[unit], rest}

  defp time_unit(tokens),
    do: unexpected(tokens, "second, minute, hour, day or week", Map.keys(@unit_atoms))

  defp parsed_burst([{:identifier, "burst", _} | rest]) do
    case Amount.number(rest) do
      {n, [{:identifier, "packets", _} | rest]} ->
        {{n, :packets}, rest}

      {n, [{:identifier, unit, _} | more] = rest} ->
        case Amount.size(unit) do
          {:ok, size} -> {{Amount.scaled(n, size), :bytes}, more}
          :error -> no_burst(rest)
        end

      {_n, rest} ->
        no_burst(rest)
    end
  end

  defp parsed_burst(rest), do: {nil, rest}

  @spec no_burst([tuple()]) :: no_return()
  defp no_burst(tokens),
    do: unexpected(tokens, "packets, bytes, kbytes or mbytes", ["packets" | Amount.units()])

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:limit, {rate, unit, type}, opts, meta}, scope) do
    place = Fault.meta(rate, meta)
    rate = Value.count_of(rate, meta, scope)
    if rate == 0, do: Fault.fail(place, "a rate must be above 0")
    burst = burst(opts[:burst], type, scope, meta)
    flags = if opts[:over], do: [:inv], else: []
    {[{:fixed, [Expr.limit(rate, unit: unit, type: type, burst: burst, flags: flags)]}], scope}
  end

  @doc """
  The burst of a limit of packets or bytes. Without one, packets have a burst of 5, bytes none.
  """
  @spec burst(tuple() | nil, :packets | :bytes, Linx.NFT.Compiler.Scope.t(), map()) :: integer()
  def burst(nil, :packets, _scope, _meta), do: @burst
  def burst(nil, :bytes, _scope, _meta), do: 0

  def burst({n, :packets}, :packets, scope, meta) do
    case Value.count_of(n, meta, scope) do
      # The kernel takes a burst of no packets for its default.
      0 -> @burst
      burst when burst > 0xFFFFFFFF -> Fault.fail(Fault.meta(n, meta), "a burst has 32 bits")
      burst -> burst
    end
  end

  def burst({n, type}, type, scope, meta), do: Value.count_of(n, meta, scope)

  def burst({_n, type}, rate_type, _scope, meta),
    do: Fault.fail(meta, "the rate counts #{rate_type}, the burst #{type}")

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: %{} = data}, _context), do: {:ok, ["limit ", written(data)]}
  def text(_expr, _context), do: :error

  @doc "`rate over 10/second burst 5 packets`"
  @spec written(map()) :: iodata()
  def written(%{rate: rate} = data) do
    over = Amount.over_text(data)
    per = ["/", Atom.to_string(data[:unit] || :second)]

    case {data[:type] || :packets, data[:burst]} do
      {:bytes, burst} when burst in [nil, 0] ->
        ["rate ", over, Amount.text(rate), per]

      {:bytes, burst} ->
        ["rate ", over, Amount.text(rate), per, " burst ", Amount.text(burst)]

      {_packets, burst} ->
        burst = Integer.to_string(burst || @burst)
        ["rate ", over, Integer.to_string(rate), per, " burst ", burst, " packets"]
    end
  end
end
