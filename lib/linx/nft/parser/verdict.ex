defmodule Linx.NFT.Parser.Verdict do
  @moduledoc false
  # Verdicts, as a statement and as the data of a map's element.

  import Linx.NFT.Parser.Tokens

  @doc false
  # accept, jump NAME, ...
  def parse([{:identifier, word, meta} | rest])
      when word in ["accept", "drop", "continue", "return"],
      do: {{:verdict, known(word), meta}, rest}

  def parse([{:identifier, word, meta} | rest]) when word in ["jump", "goto"] do
    # The name has a place of its own, for what is wrong with it alone.
    meta = Map.put(meta, :name, meta(rest))
    {name, rest} = name(rest, "chain")
    {{:verdict, {known(word), name}, meta}, rest}
  end

  def parse([{:identifier, "queue", meta} | rest]) do
    case rest do
      [{:identifier, "to", _}, {:integer, n, _} | rest] -> {{:verdict, {:queue, n}, meta}, rest}
      rest -> {{:verdict, {:queue, 0}, meta}, rest}
    end
  end

  def parse(tokens),
    do: unexpected(tokens, "a verdict", ~w(accept drop continue return jump goto))
end
