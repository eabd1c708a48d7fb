defmodule Linx.NFT.Object.Counter do
  @moduledoc false
  # `counter NAME { packets N bytes N }`

  @behaviour Linx.NFT.Object

  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Statement.Counter

  @impl true
  def words, do: ~w(packets bytes)

  @impl true
  def option(tokens), do: Counter.count(tokens)

  @impl true
  def data(opts, meta, scope), do: Map.new(Counter.data(opts, meta, scope))

  @impl true
  def lines(data) do
    [["packets ", Text.word(data[:packets] || 0), " bytes ", Text.word(data[:bytes] || 0)]]
  end

  @impl true
  def kept, do: nil
end
