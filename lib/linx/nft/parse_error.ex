defmodule Linx.NFT.ParseError do
  @moduledoc """
  What is wrong with a piece of nft text, and where.

  The tokenizer, the parser and the compiler all report this one exception, so that a caller needs
  one clause. Its text is built like a diagnostic of the Elixir compiler: position, message, the
  line, and a caret under the column.

      iex> e = %Linx.NFT.ParseError{
      ...>   file: "fw.nft",
      ...>   line: 3,
      ...>   column: 7,
      ...>   snippet: "  tcp dprt 22",
      ...>   message: "unknown field"
      ...> }
      iex> Exception.message(e)
      "fw.nft:3:7: unknown field\\n|\\n|   tcp dprt 22\\n|       ^\\n"

  `:line` and `:column` count from 1; `:snippet` is the line without its newline, or `nil` when
  the source is not at hand. A very long line is cut around the column. Control characters of the
  text, and bytes that are not UTF-8, are shown escaped: none reaches a terminal.

      iex> e = %Linx.NFT.ParseError{snippet: "a\\e[31m b", column: 8, message: "unexpected b"}
      iex> Exception.message(e)
      "nofile:1:8: unexpected b\\n|\\n| a\\\\e[31m b\\n|         ^\\n"
  """

  defexception file: "nofile", line: 1, column: 1, snippet: nil, message: "syntax error"

  @type t :: %__MODULE__{
          __exception__: true,
          file: String.t(),
          line: pos_integer(),
          column: pos_integer(),
          snippet: String.t() | nil,
          message: String.t()
        }

  # The longest part of a source line that is shown: hostile input may have one line of megabytes.
  @shown 160

  @impl true
  def message(%__MODULE__{} = error) do
    head = "#{visible(error.file)}:#{error.line}:#{error.column}: #{visible(error.message)}"

    case code_snippet(error.snippet, error.column) do
      "" -> head
      snippet -> head <> "\n" <> snippet
    end
  end

  @doc """
  The source line with a caret under `column` (counted from 1), or `""` for `nil`.
  """
  @spec code_snippet(String.t() | nil, pos_integer()) :: String.t()
  def code_snippet(nil, _column), do: ""

  def code_snippet(line, column) do
    {line, column} = window(String.replace(line, "\t", " "), column)
    before = line |> String.slice(0, column - 1) |> visible() |> String.length()
    before = max(before, column - 1)
    "|\n| #{visible(line)}\n| #{String.duplicate(" ", before)}^\n"
  end

  @doc false
  # Text for a terminal: control characters (C0, DEL, C1), those that change a line's direction or
  # end it, and bytes that are not UTF-8 as escapes.
  @spec visible(binary()) :: String.t()
  def visible(text), do: text |> visible([]) |> IO.iodata_to_binary()

  @named_controls %{?\n => "\\n", ?\t => "\\t", ?\r => "\\r", ?\e => "\\e", 0 => "\\0"}

  defp visible(<<>>, acc), do: Enum.reverse(acc)

  defp visible(<<c::utf8, rest::binary>>, acc) when c < 32 or c in 127..159,
    do: visible(rest, [control(c) | acc])

  defp visible(<<c::utf8, rest::binary>>, acc)
       when c in 0x200E..0x200F or c in 0x2028..0x202E or c in 0x2066..0x2069,
       do: visible(rest, ["\\u" <> Integer.to_string(c, 16) | acc])

  defp visible(<<c::utf8, rest::binary>>, acc), do: visible(rest, [<<c::utf8>> | acc])
  defp visible(<<byte, rest::binary>>, acc), do: visible(rest, [control(byte) | acc])

  defp control(c), do: Map.get(@named_controls, c) || "\\x" <> Base.encode16(<<c>>)

  defp window(line, column) when byte_size(line) <= @shown, do: {line, column}

  defp window(line, column) do
    start = max(column - div(@shown, 2), 1)
    {String.slice(line, start - 1, @shown), column - start + 1}
  end

  @doc """
  Raises the error `message` at the place in `ctx`: `:file`, `:line`, `:column` and, if known,
  `:snippet`.
  """
  @spec raise_syntax_error!(map(), String.t()) :: no_return()
  def raise_syntax_error!(ctx, message) do
    raise %__MODULE__{
      file: Map.get(ctx, :file, "nofile"),
      line: Map.get(ctx, :line, 1),
      column: Map.get(ctx, :column, 1),
      snippet: Map.get(ctx, :snippet),
      message: message
    }
  end

  @doc false
  # The line `number` of `source`, whose first line has the number `first`.
  @spec line(String.t() | nil, integer(), integer()) :: String.t() | nil
  def line(source, number, first \\ 1)
  def line(source, _number, _first) when source in [nil, ""], do: nil
  def line(_source, number, first) when number < first, do: nil
  def line(source, number, first), do: nth_line(source, number - first)

  defp nth_line(source, 0) do
    case :binary.match(source, "\n") do
      {at, 1} -> binary_part(source, 0, at) |> String.trim_trailing("\r")
      :nomatch -> source
    end
  end

  defp nth_line(source, n) do
    case :binary.match(source, "\n") do
      {at, 1} -> nth_line(binary_part(source, at + 1, byte_size(source) - at - 1), n - 1)
      :nomatch -> nil
    end
  end

  @doc false
  # The candidate nearest to `word`, as ", did you mean ...?", or "".
  @spec suggestion(String.t(), [String.t()]) :: String.t()
  defdelegate suggestion(word, candidates), to: Linx.Netfilter.Name
end
