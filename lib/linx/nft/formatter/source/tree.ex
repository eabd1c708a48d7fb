defmodule Linx.NFT.Formatter.Source.Tree do
  @moduledoc false
  # Groups scanned tokens into statements, blocks and element lists, comments at their places.
  #
  #     item    = {:statement, parts, comment | nil} | {:comment, text} | :blank
  #     part    = token | {:block, context, [item]} | {:elements, [entry], broken?}
  #     entry   = {:element, [part], comment | nil} | {:comment, text}
  #
  # Whether a brace opens a block or a list is decided the way nft's grammar does: by the first
  # words of the statement and by the block it stands in.

  @commands ~w(add create insert delete destroy replace reset flush list)
  alias Linx.NFT.Object.Kinds

  @declarations ~w(table chain set map flowtable) ++ Enum.reject(Kinds.words(), &(&1 == "ct"))
  @ct_objects ~w(helper timeout expectation)

  @type context :: :top | :table | :chain | :body
  @type part ::
          Linx.NFT.Formatter.Source.Scanner.token()
          | {:block, context(), [item()]}
          | {:elements, [entry()], boolean()}
  @type entry :: {:element, [part()], String.t() | nil} | {:comment, String.t()}
  @type item :: {:statement, [part()], String.t() | nil} | {:comment, String.t()} | :blank

  @doc "Builds the items of a whole text. Braces that do not pair give `:error`."
  @spec build([Linx.NFT.Formatter.Source.Scanner.token()]) :: {:ok, [item()]} | :error
  def build(tokens) do
    case items(tokens, :top, [], []) do
      {:ok, items, []} -> {:ok, items}
      _ -> :error
    end
  end

  # `parts` holds the statement under way, last part first.
  defp items([], context, parts, acc) do
    if context == :top, do: {:ok, Enum.reverse(finish(parts, nil, acc)), []}, else: :error
  end

  defp items([{:close, _, _} | _], :top, _parts, _acc), do: :error

  defp items([{:close, _, _} | rest], _context, parts, acc),
    do: {:ok, Enum.reverse(finish(parts, nil, acc)), rest}

  defp items([{:semicolon, _, _} | rest], context, parts, acc),
    do: items(rest, context, [], finish(parts, nil, acc))

  # An empty line is two line ends with nothing between them.
  defp items([{:newline, _, _} | rest], context, [], acc) do
    case rest do
      [{:newline, _, _} | _] -> items(rest, context, [], blank(acc))
      _ -> items(rest, context, [], acc)
    end
  end

  # `chain c` and its brace may stand on two lines; nft refuses that, so the line ends the
  # statement.
  defp items([{:newline, _, _} | _] = rest, context, parts, acc),
    do: items(rest, context, [], finish(parts, nil, acc))

  # A comment behind `;` belongs to the statement that it ended.
  defp items([{:comment, text, _} | rest], context, [], [{:statement, parts, nil} | acc]),
    do: items(rest, context, [], [{:statement, parts, text} | acc])

  defp items([{kind, text, _} | rest], context, [], acc) when kind in [:comment, :line_comment],
    do: items(rest, context, [], [{:comment, text} | acc])

  defp items([{kind, text, _} | rest], context, parts, acc)
       when kind in [:comment, :line_comment],
       do: items(rest, context, [], finish(parts, text, acc))

  # A continuation with nothing before it joins nothing.
  defp items([{:continuation, _, _} | rest], context, [], acc), do: items(rest, context, [], acc)

  defp items([{:open, _, _} | rest], context, parts, acc) do
    with {:ok, part, rest} <- braces(rest, context, parts),
         do: items(rest, context, [part | parts], acc)
  end

  defp items([token | rest], context, parts, acc), do: items(rest, context, [token | parts], acc)

  defp finish([], _comment, acc), do: acc
  defp finish(parts, comment, acc), do: [{:statement, trim(parts), comment} | acc]

  defp trim([{:continuation, _, _} | parts]), do: trim(parts)
  defp trim(parts), do: Enum.reverse(parts)

  defp blank([:blank | _] = acc), do: acc
  defp blank([]), do: []
  defp blank(acc), do: [:blank | acc]

  defp braces(rest, context, parts) do
    case opens(context, parts) do
      nil ->
        # A line end straight behind the brace is the author's wish to have the list on lines of
        # its own.
        broken? = match?([{:newline, _, _} | _], rest)

        with {:ok, entries, rest} <- entries(rest, [], []),
             do: {:ok, {:elements, entries, broken?}, rest}

      inner ->
        with {:ok, items, rest} <- items(rest, inner, [], []),
             do: {:ok, {:block, inner, items}, rest}
    end
  end

  # The context that this brace opens, or nil for a list of elements.
  defp opens(_context, [{:word, verb, _} | _]) when verb in ["jump", "goto"], do: :chain
  defp opens(context, parts) when context in [:top, :table], do: declaration(Enum.reverse(parts))
  defp opens(_context, _parts), do: nil

  defp declaration(parts) do
    cond do
      Enum.any?(parts, &match?({:op, "=", _}, &1)) -> nil
      true -> parts |> Enum.map(&word/1) |> drop_command() |> block_kind()
    end
  end

  defp word({:word, text, _}), do: text
  defp word(_), do: nil

  defp drop_command([word | rest]) when word in @commands, do: rest
  defp drop_command(words), do: words

  defp block_kind(["table" | _]), do: :table
  defp block_kind(["chain" | _]), do: :chain
  defp block_kind([word | _]) when word in @declarations, do: :body
  defp block_kind(["ct", word | _]) when word in @ct_objects, do: :body
  defp block_kind(_), do: nil

  defp entries([], _parts, _acc), do: :error

  defp entries([{:close, _, _} | rest], parts, acc),
    do: {:ok, Enum.reverse(element(parts, acc)), rest}

  defp entries([{:comma, _, _} | rest], parts, acc), do: entries(rest, [], element(parts, acc))

  defp entries([{kind, _, _} | rest], parts, acc)
       when kind in [:newline, :continuation, :semicolon],
       do: entries(rest, parts, acc)

  # After `1.2.3.4, # why` the comment is the element's whose line it is on.
  defp entries([{:comment, text, _} | rest], [], [{:element, parts, nil} | acc]),
    do: entries(rest, [], [{:element, parts, text} | acc])

  defp entries([{kind, text, _} | rest], [], acc) when kind in [:comment, :line_comment],
    do: entries(rest, [], [{:comment, text} | acc])

  # A comment in the middle of an element has no place to go to: such text stays as it is.
  defp entries([{kind, text, _} | rest], parts, acc) when kind in [:comment, :line_comment] do
    if ends_element?(rest),
      do: entries(rest, [], [{:element, Enum.reverse(parts), text} | acc]),
      else: :error
  end

  defp entries([{:open, _, _} | rest], parts, acc) do
    with {:ok, inner, rest} <- entries(rest, [], []),
         do: entries(rest, [{:elements, inner, false} | parts], acc)
  end

  defp entries([token | rest], parts, acc), do: entries(rest, [token | parts], acc)

  defp ends_element?([{kind, _, _} | _]) when kind in [:comma, :close], do: true

  defp ends_element?([{kind, _, _} | rest]) when kind in [:newline, :line_comment],
    do: ends_element?(rest)

  defp ends_element?(_), do: false

  defp element([], acc), do: acc
  defp element(parts, acc), do: [{:element, Enum.reverse(parts), nil} | acc]
end
