defmodule Linx.NFT.Object.Synproxy do
  @moduledoc false
  # `synproxy NAME { mss N; wscale N; timestamp sack-perm }`

  @behaviour Linx.NFT.Object

  alias Linx.NFT.Object
  alias Linx.NFT.Statement.Synproxy

  @impl true
  def words, do: ~w(mss wscale timestamp sack-perm)

  @impl true
  def option(tokens), do: Synproxy.option(tokens)

  @impl true
  def data(opts, meta, scope) do
    for {key, value} <- Synproxy.data(opts, meta, scope), value not in [nil, []], into: %{} do
      {key, value}
    end
  end

  @impl true
  def lines(data) do
    flags = Enum.intersperse(Synproxy.flags(data), " ")

    Object.line("mss", data[:mss]) ++
      Object.line("wscale", data[:wscale]) ++ if(flags == [], do: [], else: [flags])
  end

  @impl true
  def kept, do: [:comment]
end
