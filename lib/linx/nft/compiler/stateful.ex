defmodule Linx.NFT.Compiler.Stateful do
  @moduledoc false
  # counter, quota, limit, last, ct count: in rules, in elements and in sets.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Value}

  @doc false
  def exprs({:counter, opts, meta}, scope) do
    [
      Expr.counter(
        packets: Value.count_of(opts[:packets] || 0, meta, scope),
        bytes: Value.count_of(opts[:bytes] || 0, meta, scope)
      )
    ]
  end

  def exprs({:quota, opts, meta}, scope) do
    flags = if opts[:over], do: [:inv], else: []

    [
      Expr.quota(Value.count_of(opts[:bytes], meta, scope),
        consumed: Value.count_of(opts[:used] || 0, meta, scope),
        flags: flags
      )
    ]
  end

  def exprs({:limit, {rate, unit, type}, opts, meta}, scope) do
    place = Fault.meta(rate, meta)
    rate = Value.count_of(rate, meta, scope)
    if rate == 0, do: Fault.fail(place, "a rate must be above 0")
    burst = burst(opts[:burst], type, rate, scope, meta)
    flags = if opts[:over], do: [:inv], else: []
    [Expr.limit(rate, unit: unit, type: type, burst: burst, flags: flags)]
  end

  def exprs({:connlimit, opts, _meta}, scope),
    do: [
      Expr.connlimit(number(opts[:count], scope), flags: if(opts[:over], do: [:inv], else: []))
    ]

  # When it was used last is the kernel's to say.
  def exprs({:last, _opts, _meta}, _scope), do: [Expr.last()]

  def exprs({:objref, _kind, _value, meta}, _scope),
    do: Fault.fail(meta, "an object by name cannot stand here")

  @doc false
  # Packets have a burst of 5 unless another is given, bytes none.
  def burst(nil, :packets, _rate, _scope, _meta), do: 5
  def burst(nil, :bytes, _rate, _scope, _meta), do: 0

  def burst({n, type}, type, _rate, scope, meta) do
    # The kernel takes a burst of no packets for its default.
    burst = if(type == :packets and number(n, scope) == 0, do: 5, else: number(n, scope))

    if type == :packets and burst > 0xFFFFFFFF,
      do: Fault.fail(Fault.meta(n, meta), "a burst has 32 bits")

    burst
  end

  def burst({_n, type}, rate_type, _rate, _scope, meta),
    do: Fault.fail(meta, "the rate counts #{rate_type}, the burst #{type}")

  defp number(n, scope), do: Value.number_of(n, scope)
end
