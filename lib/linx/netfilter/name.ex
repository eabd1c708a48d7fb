defmodule Linx.Netfilter.Name do
  @moduledoc false
  # Names of tables, chains, sets, objects and flowtables. NFT_NAME_MAXLEN is 256 with the
  # terminating NUL; the name travels as a C string, so a NUL inside would silently cut it.

  @spec check(term()) :: :ok | {:error, {:bad_name, term()}}
  def check(name) when is_binary(name) and byte_size(name) in 1..255 do
    if String.contains?(name, <<0>>), do: {:error, {:bad_name, name}}, else: :ok
  end

  def check(name), do: {:error, {:bad_name, name}}

  # IFNAMSIZ is 16 with the NUL; a trailing "*" makes a wildcard of it.
  @spec check_device(term()) :: :ok | {:error, {:bad_device, term()}}
  def check_device(name) when is_binary(name) and byte_size(name) in 1..15 do
    if String.contains?(name, [<<0>>, "/", " "]), do: {:error, {:bad_device, name}}, else: :ok
  end

  def check_device(name), do: {:error, {:bad_device, name}}

  # A comment shares NFT_USERDATA_MAXLEN (256) bytes with what else the object carries; nft allows
  # 128.
  @spec check_comment(term()) :: :ok | {:error, {:bad_comment, term()}}
  def check_comment(nil), do: :ok

  def check_comment(text) when is_binary(text) and byte_size(text) <= 128 do
    if String.contains?(text, <<0>>), do: {:error, {:bad_comment, text}}, else: :ok
  end

  def check_comment(text), do: {:error, {:bad_comment, text}}

  @doc false
  # The candidate nearest to `word`, as ", did you mean ...?", or "".
  @spec suggestion(String.t(), [String.t()]) :: String.t()
  def suggestion(word, candidates) do
    word = String.slice(word, 0, 64)

    case Enum.max_by(candidates, &nearness(word, &1), fn -> nil end) do
      nil -> ""
      ^word -> ""
      best -> if nearness(word, best) > 0.77, do: ", did you mean #{best}?", else: ""
    end
  end

  # Two letters in the wrong order are the commonest slip, and far apart by distance in a short
  # word.
  defp nearness(word, candidate) do
    if byte_size(word) == byte_size(candidate) and
         Enum.sort(String.to_charlist(word)) == Enum.sort(String.to_charlist(candidate)),
       do: 0.99,
       else: String.jaro_distance(word, candidate)
  end
end
