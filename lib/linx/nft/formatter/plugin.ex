defmodule Linx.NFT.Formatter.Plugin do
  @moduledoc false
  # The plugin of `mix format` for the body of a sigil or a whole file. Text that does not parse
  # is returned unchanged, as the meaning of its lines is unknown. Only the grammar is checked:
  # included files and names are not looked up.

  alias Linx.NFT.{Formatter.Source, Parser, Tokenizer}

  @heredocs ["\"\"\"", "'''"]

  @doc "Formats `contents`; `opts` are those of `c:Mix.Tasks.Format.format/2`."
  @spec format(String.t(), keyword()) :: String.t()
  def format(contents, opts) do
    if opts[:sigil], do: sigil(contents, opts), else: file(contents, opts)
  end

  # The compiler reports a sigil that does not parse, at its line.
  defp sigil(contents, opts) do
    case laid_out(contents, "nofile", [interpolation?: true] ++ opts) do
      {:ok, text} -> if opts[:opening_delimiter] in @heredocs, do: text, else: delimited(text)
      _ -> contents
    end
  end

  # Between quotes on one line the text stays there; several lines begin below the opening one.
  defp delimited(text) do
    text = String.trim_trailing(text, "\n")
    if String.contains?(text, "\n"), do: "\n" <> text <> "\n", else: text
  end

  defp file(contents, opts) do
    case laid_out(contents, opts[:file] || "nofile", [strings: :nft] ++ opts) do
      {:ok, text} -> text
      {:error, error} -> raise error
      :error -> contents
    end
  end

  defp laid_out(contents, file, opts) do
    reading = [
      file: file,
      source: contents,
      interpolation?: Keyword.get(opts, :interpolation?, false),
      strings: Keyword.get(opts, :strings, :escapes)
    ]

    with {:ok, tokens} <- Tokenizer.tokenize(contents, reading),
         {:ok, _items} <- Parser.parse(tokens, reading) do
      Source.format(contents, opts)
    end
  end
end
