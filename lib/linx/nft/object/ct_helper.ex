defmodule Linx.NFT.Object.CtHelper do
  @moduledoc false
  # `ct helper NAME { type "ftp" protocol tcp; l3proto ip }`

  @behaviour Linx.NFT.Object

  import Linx.NFT.Parser.Tokens, only: [string: 2, word: 2]

  alias Linx.NFT.Compiler.{Fault, Value}
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Object
  alias Linx.NFT.Object.Conntrack

  @impl true
  def words, do: ~w(type l3proto)

  @impl true
  def option([{:identifier, "type", _} | rest]) do
    {type, rest} = string(rest, "the helper's name in quotes")
    {protocol, rest} = rest |> word("protocol") |> Conntrack.protocol()
    {[type: type, protocol: protocol], rest}
  end

  def option([{:identifier, "l3proto", _} | _] = tokens), do: Conntrack.option(tokens)
  def option(_tokens), do: nil

  @impl true
  def data(opts, meta, scope) do
    type = Object.required(opts[:type], "type NAME protocol PROTOCOL", meta)

    %{
      type: name(type, meta, scope),
      protocol: opts[:protocol],
      l3proto: opts[:l3proto] || scope.family
    }
  end

  # NF_CT_HELPER_NAME_LEN is 16 with the terminating NUL.
  defp name(node, meta, scope) do
    case Value.text_of(node, scope) do
      name when byte_size(name) in 1..15 -> name
      _ -> Fault.fail(Fault.meta(node, meta), "the name of a helper has 1 to 15 bytes")
    end
  end

  @impl true
  def lines(data) do
    protocol =
      if data[:protocol], do: [" protocol ", Conntrack.protocol_text(data.protocol)], else: ""

    type = if data[:type], do: [["type ", type(data.type), protocol]], else: []
    type ++ Conntrack.l3proto_line(data)
  end

  defp type(type) when byte_size(type) in 1..15, do: Text.quoted(type)

  defp type(type) when is_binary(type),
    do: Text.unwritable("the helper's type has #{byte_size(type)} bytes, not 1 to 15")

  @impl true
  def kept, do: nil
end
