defmodule Linx.Netlink.Codec.Decoder do
  @moduledoc false
  # The code of a codec's decode/1, and what it calls.

  import Linx.Netlink.Codec.Scalar, only: [is_scalar: 1]

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Codec.{Encoder, Kind, Scalar}

  @doc "The body of `decode/1`, where `bytes` is code for its argument."
  @spec body(list(), Macro.t()) :: Macro.t()
  def body([], bytes) do
    quote do
      __attrs__(%__MODULE__{}, unquote(Attr).scan(unquote(bytes)))
    end
  end

  def body(header, bytes) do
    size = header_size(header)
    pairs = header_values(header)

    quote do
      unquote({:<<>>, [], segments(header) ++ [quote(do: attrs :: binary)]}) =
        unquote(__MODULE__).fill(unquote(bytes), unquote(size))

      __attrs__(%__MODULE__{unquote_splicing(pairs)}, unquote(Attr).scan(attrs))
    end
  end

  @doc "`__native__/1`: the struct of a tuple of the native walk, which gives `count` attributes."
  @spec native(map(), pos_integer()) :: Macro.t()
  def native(%{header: header, attrs: attrs}, count) do
    walked = Enum.take(attrs, count)
    variables = for {_, name, _} <- walked, do: Encoder.var(name)
    rest = quote(do: rest)

    tuple =
      {:{}, [], [quote(do: _type), {:<<>>, [], segments(header)}] ++ variables ++ [rest]}

    pairs =
      header_values(header) ++
        for({_, name, type} <- walked, do: {name, walked_value(type, Encoder.var(name))})

    quote do
      @doc false
      def __native__(unquote(tuple)) do
        message = %__MODULE__{unquote_splicing(pairs)}
        if unquote(rest) == [], do: message, else: __attrs__(message, unquote(rest))
      end
    end
  end

  defp walked_value(type, variable) when is_atom(type), do: variable
  defp walked_value({:nested, module}, variable), do: walked_value(module, variable)

  defp walked_value(module, variable),
    do: quote(do: unquote(variable) && unquote(module).decode(unquote(variable)))

  defp segments(header) do
    Enum.map(header, fn
      {:pad, bytes} -> quote(do: _ :: size(unquote(bytes * 8)))
      {:field, name, {:named, kind}} -> Scalar.segment(Encoder.var(name), kind.scalar)
      {:field, name, type} -> Scalar.segment(Encoder.var(name), type)
    end)
  end

  defp header_values(header) do
    for {:field, name, type} <- header, do: {name, header_value(type, Encoder.var(name))}
  end

  defp header_value({:named, kind}, variable),
    do: quote(do: unquote(Kind).value(unquote(Macro.escape(kind)), unquote(variable)))

  defp header_value(_type, variable), do: variable

  @spec header_size(list()) :: non_neg_integer()
  def header_size(header) do
    Enum.sum_by(header, fn
      {:pad, bytes} -> bytes
      {:field, _, {:named, kind}} -> Scalar.bytes(kind.scalar)
      {:field, _, type} -> Scalar.bytes(type)
    end)
  end

  @doc "`__attr__/1`: a number's `{name, type}`, `:skip`, or `nil`."
  @spec lookup(map()) :: Macro.t()
  def lookup(%{attrs: attrs, also: also, rest: rest}) do
    skipped = if rest, do: elem(rest, 1), else: []

    declared =
      for {number, name, type} <- attrs do
        quote do
          defp __attr__(unquote(number)), do: {unquote(name), unquote(escape(type))}
        end
      end

    read =
      for {number, name, module} <- also do
        quote(do: defp(__attr__(unquote(number)), do: {unquote(name), {:also, unquote(module)}}))
      end

    skips =
      for number <- skipped do
        quote(do: defp(__attr__(unquote(number)), do: :skip))
      end

    {:__block__, [], declared ++ read ++ skips ++ [quote(do: defp(__attr__(_), do: nil))]}
  end

  # Other types are code already.
  defp escape({:multi, type}), do: {:multi, escape(type)}
  defp escape({:list, number, type}), do: {:{}, [], [:list, number, escape(type)]}
  defp escape({:nested, {:list, _, _} = type}), do: {:nested, escape(type)}
  defp escape({:nested, {:{}, _, [:dispatch | _]} = type}), do: type
  defp escape({:named, kind}), do: {:named, Macro.escape(kind)}
  defp escape(type), do: type

  # -- what the code calls -----------------------------------------------------------------------

  @spec fill(binary(), non_neg_integer()) :: binary()
  def fill(body, size) when byte_size(body) >= size, do: body
  def fill(body, size), do: body <> <<0::size((size - byte_size(body)) * 8)>>

  @spec attrs(struct(), [Attr.attr()], (non_neg_integer() -> term()), atom()) :: struct()
  def attrs(message, [], _lookup, _rest), do: message

  def attrs(message, attrs, lookup, rest) do
    {message, late, extra} = first_pass(attrs, message, [], [], lookup)
    {many, late} = Enum.split_with(late, &(tuple_size(&1) == 2))
    message = many |> Enum.reverse() |> Enum.reduce(message, &before/2)

    # A dispatched payload may stand before the field that says what it is.
    {message, extra} =
      Enum.reduce(late, {message, extra}, fn {number, name, type, bytes}, {message, extra} ->
        {:dispatch, field, table} = type

        case Map.get(table, Map.get(message, field)) do
          nil -> {Map.put(message, name, bytes), extra}
          module -> keep(message, name, read(module, bytes), {number, bytes}, extra)
        end
      end)

    if rest == nil or extra == [],
      do: message,
      else: Map.put(message, rest, Map.get(message, rest, []) ++ Enum.reverse(extra))
  end

  # An element that is added after all later ones.
  defp before({name, value}, message),
    do: Map.put(message, name, [value | Map.get(message, name, [])])

  defp first_pass([], message, late, extra, _lookup), do: {message, Enum.reverse(late), extra}

  defp first_pass([{number, bytes} = attr | attrs], message, late, extra, lookup) do
    case lookup.(number) do
      {name, {:dispatch, _, _} = type} ->
        first_pass(attrs, message, [{number, name, type, bytes} | late], extra, lookup)

      {name, {:multi, type}} ->
        case read(type, bytes) do
          nil -> first_pass(attrs, message, late, [attr | extra], lookup)
          value -> first_pass(attrs, message, [{name, value} | late], extra, lookup)
        end

      {name, {:also, module}} ->
        case module.decode(bytes) do
          :none ->
            first_pass(attrs, message, late, extra, lookup)

          value ->
            {message, extra} = keep(message, name, value, attr, extra)
            first_pass(attrs, message, late, extra, lookup)
        end

      {name, type} ->
        {message, extra} = keep(message, name, read(type, bytes), attr, extra)
        first_pass(attrs, message, late, extra, lookup)

      :skip ->
        first_pass(attrs, message, late, extra, lookup)

      nil ->
        first_pass(attrs, message, late, [attr | extra], lookup)
    end
  end

  defp keep(message, _name, nil, attr, extra), do: {message, [attr | extra]}
  defp keep(message, name, value, _attr, extra), do: {Map.put(message, name, value), extra}

  defp read(:u8, <<n, _::binary>>), do: n
  defp read(:u16, <<n::native-16, _::binary>>), do: n
  defp read(:u32, <<n::native-32, _::binary>>), do: n
  defp read(:u64, <<n::native-64, _::binary>>), do: n
  defp read(:s8, <<n::signed, _::binary>>), do: n
  defp read(:s16, <<n::native-signed-16, _::binary>>), do: n
  defp read(:s32, <<n::native-signed-32, _::binary>>), do: n
  defp read(:s64, <<n::native-signed-64, _::binary>>), do: n
  defp read(:u16_be, <<n::16, _::binary>>), do: n
  defp read(:u32_be, <<n::32, _::binary>>), do: n
  defp read(:u64_be, <<n::64, _::binary>>), do: n
  defp read(:s16_be, <<n::signed-16, _::binary>>), do: n
  defp read(:s32_be, <<n::signed-32, _::binary>>), do: n
  defp read(:s64_be, <<n::signed-64, _::binary>>), do: n
  defp read(:uint, <<n::native-64, _::binary>>), do: n
  defp read(:uint, <<n::native-32, _::binary>>), do: n
  defp read(:uint, _short), do: nil
  defp read(type, _short) when is_scalar(type), do: nil
  # A copy: a name must not keep the whole dump alive.
  defp read(:string, bytes) do
    case :binary.match(bytes, <<0>>) do
      {size, 1} -> bytes |> binary_part(0, size) |> :binary.copy()
      :nomatch -> :binary.copy(bytes)
    end
  end

  defp read(:binary, bytes), do: bytes
  defp read(:flag, _bytes), do: true

  defp read({:named, kind}, bytes) do
    case read(kind.scalar, bytes) do
      nil -> nil
      number -> Kind.value(kind, number)
    end
  end

  defp read({:list, number, type}, bytes) do
    for {^number, element} <- Attr.scan(bytes),
        value = read(type, element),
        value != nil,
        do: value
  end

  defp read({:nested, type}, bytes), do: read(type, bytes)
  defp read(module, bytes), do: module.decode(bytes)
end
