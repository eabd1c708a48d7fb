defmodule Linx.Netfilter.Decoder.Types do
  @moduledoc false
  # The datatypes of a set's key or data, from the kernel's numbers and from the records in its
  # userdata.
  #
  # The kernel keeps a type's number and the length of the whole key. Numbers and strings have no
  # size of their own, so the widths of the parts of a concatenation come, in this order, from
  # nft's typeof record, from Linx's own record (Userdata), and from the field lengths of an
  # interval set (NFTA_SET_DESC_CONCAT). A set of another program may have none of these: each
  # part of open size then takes one register and the last of them the rest, so that every byte of
  # an element is written back as it came.

  alias Linx.Netfilter.{Datatype, Datum, Expr, Field, Typeof}

  @typep load :: {bits :: pos_integer(), :host | :big | nil}

  @doc """
  The type with number `id` and `len` bytes.

  `widths` are the records, nil where there is none: `:typeof` (nft's bytes), `:own`
  (`[{bits, order}]`), `:fields` (the bytes of each part), `:order` (nft's byte order of the
  whole: 1 is the host's).
  """
  @spec type(non_neg_integer(), non_neg_integer(), map()) :: Datum.type()
  def type(id, len, widths) do
    case Datatype.from_id(id) do
      {:ok, {:concat, names}} -> concat(names, len, widths)
      {:ok, name} -> single(name, len, widths)
      :error -> {:integer, max(8 * len, 8)}
    end
  end

  # -- one part ----------------------------------------------------------------------------------

  # A map that only dynset fills may have a length of 0: the type's own size counts.
  defp single(name, 0, _widths), do: name

  defp single(name, len, widths) do
    case loads(widths) do
      [{bits, order}] when div(bits + 7, 8) == len -> sized(name, bits, order)
      _ -> sized(name, 8 * len, if(widths[:order] == 1, do: :host))
    end
  end

  defp sized(name, bits, order) do
    cond do
      Datum.size(name) == div(bits + 7, 8) -> name
      # Only a number is read by the order of what it was made for.
      name == :integer and order == :host and bits > 8 -> {name, bits, :host}
      name not in [:integer, :string, :ifname] and order == :host -> {name, bits, :host}
      true -> {name, bits}
    end
  end

  # -- several -----------------------------------------------------------------------------------

  defp concat(names, len, widths) do
    loads = loads(widths)

    cond do
      fits?(loads, names, len, widths[:fields]) ->
        {:concat,
         Enum.zip_with(names, loads, fn name, {bits, order} -> sized(name, bits, order) end)}

      length(widths[:fields] || []) == length(names) ->
        {:concat, Enum.zip_with(names, widths.fields, &sized(&1, 8 * &2, nil))}

      true ->
        shared(names, len)
    end
  end

  defp fits?(nil, _names, _len, _fields), do: false

  defp fits?(loads, names, len, fields) do
    sizes = for {bits, _order} <- loads, do: div(bits + 7, 8)

    length(sizes) == length(names) and Enum.sum_by(sizes, &Datum.padded/1) == len and
      (fields in [nil, []] or sizes == fields)
  end

  defp shared(names, len) do
    sizes = Enum.map(names, &Datum.size/1)
    open = Enum.count(sizes, &(&1 == 0))
    left = len - Enum.sum_by(sizes, &Datum.padded/1)

    cond do
      open == 0 and left == 0 -> {:concat, names}
      open == 0 or left < 4 * open or rem(left, 4) != 0 -> {:integer, max(8 * len, 8)}
      true -> {:concat, spread(Enum.zip(names, sizes), open, left)}
    end
  end

  defp spread([], _open, _left), do: []

  defp spread([{name, 0} | rest], 1, left), do: [{name, 8 * left} | spread(rest, 0, 0)]

  defp spread([{name, 0} | rest], open, left),
    do: [{name, 32} | spread(rest, open - 1, left - 4)]

  defp spread([{name, _size} | rest], open, left), do: [name | spread(rest, open, left)]

  # -- records -----------------------------------------------------------------------------------

  @spec loads(map()) :: [load()] | nil
  defp loads(widths), do: recorded(widths[:typeof]) || widths[:own]

  defp recorded(nil), do: nil

  defp recorded(bytes) do
    with {:ok, exprs} <- Typeof.decode(bytes),
         loads = Enum.map(exprs, &load/1),
         false <- nil in loads,
         do: loads,
         else: (_ -> nil)
  end

  @spec load(Expr.t()) :: load() | nil
  defp load(%Expr{name: name, data: %{field: field}}) when name in [:payload, :exthdr] do
    with {:ok, %Field{length: bits}} <- Field.fetch(field), do: {bits, :big}, else: (_ -> nil)
  end

  defp load(%Expr{name: :payload, data: %{bits: {_offset, bits}}}), do: {bits, :big}

  defp load(%Expr{name: name, data: %{len: len}}) when name in [:payload, :exthdr],
    do: {8 * len, :big}

  defp load(%Expr{name: :inner, data: %{expr: %Expr{} = expr}}), do: load(expr)
  defp load(expr), do: Typeof.load(expr)
end
