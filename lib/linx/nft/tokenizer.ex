defmodule Linx.NFT.Tokenizer do
  @moduledoc """
  Cuts nft text into tokens, each with its line and column.

  A token is `{kind, meta}` for punctuation and `{kind, value, meta}` for the rest. Words are
  `:identifier` whatever they mean: the parser knows the keywords, since most of nft's are only
  keywords in one place. Numbers (`:integer`, in decimal, `0x` and `0b`), addresses (`:ipv4`,
  `:ipv6`, `:cidr_v4`, `:cidr_v6`, `:mac`), strings, variables (`$name`: `:variable`) and
  traffic-control handles (`aabb:1`: `:classid`) have kinds of their own. A word may contain `-`,
  `.` and `/`, and end in `*`, as nft's do (`echo-request`, `kbytes/second`, `eth*`).

      iex> {:ok, tokens} = Linx.NFT.Tokenizer.tokenize("ip saddr 10.0.0.0/8")
      iex> Enum.map(tokens, &elem(&1, 0))
      [:identifier, :identifier, :cidr_v4]

  `;` and runs of newlines are one `:stmt_sep`. Comments (`#` to the end of the line, `/* */`
  nested) and a backslash before a newline are skipped; `comments: true` keeps the comments as
  `{:comment, text, meta}` for a formatter.

  ## Strings

  By default a string has the escapes `\\\\`, `\\"`, `\\n`, `\\t`, `\\r` and `\\0`; a backslash
  before another character stands for itself. **This is where the text differs from nft's**, whose
  strings have no escapes: a quote, any bytes but a quote, a quote. `strings: :nft` reads them so,
  over several lines too.

      iex> {:ok, [{:string, text, _}]} = Linx.NFT.Tokenizer.tokenize(~S("a\\nb"))
      iex> text
      "a\\nb"
      iex> {:ok, [{:string, text, _}]} = Linx.NFT.Tokenizer.tokenize(~S("a\\nb"), strings: :nft)
      iex> text
      "a\\\\nb"

  With `interpolation?: true` an interpolation inside quotes is an error; `\\\#{` stands for the
  two characters.

  Time and memory are linear in the input. Source: nft(8), "INPUT FILE FORMATS", and its scanner.
  """

  alias Linx.NFT.ParseError
  alias Linx.NFT.Tokenizer.{ElementList, Literal, RuleText}

  @type token_meta :: %{line: pos_integer(), column: pos_integer()}

  @type token ::
          {:identifier, String.t(), token_meta()}
          | {:integer, integer(), token_meta()}
          | {:string, String.t(), token_meta()}
          | {:ipv4, String.t(), token_meta()}
          | {:ipv6, String.t(), token_meta()}
          | {:mac, String.t(), token_meta()}
          | {:cidr_v4, String.t(), token_meta()}
          | {:cidr_v6, String.t(), token_meta()}
          | {:elixir_expr, String.t(), token_meta()}
          | {:stmt_sep, token_meta()}
          | {atom(), term(), token_meta()}
          | {atom(), token_meta()}

  @punctuation [
    {"==", :eq},
    {"!=", :neq},
    {"<=", :lte},
    {">=", :gte},
    {"<<", :lshift},
    {">>", :rshift},
    {"<", :lt},
    {">", :gt},
    {"=", :assign},
    {"!", :not},
    {"&", :amp},
    {"|", :pipe},
    {"^", :caret},
    {"+", :plus},
    {"-", :dash},
    {"*", :star},
    {"/", :slash},
    {"{", :lbrace},
    {"}", :rbrace},
    {"(", :lparen},
    {")", :rparen},
    {"[", :lbracket},
    {"]", :rbracket},
    {",", :comma},
    {":", :colon},
    {".", :dot},
    {"@", :at}
  ]

  @doc """
  Cuts `source` into tokens.

  Options: `:file` for error messages (default `"nofile"`), `:line` and `:column` of the first
  character (default 1), `:interpolation?` to take `\#{...}` as an `:elixir_expr` token (default
  false; otherwise it is a comment), and `:comments` to keep comments (default false), `:strings`
  as above: `:escapes` (the default) or `:nft`. `:element_text` is the compiler's: from so many
  bytes on the list of elements of a named set or a variable is one token, `:element_text`, the
  lines of a chain with one rule each are one, `:rule_text`, and the places behind it do not
  count.

  Returns `{:ok, tokens}`, or `{:error, %Linx.NFT.ParseError{}}` at the first character that
  cannot begin a token, an unterminated string, comment or interpolation, or a byte that is not
  UTF-8. With `strings: :nft` strings and comments may hold any byte but NUL, as they may for nft.
  """
  @spec tokenize(String.t(), keyword()) :: {:ok, [token()]} | {:error, ParseError.t()}
  def tokenize(source, opts \\ []) when is_binary(source) do
    state = %{
      source: source,
      file: Keyword.get(opts, :file, "nofile"),
      first: Keyword.get(opts, :line, 1),
      interpolation?: Keyword.get(opts, :interpolation?, false),
      comments?: Keyword.get(opts, :comments, false),
      strings: Keyword.get(opts, :strings, :escapes),
      element_text: Keyword.get(opts, :element_text),
      # How many braces are open from that of a chain on, nil outside of chains and where no rules
      # stay text.
      chain: nil
    }

    column = Keyword.get(opts, :column, 1)
    if state.strings != :nft, do: check_encoding(source, column, state)
    {:ok, scan(source, state.first, column, [], state)}
  rescue
    error in ParseError -> {:error, error}
  end

  @encoding "the text is not valid UTF-8"

  defp check_encoding(source, column, state) do
    case :unicode.characters_to_binary(source) do
      valid when is_binary(valid) ->
        :ok

      {_error_or_incomplete, valid, _rest} ->
        {line, column} = advance(valid, state.first, column)
        fail(state, line, column, @encoding)
    end
  end

  defp scan(<<>>, _line, _column, acc, _state), do: Enum.reverse(acc)

  defp scan(<<c, rest::binary>>, line, column, acc, state) when c in [?\s, ?\t, ?\r],
    do: scan(rest, line, column + 1, acc, state)

  defp scan("\\\n" <> rest, line, _column, acc, state), do: scan(rest, line + 1, 1, acc, state)
  defp scan("\\\r\n" <> rest, line, _column, acc, state), do: scan(rest, line + 1, 1, acc, state)

  defp scan("\n" <> rest, line, column, acc, %{chain: 1} = state) do
    acc = separator(acc, line, column)

    with true <- rule?(acc), {text, rest} <- RuleText.cut(rest, state.element_text) do
      token = {:rule_text, text, meta(line + 1, 1)}
      scan(rest, line + 1, 1, [{:stmt_sep, meta(line + 1, 1)}, token | acc], state)
    else
      _ -> scan(rest, line + 1, 1, acc, state)
    end
  end

  defp scan("\n" <> rest, line, column, acc, state),
    do: scan(rest, line + 1, 1, separator(acc, line, column), state)

  defp scan(";" <> rest, line, column, acc, state),
    do: scan(rest, line, column + 1, separator(acc, line, column), state)

  defp scan("\#{" <> rest, line, column, acc, %{interpolation?: true} = state) do
    case Literal.elixir(rest) do
      {raw, rest} ->
        {line2, column2} = advance(raw, line, column + 2)
        token = {:elixir_expr, raw, meta(line, column)}
        scan(rest, line2, column2 + 1, [token | acc], state)

      :error ->
        fail(state, line, column, "unterminated interpolation: no } for this \#{")
    end
  end

  defp scan("#" <> rest, line, column, acc, state) do
    {text, rest} = line_comment(rest)
    acc = comment(acc, "#" <> text, line, column, state)
    scan(rest, line, column + 1 + String.length(text), acc, state)
  end

  defp scan("/*" <> rest, line, column, acc, state) do
    case Literal.block_comment(rest) do
      {text, rest} ->
        {line2, column2} = advance(text, line, column + 2)
        scan(rest, line2, column2, comment(acc, "/*" <> text, line, column, state), state)

      :error ->
        fail(state, line, column, "unterminated comment: no */ for this /*")
    end
  end

  defp scan(~S(") <> rest, line, column, acc, state) do
    case Literal.string(rest, string_form(state)) do
      {:ok, value, raw, rest} ->
        {line2, column2} = after_string(raw, line, column)
        scan(rest, line2, column2, [{:string, value, meta(line, column)} | acc], state)

      {:error, :unterminated} ->
        fail(state, line, column, "unterminated string: no closing quote")

      {:error, {reason, before}} ->
        {line2, column2} = advance(before, line, column + 1)
        fail(state, line2, column2, string_error(reason))
    end
  end

  defp scan(<<c, _::binary>> = text, line, column, acc, state)
       when c in ?0..?9 or c in ?a..?z or c in ?A..?Z or c == ?_ do
    {token, width, rest} = Literal.word(text, meta(line, column))
    scan(rest, line, column + width, [token | acc], state)
  end

  defp scan("::" <> _ = text, line, column, acc, state) do
    {token, width, rest} = Literal.address(text, meta(line, column))
    scan(rest, line, column + width, [token | acc], state)
  end

  defp scan(<<"$", c, _::binary>> = text, line, column, acc, state)
       when c in ?a..?z or c in ?A..?Z or c == ?_ do
    "$" <> rest = text
    {name, rest} = Literal.name(rest)
    token = {:variable, name, meta(line, column)}
    scan(rest, line, column + 1 + byte_size(name), [token | acc], state)
  end

  defp scan("{" <> rest, line, column, acc, %{element_text: min_bytes} = state)
       when is_integer(min_bytes) do
    with true <- list?(acc), {text, rest} <- ElementList.cut(rest, min_bytes) do
      scan(rest, line, column, [{:element_text, text, meta(line, column)} | acc], state)
    else
      _ ->
        state = %{state | chain: opened(state.chain, acc)}
        scan(rest, line, column + 1, [{:lbrace, meta(line, column)} | acc], state)
    end
  end

  defp scan("}" <> rest, line, column, acc, %{chain: depth} = state) when is_integer(depth) do
    state = %{state | chain: if(depth > 1, do: depth - 1)}
    scan(rest, line, column + 1, [{:rbrace, meta(line, column)} | acc], state)
  end

  for {text, kind} <- @punctuation do
    defp scan(unquote(text) <> rest, line, column, acc, state) do
      token = {unquote(kind), meta(line, column)}
      scan(rest, line, column + unquote(byte_size(text)), [token | acc], state)
    end
  end

  defp scan(<<c::utf8, _::binary>>, line, column, _acc, state),
    do: fail(state, line, column, "unexpected character '#{printable(c)}'")

  defp scan(_text, line, column, _acc, state), do: fail(state, line, column, @encoding)

  defp string_form(%{strings: :nft}), do: :nft
  defp string_form(%{interpolation?: true}), do: :sigil
  defp string_form(_state), do: :escapes

  # The place behind the closing quote; `raw` is the text between the quotes.
  defp after_string(raw, line, column) do
    {line2, column2} = advance(raw, line, column + 1)
    {line2, column2 + 1}
  end

  defp string_error(:nul), do: "a string cannot hold a NUL byte"

  defp string_error(:interpolation) do
    "an interpolation stands for a whole string: write \#{\"...\"} without the quotes " <>
      "around it, " <>
      "or \\\#{ for the two characters"
  end

  # Whether a brace after these tokens, the last one first, begins a list of elements of a named
  # set or of a variable.
  defp list?([{:assign, _}, {:identifier, "elements", _} | _]), do: true

  defp list?([{:assign, _}, {:identifier, _, _}, {:identifier, word, _} | _])
       when word in ["define", "redefine"],
       do: true

  defp list?([{:identifier, _, _}, {:identifier, _, _} | acc]), do: element?(acc)
  defp list?(_acc), do: false

  defp element?([{:identifier, "element", _}, {:identifier, verb, _} | _]),
    do: verb in ["add", "create"]

  defp element?([{:identifier, _family, _} | [{:identifier, "element", _} | _] = acc]),
    do: element?(acc)

  defp element?(_acc), do: false

  # The depth behind a brace: the one behind `chain NAME` is the first.
  defp opened(nil, [{:identifier, _, _}, {:identifier, "chain", _} | _]), do: 1
  defp opened(nil, _acc), do: nil
  defp opened(depth, _acc), do: depth + 1

  # Whether a rule may begin behind these tokens, the last one first: a list goes on behind a
  # comma.
  defp rule?([{:stmt_sep, _}, {:comma, _} | _]), do: false
  defp rule?([{:stmt_sep, _} | _]), do: true

  defp printable(c) when c < 32 or c == 127, do: inspect(<<c>>) |> String.trim("\"")
  defp printable(c) when c > 127, do: ParseError.visible(<<c::utf8>>)
  defp printable(c), do: <<c::utf8>>

  defp separator([{:stmt_sep, _} | _] = acc, _line, _column), do: acc
  defp separator(acc, line, column), do: [{:stmt_sep, meta(line, column)} | acc]

  defp comment(acc, text, line, column, %{comments?: true}),
    do: [{:comment, text, meta(line, column)} | acc]

  defp comment(acc, _text, _line, _column, _state), do: acc

  defp line_comment(rest) do
    case :binary.match(rest, "\n") do
      {at, 1} ->
        {binary_part(rest, 0, at), binary_part(rest, at, byte_size(rest) - at)}

      :nomatch ->
        {rest, ""}
    end
  end

  defp advance(text, line, column) do
    case :binary.matches(text, "\n") do
      [] ->
        {line, column + String.length(text)}

      newlines ->
        {at, 1} = List.last(newlines)
        tail = binary_part(text, at + 1, byte_size(text) - at - 1)
        {line + length(newlines), String.length(tail) + 1}
    end
  end

  defp meta(line, column), do: %{line: line, column: column}

  @spec fail(map(), pos_integer(), pos_integer(), String.t()) :: no_return()
  defp fail(state, line, column, message) do
    ParseError.raise_syntax_error!(
      %{
        file: state.file,
        line: line,
        column: column,
        snippet: ParseError.line(state.source, line, state.first)
      },
      message
    )
  end
end
