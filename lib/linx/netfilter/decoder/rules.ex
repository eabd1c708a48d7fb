defmodule Linx.Netfilter.Decoder.Rules do
  @moduledoc false
  # The rules of a dump. Thousands of them have the same expressions with other values, counts and
  # names: the native side replaces these by placeholders, and the rest, a template, is decoded
  # once.

  alias Linx.Native
  alias Linx.Netfilter.Decoder.Template
  alias Linx.Netfilter.{Rule, Table, Userdata, Wire}

  # Foldings of one template, one for each content of its significant placeholders, such as a
  # protocol.
  @max_folded 256

  @doc "What `Linx.Netfilter.Decoder.rule/1` makes of each payload, in their order."
  @spec decode([binary()]) :: [{Table.family(), String.t(), String.t(), Rule.t()}]
  def decode([]), do: []
  def decode(bodies), do: bodies |> Native.netfilter_rules() |> decode(%{})

  # The template cache of the dump, `known`: number => {template, %{contents => folded}}.
  defp decode([], _known), do: []

  defp decode([{number, table, chain, handle, userdata, template, values} | rest], known) do
    family = if number, do: Wire.family_atom(number), else: :unknown
    {expressions, known} = expressions(template, values, family, known)
    {comment, tag, userdata} = Userdata.parse_rule(userdata)

    rule = %Rule{
      expressions: expressions,
      chain: chain,
      handle: handle,
      tag: tag,
      comment: comment,
      userdata: userdata
    }

    [{family, table, chain, rule} | decode(rest, known)]
  end

  defp expressions({nil, bytes, places}, values, family, known) do
    template = Template.new(bytes, places)
    {template |> Template.fold(values, family) |> Template.fill(values), known}
  end

  defp expressions({number, bytes, places}, values, family, known),
    do:
      expressions(
        number,
        values,
        family,
        Map.put(known, number, {Template.new(bytes, places), %{}})
      )

  defp expressions(number, values, family, known) do
    %{^number => {template, foldings}} = known
    contents = [family | Template.contents(template, values)]

    case foldings do
      %{^contents => folded} ->
        {Template.fill(folded, values), known}

      _ ->
        folded = Template.fold(template, values, family)

        foldings =
          if map_size(foldings) < @max_folded,
            do: Map.put(foldings, contents, folded),
            else: foldings

        {Template.fill(folded, values), %{known | number => {template, foldings}}}
    end
  end
end
