defmodule Linx.NFT.Formatter.Element do
  @moduledoc false
  # Elements of sets and maps, and the braces around those of a rule's own set.

  alias Linx.Netfilter.{Element, Verdict}
  alias Linx.NFT.Formatter.{Term, Text, Value}
  alias Linx.NFT.Statement.Kinds
  alias Linx.NFT.Statement.Verdict, as: Verdicts

  @doc """
  The text of each element. `data_type` is nil for a set; `term` the expression that is looked up
  and `data` the one that the map's values were declared by, for what a type alone does not say
  (the byte order of plain integers, the shift of a field).
  """
  @spec texts([term()], term(), term(), Term.t() | nil, Term.t() | nil) :: [String.t()]
  def texts(elements, key_type, data_type, term \\ nil, data \\ nil) do
    types = {key_type, data_type, term, data}
    for element <- elements, do: element |> text(types) |> IO.iodata_to_binary()
  end

  @doc "`{ a, b }` on one line."
  @spec braces([String.t()]) :: iodata()
  def braces([]), do: "{ }"
  def braces(texts), do: ["{ ", Enum.intersperse(texts, ", "), " }"]

  defp text(%Element{} = element, {key_type, data_type, term, data}) do
    [
      value(element.key, key_type, term),
      for(
        expr <- element.exprs || [],
        {:ok, text} <- [Kinds.stateful_text(expr)],
        do: [" ", text]
      ),
      if(element.timeout, do: [" timeout ", Value.duration(element.timeout)], else: ""),
      if(element.expires, do: [" expires ", Value.duration(element.expires)], else: ""),
      if(element.comment, do: [" comment ", Text.comment(element.comment)], else: ""),
      if(element.data == nil, do: "", else: [" : ", data(element.data, data_type, data)])
    ]
  end

  defp text(key, {key_type, nil, term, _}), do: value(key, key_type, term)

  defp text({key, data}, {key_type, data_type, term, as}),
    do: [value(key, key_type, term), " : ", data(data, data_type, as)]

  defp text(key, {key_type, _data_type, term, _}), do: value(key, key_type, term)

  # A map's value: a verdict, an object's name, or a value of the data type.
  @spec data(term(), term(), Term.t() | nil) :: iodata()
  defp data(%Verdict{} = verdict, _type, _term), do: Verdicts.written(verdict)
  defp data(name, {:object, _kind}, _term) when is_binary(name), do: Text.quoted(name)
  defp data(verdict, :verdict, _term), do: verdict |> Verdict.new!() |> Verdicts.written()
  # An address alone where the map gives ranges: as a prefix it says so.
  defp data(value, {:interval, type}, term)
       when is_tuple(value) and tuple_size(value) in [4, 8] and type in [:ipv4_addr, :ipv6_addr],
       do: [value(value, type, term), if(type == :ipv4_addr, do: "/32", else: "/128")]

  defp data(value, type, term), do: value(value, type, term)

  # A value of a type, with term as in texts/4.
  @spec value(term(), term(), Term.t() | nil) :: iodata()
  defp value(value, type, term), do: value(value, type, term, :named)

  # A name may hold a dash, so the ends of a range are numbers.
  defp value(:catch_all, _type, _term, _form), do: "*"

  defp value(tuple, {:concat, types}, term, form)
       when is_tuple(tuple) and tuple_size(tuple) == length(types) do
    parts = Tuple.to_list(tuple)
    terms = (term && term.parts) || List.duplicate(nil, length(types))

    for({part, type, term} <- Enum.zip([parts, types, terms]), do: value(part, type, term, form))
    |> Enum.intersperse(" . ")
  end

  defp value(value, {:interval, type}, term, form), do: value(value, type, term, form)

  defp value({:range, first, last}, type, term, _form),
    do: [value(first, type, term, :plain), "-", value(last, type, term, :plain)]

  defp value({:prefix, stem, _bits}, type, _term, _form) when type in [:ifname, :string],
    do: Text.interface(stem, true)

  defp value({:prefix, base, bits}, type, term, _form),
    do: [value(base, type, term, :plain), "/", Integer.to_string(bits)]

  defp value({a, b, c, d}, _type, _term, _form), do: Value.address(<<a, b, c, d>>)

  defp value({a, b, c, d, e, f, g, h}, _type, _term, _form),
    do: Value.address(<<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>)

  defp value(bytes, type, _term, _form) when type in [:ether_addr, :ll_addr] and is_binary(bytes),
    do: Value.ether(bytes)

  defp value(name, type, _term, _form) when type in [:ifname, :string] and is_binary(name),
    do: if(type == :ifname, do: interface(name), else: Value.whole(type, name))

  # A name that has no number yet.
  defp value({tag, name}, _type, _term, _form) when is_atom(tag) and is_binary(name),
    do: Text.index(name)

  defp value(bytes, {:concat, _types}, _term, _form) when is_binary(bytes),
    do:
      raise(
        ArgumentError,
        "an element of #{byte_size(bytes)} bytes has no text: its set does not say what its " <>
          "parts are"
      )

  # Bytes of a type of open size: a number in the order of what is looked up.
  defp value(bytes, type, term, form) when is_binary(bytes),
    do: sized(bytes, type, term || %Term{text: nil, type: :integer, size: byte_size(bytes)}, form)

  # A number is the value itself where the type has a byte order.
  defp value(number, {type, bits, :host}, term, form) when is_integer(number),
    do: number(form, if(term, do: named(type, term.type), else: type), number, bits)

  # The number stands for its bytes, most significant first, whatever order the register has.
  defp value(number, {type, bits}, term, form) when is_integer(number) do
    size = div(bits + 7, 8)

    sized(
      <<number::size(size * 8)>>,
      {type, bits},
      term || %Term{text: nil, type: type, size: size},
      form
    )
  end

  defp value(number, type, nil, form) when is_integer(number), do: number(form, type, number, 0)

  defp value(number, type, term, form) when is_integer(number),
    do: number(form, type, Bitwise.bsr(number, term.shift), 0)

  # `Linx.Netfilter.Set` reads an asterisk at the end of an element's name as a pattern, escaped
  # once or not.
  defp interface(name) do
    if String.ends_with?(name, "*"),
      do: Text.unwritable("the element #{inspect(name)} ends in an asterisk (byte 0x2A)"),
      else: Text.interface(name, false)
  end

  # Without an end the string is as long as its bytes.
  defp sized(bytes, type, _term, _form) when elem(type, 0) in [:string, :ifname],
    do: Value.string(elem(type, 0), bytes <> <<0>>, byte_size(bytes) + 1)

  # A part of a key fills its words; the value stands at their start.
  defp sized(bytes, type, term, form) do
    bytes =
      if byte_size(bytes) > term.size and term.size > 0,
        do: binary_part(bytes, 0, term.size),
        else: bytes

    number = term |> Term.number(bytes) |> Bitwise.bsr(term.shift)
    number(form, named(base(type), term.type), number, byte_size(bytes) * 8)
  end

  defp number(:named, type, number, bits), do: Value.number(type, number, bits)
  defp number(:plain, type, number, bits), do: Value.plain(type, number, bits)

  defp base({type, _bits}), do: type
  defp base({type, _bits, _order}), do: type
  defp base(type), do: type

  # A set whose type says no more than its size takes the names of what is looked up.
  defp named(:integer, type) when is_atom(type) and type not in [:ifname, :string, nil], do: type
  defp named(type, _), do: type
end
