defmodule Linx.NFT.Formatter.Sets do
  @moduledoc false
  # Declarations of sets and maps.

  alias Linx.NFT.Formatter.{Element, Layout, Statement, Typeof, Value}

  @flags [:constant, :dynamic, :interval, :timeout]
  @objects %{
    counter: "counter",
    quota: "quota",
    limit: "limit",
    ct_helper: "ct helper",
    ct_timeout: "ct timeout",
    ct_expectation: "ct expectation",
    secmark: "secmark",
    synproxy: "synproxy"
  }

  @doc "A set or map as a block of its table."
  @spec text(struct()) :: iodata()
  def text(set) do
    data_type = Map.get(set, :data_type)
    word = if data_type == nil, do: "set", else: "map"

    [
      "  #{word} ",
      set.name,
      " {\n",
      line(type(set, data_type)),
      for(expr <- set.exprs || [], {:ok, text} <- [Statement.text(expr)], do: line(text)),
      flags(set.flags),
      if(:auto_merge in set.flags, do: line("auto-merge"), else: []),
      if(set.timeout, do: line(["timeout ", Value.duration(set.timeout)]), else: []),
      if(set.gc_interval, do: line(["gc-interval ", Value.duration(set.gc_interval)]), else: []),
      if(set.size, do: line(["size ", Integer.to_string(set.size)]), else: []),
      if(set.policy == :memory, do: line("policy memory"), else: []),
      if(set.comment, do: line(["comment ", Value.quoted(set.comment)]), else: []),
      elements(set, data_type),
      "  }\n"
    ]
  end

  defp line(text), do: ["    ", text, "\n"]

  defp flags(flags) do
    case for(flag <- @flags, flag in flags, do: Atom.to_string(flag)) do
      [] -> []
      words -> line(["flags ", Enum.intersperse(words, ",")])
    end
  end

  defp elements(%{elements: []}, _data_type), do: []

  defp elements(set, data_type) do
    texts =
      Element.texts(
        set.elements,
        set.key_type,
        data_type,
        Typeof.term(set, :key),
        Typeof.term(set, :data)
      )

    flat = ["elements = ", Element.braces(texts)]

    if IO.iodata_length(flat) + 4 <= Layout.width() do
      line(flat)
    else
      style = if data_type == nil, do: :fill, else: :lines
      line(["elements = ", Layout.broken(texts, style, 2, Layout.width())])
    end
  end

  ## Types

  defp type(set, data_type) do
    key = Typeof.text(set, :key)
    data = data_type && (Typeof.text(set, :data) || names(data_type))

    cond do
      data_type == nil and key != nil -> ["typeof ", key]
      data_type == nil -> declared(set.key_type)
      key != nil -> ["typeof ", key, " : ", data]
      true -> [declared(set.key_type), " : ", data]
    end
  end

  # nft wants an expression for a key that no type name describes.
  defp declared(type),
    do: if(sized?(type), do: ["typeof ", names(type)], else: ["type ", names(type)])

  defp sized?({:concat, types}), do: Enum.any?(types, &sized?/1)
  defp sized?({_type, bits}) when is_integer(bits), do: true
  defp sized?(_type), do: false

  defp names({:concat, types}), do: types |> Enum.map(&names/1) |> Enum.intersperse(" . ")
  defp names({:interval, type}), do: ["interval ", names(type)]
  defp names({:object, kind}), do: Map.get(@objects, kind) || to_string(kind)
  defp names({_type, bits}) when is_integer(bits), do: ["@nh,0,", Integer.to_string(bits)]
  defp names(type), do: Atom.to_string(type)
end
