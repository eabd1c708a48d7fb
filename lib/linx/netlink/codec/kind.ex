defmodule Linx.Netlink.Codec.Kind do
  @moduledoc false
  # Named numbers of a codec: an enumeration, or flags of one bit each. A number without a name
  # stays a number, so the values of a newer kernel are read and written like those of this one.

  alias Linx.Netlink.Codec.Scalar

  @type sort :: :enum | :flags
  @type t :: %{
          sort: sort(),
          scalar: Scalar.name(),
          numbers: %{atom() => non_neg_integer()},
          names: [{non_neg_integer(), atom()}],
          known: non_neg_integer()
        }

  @doc "The kind of a declaration. Raises `ArgumentError` for names and numbers that make none."
  @spec new(sort(), term(), term()) :: t()
  def new(sort, scalar, names) do
    numbers = if Keyword.keyword?(names), do: Keyword.values(names), else: [nil]

    unless Scalar.scalar?(scalar) and Enum.all?(numbers, &number?(sort, scalar, &1)) and
             numbers == Enum.uniq(numbers) and
             length(numbers) == length(Enum.uniq_by(names, &elem(&1, 0))) do
      raise ArgumentError, "no #{sort} of #{inspect(scalar)}: #{inspect(names)}"
    end

    %{
      sort: sort,
      scalar: scalar,
      numbers: Map.new(names),
      names: for({name, number} <- names, do: {number, name}),
      known: if(sort == :flags, do: Enum.sum(numbers), else: 0)
    }
  end

  defp number?(:enum, scalar, number), do: Scalar.fits?(scalar, number)

  defp number?(:flags, scalar, number),
    do: Scalar.fits?(scalar, number) and number > 0 and Bitwise.band(number, number - 1) == 0

  @doc "What a struct has for a header field of the kind that is 0."
  @spec zero(t()) :: atom() | 0 | []
  def zero(kind), do: value(kind, 0)

  @doc "The number of a value: a name, a number that fits, and for flags a list of both."
  @spec number(t(), term()) :: {:ok, integer()} | :error
  def number(%{sort: :flags} = kind, [_ | _] = flags) do
    Enum.reduce_while(flags, {:ok, 0}, fn flag, {:ok, bits} ->
      case number(kind, flag) do
        {:ok, bit} -> {:cont, {:ok, Bitwise.bor(bits, bit)}}
        :error -> {:halt, :error}
      end
    end)
  end

  def number(%{sort: :flags}, []), do: {:ok, 0}

  def number(kind, value) when is_integer(value),
    do: if(Scalar.fits?(kind.scalar, value), do: {:ok, value}, else: :error)

  def number(kind, value), do: Map.fetch(kind.numbers, value)

  @doc "The value of a number. Flags come in the order of their declaration, unnamed ones last."
  @spec value(t(), integer()) :: atom() | integer() | [atom() | pos_integer()]
  def value(%{sort: :enum, names: names}, number) do
    case List.keyfind(names, number, 0) do
      {_, name} -> name
      nil -> number
    end
  end

  def value(%{sort: :flags}, 0), do: []

  def value(%{sort: :flags, names: names, known: known}, number) do
    named = for {bit, name} <- names, Bitwise.band(number, bit) != 0, do: name

    case Bitwise.band(number, Bitwise.bnot(known)) do
      0 -> named
      unknown -> named ++ bits(unknown, 1)
    end
  end

  defp bits(0, _bit), do: []

  defp bits(number, bit) do
    if Bitwise.band(number, bit) == 0,
      do: bits(number, bit * 2),
      else: [bit | bits(number - bit, bit * 2)]
  end
end
