defmodule Linx.NFT.Formatter.Source do
  @moduledoc false
  # Formats nft *source*: the author's text, with its comments, defines, includes, commands and
  # interpolations, laid out again. Only white space, line ends, `;` between statements and commas
  # at the end of lists change, so the text means what it meant. `Linx.NFT.Formatter.format/1` is
  # the other direction (values to text); its output is a fixed point of this.

  alias Linx.NFT.Formatter.Layout
  alias Linx.NFT.Formatter.Source.{Printer, Scanner, Tree}

  @doc """
  Lays out `text`; `:error` where quotes or braces do not pair, or a comment stands inside an
  element.

  Options: `:interpolation?` (default false), `:strings` as `Linx.NFT.Tokenizer` has it,
  `:line_length` (default 98).
  """
  @spec format(String.t(), keyword()) :: {:ok, String.t()} | :error
  def format(text, opts \\ []) do
    width = Keyword.get(opts, :line_length, Layout.width())

    interpolation? = Keyword.get(opts, :interpolation?, false)

    with {:ok, tokens} <- Scanner.scan(text, interpolation?, opts[:strings] || :escapes),
         {:ok, items} <- Tree.build(tokens) do
      {:ok, items |> Printer.print(width) |> IO.iodata_to_binary()}
    else
      _ -> :error
    end
  end
end
