defmodule Linx.NFT.Compiler.Dependencies do
  @moduledoc false
  # The implicit dependencies of a load: the tests that nft adds before a field of a header, so
  # that the bytes are that header's (Linx.Netfilter.Dependencies.ProtocolContext). They are
  # collected in the scope's `pending`. A type (`typeof?`) reads no packet and has none.

  alias Linx.Netfilter.Field
  alias Linx.Netfilter.Dependencies.ProtocolContext
  alias Linx.NFT.Compiler.{Fault, Scope}

  @doc "The scope with the tests that the packet has the header of a protocol."
  @spec header(Scope.t(), atom(), Field.base(), map()) :: Scope.t()
  def header(%Scope{typeof?: true} = scope, _protocol, _base, _meta), do: scope

  def header(scope, protocol, base, meta) do
    case ProtocolContext.require(scope.layers, protocol, base) do
      {:ok, dependencies, layers} ->
        pending(scope, dependencies, layers)

      {:error, {there, wanted}} ->
        Fault.fail(meta, "conflicting protocols: #{layer(there)} before, #{wanted} here")
    end
  end

  @doc "The scope with the test of the ICMP types that have the field."
  @spec icmp_type(Scope.t(), Field.t(), map()) :: Scope.t()
  def icmp_type(%Scope{typeof?: true} = scope, _field, _meta), do: scope

  def icmp_type(scope, %Field{protocol: protocol, field: text} = field, meta) do
    case ProtocolContext.require_type(scope.layers, field, :last) do
      {:ok, dependencies, layers} ->
        pending(scope, dependencies, layers)

      {:error, type} ->
        Fault.fail(meta, "#{protocol} #{text} does not exist in #{protocol} type #{type}")
    end
  end

  defp pending(scope, dependencies, layers),
    do: %{scope | layers: layers, pending: scope.pending ++ dependencies}

  defp layer({:one_of, protocols}), do: Enum.map_join(protocols, " or ", &layer/1)
  defp layer(nil), do: "nothing"
  defp layer(:unknown), do: "another protocol"
  defp layer(name), do: Atom.to_string(name)
end
