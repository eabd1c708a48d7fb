defmodule Linx.NFT.Object.Quota do
  @moduledoc false
  # `quota NAME { [over|until] N UNIT [used N UNIT] }`

  @behaviour Linx.NFT.Object

  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Object
  alias Linx.NFT.Statement.Quota

  @impl true
  def words, do: ~w(over until used)

  @impl true
  def option(tokens), do: Quota.amount(tokens)

  @impl true
  def data(opts, meta, scope) do
    bytes = Object.required(opts[:bytes], "a number of bytes", meta)
    data = %{bytes: Value.count_of(bytes, meta, scope)}
    used = if opts[:used], do: %{used: Value.count_of(opts[:used], meta, scope)}, else: %{}
    flags = if opts[:over], do: %{flags: [:inv]}, else: %{}
    data |> Map.merge(used) |> Map.merge(flags)
  end

  @impl true
  def lines(data), do: [Quota.written(data)]

  @impl true
  def kept, do: [:used, :comment]
end
