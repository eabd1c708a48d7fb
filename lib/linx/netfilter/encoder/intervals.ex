defmodule Linx.Netfilter.Encoder.Intervals do
  @moduledoc false
  # The points of a set of IPv4 intervals that are in order and do not meet, as sets of blocklists
  # are: each is written behind the ones before it, and nothing is built for an element.
  # Linx.Netfilter.Encoder.Elements writes all other sets.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Set
  alias Linx.Netlink.Attr

  require Attr

  # Bytes of one message, as in Linx.Netfilter.Encoder.Elements. An interval takes 40.
  @room 60_000
  @last_start @room - 40

  @top 0xFFFFFFFF

  # elem { key { value } }, and with flags { interval end } in front of the key.
  @start Attr.head(0x8000 + nfta_list_elem(), 12) <>
           Attr.head(0x8000 + nfta_set_elem_key(), 8) <> Attr.head(nfta_data_value(), 4)
  @ended Attr.head(0x8000 + nfta_list_elem(), 20) <>
           Attr.head(nfta_set_elem_flags(), 4) <>
           <<nft_set_elem_interval_end()::32>> <>
           Attr.head(0x8000 + nfta_set_elem_key(), 8) <> Attr.head(nfta_data_value(), 4)

  @doc """
  The elements' bytes in lists of at most #{@room} bytes; nil for elements that are not written
  here. `:initial` marks a set that was empty before.
  """
  @spec chunks(Set.t() | Linx.Netfilter.Map.t(), [term()], keyword()) :: [binary()] | nil
  def chunks(%Set{key_type: :ipv4_addr, flags: flags}, elements, opts) do
    if :interval in flags do
      gap = if :auto_merge in flags or :anonymous in flags, do: 1, else: 0
      written(elements, -1 - gap, gap, zero(elements, opts), [])
    end
  end

  def chunks(_set, _elements, _opts), do: nil

  # nft's first point: what lies before the first interval does not match.
  defp zero([first | _], opts) do
    case span(first) do
      {first, _last} when first > 0 -> if opts[:initial], do: <<@ended, 0::32>>, else: <<>>
      _ -> <<>>
    end
  end

  # `before` is the last address of the interval before, `gap` the number of addresses between
  # intervals that are not merged.
  defp written([], _before, _gap, done, chunks), do: Enum.reverse([done | chunks])

  defp written(elements, before, gap, done, chunks) when byte_size(done) > @last_start,
    do: written(elements, before, gap, <<>>, [done | chunks])

  defp written([{a, b, c, d} | rest], before, gap, done, chunks)
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 do
    n = a * 0x1000000 + b * 0x10000 + c * 0x100 + d
    interval(rest, before, gap, done, chunks, n, n)
  end

  defp written([element | rest], before, gap, done, chunks) do
    case span(element) do
      {first, last} -> interval(rest, before, gap, done, chunks, first, last)
      nil -> nil
    end
  end

  # An interval up to the last address has another form.
  defp interval(rest, before, gap, done, chunks, first, last)
       when first > before + gap and last < @top do
    done = <<done::binary, @start, first::32, @ended, last + 1::32>>
    written(rest, last, gap, done, chunks)
  end

  defp interval(_rest, _before, _gap, _done, _chunks, _first, _last), do: nil

  defp span({:prefix, {a, b, c, d}, bits})
       when bits in 0..32 and a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 do
    <<first::32>> = <<a, b, c, d>>
    size = Bitwise.bsl(1, 32 - bits)
    if rem(first, size) == 0, do: {first, first + size - 1}
  end

  defp span({:range, {a, b, c, d}, {e, f, g, h}})
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 and
              e in 0..255 and f in 0..255 and g in 0..255 and h in 0..255 do
    <<first::32>> = <<a, b, c, d>>
    <<last::32>> = <<e, f, g, h>>
    if first <= last, do: {first, last}
  end

  defp span({a, b, c, d})
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 do
    <<n::32>> = <<a, b, c, d>>
    {n, n}
  end

  defp span(_element), do: nil
end
