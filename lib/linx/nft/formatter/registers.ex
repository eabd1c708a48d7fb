defmodule Linx.NFT.Formatter.Registers do
  @moduledoc false
  # The registers that a rule has loaded so far. Registers 1..4 are 16 bytes wide and overlap the
  # words 8..23 of 4 bytes (NFT_REG32_00 on), so the content is kept by word: a concatenation is a
  # run of words.

  alias Linx.NFT.Formatter.Term

  # Each term stands beside the number of its load.
  @type t :: %{
          optional(non_neg_integer()) => {Term.t(), pos_integer()},
          optional(:loads) => pos_integer()
        }

  @spec put(t(), non_neg_integer(), Term.t()) :: t()
  def put(registers, register, term) do
    word = word(register)
    load = Map.get(registers, :loads, 0) + 1

    registers
    |> uncovered(word, words(term))
    |> Map.put(word, {term, load})
    |> Map.put(:loads, load)
  end

  defp uncovered(registers, _word, 1), do: registers

  defp uncovered(registers, word, words),
    do: Map.drop(registers, Enum.to_list((word + 1)..(word + words - 1)//1))

  @spec fetch(t(), non_neg_integer() | nil) :: {:ok, Term.t()} | :error
  def fetch(_registers, nil), do: :error

  def fetch(registers, register) do
    with {:ok, {term, _load}} <- Map.fetch(registers, word(register)), do: {:ok, term}
  end

  @doc "`count` terms in a row from `register` on."
  @spec run(t(), non_neg_integer(), pos_integer()) :: {:ok, [Term.t()]} | :error
  def run(registers, register, count), do: run(registers, word(register), count, [])

  defp run(_registers, _word, 0, acc), do: {:ok, Enum.reverse(acc)}

  defp run(registers, word, count, acc) do
    with {:ok, {term, _load}} <- Map.fetch(registers, word),
         do: run(registers, word + words(term), count - 1, [term | acc])
  end

  @doc "The terms that together fill `bytes` bytes from `register` on."
  @spec filling(t(), non_neg_integer(), pos_integer()) :: {:ok, [Term.t()]} | :error
  def filling(registers, register, bytes),
    do: filling(registers, word(register), div(bytes + 3, 4), [])

  defp filling(_registers, _word, left, acc) when left <= 0, do: {:ok, Enum.reverse(acc)}

  defp filling(registers, word, left, acc) do
    with {:ok, {term, _load}} <- Map.fetch(registers, word),
         do: filling(registers, word + words(term), left - words(term), [term | acc])
  end

  @doc "Whether a register was loaded later than another."
  @spec later?(t(), non_neg_integer(), non_neg_integer()) :: boolean()
  def later?(registers, register, other) do
    case {Map.fetch(registers, word(register)), Map.fetch(registers, word(other))} do
      {{:ok, {_term, load}}, {:ok, {_other, before}}} -> load > before
      _ -> false
    end
  end

  @doc """
  The terms in a row from `register` on that were loaded one after the other, up to the register
  `stop`: a key whose parts nothing else counts.
  """
  @spec loaded(t(), non_neg_integer(), non_neg_integer() | nil) :: {:ok, [Term.t()]} | :error
  def loaded(registers, register, stop) do
    word = word(register)

    with {:ok, {term, load}} <- Map.fetch(registers, word),
         do: {:ok, [term | behind(registers, word + words(term), load, stop && word(stop))]}
  end

  defp behind(_registers, stop, _load, stop), do: []

  defp behind(registers, word, load, stop) do
    case registers do
      %{^word => {term, later}} when later > load ->
        [term | behind(registers, word + words(term), later, stop)]

      %{} ->
        []
    end
  end

  # The number of the 4-byte word where a register starts.
  @spec word(non_neg_integer()) :: non_neg_integer()
  defp word(register) when register in 1..4, do: 8 + (register - 1) * 4
  defp word(register), do: register

  @doc "How many words a term takes."
  @spec words(Term.t()) :: pos_integer()
  def words(%Term{size: size}), do: max(1, div(size + 3, 4))
end
