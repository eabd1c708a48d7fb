defmodule Linx.NFT.Statement.Amount do
  @moduledoc false
  # Numbers with a unit, as limits and quotas have them: `25 mbytes`, `25mbytes`, `5 packets`; and
  # the words `over` and `until` before one.

  import Linx.NFT.Parser.Tokens

  @sizes %{"bytes" => 1, "kbytes" => 1024, "mbytes" => 1024 * 1024}
  @units [{"mbytes", 1024 * 1024}, {"kbytes", 1024}, {"bytes", 1}]

  @doc "nft's words for units of bytes."
  @spec units() :: [String.t()]
  def units, do: Map.keys(@sizes)

  @doc "The bytes of a unit, `:error` for a word that is none."
  @spec size(String.t()) :: {:ok, pos_integer()} | :error
  def size(word), do: Map.fetch(@sizes, word)

  @doc "The word `over` or `until`: true for `over`."
  @spec over([tuple()]) :: {boolean(), [tuple()]}
  def over([{:identifier, "over", _} | rest]), do: {true, rest}
  def over([{:identifier, "until", _} | rest]), do: {false, rest}
  def over(tokens), do: {false, tokens}

  @doc """
  A number, its unit left in front of the rest: "25mbytes" is two words, as it is to nft's
  scanner.
  """
  @spec number([tuple()]) :: {integer() | tuple(), [tuple()]}
  def number([{:identifier, <<c, _::binary>> = word, meta} | rest] = tokens) when c in ?0..?9 do
    case Regex.run(~r/\A(\d{1,20})([km]?bytes|packets)\z/, word) do
      [_, n, unit] -> {String.to_integer(n), [{:identifier, unit, meta} | rest]}
      nil -> integer(tokens)
    end
  end

  def number(tokens), do: integer(tokens)

  @doc "A number of bytes with its unit."
  @spec bytes([tuple()]) :: {integer() | tuple(), [tuple()]}
  def bytes(tokens) do
    {n, rest} = number(tokens)

    case rest do
      [{:identifier, unit, _} | rest] when is_map_key(@sizes, unit) ->
        {scaled(n, @sizes[unit]), rest}

      rest ->
        unexpected(rest, "bytes, kbytes or mbytes", units())
    end
  end

  @doc "A number, or the node that stands for one, times the bytes of its unit."
  @spec scaled(integer() | tuple(), pos_integer()) :: integer() | tuple()
  def scaled(n, factor) when is_integer(n), do: n * factor
  def scaled(token, 1), do: token
  def scaled({:variable, _, meta} = node, factor), do: {:scaled, {node, factor}, meta}
  def scaled({kind, value, meta}, factor), do: {kind, {value, factor}, meta}

  @doc "`over ` where the flag `:inv` is set."
  @spec over_text(map()) :: String.t()
  def over_text(data), do: if(:inv in List.wrap(data[:flags]), do: "over ", else: "")

  @doc "Bytes in the largest unit that divides them."
  @spec text(non_neg_integer()) :: iodata()
  def text(bytes) do
    {unit, size} =
      Enum.find(@units, fn {_, size} -> rem(bytes, size) == 0 and (bytes > 0 or size == 1) end)

    [Integer.to_string(div(bytes, size)), " ", unit]
  end
end
