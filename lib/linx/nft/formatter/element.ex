defmodule Linx.NFT.Formatter.Element do
  @moduledoc false
  # Elements of sets and maps, and the braces around those of a rule's own set.

  alias Linx.Netfilter.{Element, Verdict}
  alias Linx.NFT.Formatter.{Statement, Term, Value}

  @doc """
  The text of each element. `data_type` is nil for a set; `term` the expression that is looked up, for what
  the type alone does not say (the byte order of plain integers, the shift of a field).
  """
  @spec texts([term()], term(), term(), Term.t() | nil) :: [String.t()]
  def texts(elements, key_type, data_type, term \\ nil) do
    for element <- elements,
        do: element |> text(key_type, data_type, term) |> IO.iodata_to_binary()
  end

  @doc "`{ a, b }` on one line."
  @spec braces([String.t()]) :: iodata()
  def braces([]), do: "{ }"
  def braces(texts), do: ["{ ", Enum.intersperse(texts, ", "), " }"]

  defp text(%Element{} = element, key_type, data_type, term) do
    [
      value(element.key, key_type, term),
      for(expr <- element.exprs || [], {:ok, text} <- [Statement.text(expr)], do: [" ", text]),
      if(element.timeout, do: [" timeout ", Value.duration(element.timeout)], else: ""),
      if(element.expires, do: [" expires ", Value.duration(element.expires)], else: ""),
      if(element.comment, do: [" comment ", Value.quoted(element.comment)], else: ""),
      if(element.data == nil, do: "", else: [" : ", data(element.data, data_type)])
    ]
  end

  defp text(key, key_type, nil, term), do: value(key, key_type, term)

  defp text({key, data}, key_type, data_type, term),
    do: [value(key, key_type, term), " : ", data(data, data_type)]

  defp text(key, key_type, _data_type, term), do: value(key, key_type, term)

  @doc "A map's value: a verdict, an object's name, or a value of the data type."
  @spec data(term(), term()) :: iodata()
  def data(%Verdict{} = verdict, _type), do: Statement.verdict(verdict)
  def data(name, {:object, _kind}) when is_binary(name), do: Value.quoted(name)
  def data(verdict, :verdict), do: verdict |> Verdict.new!() |> Statement.verdict()
  def data(value, type), do: value(value, type, nil)

  @doc "A value of a type, with `term` as in `texts/4`."
  @spec value(term(), term(), Term.t() | nil) :: iodata()
  def value(:catch_all, _type, _term), do: "*"

  def value(tuple, {:concat, types}, _term) when is_tuple(tuple) do
    for({part, type} <- Enum.zip(Tuple.to_list(tuple), types), do: value(part, type, nil))
    |> Enum.intersperse(" . ")
  end

  def value(value, {:interval, type}, term), do: value(value, type, term)

  def value({:range, first, last}, type, term),
    do: [value(first, type, term), "-", value(last, type, term)]

  def value({:prefix, stem, _bits}, type, _term) when type in [:ifname, :string],
    do: Value.quoted(stem <> "*")

  def value({:prefix, base, bits}, type, term),
    do: [value(base, type, term), "/", Integer.to_string(bits)]

  def value({a, b, c, d}, _type, _term), do: Value.address(<<a, b, c, d>>)

  def value({a, b, c, d, e, f, g, h}, _type, _term),
    do: Value.address(<<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>)

  def value(bytes, type, _term) when type in [:ether_addr, :ll_addr] and is_binary(bytes),
    do: Value.ether(bytes)

  def value(name, type, _term) when type in [:ifname, :string] and is_binary(name),
    do: Value.quoted(String.replace_suffix(name, "*", "\\*"))

  # Bytes of a type of open size: a number in the order of what is looked up.
  def value(bytes, type, term) when is_binary(bytes) do
    order = if term, do: term.order, else: :big
    number = Term.number(%Term{text: nil, type: nil, size: byte_size(bytes), order: order}, bytes)
    number(number, type, byte_size(bytes) * 8, term)
  end

  def value(number, {type, bits}, term) when is_integer(number),
    do: number(number, type, bits, term)

  def value(number, type, term) when is_integer(number), do: number(number, type, 0, term)

  defp number(number, type, bits, nil), do: Value.number(base(type), number, bits)

  defp number(number, type, bits, term),
    do: Value.number(named(base(type), term.type), Bitwise.bsr(number, term.shift), bits)

  defp base({type, _bits}), do: type
  defp base(type), do: type

  # A set whose type says no more than its size takes the names of what is looked up.
  defp named(:integer, type) when is_atom(type) and type not in [:ifname, :string], do: type
  defp named(type, _), do: type
end
