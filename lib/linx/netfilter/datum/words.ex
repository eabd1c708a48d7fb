defmodule Linx.Netfilter.Datum.Words do
  @moduledoc false
  # An element's key in the text of an error. No type is asked for: bytes that are no text are
  # hexadecimal.

  alias Linx.Netfilter.Element

  @doc """
  The key of an element, or of a pair of a map, as it is read aloud: `10.0.0.0/8`, `80-90`,
  `192.0.2.1 . 80`.
  """
  @spec text(term()) :: String.t()
  def text(%Element{key: key}), do: text(key)
  def text(:catch_all), do: "*"
  def text({:iface, name}) when is_binary(name), do: text(name)

  def text({:prefix, base, bits}) when is_binary(base) and bits == 8 * byte_size(base),
    do: text(base <> "*")

  def text({:prefix, base, bits}), do: "#{text(base)}/#{bits}"
  def text({:range, first, last}), do: "#{text(first)}-#{text(last)}"
  def text(number) when is_integer(number), do: Integer.to_string(number)

  def text(bytes) when is_binary(bytes) do
    if bytes != "" and String.printable?(bytes),
      do: inspect(bytes),
      else: "0x" <> Base.encode16(bytes, case: :lower)
  end

  def text(tuple) when is_tuple(tuple) and tuple_size(tuple) in [4, 8] do
    case tuple |> Tuple.to_list() |> Enum.all?(&is_integer/1) && :inet.ntoa(tuple) do
      address when is_list(address) -> List.to_string(address)
      _ -> parts(tuple)
    end
  end

  # A pair of a map is named by its key.
  def text({key, %struct{}}) when struct == Linx.Netfilter.Verdict, do: text(key)
  def text(tuple) when is_tuple(tuple), do: parts(tuple)
  def text(other), do: inspect(other)

  defp parts(tuple), do: tuple |> Tuple.to_list() |> Enum.map_join(" . ", &text/1)
end
