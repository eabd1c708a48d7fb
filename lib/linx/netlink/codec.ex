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

  Header fields are 0 unless given; an attribute that is `nil` is left out, and one that was not
  there reads as `nil`. A codec without a header is a bare set of attributes, which is what a nest
  is.

  `default: value` after a field or an attribute is its value in a new struct, and that of an
  attribute which a message does not have.

  ## Types

    * `:u8`, `:u16`, `:u32`, `:u64`, `:s8`, `:s16`, `:s32`, `:s64` in native byte order, and
      `:u16_be`, `:u32_be`, `:u64_be`, `:s16_be`, `:s32_be`, `:s64_be` in network byte order. An
      attribute may be a `:uint`, which takes 32 or 64 bits.
    * `{:enum, kind}` and `{:flags, kind}`: numbers with names, see below.
    * `:string`, with a NUL at its end on the wire; `:binary`, bytes as they are; `:flag`, an
      attribute without payload, `true` when it is there.
    * A module with `encode/1` and `decode/1`: another codec for nested attributes, or one written
      by hand for a value that no type above can say. A hand-written `decode/1` returns `nil` for
      bytes it cannot read.
    * `{:nested, Module}`: the same, with NLA_F_NESTED on the attribute, which newer parts of the
      kernel insist on.
    * `{:dispatch, :kind, %{"plum" => Plum}}`: a module chosen by the value of another field of
      the same struct, declared before it. A value that is not in the table goes through as bytes.
      `{:nested, {:dispatch, ...}}` has the flag.
    * `{:multi, type}`: an attribute that stands once for each element of a list, `[]` by default.
      The type is none of `:flag`, `:dispatch` and `:multi`.
    * `{:list, number, type}`: a nest whose attributes all have one number, as a list. `nil`
      leaves the nest out, `[]` is an empty one. `{:nested, {:list, ...}}` has the flag.
    * `{:binary, length}`: bytes of a header.

  ## Names of numbers

  `enum` and `flags` declare a kind: the names of a number's values, or of its bits.

      codec do
        enum :state, :u8, disabled: 0, learning: 2, forwarding: 3
        flags :how, :u16, pvid: 0x2, untagged: 0x4

        attr 1, :state, {:enum, :state}
        attr 2, :how, {:flags, :how}, default: []
      end

  An enumeration reads as a name, flags as a list of names in the order of the declaration. A
  value without a name, of a newer kernel, reads as its number; each flag without one as the
  number of its bit, at the end of the list. Numbers are written as well as names. A kind of
  another codec is `{:enum, {Module, :state}}`.

  A number of an attribute may be a macro that gives one, and the names of a kind a call that
  gives them: `attr nfta_table_name(), :name, :string` and
  `flags :flag, :u32_be, Constants.flags(:table)`.

  Encoding is strict: an attribute that is declared with `required: true` and is `nil`, a number
  that does not fit its type, a string with a NUL in it or a payload that is too long raises
  `ArgumentError`. Decoding is lenient, since what it reads may come from a newer kernel: a header
  cut short reads as zeros, a payload that is too long is read as its prefix, one that is too
  short as not there, and an attribute that nobody declared is passed over.

  Where the kernel takes a value in one attribute and sends it in another,
  `also 12, :left, Module` reads the latter into the field of the former. `Module.decode/1` may be
  `:none` for bytes that say nothing.

  ## Maps

  `codec as: :map do` makes a codec of attributes only, whose value is a map that has the
  attributes of a message and no others. `encode/1` refuses a key that is not declared.

  ## Keeping what is not declared

  `rest :extra` declares a field that collects, as `[{type, bytes}]`, every attribute that is
  undeclared or could not be read. Encoding writes them back. `rest :extra, skip: [7, 23..26]`
  leaves out those that are known and not wanted.

  ## Messages that are walked natively

  `codec native: 7 do` says that the library's native walk gives the first seven attributes of the
  declaration as a tuple, `{type, header, attribute, ..., rest}`, in this order. `__native__/1`
  makes a struct of it, and attributes of `rest` are read as ever. The native table has to say the
  same (native/linx_wire/src/netlink/rtnl.rs).

  ## The schema as data

  `__codec__/0` returns `%{header: [...], attrs: [...], rest: ..., kinds: %{...}, size: bytes}`,
  in the words of the declaration. `size` is the length of the header.

  Source: netlink(7), `struct nlattr` in linux/netlink.h.
  """

  import Linx.Netlink.Codec.Scalar, only: [is_scalar: 1]

  alias Linx.Netlink.Codec.{Decoder, Encoder, Kind, Scalar}

  @doc """
  `use Linx.Netlink.Codec` makes `codec/2` available.
  """
  defmacro __using__(_opts) do
    quote do
      import Linx.Netlink.Codec, only: [codec: 1, codec: 2]
    end
  end

  @doc """
  Declares the format: a `header` block of `field name, type` and `pad bytes`, then
  `attr number, name, type`, and `also number, name, module` for one that is only read, and
  `rest name` at most once; `enum name, type, names` and `flags name, type, names` anywhere.
  Generates the struct, `t:t/0`, `encode/1`, `decode/1` and `__codec__/0`.

  `native: count` says how many attributes the native walk gives, and `as: :map` makes the value a
  map; see above.

  Raises `ArgumentError` as it compiles for a type that is none, a name or number declared twice,
  and a dispatch on a field that is not declared before it.
  """
  defmacro codec(opts \\ [], do: block) do
    declared = parse(block, __CALLER__)
    {shape, opts} = Keyword.pop(opts, :as, :struct)

    names =
      for({:field, name, _} <- declared.header, do: name) ++
        Enum.map(declared.attrs, &elem(&1, 1))

    check_names!(names, __CALLER__)
    check_attrs!(declared, __CALLER__)

    schema = resolve(declared, __CALLER__)
    rest_fields = if schema.rest, do: [{elem(schema.rest, 0), []}], else: []

    fields =
      for({:field, name, type} <- schema.header, do: {name, default(schema, name, type)}) ++
        for({_, name, type} <- schema.attrs, do: {name, default(schema, name, type)}) ++
        rest_fields

    variables = for {name, _default} <- fields, do: {name, Encoder.var(name)}
    rest_name = if schema.rest, do: elem(schema.rest, 0)

    value =
      case {shape, schema.header} do
        {:struct, _} -> struct_value(schema, fields, variables)
        {:map, []} -> map_value(schema, fields)
        _ -> raise ArgumentError, "#{inspect(__CALLER__.module)}: no header as #{inspect(shape)}"
      end

    quote do
      unquote(value)

      # Applies attributes that were read elsewhere.
      @doc false
      def __attrs__(message, attrs),
        do: unquote(Decoder).attrs(message, attrs, &__attr__/1, unquote(rest_name))

      unquote(Decoder.lookup(schema))
      unquote(native(schema, opts, __CALLER__))

      @doc false
      def __codec__ do
        %{
          header: unquote(for field <- declared.header, do: {:{}, [], Tuple.to_list(field)}),
          attrs: unquote(for {n, name, type} <- declared.attrs, do: {:{}, [], [n, name, type]}),
          rest: unquote(Macro.escape(schema.rest)),
          kinds: unquote(Macro.escape(schema.kinds)),
          size: unquote(Decoder.header_size(schema.header))
        }
      end
    end
  end

  defp struct_value(schema, fields, variables) do
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
    end
  end

  defp map_value(schema, fields) do
    quote do
      @type t :: %{optional(atom()) => term()}

      @doc """
      The attributes of a map. Raises `ArgumentError` for a key that is not declared, and for a
      value that its attribute cannot hold.
      """
      @spec encode(t()) :: binary()
      def encode(%{} = map) do
        unquote(Encoder).declared!(map, unquote(for {name, _} <- fields, do: name))

        unquote_splicing(
          for {name, default} <- fields do
            quote(
              do: unquote(Encoder.var(name)) = :maps.get(unquote(name), map, unquote(default))
            )
          end
        )

        unquote(Encoder.body(schema))
      end

      @doc """
      The attributes of a nest as a map. Any bytes give one.
      """
      @spec decode(binary()) :: t()
      def decode(body) when is_binary(body),
        do: __attrs__(%{}, unquote(Linx.Netlink.Attr).scan(body))
    end
  end

  defp native(_schema, [], _caller), do: nil

  defp native(%{attrs: attrs} = schema, [native: count], caller) when count in 1..20 do
    walked = Enum.take(attrs, count)

    if length(walked) < count or not Enum.all?(walked, &walkable?(elem(&1, 2))),
      do: raise(ArgumentError, "#{inspect(caller.module)}: native: #{count} does not fit"),
      else: Decoder.native(schema, count)
  end

  defp native(_schema, opts, caller),
    do: raise(ArgumentError, "#{inspect(caller.module)}: no options of a codec: #{inspect(opts)}")

  # The shapes of native/linx_wire/src/netlink/schema.rs.
  defp walkable?(type) when type in [:u8, :u16, :u32, :s32, :string, :binary], do: true
  defp walkable?({:nested, {:__aliases__, _, _}}), do: true
  defp walkable?({:__aliases__, _, _}), do: true
  defp walkable?(_type), do: false

  # -- reading the declaration -------------------------------------------------------------------

  defp parse(block, caller) do
    empty = %{
      header: [],
      attrs: [],
      also: [],
      rest: nil,
      kinds: %{},
      defaults: %{},
      required: []
    }

    lines = for line <- lines(block), do: numbered(line, caller)

    Enum.reduce(lines, empty, fn
      {:header, _, [[do: fields]]}, schema ->
        {header, defaults} = fields |> lines() |> Enum.map(&header_line/1) |> Enum.unzip()

        %{
          schema
          | header: header,
            defaults: Map.merge(schema.defaults, Map.new(Enum.concat(defaults)))
        }

      {:attr, _, [number, name, type]}, schema when number in 0..0x3FFF and is_atom(name) ->
        %{schema | attrs: schema.attrs ++ [{number, name, type}]}

      {:attr, _, [number, name, type, [default: default]]}, schema
      when number in 0..0x3FFF and is_atom(name) ->
        schema = %{schema | attrs: schema.attrs ++ [{number, name, type}]}
        put_in(schema.defaults[name], default)

      {:attr, _, [number, name, type, [required: true]]}, schema
      when number in 0..0x3FFF and is_atom(name) ->
        attrs = schema.attrs ++ [{number, name, type}]
        %{schema | attrs: attrs, required: [name | schema.required]}

      {:also, _, [number, name, module]}, schema when number in 0..0x3FFF and is_atom(name) ->
        %{schema | also: schema.also ++ [{number, name, module}]}

      {sort, _, [name, scalar, names]}, schema
      when sort in [:enum, :flags] and is_atom(name) and not is_map_key(schema.kinds, name) ->
        put_in(schema.kinds[name], Kind.new(sort, scalar, literals(names, caller)))

      {:rest, _, [name]}, schema when is_atom(name) ->
        %{schema | rest: {name, []}}

      {:rest, _, [name, [skip: skip]]}, schema when is_atom(name) and is_list(skip) ->
        %{schema | rest: {name, Enum.flat_map(skip, &numbers/1)}}

      other, _schema ->
        raise ArgumentError, "not part of a codec: #{Macro.to_string(other)}"
    end)
  end

  # A macro of the kernel's name in the place of a number.
  defp numbered({sort, meta, [number | rest]}, caller) when sort in [:attr, :also],
    do: {sort, meta, [Macro.expand(number, caller) | rest]}

  defp numbered(line, _caller), do: line

  # A negative number is code.
  defp literals(names, _caller) when is_list(names) do
    Enum.map(names, fn
      {name, {:-, _, [number]}} when is_integer(number) -> {name, -number}
      pair -> pair
    end)
  end

  defp literals(names, caller) do
    {names, _binding} = Code.eval_quoted(names, [], caller)
    names
  end

  defp numbers({:.., _, [first, last]}), do: Enum.to_list(first..last//1)
  defp numbers(number), do: [number]

  defp lines({:__block__, _, lines}), do: lines
  defp lines(line), do: [line]

  defp header_line({:field, _, [name, type]}) when is_atom(name),
    do: {{:field, name, header_type(type)}, []}

  defp header_line({:field, _, [name, type, [default: default]]}) when is_atom(name),
    do: {{:field, name, header_type(type)}, [{name, default}]}

  defp header_line({:pad, _, [bytes]}) when is_integer(bytes) and bytes > 0,
    do: {{:pad, bytes}, []}

  defp header_line(other), do: bad_header_line(other)

  defp header_type(type) when is_scalar(type), do: type
  defp header_type({:binary, bytes} = type) when is_integer(bytes) and bytes > 0, do: type
  defp header_type({sort, _kind} = type) when sort in [:enum, :flags], do: type
  defp header_type(other), do: bad_header_line(other)

  defp bad_header_line(other),
    do: raise(ArgumentError, "not part of a codec's header: #{Macro.to_string(other)}")

  # -- kinds and defaults ------------------------------------------------------------------

  # Each type with its kind in place of the kind's name.
  defp resolve(schema, caller) do
    %{
      schema
      | header:
          Enum.map(schema.header, fn
            {:field, name, type} -> {:field, name, resolve(type, schema.kinds, caller)}
            pad -> pad
          end),
        attrs:
          for({n, name, type} <- schema.attrs, do: {n, name, resolve(type, schema.kinds, caller)})
    }
  end

  defp resolve({:multi, type}, kinds, caller), do: {:multi, resolve(type, kinds, caller)}

  defp resolve({:{}, _, [:list, number, type]}, kinds, caller),
    do: {:list, Macro.expand(number, caller), resolve(type, kinds, caller)}

  defp resolve({:nested, {:{}, _, [:list | _]} = type}, kinds, caller),
    do: {:nested, resolve(type, kinds, caller)}

  defp resolve({sort, ref}, kinds, caller) when sort in [:enum, :flags] do
    case kind(ref, kinds, caller) do
      %{sort: ^sort} = kind ->
        {:named, kind}

      _ ->
        raise ArgumentError,
              "#{inspect(caller.module)}: no #{sort} #{Macro.to_string(ref)} is declared"
    end
  end

  defp resolve(type, _kinds, _caller), do: type

  defp kind({module, name}, _kinds, caller) do
    module = Macro.expand(module, caller)
    Code.ensure_compiled!(module)
    module.__codec__().kinds[name]
  end

  defp kind(name, kinds, _caller), do: kinds[name]

  defp default(schema, name, type) do
    case schema.defaults do
      %{^name => default} -> checked(default, type, name)
      %{} -> unset(schema, name, type)
    end
  end

  defp unset(schema, name, type) do
    case {List.keymember?(schema.attrs, name, 1), type} do
      {true, {:multi, _}} -> []
      {true, _} -> nil
      {false, {:named, kind}} -> Kind.zero(kind)
      {false, type} -> Scalar.zero(type)
    end
  end

  # A name that the kind does not have would be missed at the first message only.
  defp checked(default, {:named, kind}, name) do
    if Kind.number(kind, default) == :error,
      do: raise(ArgumentError, "#{inspect(default)} is no default of #{inspect(name)}"),
      else: default
  end

  defp checked(default, _type, _name), do: default

  # -- checks --------------------------------------------------------------------------------

  defp check_names!(names, caller) do
    case names -- Enum.uniq(names) do
      [] ->
        :ok

      [name | _] ->
        raise ArgumentError, "#{inspect(caller.module)} declares #{inspect(name)} twice"
    end
  end

  @simple [:string, :binary, :flag, :uint]

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
            "#{inspect(caller.module)}: #{inspect(name)} depends on #{inspect(field)}, " <>
              "which nothing before it declares"
    end
  end

  defp check_type!({:multi, type}, name, declared, caller)
       when type != :flag and elem(type, 0) not in [:{}, :multi],
       do: check_type!(type, name, declared, caller)

  defp check_type!({:multi, type}, name, _declared, caller)
       when not is_atom(type) or type == :flag do
    raise ArgumentError, "#{inspect(caller.module)}: #{inspect(name)} cannot be a list"
  end

  defp check_type!({:multi, type}, name, declared, caller),
    do: check_type!(type, name, declared, caller)

  defp check_type!({:{}, _, [:list, _number, type]}, name, declared, caller),
    do: check_type!({:multi, type}, name, declared, caller)

  defp check_type!({:nested, {:{}, _, [sort | _]} = type}, name, declared, caller)
       when sort in [:dispatch, :list],
       do: check_type!(type, name, declared, caller)

  # A misspelt type would otherwise be taken for a module, and be missed at the first message
  # only.
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
