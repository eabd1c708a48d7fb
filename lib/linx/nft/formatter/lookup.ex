defmodule Linx.NFT.Formatter.Lookup do
  @moduledoc false
  # Sets, maps and verdict maps in rules: named ones, those of the rule itself, and those that a
  # rule fills (dynset).

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Expr.Payload
  alias Linx.NFT.Object
  alias Linx.NFT.Statement.Dynset

  alias Linx.NFT.Formatter.{
    Context,
    Element,
    Match,
    Registers,
    Term,
    Text,
    Value
  }

  @doc "A lookup: a match, a verdict map, or the load of a map's value."
  @spec step(Expr.t(), Context.t()) :: {:ok, Context.t()} | :error
  def step(%Expr{name: :lookup, data: %{set: name} = data}, context) do
    set = Context.set(context, name)

    with {:ok, key} <- key(context, data[:sreg] || 1, set && set.key_type) do
      use_set(
        context,
        data,
        key,
        ["@", Text.name(name)],
        set && Map.get(set, :data_type),
        data[:flags]
      )
    end
  end

  def step(
        %Expr{name: :__anon_set, data: %{data_type: {:object, kind}} = data},
        context
      ) do
    with {:ok, key} <- key(context, data[:sreg] || 1, data[:key_type]),
         {:ok, words} <- Object.reference_words(kind),
         do: Context.emit(context, [words, " ", Match.text(key), " map ", braces(data, key)])
  end

  # A meter: the set is the rule's own, and the rule fills it.
  def step(%Expr{name: :__anon_set, data: %{via: {:dynset, dynset}} = data}, context) do
    with {:ok, text} <- Dynset.meter_text(dynset, data, context), do: Context.emit(context, text)
  end

  def step(%Expr{name: :__anon_set, data: data}, context) do
    with {:ok, key} <- key(context, data[:sreg] || 1, data[:key_type]) do
      use_set(context, data, key, braces(data, key), data[:data_type], data[:lookup_flags])
    end
  end

  def step(_expr, _context), do: :error

  defp braces(data, key) do
    data.elements
    |> Element.texts(data[:key_type], data[:data_type], key)
    |> twice(data)
    |> Element.braces()
  end

  # { 80 } reads as the plain match 80, in nft too. Written twice one element is a set of one, as
  # the kernel has it.
  defp twice(["*"], _data), do: ["*"]

  defp twice([text], %{key_type: type} = data)
       when not is_map_key(data, :data_type) and elem(type, 0) != :concat,
       do: [text, text]

  defp twice([text], %{key_type: type} = data)
       when not is_map_key(data, :data_type) and is_atom(type),
       do: [text, text]

  defp twice(texts, _data), do: texts

  defp use_set(context, data, key, set, data_type, flags) do
    text = Match.text(key)
    inverted? = :inv in List.wrap(flags)

    case data do
      %{dreg: 0} -> Context.emit(context, [text, " vmap ", set])
      %{dreg: register} -> {:ok, put(context, register, [text, " map ", set], data_type)}
      _ when inverted? -> Context.emit(context, [text, " != ", set])
      _ -> Context.emit(context, [text, " ", set])
    end
  end

  defp put(context, register, text, data_type) do
    term = %Term{
      text: text,
      type: data_type || :integer,
      size: size(data_type),
      order: order(data_type),
      source: {:map, data_type}
    }

    %{context | registers: Registers.put(context.registers, register, term)}
  end

  @doc "A constant in a register as a value of a set's type."
  @spec constant(Term.t(), term()) :: iodata()
  def constant(term, type),
    do: Value.constant(%{term | type: simple(type), order: order(type)}, term.value)

  defp simple({type, bits}) when is_integer(bits), do: type
  defp simple(type) when is_atom(type) and type != nil, do: type
  defp simple(_), do: :integer

  @doc """
  The term in the register that a lookup reads: one, or the concatenation of as many as the key's
  type has parts. Without a type, as of a set that is not declared, the parts are those that were
  loaded one after the other, up to the register `stop`.
  """
  @spec key(Context.t(), non_neg_integer(), term(), non_neg_integer() | nil) ::
          {:ok, Term.t()} | :error
  def key(context, register, type, stop \\ nil)

  def key(context, register, {:concat, types} = type, _stop) do
    with {:ok, terms} <- Registers.run(context.registers, register, length(types)) do
      terms = for {term, type} <- Enum.zip(terms, types), do: typed(term, type)

      {:ok, concat(terms, type)}
    end
  end

  def key(context, register, nil, stop) do
    case Registers.loaded(context.registers, register, stop) do
      {:ok, [term]} -> {:ok, typed(term, nil)}
      {:ok, terms} -> {:ok, concat(for(term <- terms, do: typed(term, nil)), nil)}
      :error -> :error
    end
  end

  def key(context, register, type, _stop) do
    with {:ok, term} <- Registers.fetch(context.registers, register), do: {:ok, typed(term, type)}
  end

  # Ports of whatever transport it is: the set's type tells them from other two bytes.
  defp typed(term, :inet_service), do: term |> Payload.port() |> plain(:inet_service)

  # Raw bytes that are also a field of a known header: a set of integers was made for the bytes.
  defp typed(%Term{source: %{len: len} = source, type: type} = term, {:integer, bits} = wanted)
       when not is_map_key(source, :field) and len * 8 == bits and type != :integer,
       do: Payload.bytes(term) || plain(term, wanted)

  defp typed(term, type), do: plain(term, type)

  # A constant takes its type from where it is used.
  defp plain(%Term{value: nil} = term, _type), do: term
  defp plain(%Term{} = term, type), do: %{term | text: constant(term, type)}

  @doc "One term for a concatenation."
  @spec concat([Term.t()], term()) :: Term.t()
  def concat(terms, type) do
    size = terms |> Enum.map(& &1.size) |> Enum.sum()
    %Term{text: joined(terms), type: type, size: size, parts: terms}
  end

  @doc "Terms joined by dots."
  @spec joined([Term.t()]) :: iodata()
  def joined([term]), do: Match.text(term)
  def joined(terms), do: terms |> Enum.map(&Match.text/1) |> Enum.intersperse(" . ")

  defp size({:concat, types}), do: types |> Enum.map(&(div(size(&1) + 3, 4) * 4)) |> Enum.sum()
  defp size({:interval, type}), do: 2 * size(type)
  defp size({_type, bits}) when is_integer(bits), do: div(bits + 7, 8)

  defp size(type) do
    case Linx.Netfilter.Datatype.fetch(type) do
      {:ok, %{size: bits}} when bits > 0 -> div(bits + 7, 8)
      _ -> 4
    end
  end

  defp order({type, _bits}) when is_atom(type), do: order(type)

  defp order(type) when is_atom(type) do
    case Linx.Netfilter.Datatype.fetch(type) do
      {:ok, %{order: :host}} -> :host
      _ -> :big
    end
  end

  defp order(_), do: :big
end
