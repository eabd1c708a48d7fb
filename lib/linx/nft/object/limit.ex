defmodule Linx.NFT.Object.Limit do
  @moduledoc false
  # `limit NAME { rate [over|until] N/UNIT [burst N packets] }`

  @behaviour Linx.NFT.Object

  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Object
  alias Linx.NFT.Statement.Limit

  @impl true
  def words, do: ~w(rate)

  @impl true
  def option([{:identifier, "rate", _} | rest]) do
    {rate, opts, rest} = Limit.rate(rest)
    {[{:rate, rate} | opts], rest}
  end

  def option(_tokens), do: nil

  @impl true
  def data(opts, meta, scope) do
    {rate, unit, type} = Object.required(opts[:rate], "rate N/UNIT", meta)
    rate = Value.count_of(rate, meta, scope)
    burst = Limit.burst(opts[:burst], type, scope, meta)
    data = %{rate: rate, unit: unit, burst: burst, type: type}
    if opts[:over], do: Map.put(data, :flags, [:inv]), else: data
  end

  @impl true
  def lines(data), do: if(data[:rate], do: [Limit.written(data)], else: [])

  @impl true
  def kept, do: nil
end
