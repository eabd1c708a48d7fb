defmodule Linx.Netlink.Codec.Place do
  @moduledoc false
  # Where in a message the kernel's extended acknowledgement points.

  @doc "The field that stands at `offset` of a body, as a path of names."
  @spec locate(module(), binary(), integer()) :: [atom()]
  def locate(module, body, offset) do
    header = if codec?(module), do: module.__codec__().size, else: 0
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

    case attrs |> List.keyfind(Bitwise.band(type, 0x3FFF), 0) |> bare() do
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

  # The type of an element, or without its flag.
  defp bare({number, name, {:multi, type}}), do: {number, name, type}
  defp bare({number, name, {:nested, {:dispatch, _, _} = type}}), do: {number, name, type}
  defp bare({number, name, {:nested, :binary}}), do: {number, name, :binary}
  defp bare(attr), do: attr

  defp inner(module, payload, offset) when offset >= 0,
    do: if(codec?(module), do: locate(module, payload, offset), else: [])

  defp inner(_module, _payload, _offset), do: []

  defp codec?(module) when is_atom(module) and module not in [nil, :string, :binary, :flag],
    do: Code.ensure_loaded?(module) and function_exported?(module, :__codec__, 0)

  defp codec?(_module), do: false
end
