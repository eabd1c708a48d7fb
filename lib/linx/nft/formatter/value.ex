defmodule Linx.NFT.Formatter.Value do
  @moduledoc false
  # Constants as nft writes them: register bytes or plain numbers in, the text of their datatype
  # out. Names come from `Linx.Netfilter.Datatype`; where nft would look one up in a file of the
  # host (services, groups, realms, most protocols) the number is written, which reads the same
  # anywhere.

  alias Linx.Netfilter.{Datatype, Protocol}
  alias Linx.NFT.Formatter.{Term, Text}

  @named ~w(nf_proto ether_type arp_op icmp_type icmp_code icmpv6_type icmpv6_code icmpx_code
            igmp_type dccp_pkttype mh_type ct_dir pkt_type dscp ecn fib_addrtype boolean)a

  @doc "A constant as it stands in a register, for a comparison with `term`."
  @spec constant(Term.t(), Term.value()) :: iodata()
  def constant(_term, {tag, name}) when is_atom(tag) and is_binary(name), do: Text.index(name)

  def constant(%Term{type: type, size: size}, bytes) when type in [:ifname, :string],
    do: string(type, bytes, size)

  def constant(%Term{} = term, bytes) do
    number = term |> Term.number(bytes) |> Bitwise.bsr(term.shift)
    number(term.type, number, byte_size(bytes) * 8)
  end

  @doc "A number of a datatype; `bits` is its width where the type has none of its own."
  @spec number(atom(), non_neg_integer(), non_neg_integer()) :: iodata()
  def number(:ipv4_addr, n, _bits), do: address(<<n::32>>)
  def number(:ipv6_addr, n, _bits), do: address(<<n::128>>)
  def number(:ether_addr, n, _bits), do: ether(<<n::48>>)
  def number(:ll_addr, n, bits) when bits > 0 and rem(bits, 8) == 0, do: ether(<<n::size(bits)>>)
  def number(:mark, n, _bits), do: hex(n, 8)

  # A word of nft's grammar; what it knows of other protocols is in the host's /etc/protocols.
  def number(:inet_proto, n, _bits) do
    case Protocol.by_number(:inet, n) do
      nil -> Integer.to_string(n)
      name -> Protocol.text(name)
    end
  end

  def number(:classid, 0, _bits), do: "none"
  def number(:classid, 0xFFFFFFFF, _bits), do: "root"

  def number(:classid, n, _bits),
    do: [hex_digits(Bitwise.bsr(n, 16)), ":", hex_digits(Bitwise.band(n, 0xFFFF))]

  def number(:time, n, _bits), do: duration(n)

  # The kernel counts nanoseconds, nft's language seconds.
  def number(:date, n, _bits), do: Integer.to_string(div(n, 1_000_000_000))

  def number(:day, n, _bits),
    do: if(name = Datatype.symbol(:day, n), do: Text.quoted(name), else: Integer.to_string(n))

  def number(:ct_label, n, _bits), do: flags(:ct_label, n) || hex(n)

  def number(:ether_type, n, _bits), do: Datatype.symbol(:ether_type, n) || hex(n, 4)

  def number(type, n, _bits) when type in @named,
    do: Datatype.symbol(type, n) || Integer.to_string(n)

  def number(type, n, _bits) do
    cond do
      Datatype.bitmask?(type) -> flag_or_hex(type, n)
      n > 0xFFFFFFFFFFFFFFFF -> hex(n)
      true -> Integer.to_string(n)
    end
  end

  @doc "As `number/3`, but never a name: what stands beside a dash."
  @spec plain(atom(), non_neg_integer(), non_neg_integer()) :: iodata()
  def plain(type, n, _bits) when type in @named or type in [:inet_proto, :day, :classid],
    do: Integer.to_string(n)

  def plain(:ct_label, n, bits), do: number(:ct_label, n, bits)

  def plain(type, n, bits),
    do: if(Datatype.bitmask?(type), do: Integer.to_string(n), else: number(type, n, bits))

  @doc "As `constant/2`, without names."
  @spec plain_constant(Term.t(), binary()) :: iodata()
  def plain_constant(%Term{type: type, size: size}, bytes) when type in [:ifname, :string],
    do: string(type, bytes, size)

  def plain_constant(%Term{} = term, bytes),
    do:
      plain(
        term.type,
        term |> Term.number(bytes) |> Bitwise.bsr(term.shift),
        byte_size(bytes) * 8
      )

  @doc """
  A mask for `&`: names joined by `|` for flags, an address for addresses, else hexadecimal.
  """
  @spec mask(atom(), non_neg_integer(), non_neg_integer()) :: iodata()
  def mask(type, n, bits) when type in [:ipv4_addr, :ipv6_addr, :ether_addr, :ll_addr],
    do: number(type, n, bits)

  def mask(:mark, n, _bits), do: hex(n, 8)

  def mask(type, n, _bits) do
    case Datatype.bitmask?(type) && names(type, n) do
      [one] -> one
      [_ | _] = several -> ["(", Enum.intersperse(several, " | "), ")"]
      _ -> hex(n)
    end
  end

  @doc "Flags as a list with commas, nil when a bit has no name or none is set."
  @spec flags(atom(), non_neg_integer()) :: iodata() | nil
  def flags(type, n) do
    case names(type, n) do
      [_ | _] = names -> Enum.intersperse(names, ",")
      _ -> nil
    end
  end

  defp flag_or_hex(type, n) do
    case names(type, n) do
      [one] -> one
      [_ | _] = several -> Enum.intersperse(several, " | ")
      _ -> hex(n)
    end
  end

  # In the order of the bits. A connection label is the number of its bit.
  defp names(:ct_label, n), do: for(bit <- bits(n, 0), do: Integer.to_string(bit))

  defp names(type, n) do
    names = for bit <- bits(n, 0), do: Datatype.symbol(type, Bitwise.bsl(1, bit))
    if Enum.all?(names), do: names
  end

  defp bits(0, _at), do: []
  defp bits(n, at) when Bitwise.band(n, 1) == 1, do: [at | bits(Bitwise.bsr(n, 1), at + 1)]
  defp bits(n, at), do: bits(Bitwise.bsr(n, 1), at + 1)

  @doc """
  A string from a register: a terminator ends a whole name, anything shorter than the register is
  the beginning of names.
  """
  @spec string(atom() | tuple(), binary(), non_neg_integer()) :: iodata()
  def string(type, bytes, size) do
    case :binary.split(bytes, <<0>>) do
      [name, rest] ->
        if rest == :binary.copy(<<0>>, byte_size(rest)),
          do: whole(type, name),
          else: Text.unwritable("#{inspect(name)} has bytes behind its end (byte 0x00)")

      [name] when byte_size(name) >= size ->
        Text.unwritable(
          "#{inspect(name)} fills its #{size} bytes: nft has no name without an end"
        )

      [prefix] when type in [:ifname] ->
        Text.interface(prefix, true)

      [prefix] ->
        Text.unwritable(
          "#{inspect(prefix)} is the beginning of a string: nft has interfaces by that"
        )
    end
  end

  @doc "A whole string of a type."
  @spec whole(atom() | tuple(), binary()) :: iodata()
  def whole(:ifname, name), do: Text.interface(name, false)

  def whole(_type, text) do
    if String.ends_with?(text, "*"),
      do: Text.unwritable("#{inspect(text)} ends in an asterisk (byte 0x2A), which is a pattern"),
      else: Text.quoted(text)
  end

  @doc "An address of 4 or 16 bytes."
  @spec address(binary()) :: iodata()
  def address(<<a, b, c, d>>), do: :inet.ntoa({a, b, c, d})

  def address(<<words::binary-16>>) do
    for(<<word::16 <- words>>, do: word) |> List.to_tuple() |> :inet.ntoa() |> List.to_string()
  end

  @doc "Bytes as pairs of digits with colons."
  @spec ether(binary()) :: iodata()
  def ether(bytes), do: bytes |> Base.encode16(case: :lower) |> pairs() |> Enum.intersperse(":")

  defp pairs(<<pair::binary-2, rest::binary>>), do: [pair | pairs(rest)]
  defp pairs(""), do: []

  @doc "Milliseconds in nft's units: `1d2h3m4s5ms`."
  @spec duration(non_neg_integer()) :: iodata()
  def duration(0), do: "0s"

  def duration(ms) do
    for {unit, size} <- [
          {"d", 86_400_000},
          {"h", 3_600_000},
          {"m", 60_000},
          {"s", 1000},
          {"ms", 1}
        ],
        {count, _} = part(ms, unit, size),
        count > 0,
        do: [Integer.to_string(count), unit]
  end

  defp part(ms, "d", size), do: {div(ms, size), size}
  defp part(ms, "h", size), do: {div(rem(ms, 86_400_000), size), size}
  defp part(ms, "m", size), do: {div(rem(ms, 3_600_000), size), size}
  defp part(ms, "s", size), do: {div(rem(ms, 60_000), size), size}
  defp part(ms, "ms", size), do: {rem(ms, 1000), size}

  @doc "A number in hexadecimal, at least `digits` wide."
  @spec hex(non_neg_integer(), pos_integer()) :: iodata()
  def hex(n, digits \\ 1), do: ["0x", String.pad_leading(hex_digits(n), digits, "0")]

  defp hex_digits(n), do: n |> Integer.to_string(16) |> String.downcase()
end
