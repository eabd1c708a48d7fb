defmodule Linx.Netfilter.Datatype do
  @moduledoc """
  The datatypes of nft: their numbers, sizes, byte orders and symbolic values.

  A set remembers its key's type by number (`id`), in six bits per component when it is a
  concatenation: the kernel only stores that number, and nft(8) reads the elements by it. The
  numbers are nft's own enumeration.

      iex> {:ok, t} = Linx.Netfilter.Datatype.fetch(:inet_service)
      iex> {t.id, t.size, t.order}
      {13, 16, :big}
      iex> Linx.Netfilter.Datatype.value(:icmp_type, "echo-request")
      {:ok, 8}
      iex> Linx.Netfilter.Datatype.symbol(:ct_state, 8)
      "new"

  `size` is in bits, 0 where the expression decides. `order` is the byte order of the value in a
  register, `nil` for text. `base` names the type that the values are written like; `:bitmask`
  types take lists of flags.

  Only tables live here; nothing reads the host's files. Source: nft(8), "DATA TYPES", and
  `nft describe`.
  """

  alias Linx.Netfilter.Datatype.{Services, Symbols}

  defstruct [:name, :id, size: 0, order: nil, base: :integer]

  @type name :: atom()
  @type t :: %__MODULE__{
          name: name(),
          id: 0..63,
          size: non_neg_integer(),
          order: :big | :host | nil,
          base: name() | nil
        }

  # In the order of nft's enumeration; {name, id, size in bits, byte order, base}.
  @rows [
    {:verdict, 1, 0, nil, nil},
    {:nf_proto, 2, 8, :host, :integer},
    {:bitmask, 3, 0, nil, :integer},
    # MPTCP subtypes are integers with names, number and open width included; the next row answers
    # to the number.
    {:mptcpopt_subtype, 4, 0, :big, :integer},
    {:integer, 4, 0, nil, nil},
    {:string, 5, 0, :host, nil},
    {:ll_addr, 6, 0, :big, :integer},
    {:ipv4_addr, 7, 32, :big, :integer},
    {:ipv6_addr, 8, 128, :big, :integer},
    {:ether_addr, 9, 48, :big, :ll_addr},
    {:ether_type, 10, 16, :big, :integer},
    {:arp_op, 11, 16, :big, :integer},
    {:inet_proto, 12, 8, :big, :integer},
    {:inet_service, 13, 16, :big, :integer},
    {:icmp_type, 14, 8, :big, :integer},
    {:tcp_flag, 15, 8, :host, :bitmask},
    {:dccp_pkttype, 16, 4, :big, :integer},
    {:mh_type, 17, 8, :big, :integer},
    {:time, 18, 32, :host, :integer},
    {:mark, 19, 32, :host, :integer},
    {:iface_index, 20, 32, :host, :integer},
    {:iface_type, 21, 16, :host, :integer},
    {:realm, 22, 32, :host, :integer},
    {:classid, 23, 32, :host, :integer},
    {:uid, 24, 32, :host, :integer},
    {:gid, 25, 32, :host, :integer},
    {:ct_state, 26, 32, :host, :bitmask},
    {:ct_dir, 27, 8, :host, :integer},
    {:ct_status, 28, 32, :host, :bitmask},
    {:icmpv6_type, 29, 8, :big, :integer},
    {:ct_label, 30, 128, :host, :bitmask},
    {:pkt_type, 31, 8, :host, :integer},
    {:icmp_code, 32, 8, :big, :integer},
    {:icmpv6_code, 33, 8, :big, :integer},
    {:icmpx_code, 34, 8, :big, :integer},
    {:devgroup, 35, 32, :host, :integer},
    {:dscp, 36, 6, :big, :integer},
    {:ecn, 37, 2, :big, :integer},
    {:fib_addrtype, 38, 32, :host, :integer},
    {:boolean, 39, 1, :host, :integer},
    {:ct_event, 40, 32, :host, :bitmask},
    {:ifname, 41, 128, :host, :string},
    {:igmp_type, 42, 8, :big, :integer},
    {:date, 43, 64, :host, :integer},
    {:hour, 44, 32, :host, :integer},
    {:day, 45, 8, :host, :integer},
    {:cgroupsv2, 46, 64, :host, :integer}
  ]

  @types for {name, id, size, order, base} <- @rows,
             do: %{
               __struct__: __MODULE__,
               name: name,
               id: id,
               size: size,
               order: order,
               base: base
             }

  @by_name Map.new(@types, &{&1.name, &1})
  @by_id Map.new(@types, &{&1.id, &1})
  @by_text Map.new(@by_id, fn {_id, type} -> {Atom.to_string(type.name), type.name} end)

  @tables Symbols.tables()
  @values Map.new(@tables, fn {type, rows} -> {type, rows |> Enum.reverse() |> Map.new()} end)
          |> Map.put(:inet_service, Services.ports())
  @symbols Map.new(@tables, fn {type, rows} ->
             {type, rows |> Enum.reverse() |> Map.new(fn {text, n} -> {n, text} end)}
           end)

  @doc "The type of that name."
  @spec fetch(name()) :: {:ok, t()} | :error
  def fetch(name), do: Map.fetch(@by_name, name)

  @doc "The type of that name; raises `KeyError` for an unknown one."
  @spec fetch!(name()) :: t()
  def fetch!(name), do: Map.fetch!(@by_name, name)

  @doc "The type of that number."
  @spec by_id(non_neg_integer()) :: {:ok, t()} | :error
  def by_id(id), do: Map.fetch(@by_id, id)

  @doc """
  The type that nft's text names: `"ipv4_addr"`, with `"bool"`-like aliases left out as nft does.
  """
  @spec by_text(String.t()) :: {:ok, name()} | :error
  def by_text(text), do: Map.fetch(@by_text, text)

  @doc "The names of all types, as text."
  @spec names() :: [String.t()]
  def names, do: Map.keys(@by_text)

  @doc """
  The number of a key type: one type, or a concatenation with six bits a component.

      iex> Linx.Netfilter.Datatype.type_id({:concat, [:ipv4_addr, :inet_service]})
      461
  """
  @spec type_id(name() | {:concat, [name()]}) :: non_neg_integer()
  def type_id({:concat, names}),
    do: Enum.reduce(names, 0, &Bitwise.bor(Bitwise.bsl(&2, 6), fetch!(&1).id))

  def type_id(name), do: fetch!(name).id

  @doc "The type, or concatenation of types, of that number."
  @spec from_id(non_neg_integer()) :: {:ok, name() | {:concat, [name()]}} | :error
  def from_id(id) when id < 64 do
    with {:ok, type} <- by_id(id), do: {:ok, type.name}
  end

  def from_id(id), do: components(id, [])

  defp components(0, names), do: {:ok, {:concat, names}}

  defp components(id, names) do
    with {:ok, type} <- by_id(Bitwise.band(id, 63)),
         do: components(Bitwise.bsr(id, 6), [type.name | names])
  end

  @doc """
  The number that a symbol stands for in a type.

      iex> Linx.Netfilter.Datatype.value(:inet_service, "ssh")
      {:ok, 22}
  """
  @spec value(name(), String.t()) :: {:ok, non_neg_integer()} | :error
  def value(type, symbol) do
    with %{} = values <- Map.get(@values, type, :error), do: Map.fetch(values, symbol)
  end

  @doc "The symbol that nft prints for a value, or `nil`. Ports print as numbers."
  @spec symbol(name(), non_neg_integer()) :: String.t() | nil
  def symbol(type, value), do: get_in(@symbols, [type, value])

  @doc "The symbols of a type, in nft's order (services and other unordered tables by name)."
  @spec symbols(name()) :: [String.t()]
  def symbols(:inet_service), do: Services.ports() |> Map.keys() |> Enum.sort()
  def symbols(type), do: @tables |> Map.get(type, []) |> Enum.map(&elem(&1, 0))

  @doc "Whether a value of the type is a set of flags, so that a list of symbols is their union."
  @spec bitmask?(name()) :: boolean()
  def bitmask?(type), do: match?(%{base: :bitmask}, Map.get(@by_name, type))
end
