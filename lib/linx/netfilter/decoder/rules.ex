defmodule Linx.Netfilter.Decoder.Rules do
  @moduledoc false
  # The rules of a dump. Thousands of them are the same expressions around other values, counts
  # and names: the native side takes these out, and what is left, the pattern, is understood once.

  alias Linx.Native
  alias Linx.Netfilter.Decoder.Pattern
  alias Linx.Netfilter.{Rule, Table, Userdata, Wire}

  # A pattern is folded once for each content of its significant blanks: as often as there are
  # protocols.
  @max_folded 256

  @doc "What `Linx.Netfilter.Decoder.rule/1` makes of each payload, in their order."
  @spec decode([binary()]) :: [{Table.family(), String.t(), String.t(), Rule.t()}]
  def decode([]), do: []
  def decode(bodies), do: bodies |> Native.netfilter_rules() |> decode(%{})

  # Threads what is known of the patterns: number => {pattern, %{contents => folded}}.
  defp decode([], _known), do: []

  defp decode([{number, table, chain, handle, userdata, pattern, blanks} | rest], known) do
    family = if number, do: Wire.family_atom(number), else: :unknown
    {expressions, known} = expressions(pattern, blanks, family, known)
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

  defp expressions({nil, bytes, places}, blanks, family, known) do
    pattern = Pattern.new(bytes, places)
    {pattern |> Pattern.fold(blanks, family) |> Pattern.fill(blanks), known}
  end

  defp expressions({number, bytes, places}, blanks, family, known),
    do:
      expressions(
        number,
        blanks,
        family,
        Map.put(known, number, {Pattern.new(bytes, places), %{}})
      )

  defp expressions(number, blanks, family, known) do
    %{^number => {pattern, folded}} = known
    contents = [family | Pattern.contents(pattern, blanks)]

    case folded do
      %{^contents => template} ->
        {Pattern.fill(template, blanks), known}

      _ ->
        template = Pattern.fold(pattern, blanks, family)

        folded =
          if map_size(folded) < @max_folded, do: Map.put(folded, contents, template), else: folded

        {Pattern.fill(template, blanks), %{known | number => {pattern, folded}}}
    end
  end
end
