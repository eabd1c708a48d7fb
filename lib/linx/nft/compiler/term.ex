defmodule Linx.NFT.Compiler.Term do
  @moduledoc false
  # Typed expressions, between the tree and the kernel's expressions.
  #
  # `kind` is :load (a kernel expression that fills a register), :const, :bits (bitwise operations
  # on another term), :concat, :map, :range, :prefix, :wildcard. `type` is nft's datatype, `len`
  # its bits, `order` the byte order in the register. A load of part of some bytes has `shift`,
  # the bits to its right, and the whole bytes in the load. `span?` marks a constant that is
  # written as a prefix or range of one value: in a set it asks for intervals. `source` is the
  # expression that `typeof` records. `existence?` marks a load that has a flag `:present`, by
  # which it loads existence alone. `generated` marks a number that has the order of its use:
  # :counted (nft makes an address of it wherever it stands alone) or :hashed.

  alias Linx.Netfilter.{Expr, Field}

  defstruct kind: nil,
            type: nil,
            len: 0,
            order: nil,
            data: nil,
            shift: 0,
            max: nil,
            span?: false,
            source: nil,
            existence?: false,
            generated: nil,
            meta: nil

  @type t :: %__MODULE__{}

  @doc false
  # The term of a kernel expression that is loaded whole: its name and its data without a
  # register, its type.
  @spec load({atom(), map()}, {atom(), non_neg_integer(), :host | :big | nil}, map()) :: t()
  def load(data, {type, len, order}, meta) do
    %__MODULE__{
      kind: :load,
      type: type,
      len: len,
      order: order,
      data: data,
      source: source(data),
      meta: meta
    }
  end

  # The expression that `typeof` records has a register.
  defp source({name, data}), do: Expr.new(name, Map.put(data, :dreg, 1))

  @doc false
  # The term of a header field, which may be part of the bytes that `data` loads.
  @spec field(Field.t(), {atom(), map()}, map()) :: t()
  def field(%Field{length: length} = field, {kernel, keys} = data, meta) do
    {_offset, count} = Field.bytes(field)
    whole? = length == 8 * count

    # A raw payload that is not whole bytes keeps its offset and length in bits, which nothing
    # else records.
    recorded =
      cond do
        field.name -> Map.put(keys, :field, field.name)
        whole? -> keys
        true -> Map.put(keys, :bits, {field.offset, length})
      end

    term = load(data, {field.type, length, :big}, meta)
    term = %{term | source: source({kernel, recorded})}
    {mask, shift} = Field.mask(field)
    if whole?, do: term, else: %{term | kind: :part, data: {data, mask, count}, shift: shift}
  end

  @doc false
  # The bytes of a constant as a register holds them.
  @spec bytes(t()) :: binary()
  def bytes(%__MODULE__{kind: :const, data: text, len: len}) when is_binary(text) do
    size = max(div(len, 8), byte_size(text))
    <<text::binary, 0::size(8 * (size - byte_size(text)))>>
  end

  def bytes(%__MODULE__{kind: :const, data: n, len: len, order: order}) when is_integer(n),
    do: number(n, div(len + 7, 8), order)

  def bytes(%__MODULE__{kind: :const, data: {:iface, _} = name}), do: name

  @doc false
  @spec number(non_neg_integer(), non_neg_integer(), :big | :host | nil) :: binary()
  def number(n, size, :host), do: <<n::native-size(8 * size)>>
  def number(n, size, _order), do: <<n::size(8 * size)>>

  @doc false
  # The name that a set has for the type: sized where the type leaves the size open.
  def key_type(%__MODULE__{kind: :concat, data: parts}),
    do: {:concat, Enum.map(parts, &key_type/1)}

  def key_type(%__MODULE__{type: type, len: len, order: order}) do
    case Linx.Netfilter.Datatype.fetch(type) do
      {:ok, %{size: size}} when size != 0 and div(size + 7, 8) == div(len + 7, 8) -> type
      {:ok, %{name: :ifname}} -> :ifname
      _ when order == :host and len > 8 -> {type, len, :host}
      _ -> {type, len}
    end
  end
end
