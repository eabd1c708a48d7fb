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
  read. Encoding writes them back. `rest :extra, skip: [7, 23..26]` leaves out those that are known and not wanted.

  ## The schema as data

  `__codec__/0` returns `%{header: [...], attrs: [...], rest: ...}`, in the words of the declaration.

  Source: netlink(7), `struct nlattr` in linux/netlink.h.
  """

  import Linx.Netlink.Codec.Scalar, only: [is_scalar: 1]

  alias Linx.Netlink.Codec.{Decoder, Encoder}

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

  Raises `ArgumentError` as it compiles for a type that is none, a name or number declared twice, and a dispatch on a
  field that is not declared before it.
  """
  defmacro codec(do: block) do
    schema = parse(block)

    names =
      for({:field, name, _} <- schema.header, do: name) ++ Enum.map(schema.attrs, &elem(&1, 1))

    check_names!(names, __CALLER__)
    check_attrs!(schema, __CALLER__)

    rest_fields = if schema.rest, do: [{elem(schema.rest, 0), []}], else: []

    fields =
      for({:field, name, _} <- schema.header, do: {name, 0}) ++
        for({_, name, _} <- schema.attrs, do: {name, nil}) ++ rest_fields

    variables = for {name, _default} <- fields, do: {name, Encoder.var(name)}
    rest_name = if schema.rest, do: elem(schema.rest, 0)

    quote do
      defstruct unquote(fields)

      @type t :: %__MODULE__{
              unquote_splicing(for {name, _} <- fields, do: {name, quote(do: term())})
            }

      @doc """
      The message body of a struct. Raises `ArgumentError` for a value that its field cannot hold.
      """
      @spec encode(t()) :: binary()
      def encode(%__MODULE__{unquote_splicing(variables)}) do
        unquote(Encoder.body(schema))
      end

      @doc """
      The struct of a message body. Any bytes give one.
      """
      @spec decode(binary()) :: t()
      def decode(body) when is_binary(body) do
        unquote(Decoder.body(schema.header, quote(do: body)))
      end

      # Applies attributes that were read elsewhere.
      @doc false
      def __attrs__(message, attrs),
        do: unquote(Decoder).attrs(message, attrs, &__attr__/1, unquote(rest_name))

      unquote(Decoder.lookup(schema))

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
        %{schema | rest: {name, Enum.flat_map(skip, &numbers/1)}}

      other, _schema ->
        raise ArgumentError, "not part of a codec: #{Macro.to_string(other)}"
    end)
  end

  defp numbers({:.., _, [first, last]}), do: Enum.to_list(first..last//1)
  defp numbers(number), do: [number]

  defp lines({:__block__, _, lines}), do: lines
  defp lines(line), do: [line]

  defp header_line({:field, _, [name, type]}) when is_atom(name) and is_scalar(type),
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

  @simple [:string, :binary, :flag]

  defp check_attrs!(schema, caller) do
    header = for {:field, name, _} <- schema.header, do: name

    Enum.reduce(schema.attrs, {[], header}, fn {number, name, type}, {numbers, names} ->
      if number in numbers do
        raise ArgumentError, "#{inspect(caller.module)} declares attribute #{number} twice"
      end

      check_type!(type, name, names, caller)
      {[number | numbers], [name | names]}
    end)
  end

  defp check_type!({:{}, _, [:dispatch, field, _table]}, name, declared, caller) do
    unless field in declared do
      raise ArgumentError,
            "#{inspect(caller.module)}: #{inspect(name)} depends on #{inspect(field)}, which nothing before it declares"
    end
  end

  # A misspelt type would otherwise be taken for a module, and be missed at the first message only.
  defp check_type!(type, name, _declared, caller) when is_atom(type) do
    unless is_scalar(type) or type in @simple or module?(type) do
      raise ArgumentError,
            "#{inspect(caller.module)}: #{inspect(name)} has the unknown type #{inspect(type)}"
    end
  end

  defp check_type!(_type, _name, _declared, _caller), do: :ok

  defp module?(type),
    do:
      match?("Elixir." <> _, Atom.to_string(type)) or
        match?({:module, _}, Code.ensure_compiled(type))
end
