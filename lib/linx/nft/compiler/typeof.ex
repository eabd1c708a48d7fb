defmodule Linx.NFT.Compiler.Typeof do
  @moduledoc false
  # What nft remembers of `typeof EXPRESSION` in a set's userdata: which expression it was, so that it can be listed again.

  alias Linx.Netfilter.{Expr, Field, Typeof}
  alias Linx.NFT.Compiler.Term

  @doc false
  # The record of the key's and the value's expression, nil when neither was declared by one.
  @spec record(keyword(), Term.t(), term()) :: %{optional(:key | :data) => binary()} | nil
  def record(_opts, key, data) do
    records =
      for {which, term} <- [key: key, data: data],
          {:ok, bytes} <- [encoded(term)],
          into: %{},
          do: {which, bytes}

    if records != %{}, do: records
  end

  defp encoded(%Term{kind: :concat, data: parts}) do
    loads = Enum.map(parts, &load/1)
    if nil in loads, do: :error, else: Typeof.encode(loads)
  end

  defp encoded(%Term{} = term), do: with(%Expr{} = load <- load(term), do: Typeof.encode([load]))
  defp encoded(_other), do: nil

  defp load(%Term{data: {:typeof, %Term{kind: :load, data: {name, data}} = term}}),
    do: Expr.new(name, named(name, data, term))

  defp load(%Term{
         data: {:typeof, %Term{kind: :part, data: {{name, data}, _mask, _count}} = term}
       }),
       do: Expr.new(name, named(name, data, term))

  defp load(_declared_by_type), do: nil

  # No rule tells the protocol here: the field is the one with that place and that type.
  defp named(:payload, %{base: base, offset: offset, len: len} = data, %Term{
         type: type,
         len: bits
       })
       when not is_map_key(data, :field) do
    found =
      Enum.find(Field.all(), fn field ->
        field.base == base and field.type == type and field.length == bits and
          Field.bytes(field) == {offset, len}
      end)

    if found != nil and type != :integer, do: Map.put(data, :field, found.name), else: data
  end

  defp named(_name, data, _term), do: data
end
