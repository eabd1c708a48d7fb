defmodule Linx.NFT.Formatter.Term do
  @moduledoc false
  # The content of a register while a rule is formatted, with the text that would load it.
  #
  # `type` and `order` say how constants that meet it are to be read; `shift` how far their bits
  # stand above the bottom (a field that is no whole bytes, masked but not shifted down). `mask`
  # is the field's place in the loaded bytes until a bitwise expression has cut it out. `pending`
  # is a bitwise expression that waits for its use: a comparison may turn it into a prefix or a
  # flag test.

  alias Linx.Netfilter.{Field, Keys, Protocol}

  @enforce_keys [:text, :type, :size]
  defstruct [
    :text,
    :type,
    :size,
    order: :big,
    shift: 0,
    mask: nil,
    pending: nil,
    binds: :atom,
    source: nil,
    value: nil,
    parts: nil,
    existence: nil
  ]

  @typedoc """
  `binds` is the weakest operator in `text`, for parentheses; `source` the data of the load
  itself; `value` the bytes of a constant, whose text depends on who takes it; `parts` the terms
  of a concatenation; `existence` the text before `exists` and `missing` where it is another than
  `text`.
  """
  @type t :: %__MODULE__{
          text: iodata() | nil,
          type: atom() | {:concat, [atom()]},
          size: non_neg_integer(),
          order: :big | :host,
          shift: non_neg_integer(),
          mask: {non_neg_integer(), non_neg_integer(), t()} | nil,
          pending: {non_neg_integer(), non_neg_integer()} | nil,
          binds: :atom | :shift | :and | :xor | :or,
          source: term(),
          value: value() | nil,
          parts: [t()] | nil,
          existence: iodata() | nil
        }

  @typedoc """
  The bytes of a constant, or what stands for them until a push: an interface by its name.
  """
  @type value :: binary() | {atom(), String.t()}

  @doc """
  The term of an expression that loads a datum by its key (`Linx.Netfilter.Keys`): `words` and the
  word of the key.
  """
  @spec keyed(atom(), atom(), iodata()) :: {:ok, t()} | :error
  def keyed(kind, key, words) do
    with {:ok, {word, type, bits, order}} <- Keys.fetch(kind, key) do
      size = div(bits + 7, 8)
      {:ok, %__MODULE__{text: [words, word], type: type, size: size, order: order || :host}}
    end
  end

  @doc """
  The words for a header field: `tcp dport`, `tcp option maxseg size`, `ip option ra value`.
  """
  @spec words(Field.t()) :: iodata()
  def words(%Field{protocol: protocol, field: field}), do: [Protocol.text(protocol), " ", field]

  @doc "Whether a header field is whole bytes."
  @spec whole?(Field.t()) :: boolean()
  def whole?(%Field{offset: offset, length: length}),
    do: rem(length, 8) == 0 and rem(offset, 8) == 0

  @doc "The bytes of a register as a number, in the order that the term has."
  @spec number(t(), binary()) :: non_neg_integer()
  def number(%{order: :big}, bytes), do: :binary.decode_unsigned(bytes, :big)
  def number(%{order: :host}, bytes), do: :binary.decode_unsigned(bytes, endian())

  # Byte order of this machine, as the kernel's host-order registers have it.
  @spec endian() :: :big | :little
  defp endian, do: if(<<1::native-16>> == <<1::16>>, do: :big, else: :little)

  @doc "A number with the low `bits` set."
  @spec ones(non_neg_integer()) :: non_neg_integer()
  def ones(bits), do: Bitwise.bsl(1, bits) - 1
end
