defmodule Linx.NFT.Formatter.Source.Scanner do
  @moduledoc false
  # Cuts nft text into the tokens that layout needs and keeps every byte that means something:
  # comments, line ends, continuations and interpolations included. It knows nothing of the
  # grammar, so that `mix format` can lay out text that a newer nft understands and Linx does not.
  #
  # A token is `{kind, text, glued?}`; `glued?` is true where no white space stands before it.

  @type kind ::
          :word
          | :op
          | :string
          | :interpolation
          | :comment
          | :line_comment
          | :newline
          | :continuation
          | :open
          | :close
          | :comma
          | :semicolon
          | :lparen
          | :rparen
  @type token :: {kind(), String.t(), boolean()}
  @type reason :: {:unterminated, :string | :comment | :interpolation}

  @doc """
  Scans `text`. `interpolation?` says whether `\#{` opens an Elixir expression (a sigil body) or
  is a comment as in a file; `strings` is `:nft` where a string has no escapes.
  """
  @spec scan(String.t(), boolean(), :escapes | :nft) :: {:ok, [token()]} | {:error, reason()}
  def scan(text, interpolation?, strings \\ :escapes)
  def scan(text, false, :nft), do: tokens(text, :nft, false, [])
  def scan(text, interpolation?, _strings), do: tokens(text, interpolation?, false, [])

  defp tokens("", _int?, _glued?, acc), do: {:ok, Enum.reverse(acc)}

  defp tokens("\r\n" <> rest, i?, _, acc),
    do: tokens(rest, i?, false, [{:newline, "\n", false} | acc])

  defp tokens("\n" <> rest, i?, _, acc),
    do: tokens(rest, i?, false, [{:newline, "\n", false} | acc])

  defp tokens(<<c, rest::binary>>, i?, _, acc) when c in [?\s, ?\t, ?\r, ?\f, ?\v],
    do: tokens(rest, i?, false, acc)

  defp tokens("\\" <> rest, i?, glued?, acc) do
    case skip_blank(rest) do
      "\n" <> rest -> tokens(rest, i?, false, [{:continuation, "\\", false} | acc])
      _ -> word("\\" <> rest, i?, glued?, acc)
    end
  end

  defp tokens("\#{" <> rest, true, glued?, acc) do
    case Linx.NFT.Formatter.Source.Interpolation.split(rest) do
      {:ok, code, rest} ->
        tokens(rest, true, true, [{:interpolation, "\#{" <> code <> "}", glued?} | acc])

      :error ->
        {:error, {:unterminated, :interpolation}}
    end
  end

  defp tokens("#" <> _ = text, i?, _glued?, acc) do
    {comment, rest} = upto_newline(text)
    tokens(rest, i?, false, [{comment_kind(acc), String.trim_trailing(comment), false} | acc])
  end

  defp tokens("/*" <> rest = text, i?, glued?, acc) do
    case block_comment(rest, 1) do
      {:ok, rest} ->
        comment = binary_part(text, 0, byte_size(text) - byte_size(rest))
        tokens(rest, i?, false, [{:word, comment, glued?} | acc])

      :error ->
        {:error, {:unterminated, :comment}}
    end
  end

  defp tokens("\"" <> rest = text, i?, glued?, acc) do
    case string(rest, i?) do
      {:ok, rest} ->
        quoted = binary_part(text, 0, byte_size(text) - byte_size(rest))
        tokens(rest, i?, true, [{:string, quoted, glued?} | acc])

      :error ->
        {:error, {:unterminated, :string}}
    end
  end

  for {char, kind} <- [
        {"{", :open},
        {"}", :close},
        {",", :comma},
        {";", :semicolon},
        {"(", :lparen},
        {")", :rparen}
      ] do
    defp tokens(unquote(char) <> rest, i?, glued?, acc),
      do: tokens(rest, i?, true, [{unquote(kind), unquote(char), glued?} | acc])
  end

  for op <- ~w(== != <= >= << >> && || = < > & | ^ !) do
    defp tokens(unquote(op) <> rest, i?, glued?, acc),
      do: tokens(rest, i?, true, [{:op, unquote(op), glued?} | acc])
  end

  defp tokens(text, i?, glued?, acc), do: word(text, i?, glued?, acc)

  defp word(<<first::utf8, rest::binary>> = text, i?, glued?, acc) do
    size = word_size(rest, byte_size(<<first::utf8>>), i?)
    <<word::binary-size(^size), rest::binary>> = text
    tokens(rest, i?, true, [{:word, word, glued?} | acc])
  end

  # A byte that is no UTF-8 is kept as it is; the parser will name it.
  defp word(<<byte, rest::binary>>, i?, glued?, acc),
    do: tokens(rest, i?, true, [{:word, <<byte>>, glued?} | acc])

  # A comment alone on its line, or one that belongs to what stands before it.
  defp comment_kind([]), do: :line_comment
  defp comment_kind([{:newline, _, _} | _]), do: :line_comment
  defp comment_kind([{:continuation, _, _} | _]), do: :line_comment
  defp comment_kind(_), do: :comment

  defp word_size("\#{" <> _, size, true), do: size
  defp word_size("/*" <> _, size, _), do: size

  defp word_size(<<c, _::binary>>, size, _)
       when c in [
              ?\s,
              ?\t,
              ?\r,
              ?\n,
              ?\f,
              ?\v,
              ?",
              ?#,
              ?{,
              ?},
              ?,,
              ?;,
              ?(,
              ?),
              ?=,
              ?!,
              ?<,
              ?>,
              ?&,
              ?|,
              ?^,
              ?\\
            ],
       do: size

  defp word_size(<<_, rest::binary>>, size, i?), do: word_size(rest, size + 1, i?)
  defp word_size("", size, _), do: size

  defp skip_blank(<<c, rest::binary>>) when c in [?\s, ?\t, ?\r], do: skip_blank(rest)
  defp skip_blank(rest), do: rest

  defp upto_newline(text) do
    case :binary.match(text, "\n") do
      {at, 1} -> {binary_part(text, 0, at), binary_part(text, at, byte_size(text) - at)}
      :nomatch -> {text, ""}
    end
  end

  defp block_comment(rest, 0), do: {:ok, rest}
  defp block_comment("*/" <> rest, depth), do: block_comment(rest, depth - 1)
  defp block_comment("/*" <> rest, depth), do: block_comment(rest, depth + 1)
  defp block_comment(<<_, rest::binary>>, depth), do: block_comment(rest, depth)
  defp block_comment("", _), do: :error

  defp string("\"" <> rest, _), do: {:ok, rest}
  defp string(<<_, rest::binary>>, :nft), do: string(rest, :nft)
  defp string(<<"\\", _, rest::binary>>, i?), do: string(rest, i?)
  defp string("\n" <> _, _), do: :error

  defp string("\#{" <> rest, true) do
    case Linx.NFT.Formatter.Source.Interpolation.split(rest) do
      {:ok, _code, rest} -> string(rest, true)
      :error -> :error
    end
  end

  defp string(<<_, rest::binary>>, i?), do: string(rest, i?)
  defp string("", _), do: :error
end
