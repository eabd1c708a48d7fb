defmodule Linx.NFT.Formatter.Source.Interpolation do
  @moduledoc false
  # Finds the brace that ends an interpolated Elixir expression. Braces inside strings, charlists
  # and comments of that expression do not count, nor do character literals (`?}`).

  @doc "Splits the text after `\#{` at the closing brace: the code, and what follows the brace."
  @spec split(String.t()) :: {:ok, String.t(), String.t()} | :error
  def split(text) do
    case code(text, 0) do
      {:ok, rest} ->
        size = byte_size(text) - byte_size(rest) - 1
        {:ok, binary_part(text, 0, size), rest}

      :error ->
        :error
    end
  end

  defp code("}" <> rest, 0), do: {:ok, rest}
  defp code("}" <> rest, depth), do: code(rest, depth - 1)
  defp code("{" <> rest, depth), do: code(rest, depth + 1)
  defp code(<<"?\\", _, rest::binary>>, depth), do: code(rest, depth)
  defp code(<<"?", c, rest::binary>>, depth) when c in [?{, ?}, ?", ?', ?#], do: code(rest, depth)
  defp code("\"\"\"" <> rest, depth), do: quoted(rest, "\"\"\"", depth)
  defp code("\"" <> rest, depth), do: quoted(rest, "\"", depth)
  defp code("'" <> rest, depth), do: quoted(rest, "'", depth)

  defp code("#" <> rest, depth) do
    case :binary.match(rest, "\n") do
      {at, 1} -> code(binary_part(rest, at, byte_size(rest) - at), depth)
      :nomatch -> :error
    end
  end

  defp code(<<_, rest::binary>>, depth), do: code(rest, depth)
  defp code("", _), do: :error

  defp quoted("", _, _), do: :error
  defp quoted(<<"\\", _, rest::binary>>, mark, depth), do: quoted(rest, mark, depth)

  defp quoted("\#{" <> rest, mark, depth) do
    case code(rest, 0) do
      {:ok, rest} -> quoted(rest, mark, depth)
      :error -> :error
    end
  end

  defp quoted(text, mark, depth) do
    size = byte_size(mark)

    case text do
      <<^mark::binary-size(^size), rest::binary>> -> code(rest, depth)
      <<_, rest::binary>> -> quoted(rest, mark, depth)
    end
  end
end
