defmodule Linx.NFT.Formatter.Context do
  @moduledoc false
  # Where a rule stands (its family, its table's sets and chains) and what reading it has brought so far.

  alias Linx.Netfilter.{Field, Table}
  alias Linx.NFT.Formatter.{Registers, Term}

  defstruct family: nil, table: nil, registers: %{}, out: [], network: nil

  @type piece :: iodata() | {:block, String.t(), term()}
  @type t :: %__MODULE__{
          family: Table.family() | nil,
          table: Table.t() | nil,
          registers: Registers.t(),
          out: [piece()],
          network: :ip | :ip6 | nil
        }

  @spec new(Table.t()) :: t()
  def new(table), do: %__MODULE__{family: table.family, table: table}

  @doc "Adds a piece of text to the rule."
  @spec emit(t(), piece()) :: {:ok, t()}
  def emit(%__MODULE__{} = context, piece), do: {:ok, %{context | out: [piece | context.out]}}

  @doc "The set or map of that name in the rule's table."
  @spec set(t(), String.t()) :: struct() | nil
  def set(%{table: nil}, _name), do: nil
  def set(%{table: table}, name), do: table.sets[name] || table.maps[name]

  @doc "The chain of that name when it was made for one rule only."
  @spec bound_chain(t(), String.t()) :: struct() | nil
  def bound_chain(%{table: nil}, _name), do: nil

  def bound_chain(%{table: table}, name) do
    chain = table.chains[name]
    if chain != nil and :binding in chain.flags, do: chain
  end

  @doc "Notes what a comparison says about the packet's network protocol."
  @spec learn(t(), Term.t(), atom(), term()) :: t()
  def learn(context, %Term{text: text, source: source, type: type}, :eq, data)
      when is_binary(data) do
    cond do
      type == :nf_proto ->
        %{context | network: family(:binary.decode_unsigned(data, Term.endian()))}

      type == :ether_type ->
        %{context | network: ethertype(data)}

      is_map(source) and is_map_key(source, :field) ->
        field(context, source.field)

      text == nil ->
        context

      true ->
        context
    end
  end

  def learn(context, _term, _op, _data), do: context

  @doc "Notes the protocol of a field that was loaded."
  @spec field(t(), atom()) :: t()
  def field(context, name) do
    case Field.fetch(name) do
      {:ok, %{protocol: protocol}} when protocol in [:ip, :icmp, :igmp] ->
        %{context | network: :ip}

      {:ok, %{protocol: protocol}} when protocol in [:ip6, :icmpv6] ->
        %{context | network: :ip6}

      _ ->
        context
    end
  end

  defp family(2), do: :ip
  defp family(10), do: :ip6
  defp family(_), do: nil

  defp ethertype(<<0x0800::16>>), do: :ip
  defp ethertype(<<0x86DD::16>>), do: :ip6
  defp ethertype(_), do: nil
end
