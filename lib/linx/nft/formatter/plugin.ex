defmodule Linx.NFT.Formatter.Plugin do
  @moduledoc false
  # What `mix format` calls for the body of a sigil or a whole file.

  alias Linx.NFT.Formatter.Source

  @doc "Formats `contents`; `opts` are those of `c:Mix.Tasks.Format.format/2`."
  @spec format(String.t(), keyword()) :: String.t()
  def format(contents, opts) do
    if opts[:sigil], do: sigil(contents, opts), else: file(contents, opts)
  end

  defp sigil(contents, opts) do
    case source(contents, [interpolation?: true] ++ opts) do
      {:ok, text} ->
        if opts[:opening_delimiter] in [~S("""), "'''"],
          do: text,
          else: String.trim_trailing(text, "\n")

      _ ->
        contents
    end
  end

  defp file(contents, opts) do
    case source(contents, opts) do
      {:ok, text} -> text
      :error -> contents
    end
  end

  # Only text that the parser takes is laid out: of anything else nobody knows what its lines mean.
  defp source(contents, opts) do
    Source.format(contents, opts)
  end
end
