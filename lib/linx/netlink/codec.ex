defmodule Linx.Netlink.Codec do
  @moduledoc """
  Declares the wire format of a netlink message, and gets its struct, `encode/1` and `decode/1`.

  A message body is a fixed C struct and then attributes. A module says which:

      defmodule Cake do
        use Linx.Netlink.Codec

        codec do
          header do
            field :family, :u8
            pad 3
            field :ifindex, :s32
          end

          attr 1, :kind, :string
          attr 2, :weight, :u32
        end
      end

      Cake.decode(Cake.encode(%Cake{ifindex: 4, kind: "plum"}))
      #=> %Cake{family: 0, ifindex: 4, kind: "plum", weight: nil}

  Header fields are 0 unless given; an attribute that is `nil` is left out, and one that was not there reads as `nil`.
  A codec without a header is a bare set of attributes, which is what a nest is.

  ## Types

    * `:u8`, `:u16`, `:u32`, `:u64`, `:s8`, `:s16`, `:s32` in native byte order, and `:u16_be`, `:u32_be` for the few
      attributes in network byte order.
    * `:string`, with a NUL at its end on the wire; `:binary`, bytes as they are; `:flag`, an attribute without payload,
      `true` when it is there.
    * A module with `encode/1` and `decode/1`: another codec for nested attributes, or one written by hand for a value
      that no type above can say. A hand-written `decode/1` returns `nil` for bytes it cannot read.
    * `{:nested, Module}`: the same, with NLA_F_NESTED on the attribute, which newer parts of the kernel insist on.
    * `{:dispatch, :kind, %{"plum" => Plum}}`: a module chosen by the value of another field of the same struct, declared
      before it. A value that is not in the table goes through as bytes.

  Encoding is strict: a number that does not fit its type, a string with a NUL in it or a payload that is too long raises
  `ArgumentError`. Decoding is lenient, since what it reads may come from a newer kernel: a header cut short reads as
  zeros, a payload that is too long is read as its prefix, one that is too short as not there, and an attribute that
  nobody declared is passed over.

  ## Keeping what is not declared

  `rest :extra` declares a field that collects, as `[{type, bytes}]`, every attribute that is undeclared or could not be
  read. Encoding writes them back. `rest :extra, skip: [7, 23]` leaves out those that are known and not wanted.

  ## The schema as data

  `__codec__/0` returns `%{header: [...], attrs: [...], rest: ...}`, in the words of the declaration.

  Source: netlink(7), `struct nlattr` in linux/netlink.h.
  """

  alias Linx.Netlink.Attr

  @sizes %{
    u8: 8,
    u16: 16,
    u32: 32,
    u64: 64,
    s8: 8,
    s16: 16,
    s32: 32,
    u16_be: 16,
    u32_be: 32
  }
  @scalars Map.keys(@sizes)

  @doc """
  `use Linx.Netlink.Codec` makes `codec/1` available.
  """
  defmacro __using__(_opts) do
    quote do
      import Linx.Netlink.Codec, only: [codec: 1]
    end
  end

  @doc """
  Declares the format: a `header` block of `field name, type` and `pad bytes`, then `attr number, name, type`, and
  `rest name` at most once. Generates the struct, `t:t/0`, `encode/1`, `decode/1` and `__codec__/0`.
  """
  defmacro codec(do: block) do
    schema = parse(block)

    names =
      for({:field, name, _} <- schema.header, do: name) ++ Enum.map(schema.attrs, &elem(&1, 1))

    check_names!(names, __CALLER__)

    rest_fields = if schema.rest, do: [{elem(schema.rest, 0), []}], else: []

    fields =
      for({:field, name, _} <- schema.header, do: {name, 0}) ++
        for({_, name, _} <- schema.attrs, do: {name, nil}) ++ rest_fields

    quote do
      defstruct unquote(fields)

      @type t :: %__MODULE__{
              unquote_splicing(for {name, _} <- fields, do: {name, quote(do: term())})
            }

      @doc """
      The message body of a struct. Raises `ArgumentError` for a value that its field cannot hold.
      """
      @spec encode(t()) :: binary()
      def encode(%__MODULE__{} = message) do
        IO.iodata_to_binary([
          unquote(header_encoder(schema.header)),
          unquote_splicing(attr_encoders(schema))
        ])
      end

      @doc """
      The struct of a message body. Any bytes give one.
      """
      @spec decode(binary()) :: t()
      def decode(body) when is_binary(body) do
        unquote(header_decoder(schema.header))
      end

      # Applies attributes that were read elsewhere.
      @doc false
      def __attrs__(message, attrs),
        do:
          Linx.Netlink.Codec.decode_attrs(message, attrs, &__attr__/1, unquote(rest_name(schema)))

      unquote(attr_lookup(schema))

      @doc false
      def __codec__ do
        %{
          header: unquote(Macro.escape(schema.header)),
          attrs: unquote(for {n, name, type} <- schema.attrs, do: {:{}, [], [n, name, type]}),
          rest: unquote(Macro.escape(schema.rest))
        }
      end
    end
  end

  # -- reading the declaration -----------------------------------------------------------------------------------------

  defp parse(block) do
    Enum.reduce(lines(block), %{header: [], attrs: [], rest: nil}, fn
      {:header, _, [[do: fields]]}, schema ->
        %{schema | header: Enum.map(lines(fields), &header_line/1)}

      {:attr, _, [number, name, type]}, schema when number in 0..0x3FFF and is_atom(name) ->
        %{schema | attrs: schema.attrs ++ [{number, name, type}]}

      {:rest, _, [name]}, schema when is_atom(name) ->
        %{schema | rest: {name, []}}

      {:rest, _, [name, [skip: skip]]}, schema when is_atom(name) and is_list(skip) ->
        %{schema | rest: {name, skip}}

      other, _schema ->
        raise ArgumentError, "not part of a codec: #{Macro.to_string(other)}"
    end)
  end

  defp lines({:__block__, _, lines}), do: lines
  defp lines(line), do: [line]

  defp header_line({:field, _, [name, type]}) when is_atom(name) and type in @scalars,
    do: {:field, name, type}

  defp header_line({:pad, _, [bytes]}) when is_integer(bytes) and bytes > 0, do: {:pad, bytes}

  defp header_line(other),
    do: raise(ArgumentError, "not part of a codec's header: #{Macro.to_string(other)}")

  defp check_names!(names, caller) do
    case names -- Enum.uniq(names) do
      [] ->
        :ok

      [name | _] ->
        raise ArgumentError, "#{inspect(caller.module)} declares #{inspect(name)} twice"
    end
  end

  # -- generating ------------------------------------------------------------------------------------------------------

  defp header_encoder([]), do: ""

  defp header_encoder(header) do
    segments =
      Enum.map(header, fn
        {:pad, bytes} ->
          quote(do: 0 :: size(unquote(bytes * 8)))

        {:field, name, type} ->
          quote do
            Linx.Netlink.Codec.scalar(
              unquote(type),
              message.unquote(name),
              unquote(name)
            ) :: binary
          end
      end)

    {:<<>>, [], segments}
  end

  defp attr_encoders(%{attrs: attrs, rest: rest}) do
    declared =
      for {number, name, type} <- attrs do
        quote do
          Linx.Netlink.Codec.attr(
            unquote(number),
            unquote(type),
            message.unquote(name),
            unquote(name),
            message
          )
        end
      end

    case rest do
      nil -> declared
      {name, _skip} -> declared ++ [quote(do: Linx.Netlink.Codec.rest(message.unquote(name)))]
    end
  end

  defp header_decoder([]) do
    quote do
      __attrs__(%__MODULE__{}, Linx.Netlink.Attr.scan(body))
    end
  end

  defp header_decoder(header) do
    size = header_size(header)

    segments =
      Enum.map(header, fn
        {:pad, bytes} -> quote(do: _ :: size(unquote(bytes * 8)))
        {:field, name, type} -> segment(Macro.var(name, __MODULE__), type)
      end)

    pairs = for {:field, name, _} <- header, do: {name, Macro.var(name, __MODULE__)}

    quote do
      unquote({:<<>>, [], segments ++ [quote(do: attrs :: binary)]}) =
        Linx.Netlink.Codec.fill(body, unquote(size))

      __attrs__(%__MODULE__{unquote_splicing(pairs)}, Linx.Netlink.Attr.scan(attrs))
    end
  end

  defp segment(var, type) do
    size = Map.fetch!(@sizes, type)

    case type do
      type when type in [:s8, :s16, :s32] ->
        quote(do: unquote(var) :: native - signed - size(unquote(size)))

      type when type in [:u16_be, :u32_be] ->
        quote(do: unquote(var) :: size(unquote(size)))

      _ ->
        quote(do: unquote(var) :: native - size(unquote(size)))
    end
  end

  defp header_size(header) do
    Enum.sum_by(header, fn
      {:pad, bytes} -> bytes
      {:field, _, type} -> div(Map.fetch!(@sizes, type), 8)
    end)
  end

  # `__attr__/1`: a number's `{name, type}`, :skip, or nil.
  defp attr_lookup(%{attrs: attrs, rest: rest}) do
    skipped = if rest, do: elem(rest, 1), else: []

    declared =
      for {number, name, type} <- attrs do
        quote do
          defp __attr__(unquote(number)), do: {unquote(name), unquote(type)}
        end
      end

    skips =
      for number <- skipped do
        quote(do: defp(__attr__(unquote(number)), do: :skip))
      end

    {:__block__, [], declared ++ skips ++ [quote(do: defp(__attr__(_), do: nil))]}
  end

  defp rest_name(%{rest: nil}), do: nil
  defp rest_name(%{rest: {name, _}}), do: name

  # -- what the generated functions call ---------------------------------------------------------------------------------

  @doc false
  def scalar(:u8, n, _) when n in 0..0xFF, do: <<n>>
  def scalar(:u16, n, _) when n in 0..0xFFFF, do: <<n::native-16>>
  def scalar(:u32, n, _) when n in 0..0xFFFFFFFF, do: <<n::native-32>>
  def scalar(:u64, n, _) when n in 0..0xFFFFFFFFFFFFFFFF, do: <<n::native-64>>
  def scalar(:s8, n, _) when n in -0x80..0x7F, do: <<n>>
  def scalar(:s16, n, _) when n in -0x8000..0x7FFF, do: <<n::native-16>>
  def scalar(:s32, n, _) when n in -0x80000000..0x7FFFFFFF, do: <<n::native-32>>
  def scalar(:u16_be, n, _) when n in 0..0xFFFF, do: <<n::16>>
  def scalar(:u32_be, n, _) when n in 0..0xFFFFFFFF, do: <<n::32>>
  def scalar(type, value, name), do: bad_value(type, value, name)

  @doc false
  def attr(_number, _type, nil, _name, _message), do: []
  def attr(_number, :flag, false, _name, _message), do: []

  def attr(number, {:nested, module}, value, name, message),
    do: attr(Bitwise.bor(number, 0x8000), module, value, name, message)

  def attr(number, type, value, name, message),
    do: Attr.put(number, payload(type, value, name, message))

  defp payload(type, value, name, _message) when type in @scalars, do: scalar(type, value, name)

  defp payload(:string, value, name, _message) do
    if is_binary(value) and not :lists.member(0, :binary.bin_to_list(value)),
      do: [value, 0],
      else: bad_value(:string, value, name)
  end

  defp payload(:binary, value, _name, _message) when is_binary(value), do: value
  defp payload(:flag, true, _name, _message), do: <<>>

  # A value of an unknown kind was read as bytes and is written as such.
  defp payload({:dispatch, _, _}, value, _name, _message) when is_binary(value), do: value

  defp payload({:dispatch, field, table}, value, name, message),
    do: dispatch(Map.get(table, Map.get(message, field)), value, name)

  defp payload(type, value, name, _message) when type in [:binary, :flag],
    do: bad_value(type, value, name)

  defp payload(module, value, _name, _message), do: module.encode(value)

  defp dispatch(nil, value, name), do: bad_value(:dispatch, value, name)
  defp dispatch(module, value, _name), do: module.encode(value)

  @doc false
  def rest(attrs), do: for({number, bytes} <- attrs, do: Attr.put(number, bytes))

  @spec bad_value(atom(), term(), atom()) :: no_return()
  defp bad_value(type, value, name) do
    raise ArgumentError, "#{inspect(value)} is no #{type}, which field #{inspect(name)} holds"
  end

  @doc false
  def fill(body, size) when byte_size(body) >= size, do: body
  def fill(body, size), do: body <> <<0::size((size - byte_size(body)) * 8)>>

  @doc false
  def decode_attrs(message, [], _lookup, _rest), do: message

  def decode_attrs(message, attrs, lookup, rest) do
    {message, late, extra} = first_pass(attrs, message, [], [], lookup)

    # A dispatched payload may stand before the field that says what it is.
    {message, extra} =
      Enum.reduce(late, {message, extra}, fn {number, name, type, bytes}, {message, extra} ->
        {:dispatch, field, table} = type

        case Map.get(table, Map.get(message, field)) do
          nil -> {Map.replace!(message, name, bytes), extra}
          module -> keep(message, name, read(module, bytes), {number, bytes}, extra)
        end
      end)

    if rest == nil or extra == [],
      do: message,
      else: Map.replace!(message, rest, Map.fetch!(message, rest) ++ Enum.reverse(extra))
  end

  defp first_pass([], message, late, extra, _lookup), do: {message, Enum.reverse(late), extra}

  defp first_pass([{number, bytes} = attr | attrs], message, late, extra, lookup) do
    case lookup.(number) do
      {name, {:dispatch, _, _} = type} ->
        first_pass(attrs, message, [{number, name, type, bytes} | late], extra, lookup)

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
  defp keep(message, name, value, _attr, extra), do: {Map.replace!(message, name, value), extra}

  defp read(:u8, <<n, _::binary>>), do: n
  defp read(:u16, <<n::native-16, _::binary>>), do: n
  defp read(:u32, <<n::native-32, _::binary>>), do: n
  defp read(:u64, <<n::native-64, _::binary>>), do: n
  defp read(:s8, <<n::signed, _::binary>>), do: n
  defp read(:s16, <<n::native-signed-16, _::binary>>), do: n
  defp read(:s32, <<n::native-signed-32, _::binary>>), do: n
  defp read(:u16_be, <<n::16, _::binary>>), do: n
  defp read(:u32_be, <<n::32, _::binary>>), do: n
  defp read(type, _short) when type in @scalars, do: nil
  defp read(:string, bytes), do: bytes |> :binary.split(<<0>>) |> hd()
  defp read(:binary, bytes), do: bytes
  defp read(:flag, _bytes), do: true
  defp read({:nested, module}, bytes), do: module.decode(bytes)
  defp read(module, bytes), do: module.decode(bytes)

  # The field that stands at `offset` of a body, as a path of names: where the kernel's extended acknowledgement points.
  @doc false
  @spec locate(module(), binary(), integer()) :: [atom()]
  def locate(module, body, offset) do
    header = if codec?(module), do: header_size(module.__codec__().header), else: 0
    find(module, body, header, offset)
  end

  defp find(module, body, at, offset) when offset >= at and at + 4 <= byte_size(body) do
    <<length::native-16, type::native-16>> = binary_part(body, at, 4)
    next = at + max(Bitwise.band(length + 3, Bitwise.bnot(3)), 4)

    cond do
      offset >= next -> find(module, body, next, offset)
      at + length > byte_size(body) or length < 4 -> []
      true -> name(module, type, body, binary_part(body, at + 4, length - 4), offset - at - 4)
    end
  end

  defp find(_module, _body, _at, _offset), do: []

  defp name(module, type, body, payload, offset) do
    attrs = if codec?(module), do: module.__codec__().attrs, else: []

    case List.keyfind(attrs, Bitwise.band(type, 0x3FFF), 0) do
      {_, name, {:nested, inner}} ->
        [name | inner(inner, payload, offset)]

      {_, name, {:dispatch, field, table}} ->
        kind = Map.get(module.decode(body), field)
        [name | inner(Map.get(table, kind), payload, offset)]

      {_, name, inner} ->
        [name | inner(inner, payload, offset)]

      nil ->
        []
    end
  end

  defp inner(module, payload, offset) when offset >= 0,
    do: if(codec?(module), do: locate(module, payload, offset), else: [])

  defp inner(_module, _payload, _offset), do: []

  defp codec?(module) when is_atom(module) and module not in [nil, :string, :binary, :flag],
    do: Code.ensure_loaded?(module) and function_exported?(module, :__codec__, 0)

  defp codec?(_module), do: false
end
