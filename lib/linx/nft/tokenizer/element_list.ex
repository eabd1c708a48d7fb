defmodule Linx.NFT.Tokenizer.ElementList do
  @moduledoc false
  # The text between the braces of a long list of elements, as one token. A token and a node for
  # each address of a blocklist cost more than all the rest of it; Linx.NFT.Compiler.ElementText
  # makes values of the text in one pass.
  #
  # A list that is cut out has no braces, variables, interpolations, block comments or `;` in it,
  # and no escapes in its strings. In what is left a `}` outside of strings and comments ends the
  # list.

  @stops ["}", "{", "\"", "#", "$", "/*", "\\", ";"]

  @doc """
  The text up to the closing brace, and the rest behind that brace; `text` begins behind the
  opening one. `:error` for a list of fewer than `min_bytes` bytes or one that has to be cut into
  tokens.
  """
  @spec cut(binary(), non_neg_integer()) :: {binary(), binary()} | :error
  def cut(text, min_bytes) do
    case stop(text, 0, :binary.compile_pattern(@stops)) do
      at when is_integer(at) and at >= min_bytes ->
        list = binary_part(text, 0, at)

        # The other limits of a string or comment depend on the set that it belongs to.
        if String.valid?(list),
          do: {list, binary_part(text, at + 1, byte_size(text) - at - 1)},
          else: :error

      _ ->
        :error
    end
  end

  defp stop(text, from, pattern) do
    case :binary.match(text, pattern, scope: {from, byte_size(text) - from}) do
      {at, 1} -> stop(:binary.at(text, at), text, at, pattern)
      _ -> :error
    end
  end

  defp stop(?}, _text, at, _pattern), do: at

  defp stop(?#, text, at, pattern) do
    case :binary.match(text, "\n", scope: {at, byte_size(text) - at}) do
      {newline, 1} -> stop(text, newline, pattern)
      :nomatch -> :error
    end
  end

  defp stop(?", text, at, pattern) do
    from = at + 1

    case :binary.match(text, ["\"", "\\", "\n"], scope: {from, byte_size(text) - from}) do
      {close, 1} ->
        if :binary.at(text, close) == ?", do: stop(text, close + 1, pattern), else: :error

      :nomatch ->
        :error
    end
  end

  defp stop(_other, _text, _at, _pattern), do: :error
end
