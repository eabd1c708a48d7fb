defmodule Linx.Netfilter.Protocol do
  @moduledoc """
  The protocols that nft knows by name, one row each: where the header lies, its numbers, its
  fields, its checksum.

  A row has the shape of nft's own description of a protocol:

    * `name`, and `text`, the words nft uses (`tcp`, `tcp option maxseg`)
    * `base`, the header that the offsets of its fields count from (`Linx.Netfilter.Field`)
    * `header`, the number of an extension header or option
    * `numbers`, its number over each lower layer: `:inet` (IP protocol), `:ether` (Ethernet
      type), `:family` (`NFPROTO_*`)
    * `network`, the network protocol that a transport is tied to (ICMP: `:ip`)
    * `id`, nft's number for it in the records of sets that `typeof` declares
    * `ports?`, whether it begins with a source and a destination port
    * `checksum`, `{kind, field}`: what a write to the header must mend
    * `tunnel`, what the kernel has to know of a tunnel's header
    * `timeouts`, the states of its connections with nft's defaults in seconds
    * `fields`, in header order; a field that is in the pseudo header of the transport's checksum,
      or that exists in some ICMP types alone, says so itself

  Every table of protocols, ports, checksums, ICMP types and option numbers in Linx is a look-up
  of these rows, so that a new protocol or field is one row.

      iex> Linx.Netfilter.Protocol.number(:tcp, :inet)
      6
      iex> Linx.Netfilter.Protocol.by_number(:ether, 0x88A8)
      :vlan
      iex> Linx.Netfilter.Protocol.text(:tcpopt_sack_perm)
      "tcp option sack-perm"

  Source: nft(8), "PAYLOAD EXPRESSIONS"; IANA's registries; enum proto_desc_id and enum
  exthdr_desc_id as nft writes them; linux/netfilter/nf_tables.h.
  """

  alias Linx.Netfilter.Field
  alias Linx.Netfilter.Protocol.Rows

  defstruct [
    :name,
    :text,
    :base,
    :header,
    :id,
    :network,
    :checksum,
    :tunnel,
    numbers: %{},
    words: [],
    ports?: false,
    timeouts: nil,
    fields: []
  ]

  @typedoc "The space that a number counts in."
  @type layer :: :inet | :ether | :family

  @typedoc """
  A checksum: the Internet's, SCTP's CRC32c, or UDP's, which is absent when it is 0 and then stays
  so.
  """
  @type checksum :: :inet | :sctp | :optional

  @type t :: %__MODULE__{
          name: atom(),
          text: String.t(),
          base: Field.base() | nil,
          header: 0..255 | nil,
          id: pos_integer() | nil,
          network: :ip | :ip6 | nil,
          checksum: {checksum(), String.t()} | nil,
          tunnel: %{hdrsize: pos_integer(), flags: [atom()]} | nil,
          numbers: %{optional(layer()) => [non_neg_integer(), ...]},
          words: [String.t(), ...],
          ports?: boolean(),
          timeouts: keyword(pos_integer()) | nil,
          fields: [Field.t()]
        }

  @rows Enum.map(Rows.all(), fn row ->
          fields = Enum.map(row.fields, &Map.put(&1, :__struct__, Field))
          Map.merge(row, %{__struct__: __MODULE__, fields: fields})
        end)
  @by_name Map.new(@rows, &{&1.name, &1})
  @by_number for row <- @rows,
                 {layer, numbers} <- row.numbers,
                 number <- numbers,
                 into: %{},
                 do: {{layer, number}, row.name}

  # The first of several rows that share a number is the one that its presence is asked of.
  @by_header for row <- Enum.reverse(@rows),
                 row.header != nil,
                 into: %{},
                 do: {{row.base, row.header}, row.name}

  @extension_bases [:ipv6, :ipv4, :tcpopt, :sctp]
  @by_word for row <- @rows,
               row.base != nil,
               space = if(row.base in @extension_bases, do: row.base, else: :payload),
               word <- row.words,
               reduce: %{},
               do: (acc ->
                      Map.update(acc, space, %{word => row.name}, &Map.put(&1, word, row.name)))

  @all_fields Enum.flat_map(@rows, & &1.fields)
  @places for row <- Enum.reverse(@rows),
              row.id != nil,
              field <- row.fields,
              into: %{},
              do:
                {{if(row.base in @extension_bases, do: row.base, else: :payload), row.id,
                  field.place}, field}
  @ids for row <- @rows, row.header == nil, row.id != nil, into: %{}, do: {row.id, row.name}
  @icmp_types @all_fields |> Enum.flat_map(&(&1.types || [])) |> Enum.uniq() |> Enum.sort()

  @doc "Every row, header by header, then the extensions."
  @spec all() :: [t()]
  def all, do: @rows

  @doc "Every field of every row, in their order."
  @spec fields() :: [Field.t()]
  def fields, do: @all_fields

  @doc "The row of that name."
  @spec fetch(atom()) :: {:ok, t()} | :error
  def fetch(name), do: Map.fetch(@by_name, name)

  @doc "The row of that name; raises `KeyError` for an unknown one."
  @spec fetch!(atom()) :: t()
  def fetch!(name), do: Map.fetch!(@by_name, name)

  @doc "The protocol's number over a lower layer, the first where there are several, or `nil`."
  @spec number(atom(), layer()) :: non_neg_integer() | nil
  def number(name, layer) do
    case @by_name do
      %{^name => %{numbers: %{^layer => [number | _]}}} -> number
      _ -> nil
    end
  end

  @doc "The protocol of that number over a lower layer, or `nil`."
  @spec by_number(layer(), non_neg_integer()) :: atom() | nil
  def by_number(layer, number), do: Map.get(@by_number, {layer, number})

  @doc "The names of the protocols that have a number over a lower layer, by that number."
  @spec over(layer()) :: [atom()]
  def over(layer) do
    @rows
    |> Enum.filter(&is_map_key(&1.numbers, layer))
    |> Enum.sort_by(&hd(&1.numbers[layer]))
    |> Enum.map(& &1.name)
  end

  @doc """
  The words of a space and the protocols they name: `:payload`, `:ipv6`, `:ipv4`, `:tcpopt` or
  `:sctp`.
  """
  @spec words(:payload | :ipv6 | :ipv4 | :tcpopt | :sctp) :: %{String.t() => atom()}
  def words(space), do: Map.fetch!(@by_word, space)

  @doc "The words that nft writes for the protocol, extension or option."
  @spec text(atom()) :: String.t()
  def text(name), do: fetch!(name).text

  @doc "The extension header, option or chunk of that number, or `nil`."
  @spec by_header(atom(), 0..255) :: atom() | nil
  def by_header(base, number), do: Map.get(@by_header, {base, number})

  @doc "Whether the header begins with a source and a destination port."
  @spec ports?(atom()) :: boolean()
  def ports?(name), do: match?(%{^name => %{ports?: true}}, @by_name)

  @doc "What the kernel has to know of the tunnel's header, or `nil` for what is no tunnel."
  @spec tunnel(atom()) :: map() | nil
  def tunnel(name) do
    case @by_name do
      %{^name => %{tunnel: tunnel}} -> tunnel
      _ -> nil
    end
  end

  @doc "The ICMP and ICMPv6 types that some field exists in."
  @spec icmp_types() :: [byte()]
  def icmp_types, do: @icmp_types

  @doc """
  The keys of a `payload` write to the field that mend what depends on it.

  `%{}` where nothing sums the field. A field of the transport's pseudo header asks for the
  transport's checksum as well.

      iex> {:ok, field} = Linx.Netfilter.Field.fetch(:ip_saddr)
      iex> Linx.Netfilter.Protocol.mends(field)
      %{csum_type: :inet, csum_offset: 10, csum_flags: [:pseudohdr]}
  """
  @spec mends(Field.t()) :: map()
  def mends(%Field{protocol: protocol, pseudo_header?: pseudo?}) do
    keys =
      with {:ok, %{checksum: {kind, _} = checksum} = row} <- fetch(protocol) do
        mends(kind, checksum_offset(row, checksum))
      else
        _ -> %{}
      end

    if pseudo?, do: Map.put(keys, :csum_flags, [:pseudohdr]), else: keys
  end

  defp mends(:optional, _offset), do: %{csum_flags: [:pseudohdr]}
  defp mends(kind, offset), do: %{csum_type: kind, csum_offset: offset}

  defp checksum_offset(row, {_kind, text}) do
    field = Enum.find(row.fields, &(&1.field == text))
    div(field.offset, 8)
  end

  @doc "nft's numbers for the field: `{space, id of the protocol, place of the field}`, or `nil`."
  @spec record(Field.t()) :: {atom(), non_neg_integer(), non_neg_integer()} | nil
  def record(%Field{protocol: protocol, base: base, place: place}) do
    case fetch(protocol) do
      {:ok, %{id: id}} when id != nil and place != nil ->
        {if(base in @extension_bases, do: base, else: :payload), id, place}

      _ ->
        nil
    end
  end

  @doc "The field of nft's numbers, or `nil`."
  @spec recorded(atom(), non_neg_integer(), non_neg_integer()) :: Field.t() | nil
  def recorded(space, id, place), do: Map.get(@places, {space, id, place})

  @doc "The protocol with nft's number `id`, or `nil`."
  @spec by_id(non_neg_integer()) :: atom() | nil
  def by_id(id), do: Map.get(@ids, id)
end
