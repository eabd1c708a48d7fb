defmodule Linx.NFT.Object.CtExpectation do
  @moduledoc false
  # `ct expectation NAME { protocol tcp; dport 8000; timeout 5m; size 8; l3proto ip }`

  @behaviour Linx.NFT.Object

  import Linx.NFT.Parser.Tokens, only: [duration: 1, integer: 1]

  alias Linx.NFT.Compiler.{Elements, Value}
  alias Linx.NFT.Formatter.Value, as: Text
  alias Linx.NFT.Object
  alias Linx.NFT.Object.Conntrack

  @impl true
  def words, do: ~w(protocol dport timeout size l3proto)

  @impl true
  def option([{:identifier, "dport", _} | rest]), do: number(:dport, rest)
  def option([{:identifier, "size", _} | rest]), do: number(:size, rest)

  def option([{:identifier, "timeout", _} | rest]) do
    {ms, rest} = duration(rest)
    {{:timeout, ms}, rest}
  end

  def option(tokens), do: Conntrack.option(tokens)

  defp number(key, tokens) do
    {n, rest} = integer(tokens)
    {{key, n}, rest}
  end

  @impl true
  def data(opts, meta, scope) do
    %{
      protocol: Object.required(opts[:protocol], "protocol", meta),
      dport: required_number(opts, :dport, 0xFFFF, meta, scope),
      timeout: timeout(Object.required(opts[:timeout], "timeout", meta), meta, scope),
      size: required_number(opts, :size, 0xFF, meta, scope),
      l3proto: opts[:l3proto] || scope.family
    }
  end

  # The kernel has the timeout in 32 bits of milliseconds.
  defp timeout(node, meta, scope) do
    ms = Elements.duration(node, scope)
    Value.number_within(ms, 0xFFFFFFFF, "the timeout in milliseconds", meta, scope)
  end

  # The kernel has the port in 16 bits and the size in 8 (nft_ct_expect_obj).
  defp required_number(opts, key, most, meta, scope) do
    opts[key]
    |> Object.required(Atom.to_string(key), meta)
    |> Value.number_within(most, Atom.to_string(key), meta, scope)
  end

  @impl true
  def lines(data) do
    timeout = if data[:timeout], do: [["timeout ", Text.duration(data.timeout)]], else: []

    Conntrack.protocol_line(data) ++
      Object.line("dport", data[:dport]) ++
      timeout ++ Object.line("size", data[:size]) ++ Conntrack.l3proto_line(data)
  end

  @impl true
  def kept, do: nil
end
