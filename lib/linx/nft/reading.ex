defmodule Linx.NFT.Reading do
  @moduledoc false
  # Text to a ruleset, as fast as its lists of elements and its rules allow: a long list stays
  # text until its type is known, and then becomes values in one pass
  # (Linx.NFT.Compiler.ElementText); many lines with one rule each stay text until the chain is
  # compiled (Linx.NFT.Compiler.RuleText). Places behind such a list or such lines are wrong, so a
  # text with a mistake is read again token by token, and that reading's error is the answer.

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.{Compiler, ParseError, Parser, Room, Tokenizer}

  # Shorter lists cost little as tokens.
  @min_bytes 512

  # Words of heap that a byte of text takes as tokens, tree and values.
  @words 6

  # The same of lines with one rule each, which are no tokens and no tree.
  @line_words 2

  @doc """
  The ruleset that the text describes; `tokens` are options of the tokenizer, `context` those of
  parser and compiler.
  """
  @spec compile(String.t(), keyword(), keyword()) :: {:ok, Ruleset.t()} | {:error, ParseError.t()}
  def compile(source, tokens, context) do
    Room.hold(byte_size(source) * @words, fn ->
      if byte_size(source) < @min_bytes or Keyword.get(context, :names, :any) != :any,
        do: read(source, tokens, context),
        else: compile_fast(source, tokens, context)
    end)
  end

  defp compile_fast(source, options, context) do
    {options, context} = {[min_bytes() | options], [min_bytes() | context]}

    with {:ok, tokens} <- Tokenizer.tokenize(source, options),
         {:error, error} <- compiled(tokens, context) do
      # Without such text every place is right.
      if error.file == Keyword.get(context, :file, "nofile") and not text?(tokens),
        do: {:error, error},
        else: again(source, options, context)
    else
      {:ok, ruleset} -> {:ok, ruleset}
      {:error, _} -> again(source, options, context)
    end
  end

  defp again(source, options, context) do
    :erlang.garbage_collect()
    read(source, Keyword.delete(options, :element_text), Keyword.delete(context, :element_text))
  end

  defp text?(tokens), do: Enum.any?(tokens, &(elem(&1, 0) in [:element_text, :rule_text]))
  defp min_bytes, do: {:element_text, @min_bytes}

  @doc """
  The same with long lists as text; its errors have no place. Context `lazy: true` leaves these
  lists in the sets.
  """
  @spec fast(String.t(), keyword(), keyword()) :: {:ok, Ruleset.t()} | {:error, ParseError.t()}
  def fast(source, options, context) do
    with {:ok, tokens} <- Tokenizer.tokenize(source, [min_bytes() | options]) do
      lines = for {:rule_text, text, _meta} <- tokens, reduce: 0, do: (n -> n + byte_size(text))
      Room.hold(lines * @line_words, fn -> compiled(tokens, [min_bytes() | context]) end)
    end
  end

  # The same, token by token.
  defp read(source, options, context) do
    with {:ok, tokens} <- Tokenizer.tokenize(source, options), do: compiled(tokens, context)
  end

  defp compiled(tokens, context) do
    with {:ok, items} <- Parser.parse(tokens, context), do: Compiler.compile(items, context)
  end
end
