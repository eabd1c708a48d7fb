defmodule Linx.NFT.Object.Secmark do
  @moduledoc false
  # `secmark NAME { "SECURITY CONTEXT" }`

  @behaviour Linx.NFT.Object

  import Linx.NFT.Parser.Tokens, only: [string: 2]

  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Object

  @impl true
  def words, do: []

  @impl true
  def option(tokens) do
    {context, rest} = string(tokens, "a security context in quotes")
    {{:context, context}, rest}
  end

  @impl true
  def data(opts, meta, scope) do
    context = Object.required(opts[:context], "a context", meta)
    %{context: Value.text_of(context, scope)}
  end

  @impl true
  def lines(data), do: if(data[:context], do: [Text.quoted(data.context)], else: [])

  @impl true
  def kept, do: nil
end
