defmodule Linx.NFT.Formatter.Context do
  @moduledoc false
  # Where a rule stands (its family, its table's sets and chains) and what reading it has brought
  # so far.

  alias Linx.Netfilter.{Field, Protocol, Rule, Table}
  alias Linx.NFT.Formatter.{Registers, Term}

  # `told` is the transport that the text written so far tells of.
  defstruct family: nil,
            table: nil,
            registers: %{},
            out: [],
            network: nil,
            transport: nil,
            told: nil

  @type piece :: iodata() | {:block, String.t(), [Rule.t()]}
  @type t :: %__MODULE__{
          family: Table.family() | nil,
          table: Table.t() | nil,
          registers: Registers.t(),
          out: [piece()],
          network: :ip | :ip6 | nil,
          transport: atom(),
          told: atom()
        }

  @spec new(Table.t()) :: t()
  def new(table), do: %__MODULE__{family: table.family, table: table}

  @doc "Adds a piece of text to the rule."
  @spec emit(t(), piece()) :: {:ok, t()}
  def emit(%__MODULE__{} = context, piece),
    do: {:ok, %{context | out: [piece | context.out], told: context.transport}}

  @doc """
  The match of the transport, with a space behind it, where a statement that looks a port up is
  the first text that tells of it: nft 1.0 looks no port up by one of a protocol that nothing has
  named.
  """
  @spec transport(t(), iodata()) :: iodata()
  def transport(%__MODULE__{told: nil, transport: transport}, port) when transport != nil do
    if String.contains?(IO.iodata_to_binary(port), " map "),
      do: ["meta l4proto ", Atom.to_string(transport), " "],
      else: ""
  end

  def transport(_context, _port), do: ""

  @doc "The set or map of that name in the rule's table."
  @spec set(t(), String.t()) :: struct() | nil
  def set(%{table: nil}, _name), do: nil
  def set(%{table: table}, name), do: table.sets[name] || table.maps[name]

  @doc "Notes what a comparison says about the packet's protocols."
  @spec learn(t(), Term.t(), atom(), term()) :: t()
  def learn(context, %Term{source: %{inside: _tunnel}}, _op, _data), do: context

  def learn(context, %Term{type: type} = term, :eq, data)
      when is_binary(data) and type in [:nf_proto, :ether_type, :inet_proto] do
    # A test of a conntrack key says nothing about the packet's own protocol.
    if String.starts_with?(IO.iodata_to_binary(term.text), "ct "),
      do: context,
      else: learned(context, type, data)
  end

  def learn(context, _term, _op, _data), do: context

  defp learned(context, type, data) do
    case type do
      :nf_proto -> %{context | network: Protocol.by_number(:family, number(data))}
      :ether_type -> %{context | network: network(Protocol.by_number(:ether, number(data)))}
      :inet_proto -> %{context | transport: Protocol.by_number(:inet, number(data))}
    end
  end

  defp number(data), do: :binary.decode_unsigned(data)

  defp network(protocol) when protocol in [:ip, :ip6], do: protocol
  defp network(_protocol), do: nil

  @doc "Notes the protocol of a field that was loaded."
  @spec field(t(), Term.t()) :: t()
  def field(context, %Term{source: %{inside: _tunnel}}), do: context

  def field(context, %Term{source: %{field: name}}) do
    case Field.fetch(name) do
      {:ok, %{protocol: protocol}} when protocol in [:ip, :ip6] ->
        %{context | network: protocol}

      {:ok, %{protocol: protocol, base: :transport}} when protocol != :th ->
        network = Protocol.fetch!(protocol).network || context.network
        %{context | network: network, transport: protocol}

      {:ok, %{base: :ipv6}} ->
        %{context | network: :ip6}

      {:ok, %{base: :ipv4}} ->
        %{context | network: :ip}

      _ ->
        context
    end
  end

  def field(context, _term), do: context

  @doc "The protocol whose header a payload's base is, as far as the rule says."
  @spec protocol(t(), atom()) :: atom()
  def protocol(%{family: family}, :network) when family in [:ip, :ip6, :arp], do: family
  def protocol(context, :network), do: context.network
  def protocol(context, :transport), do: context.transport
  def protocol(_context, :link), do: :ether
  def protocol(_context, _base), do: nil
end
