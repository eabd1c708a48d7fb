defmodule Linx.Netfilter.Vmap do
  @moduledoc """
  A verdict map: one lookup that decides, in the place of a rule for each case.

  This is `Linx.Netfilter.Map` with `data_type: :verdict`; values are whatever
  `Linx.Netfilter.Verdict.new/1` takes.

      iex> Linx.Netfilter.Vmap.new!("ports",
      ...>   key_type: :inet_service,
      ...>   elements: [{22, {:jump, "ssh"}}, {80, :accept}]
      ...> ).data_type
      :verdict

  A rule uses it with `Linx.Netfilter.Expr.lookup("ports", dreg: 0)`.

  Source: nft(8), "VERDICT MAPS".
  """

  alias Linx.Netfilter.Map, as: NMap

  @doc """
  Builds a verdict map. Options and errors as for `Linx.Netfilter.Map.new/2`, `:data_type` aside.
  """
  @spec new(String.t(), keyword()) :: {:ok, NMap.t()} | {:error, {:bad_map, term()}}
  def new(name, opts), do: NMap.new(name, Keyword.put(opts, :data_type, :verdict))

  @doc "As `new/2`, but gives the map itself and raises `ArgumentError`."
  @spec new!(String.t(), keyword()) :: NMap.t()
  def new!(name, opts), do: NMap.new!(name, Keyword.put(opts, :data_type, :verdict))
end
