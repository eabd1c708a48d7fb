defmodule Linx.NFT.Formatter.Source.Printer do
  @moduledoc false
  # Lays a tree of nft source out again: two blanks an indent, a statement a line, one empty line
  # between blocks and after a chain's header, at most one where the author had some.

  alias Linx.NFT.Formatter.Layout
  alias Linx.NFT.Formatter.Source.Tree

  @chain_header ~w(type policy device devices flags comment)

  @doc "Prints the items of a text in lines of at most `width` where the text can be broken."
  @spec print([Tree.item()], pos_integer()) :: iodata()
  def print(items, width), do: block(items, :top, 0, width)

  defp block(items, context, depth, width) do
    items
    |> chunks()
    |> spaced(context)
    |> Enum.map(fn
      :blank -> "\n"
      {:comment, text} -> [Layout.indent(depth), text, "\n"]
      {:statement, parts, comment} -> line(parts, comment, depth, width)
    end)
  end

  # A comment on lines of its own stays with what follows it.
  defp chunks(items), do: chunks(items, [], [])
  defp chunks([], [], acc), do: Enum.reverse(acc)
  defp chunks([], chunk, acc), do: Enum.reverse([Enum.reverse(chunk) | acc])
  defp chunks([:blank | rest], [], acc), do: chunks(rest, [], [:blank | acc])

  defp chunks([:blank | rest], chunk, acc),
    do: chunks(rest, [], [:blank, Enum.reverse(chunk) | acc])

  defp chunks([{:comment, _} = c | rest], chunk, acc), do: chunks(rest, [c | chunk], acc)

  defp chunks([item | rest], chunk, acc),
    do: chunks(rest, [], [Enum.reverse([item | chunk]) | acc])

  defp spaced([:blank | rest], context), do: spaced(rest, context)
  defp spaced([], _context), do: []
  defp spaced([chunk], _context), do: chunk
  defp spaced([chunk, :blank], _context), do: chunk

  defp spaced([chunk, :blank, :blank | rest], context),
    do: spaced([chunk, :blank | rest], context)

  defp spaced([chunk, :blank | rest], context), do: chunk ++ [:blank | spaced(rest, context)]

  defp spaced([chunk, next | rest], context) do
    gap = if apart?(List.last(chunk), List.last(next), context), do: [:blank], else: []
    chunk ++ gap ++ spaced([next | rest], context)
  end

  defp apart?(above, below, :chain), do: header?(above) and not header?(below)

  defp apart?(above, below, context) when context in [:top, :table],
    do: block?(above) or block?(below)

  defp apart?(_, _, _), do: false

  defp header?({:statement, [{:word, word, _} | _], _}), do: word in @chain_header
  defp header?({:comment, _}), do: false
  defp header?(_), do: false

  defp block?({:statement, parts, _}), do: Enum.any?(parts, &match?({:block, _, _}, &1))
  defp block?(_), do: false

  ## One statement

  # Declarations (`elements = { ... }`, `define`) break a list that does not fit; a rule stays on
  # one line unless its author began a list on a new one.
  defp line(parts, comment, depth, width) do
    parts = if list?(parts), do: Enum.map(parts, &by_width/1), else: parts
    flat? = not Enum.any?(parts, &opened?/1) and fits?(parts, depth, width)
    parts = if flat?, do: Enum.reject(parts, &continuation?/1), else: parts
    text = join(parts, nil, flat?, depth, width)
    [Layout.indent(depth), text, comment(comment), "\n"]
  end

  defp list?(parts),
    do:
      Enum.any?(parts, &match?({:op, "=", _}, &1)) or
        match?([_, {:word, "element", _} | _], parts)

  defp by_width({:elements, entries, _broken?}), do: {:elements, entries, :by_width}
  defp by_width(part), do: part

  defp comment(nil), do: ""
  defp comment(text), do: [" ", text]

  defp continuation?({:continuation, _, _}), do: true
  defp continuation?(_), do: false

  defp opened?({:block, _, _}), do: true

  defp opened?({:elements, _entries, true}), do: true

  defp opened?({:elements, entries, _broken?}) do
    Enum.any?(entries, fn
      {:comment, _} -> true
      {:element, parts, comment} -> comment != nil or Enum.any?(parts, &opened?/1)
    end)
  end

  defp opened?(_), do: false

  defp fits?(parts, depth, width) do
    flat = parts |> Enum.reject(&continuation?/1) |> join(nil, true, depth, width)
    2 * depth + text_length(flat) <= width
  end

  defp text_length(iodata), do: iodata |> IO.iodata_to_binary() |> String.length()

  # `previous` is the part before, nil at the start of a line.
  defp join([], _previous, _flat?, _depth, _width), do: []

  defp join([part | rest], previous, flat?, depth, width) do
    [gap(previous, part), part(part, flat?, depth, width) | join(rest, part, flat?, depth, width)]
  end

  @atoms [:word, :string, :interpolation]

  defp gap(nil, _), do: ""
  defp gap({:continuation, _, _}, _), do: ""
  defp gap(_, {:comma, _, _}), do: ""
  defp gap({:comma, _, _}, _), do: ""
  defp gap({:lparen, _, _}, _), do: ""
  defp gap(_, {:rparen, _, _}), do: ""
  defp gap({before, _, _}, {kind, _, true}) when before in @atoms and kind in @atoms, do: ""
  defp gap(_, _), do: " "

  defp part({:continuation, _, _}, _flat?, depth, _width), do: ["\\\n", Layout.indent(depth + 2)]
  defp part({:elements, [], _broken?}, _flat?, _depth, _width), do: "{ }"

  defp part({:elements, entries, _broken?}, true, depth, width), do: flat(entries, depth, width)

  defp part({:elements, entries, broken?}, false, depth, width) do
    cond do
      Enum.any?(entries, &commented?/1) -> commented(entries, depth, width)
      broken? == false -> flat(entries, depth, width)
      broken? == :by_width and match?([_], entries) -> flat(entries, depth, width)
      true -> broken(entries, depth, width)
    end
  end

  defp part({:block, context, items}, _flat?, depth, width),
    do: ["{\n", block(items, context, depth + 1, width), Layout.indent(depth), "}"]

  defp part({_kind, text, _}, _flat?, _depth, _width), do: text

  defp flat(entries, depth, width),
    do: ["{ ", entries |> Enum.map(&element(&1, depth, width)) |> Enum.intersperse(", "), " }"]

  defp broken(entries, depth, width) do
    style = if Enum.any?(entries, &pair?/1), do: :lines, else: :fill
    texts = Enum.map(entries, &IO.iodata_to_binary(element(&1, depth + 1, width)))
    Layout.broken(texts, style, depth, width)
  end

  defp element({:element, parts, _comment}, depth, width),
    do: parts |> colons() |> join(nil, true, depth, width)

  defp commented?({:comment, _}), do: true
  defp commented?({:element, _, comment}), do: comment != nil

  # The comma goes before the comment; the last element has none.
  defp commented(entries, depth, width) do
    last = Enum.find_index(Enum.reverse(entries), &match?({:element, _, _}, &1))
    last = last && length(entries) - 1 - last
    pad = Layout.indent(depth + 1)

    lines =
      for {entry, index} <- Enum.with_index(entries) do
        case entry do
          {:comment, text} ->
            [pad, text, "\n"]

          {:element, _, note} ->
            comma = if index == last, do: "", else: ","
            [pad, element(entry, depth + 1, width), comma, comment(note), "\n"]
        end
      end

    ["{\n", lines, Layout.indent(depth), "}"]
  end

  defp pair?({:element, parts, _}), do: Enum.any?(colons(parts), &match?({:word, ":", _}, &1))
  defp pair?(_), do: false

  # In a map `22:accept` cannot be told from an address; `22: accept` and `"eth0":drop` can.
  defp colons(parts), do: Enum.flat_map(parts, &colon/1)

  defp colon({:word, word, glued?} = part) do
    cond do
      word in [":", "::"] ->
        [{:word, word, false}]

      edge?(word, :trailing) ->
        [{:word, String.slice(word, 0..-2//1), glued?}, {:word, ":", false}]

      edge?(word, :leading) ->
        [{:word, ":", false}, {:word, String.slice(word, 1..-1//1), false}]

      true ->
        [part]
    end
  end

  defp colon(part), do: [part]

  defp edge?(word, :trailing),
    do: String.ends_with?(word, ":") and not String.ends_with?(word, "::")

  defp edge?(word, :leading),
    do: String.starts_with?(word, ":") and not String.starts_with?(word, "::")
end
