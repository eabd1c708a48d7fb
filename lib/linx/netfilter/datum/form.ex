defmodule Linx.Netfilter.Datum.Form do
  @moduledoc false
  # The forms that a caller may write for a value of a datatype, and the one form that Linx keeps.
  #
  #   type                  kept as                     also taken
  #   :ipv4_addr            {10, 0, 0, 1}               <<10, 0, 0, 1>>, "10.0.0.1", %Linx.IP{}
  #   :ipv6_addr            {0xfe80, ..., 1}            16 bytes, "fe80::1", %Linx.IP{}
  #   :ether_addr           <<2, 0, 0, 0, 0, 1>>        "02:00:00:00:00:01", %Linx.MAC{},
  #                                                     {2, 0, 0, 0, 0, 1}
  #   :ifname, :string      "eth0"
  #   :iface_index          2, {:iface, "eth0"}         "eth0", the bytes
  #   numbers               22                          "ssh", :ssh, the bytes
  #   {type, bits}          a number of that width
  #   {:concat, types}      a tuple of the above        a list, the bytes (kept where the
  #                                                     padding is not 0)
  #   sizes that are open   bytes
  #
  # Bytes that are all printable ASCII are text, never a value's bytes: "1::2" is no IPv4 address
  # of four letters. The six bytes of :ether_addr are its one form, so they are a value whatever
  # they spell.
  #
  # Every type also has {:prefix, value, bits} ("10.0.0.0/8", %Linx.IP.Subnet{}, "eth*") and
  # {:range, first, last} (1..9).

  alias Linx.Netfilter.{Datatype, Datum}

  @type reason :: {:bad_value, term()}

  @doc "The one form of `value`, or why it is none of this type."
  @spec normalise(Datum.type(), term()) :: {:ok, term()} | {:error, reason()}
  def normalise(type, value) do
    {:ok, norm(type, value)}
  catch
    {:bad_value, _part} -> {:error, {:bad_value, value}}
  end

  @doc """
  Whether a value in its one form, or a part of it, is a range or prefix: those need a set of
  intervals.
  """
  @spec spans?(term()) :: boolean()
  def spans?({kind, _, _}) when kind in [:range, :prefix], do: true
  def spans?(value) when is_tuple(value), do: spans_in?(value, tuple_size(value))
  def spans?(_value), do: false

  defp spans_in?(_value, 0), do: false
  defp spans_in?(value, n), do: spans?(elem(value, n - 1)) or spans_in?(value, n - 1)

  @doc "As `normalise/2` for a list, with the first element that does not fit in the error."
  @spec normalise_all(Datum.type(), [term()]) :: {:ok, [term()]} | {:error, {term(), reason()}}
  def normalise_all(type, values) do
    {:ok, for(value <- values, do: norm_in(type, value))}
  catch
    {:bad_element, value, reason} -> {:error, {value, reason}}
  end

  # A try around each element would cost more than the work on a plain one.
  defp norm_in(:ipv4_addr, {a, b, c, d} = value)
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255,
       do: value

  defp norm_in(type, value) do
    case normalise(type, value) do
      {:ok, value} -> value
      {:error, reason} -> throw({:bad_element, value, reason})
    end
  end

  defp norm(_type, :catch_all), do: :catch_all

  defp norm({:concat, types}, value) when is_list(value),
    do: norm({:concat, types}, List.to_tuple(value))

  defp norm({:concat, _types} = type, {:range, first, last} = value)
       when is_binary(first) and is_binary(last) do
    if raw?(type, first) and raw?(type, last),
      do: Datum.between(type, first, last),
      else: bad(value)
  end

  defp norm({:concat, types}, value) when is_tuple(value) and tuple_size(value) == length(types),
    do:
      types
      |> Enum.zip(Tuple.to_list(value))
      |> Enum.map(fn {t, v} -> norm(t, v) end)
      |> List.to_tuple()

  defp norm({:concat, _types} = type, bytes) when is_binary(bytes), do: raw(type, bytes)

  defp norm({:concat, _types}, value), do: bad(value)

  defp norm({:interval, type}, {:range, _, _} = range), do: norm(type, range)
  defp norm({:interval, type}, {:prefix, _, _} = prefix), do: norm(type, prefix)
  defp norm({:interval, type}, value), do: norm(type, value)

  defp norm(type, {:range, first, last} = value) do
    first = norm_point(type, first)
    last = norm_point(type, last)

    cond do
      first == last -> first
      Datum.sortable(type, first) > Datum.sortable(type, last) -> bad(value)
      true -> Datum.folded(type, first, last)
    end
  end

  defp norm(type, {:prefix, base, bits} = value) when is_integer(bits) do
    width = 8 * Datum.size(type)

    cond do
      type in [:ifname, :string] and is_binary(base) and bits == 8 * byte_size(base) -> value
      bits == width -> norm_point(type, base)
      bits in 0..(width - 1)//1 -> masked(type, norm_point(type, base), bits)
      true -> bad(value)
    end
  end

  defp norm(type, %Range{first: first, last: last, step: 1}),
    do: norm(type, {:range, first, last})

  defp norm(type, %{__struct__: Linx.IP.Subnet} = subnet),
    do: norm(type, {:prefix, subnet.address, subnet.prefix})

  defp norm(type, text) when is_binary(text) and type in [:ipv4_addr, :ipv6_addr] do
    with [base, length] <- String.split(text, "/"),
         {bits, ""} <- Integer.parse(length),
         # No sign and no zero in front, as Linx.IP.Subnet.
         ^length <- Integer.to_string(bits) do
      norm(type, {:prefix, base, bits})
    else
      _ -> norm_point(type, text)
    end
  end

  defp norm(type, value), do: norm_point(type, value)

  defp norm_point(:ipv4_addr, {a, b, c, d} = value)
       when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255,
       do: value

  defp norm_point(:ipv4_addr, %{__struct__: Linx.IP, bytes: <<a, b, c, d>>}), do: {a, b, c, d}

  defp norm_point(:ipv6_addr, %{__struct__: Linx.IP, bytes: <<_::128>> = bytes}),
    do: Datum.from_bytes(:ipv6_addr, bytes)

  defp norm_point(:ipv6_addr, value) when is_tuple(value) and tuple_size(value) == 8 do
    if Enum.all?(Tuple.to_list(value), &(&1 in 0..65535)), do: value, else: bad(value)
  end

  defp norm_point(type, bytes) when type in [:ipv4_addr, :ipv6_addr] and is_binary(bytes) do
    case text?(bytes) && Linx.IP.parse(bytes) do
      false ->
        raw(type, bytes)

      {:ok, %{bytes: parsed}} ->
        if(raw_size?(type, parsed), do: Datum.from_bytes(type, parsed), else: bad(bytes))

      {:error, _} ->
        bad(bytes)
    end
  end

  defp norm_point(type, %{__struct__: Linx.MAC, bytes: bytes})
       when type in [:ether_addr, :ll_addr],
       do: bytes

  defp norm_point(:ether_addr, <<_::48>> = bytes), do: bytes

  defp norm_point(:ether_addr, value) when is_tuple(value) and tuple_size(value) == 6 do
    parts = Tuple.to_list(value)
    if Enum.all?(parts, &(&1 in 0..255)), do: :binary.list_to_bin(parts), else: bad(value)
  end

  defp norm_point(:ether_addr, text) when is_binary(text) do
    case Linx.MAC.parse(text) do
      {:ok, mac} -> mac.bytes
      {:error, _} -> bad(text)
    end
  end

  defp norm_point(:ifname, name) when is_binary(name) do
    cond do
      String.contains?(name, <<0>>) -> bad(name)
      String.ends_with?(name, "\\*") -> String.replace_suffix(name, "\\*", "*")
      String.ends_with?(name, "*") and byte_size(name) in 2..16 -> wildcard(name)
      byte_size(name) in 1..15 -> name
      true -> bad(name)
    end
  end

  # Text of a fixed width, as osf and ct helper have it.
  defp norm_point({:string, bits} = type, text) when is_binary(text) and bits > 0 do
    text = String.trim_trailing(text, <<0>>)
    if byte_size(text) <= Datum.size(type), do: text, else: bad(text)
  end

  # The index of an interface by its name, looked up in the namespace of the push.
  defp norm_point(:iface_index, {:iface, name} = value) when is_binary(name), do: value

  # A name of four letters is no index, though it has an index's size.
  defp norm_point(:iface_index, <<_::binary-1, _::binary>> = name) when byte_size(name) < 16 do
    if name?(name), do: {:iface, name}, else: raw(:iface_index, name)
  end

  defp norm_point(type, value) when is_integer(value) do
    bits = Datum.bits(type)

    if type not in [:ifname, :string, :ipv4_addr, :ipv6_addr, :ether_addr] and
         not match?({:string, _}, type) and value >= 0 and
         (bits == 0 or Bitwise.bsr(value, bits) == 0),
       do: value,
       else: bad(value)
  end

  defp norm_point(type, value) when is_atom(value) and value not in [nil, true, false],
    do: symbol(type, Atom.to_string(value), value)

  defp norm_point(:boolean, value) when is_boolean(value), do: if(value, do: 1, else: 0)

  defp norm_point(type, value) when is_binary(value) do
    case name(type) && Datatype.value(name(type), value) do
      {:ok, number} -> number
      _ -> if Datum.bits(type) == 0, do: value, else: raw(type, value)
    end
  end

  defp norm_point(_type, value), do: bad(value)

  defp name?(text),
    do: not digits?(text) and for(<<c <- text>>, c not in ?!..?~ or c == ?/, do: c) == []

  # "22" is the bytes of 12850, and whoever writes it means 22.
  defp raw(type, bytes),
    do: if(raw?(type, bytes), do: Datum.from_bytes(type, bytes), else: bad(bytes))

  defp raw?(type, bytes), do: raw_size?(type, bytes) and not text?(bytes)
  defp raw_size?(type, bytes), do: byte_size(bytes) == Datum.size(type)

  defp text?(<<c, rest::binary>>) when c in 0x20..0x7E, do: text?(rest)
  defp text?(rest), do: rest == ""

  defp digits?(bytes), do: for(<<c <- bytes>>, c not in ?0..?9, do: c) == []

  defp symbol(type, text, value) do
    case name(type) && Datatype.value(name(type), text) do
      {:ok, number} -> number
      _ -> bad(value)
    end
  end

  defp name({name, _bits}), do: name
  defp name({name, _bits, :host}), do: name
  defp name(name) when is_atom(name), do: name

  defp wildcard(name) do
    stem = binary_part(name, 0, byte_size(name) - 1)
    {:prefix, stem, 8 * byte_size(stem)}
  end

  defp masked(type, base, bits) do
    width = 8 * Datum.size(type)
    shift = width - bits
    low = base |> then(&Datum.sortable(type, &1)) |> Bitwise.bsr(shift) |> Bitwise.bsl(shift)
    value = Datum.unsortable(type, low)

    if type in [:ipv4_addr, :ipv6_addr],
      do: {:prefix, value, bits},
      else: Datum.folded(type, value, Datum.unsortable(type, low + Bitwise.bsl(1, shift) - 1))
  end

  @spec bad(term()) :: no_return()
  defp bad(value), do: throw({:bad_value, value})
end
