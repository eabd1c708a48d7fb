defmodule Linx.Netlink.Codec.Encoder do
  @moduledoc false
  # The code of a codec's encode/1. Every field has its own few instructions: the value is checked
  # where it stands and written with its header as one small binary, from the last attribute to
  # the first, and the list is joined once.

  import Linx.Netlink.Codec.Scalar, only: [is_scalar: 1]

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Codec.{Kind, Scalar}

  @nested 0x8000

  @doc "The body of `encode/1`, where each field stands in a variable of its name."
  @spec body(map()) :: Macro.t()
  def body(%{header: header, attrs: attrs, rest: rest, required: required}) do
    steps = for attr <- Enum.reverse(attrs), do: quote(do: tail = unquote(attr(attr)))

    # The names of a header become numbers before the header is written.
    numbers =
      for {:field, name, {:named, kind}} <- header do
        quote do
          unquote(var(name)) =
            unquote(__MODULE__).number(
              unquote(Macro.escape(kind)),
              unquote(var(name)),
              unquote(name)
            )
        end
      end

    header =
      Enum.map(header, fn
        {:field, name, {:named, kind}} -> {:field, name, kind.scalar}
        other -> other
      end)

    given =
      for name <- Enum.reverse(required),
          do: quote(do: unquote(__MODULE__).given!(unquote(var(name)), unquote(name)))

    quote do
      (unquote_splicing(numbers ++ given))
      tail = unquote(undeclared(rest))
      unquote_splicing(steps)
      IO.iodata_to_binary([unquote(header(header)) | tail])
    end
  end

  @doc "The variable of a field, in a context where no other variable is."
  @spec var(atom()) :: Macro.t()
  def var(name), do: Macro.var(name, Scalar)

  defp undeclared(nil), do: []
  defp undeclared({name, _skip}), do: quote(do: unquote(__MODULE__).rest(unquote(var(name))))

  defp header([]), do: ""

  defp header(header) do
    segments =
      Enum.map(header, fn
        {:pad, bytes} -> quote(do: 0 :: size(unquote(bytes * 8)))
        {:field, name, type} -> Scalar.segment(var(name), type)
      end)

    fields = for {:field, name, type} <- header, do: {name, type}

    case Enum.map(fields, fn {name, type} -> Scalar.guard(var(name), type) end) do
      [] ->
        {:<<>>, [], segments}

      [first | guards] ->
        guard = Enum.reduce(guards, first, &quote(do: unquote(&2) and unquote(&1)))
        values = for {name, type} <- fields, do: {:{}, [], [type, var(name), name]}

        quote do
          if unquote(guard),
            do: unquote({:<<>>, [], segments}),
            else: unquote(__MODULE__).bad_header(unquote(values))
        end
    end
  end

  defp attr({number, name, type}) when is_scalar(type) do
    size = Scalar.bytes(type)
    value = quote(do: value)

    quote do
      case unquote(var(name)) do
        nil ->
          tail

        value when unquote(Scalar.guard(value, type)) ->
          [
            <<unquote(Attr.segments(number, size))::binary, unquote(Scalar.segment(value, type)),
              0::size(unquote(rem(8 - size, 4) * 8))>>
            | tail
          ]

        value ->
          unquote(__MODULE__).bad_value(unquote(type), value, unquote(name))
      end
    end
  end

  defp attr({number, name, {:named, kind}}) do
    quote do
      unquote(__MODULE__).named(
        unquote(number),
        unquote(var(name)),
        unquote(Macro.escape(kind)),
        unquote(name),
        tail
      )
    end
  end

  # The nest of a list is written first, with nothing behind it.
  defp attr({number, name, {:list, element, type}}) do
    quote do
      case unquote(var(name)) do
        nil ->
          tail

        unquote(var(name)) ->
          inner =
            (fn tail -> unquote(attr({element, name, {:multi, type}})) end).([])

          unquote(Attr).put(unquote(number), inner, tail)
      end
    end
  end

  # The field's variable is each element in turn, last to first.
  defp attr({number, name, {:multi, type}}) do
    quote do
      List.foldr(unquote(var(name)), tail, fn unquote(var(name)), tail ->
        unquote(attr({number, name, type}))
      end)
    end
  end

  defp attr({number, name, :uint}) do
    quote do
      unquote(__MODULE__).uint(unquote(number), unquote(var(name)), unquote(name), tail)
    end
  end

  defp attr({number, name, {:nested, module}}),
    do: attr({Bitwise.bor(number, @nested), name, module})

  defp attr({number, name, {:{}, _, [:dispatch, field, table]}}) do
    quote do
      unquote(__MODULE__).dispatched(
        unquote(number),
        unquote(var(name)),
        unquote(table),
        unquote(var(field)),
        unquote(name),
        tail
      )
    end
  end

  defp attr({number, name, :flag}) do
    quote do
      case unquote(var(name)) do
        off when off in [nil, false] -> tail
        true -> [unquote(Attr.segments(number, 0)) | tail]
        value -> unquote(__MODULE__).bad_value(:flag, value, unquote(name))
      end
    end
  end

  defp attr({number, name, type}) when type in [:string, :binary] do
    quote(
      do:
        unquote(__MODULE__).unquote(type)(
          unquote(number),
          unquote(var(name)),
          unquote(name),
          tail
        )
    )
  end

  defp attr({number, name, module}) do
    quote do
      case unquote(var(name)) do
        nil -> tail
        value -> unquote(Attr).put(unquote(number), unquote(module).encode(value), tail)
      end
    end
  end

  # -- what the code calls -----------------------------------------------------------------------

  @spec given!(term(), atom()) :: :ok
  def given!(nil, name), do: raise(ArgumentError, "no #{inspect(name)} is given")
  def given!(_value, _name), do: :ok

  @spec declared!(map(), [atom()]) :: :ok
  def declared!(map, names) do
    case Map.keys(map) -- names do
      [] -> :ok
      keys -> raise ArgumentError, "no such field: #{Enum.map_join(keys, ", ", &inspect/1)}"
    end
  end

  @spec rest([Attr.attr()]) :: iodata()
  def rest([]), do: []
  def rest([{number, bytes} | attrs]), do: Attr.put(number, bytes, rest(attrs))

  @spec number(Kind.t(), term(), atom()) :: integer()
  def number(kind, value, name) do
    case Kind.number(kind, value) do
      {:ok, number} -> number
      :error -> bad_value(kind.sort, value, name)
    end
  end

  @spec named(0..65535, term(), Kind.t(), atom(), iodata()) :: iodata()
  def named(_number, nil, _kind, _name, tail), do: tail

  def named(number, value, kind, name, tail),
    do: Attr.put(number, Scalar.encode(kind.scalar, number(kind, value, name)), tail)

  # NLA_UINT: 32 bits where they suffice, and 64 otherwise.
  @spec uint(0..65535, term(), atom(), iodata()) :: iodata()
  def uint(_number, nil, _name, tail), do: tail

  def uint(number, value, _name, tail) when is_integer(value) and value in 0..0xFFFFFFFF,
    do: Attr.put(number, <<value::native-32>>, tail)

  def uint(number, value, _name, tail)
      when is_integer(value) and value in 0..0xFFFFFFFFFFFFFFFF,
      do: Attr.put(number, <<value::native-64>>, tail)

  def uint(_number, value, name, _tail), do: bad_value(:uint, value, name)

  @spec string(0..65535, term(), atom(), iodata()) :: iodata()
  def string(_number, nil, _name, tail), do: tail

  def string(number, value, name, tail) do
    if is_binary(value) and :binary.match(value, <<0>>) == :nomatch,
      do: Attr.put(number, <<value::binary, 0>>, tail),
      else: bad_value(:string, value, name)
  end

  @spec binary(0..65535, term(), atom(), iodata()) :: iodata()
  def binary(_number, nil, _name, tail), do: tail
  def binary(number, value, _name, tail) when is_binary(value), do: Attr.put(number, value, tail)
  def binary(_number, value, name, _tail), do: bad_value(:binary, value, name)

  # A value of an unknown kind was read as bytes and is written as such.
  @spec dispatched(0..65535, term(), %{term() => module()}, term(), atom(), iodata()) :: iodata()
  def dispatched(_number, nil, _table, _kind, _name, tail), do: tail

  def dispatched(number, value, _table, _kind, _name, tail) when is_binary(value),
    do: Attr.put(number, value, tail)

  def dispatched(number, value, table, kind, name, tail) do
    case table do
      %{^kind => module} -> Attr.put(number, module.encode(value), tail)
      %{} -> bad_value(:dispatch, value, name)
    end
  end

  @spec bad_header([{Scalar.name(), term(), atom()}]) :: no_return()
  def bad_header(fields) do
    {type, value, name} =
      Enum.find(fields, fn {type, value, _} -> not Scalar.fits?(type, value) end)

    bad_value(type, value, name)
  end

  @spec bad_value(atom() | binary() | {:binary, pos_integer()}, term(), atom()) :: no_return()
  def bad_value({:binary, bytes}, value, name), do: bad_value("#{bytes} bytes", value, name)

  def bad_value(type, value, name) do
    raise ArgumentError, "#{inspect(value)} is no #{type}, which field #{inspect(name)} holds"
  end
end
