defmodule Linx.Netfilter.Field do
  @moduledoc """
  The header fields that nft knows by name: where each lies and what type its value has.

  A payload field (`tcp dport`) is read with the kernel's `payload` expression: `base` is the
  header that offsets count from (`:link`, `:network`, `:transport`). An extension field
  (`frag id`, `tcp option maxseg size`, `sctp chunk data tsn`) is found by walking a chain of
  headers or options, with the kernel's `exthdr` expression: its `base` is that expression's
  operation (`:ipv6`, `:tcpopt`, `:ipv4`, `:sctp`, `:dccp`) and `header` is the header or option
  number looked for.

  `types` has the ICMP types that a field exists in, `nil` for one that exists in every packet of
  its protocol. `pseudo_header?` says that the checksum of the transport covers the field too.
  `aliases` are older words for it, `place` is its number in nft's records.

  `offset` and `length` count bits: many fields are not whole bytes. `bytes/1` gives the bytes to
  load and `mask/1` the bits of interest in them.

      iex> {:ok, f} = Linx.Netfilter.Field.fetch(:tcp_dport)
      iex> {f.base, f.offset, f.length, f.type}
      {:transport, 16, 16, :inet_service}
      iex> Linx.Netfilter.Field.bytes(f)
      {2, 2}

  The fields are those of the rows of `Linx.Netfilter.Protocol`. Source: nft(8), "PAYLOAD
  EXPRESSIONS", and the headers' own RFCs.
  """

  alias Linx.Netfilter.Protocol.Rows

  defstruct [
    :name,
    :protocol,
    :field,
    :base,
    :header,
    :offset,
    :length,
    :type,
    :types,
    :place,
    order: :big,
    pseudo_header?: false,
    aliases: []
  ]

  @typedoc """
  The header that a payload offset counts from, or the operation of an `exthdr` expression.
  """
  @type base ::
          :link
          | :network
          | :transport
          | :inner
          | :tunnel
          | :ipv6
          | :tcpopt
          | :ipv4
          | :sctp
          | :dccp

  @typedoc """
  A row of the table; bits that nft has no name for (raw payload, raw options) lack `name`,
  `protocol` and `field`.
  """
  @type t :: %__MODULE__{
          name: atom() | nil,
          protocol: atom() | nil,
          field: String.t() | nil,
          base: base(),
          header: 0..255 | nil,
          offset: non_neg_integer(),
          length: pos_integer(),
          type: atom(),
          types: [byte(), ...] | nil,
          place: non_neg_integer() | nil,
          order: :big | :host,
          pseudo_header?: boolean(),
          aliases: [String.t()]
        }

  @all for row <- Rows.all(), field <- row.fields, do: Map.put(field, :__struct__, __MODULE__)
  @named for field <- @all,
             text <- [field.field | field.aliases],
             do:
               {String.to_atom("#{field.protocol}_" <> String.replace(text, ~r/[^a-z0-9]+/, "_")),
                text, field}

  @by_name Map.new(@named, fn {name, _text, field} -> {name, field} end)
  @by_text Map.new(@named, fn {_name, text, field} -> {{field.protocol, text}, field} end)
  @payload Enum.filter(@all, &(&1.header == nil))
  @extensions Enum.reject(@all, &(&1.header == nil))
  # The first of two names for the same bits (vlan dei, cfi) is the one that is printed.
  @by_place Enum.group_by(@payload, &{&1.protocol, &1.offset, &1.length})
  @by_option @extensions
             |> Enum.reverse()
             |> Map.new(&{{&1.base, &1.header, &1.offset, &1.length}, &1})
  @fields Enum.group_by(@all, & &1.protocol, & &1.field)
  @bases Map.new(@payload, &{&1.protocol, &1.base})
  @doc """
  The field of that name, as `Linx.Netfilter.Expr.payload/2` takes it.
  """
  @spec fetch(atom()) :: {:ok, t()} | :error
  def fetch(name), do: Map.fetch(@by_name, name)

  @doc """
  The field by the words nft uses, older ones included: a protocol and the field's text.

      iex> {:ok, f} = Linx.Netfilter.Field.fetch(:arp, "saddr ip")
      iex> f.name
      :arp_saddr_ip
  """
  @spec fetch(atom(), String.t()) :: {:ok, t()} | :error
  def fetch(protocol, field), do: Map.fetch(@by_text, {protocol, field})

  @doc """
  The payload field of `protocol` that occupies exactly these bits, or `nil`.
  """
  @spec at(atom(), non_neg_integer(), pos_integer()) :: t() | nil
  def at(protocol, offset, length), do: List.first(all_at(protocol, offset, length))

  @doc """
  Every payload field of `protocol` that occupies exactly these bits: several, where ICMP types
  differ in it.

      iex> for field <- Linx.Netfilter.Field.all_at(:icmp, 48, 16), do: field.name
      [:icmp_sequence, :icmp_mtu]
  """
  @spec all_at(atom(), non_neg_integer(), pos_integer()) :: [t()]
  def all_at(protocol, offset, length), do: Map.get(@by_place, {protocol, offset, length}, [])

  @doc """
  The extension field that occupies exactly these bits of header `header`, or `nil`.
  """
  @spec at(atom(), 0..255, non_neg_integer(), pos_integer()) :: t() | nil
  def at(base, header, offset, length), do: Map.get(@by_option, {base, header, offset, length})

  @doc "The texts of the fields of `protocol`, in header order."
  @spec fields(atom()) :: [String.t()]
  def fields(protocol), do: Map.get(@fields, protocol, [])

  @doc """
  The base that the fields of a payload protocol count from, or `nil` for an extension header.
  """
  @spec base(atom()) :: base() | nil
  def base(protocol), do: Map.get(@bases, protocol)

  @doc "Every field of the table."
  @spec all() :: [t()]
  def all, do: @all

  @doc """
  The bytes that must be loaded to see the field: `{offset, length}`.

      iex> {:ok, f} = Linx.Netfilter.Field.fetch(:ip6_dscp)
      iex> Linx.Netfilter.Field.bytes(f)
      {0, 2}
  """
  @spec bytes(t()) :: {non_neg_integer(), pos_integer()}
  def bytes(%__MODULE__{offset: offset, length: length}) do
    first = div(offset, 8)
    {first, div(offset + length + 7, 8) - first}
  end

  @doc """
  The field's bits in the loaded bytes: `{mask, shift}`, with the mask as a number and the shift
  that moves a value to its place.

      iex> {:ok, f} = Linx.Netfilter.Field.fetch(:ip_version)
      iex> Linx.Netfilter.Field.mask(f)
      {0xF0, 4}
  """
  @spec mask(t()) :: {non_neg_integer(), non_neg_integer()}
  def mask(%__MODULE__{offset: offset, length: length} = field) do
    {first, count} = bytes(field)
    shift = (first + count) * 8 - offset - length
    {Bitwise.bsl(Bitwise.bsl(1, length) - 1, shift), shift}
  end
end
