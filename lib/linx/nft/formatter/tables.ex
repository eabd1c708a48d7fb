defmodule Linx.NFT.Formatter.Tables do
  @moduledoc false
  # Tables with their objects, flowtables, chains, sets and maps, each of these in the table's own
  # order.

  alias Linx.Netfilter.{Chain, Flowtable, Rule, Table}
  alias Linx.NFT.Formatter.{Context, Layout, Sets, Text}
  alias Linx.NFT.Object
  alias Linx.NFT.Formatter.Rule, as: RuleText

  @doc "One table as a block."
  @spec text(Table.t()) :: iodata()
  def text(%Table{} = table),
    do:
      Text.at(fn -> "table #{table.family} #{Text.shown(table.name)}" end, fn -> block(table) end)

  defp block(table) do
    context = Context.new(table)

    # Objects and flowtables before the rules that name them; the page's order for the rest.
    blocks =
      [header(table)] ++
        for(
          object <- Table.in_order(table, :objects),
          do: block(object, &Object.text/1)
        ) ++
        for(ft <- Table.in_order(table, :flowtables), do: block(ft, &flowtable/1)) ++
        for(chain <- Table.in_order(table, :chains), do: block(chain, &chain(&1, context))) ++
        for(
          set <- Table.in_order(table, :sets),
          :anonymous not in set.flags,
          do: block(set, &Sets.text/1)
        ) ++
        for map <- Table.in_order(table, :maps), do: block(map, &Sets.text/1)

    blocks = Enum.reject(blocks, &(&1 == []))

    [
      "table ",
      Atom.to_string(table.family),
      " ",
      Text.name(table.name),
      " {\n",
      Enum.intersperse(blocks, "\n"),
      "}\n"
    ]
  end

  @doc "A part of a table as it stands in its block; a rule alone."
  @spec part(struct(), Table.t()) :: iodata()
  def part(%Rule{} = rule, table), do: rule(rule, Context.new(table), 0)
  def part(%Chain{} = chain, table), do: chain(chain, Context.new(table))
  def part(set, _table), do: Sets.text(set)

  # A value may hold anything; what does not have the documented shape is named and left out.
  defp block(entity, text) do
    Text.at(fn -> "#{word(entity)} #{Text.shown(entity.name)}" end, fn -> text.(entity) end)
  rescue
    _ ->
      [
        "  # <unsupported ",
        word(entity),
        ": ",
        printable(inspect(entity.name)),
        ">\n"
      ]
  end

  defp word(%Linx.Netfilter.Object{kind: kind}) when is_atom(kind),
    do: kind |> Atom.to_string() |> String.replace("_", " ")

  defp word(%module{}), do: module |> Module.split() |> List.last() |> String.downcase()

  # A device of a chain or flowtable.
  defp device(name),
    do: Text.at(fn -> "the device #{inspect(name)}" end, fn -> Text.quoted(name) end)

  defp header(table) do
    flags =
      for flag <- [:dormant, :owner, :persist], flag in table.flags, do: Atom.to_string(flag)

    [
      if(flags == [], do: [], else: ["  flags ", Enum.intersperse(flags, ","), "\n"]),
      comment(table.comment, 1)
    ]
    |> Enum.reject(&(&1 == []))
  end

  defp comment(nil, _depth), do: []
  defp comment(text, depth), do: [Layout.indent(depth), "comment ", Text.comment(text), "\n"]

  ## Chains

  defp chain(%Chain{} = chain, context) do
    head =
      [base(chain), policy(chain), chain_flags(chain), comment(chain.comment, 2)]
      |> Enum.reject(&(&1 == []))

    rules = rules(chain.rules, context, 2)
    gap = if head != [] and rules != [], do: "\n", else: ""
    ["  chain ", Text.name(chain.name), " {\n", head, gap, rules, "  }\n"]
  end

  defp base(%Chain{hook: nil}), do: []

  defp base(%Chain{} = chain) do
    [
      "    type ",
      Atom.to_string(chain.type || :filter),
      " hook ",
      Atom.to_string(chain.hook),
      devices(chain),
      " priority ",
      priority(chain.priority || 0),
      "\n"
    ]
  end

  defp devices(%Chain{devices: [_ | _] = names}), do: [" devices = ", devices(names)]
  defp devices(%Chain{device: name}) when is_binary(name), do: [" device ", device(name)]
  defp devices(%Chain{}), do: ""

  defp devices(names) when is_list(names),
    do: ["{ ", names |> Enum.map(&device/1) |> Enum.intersperse(", "), " }"]

  # A priority as a number, a name, or a name and an offset.
  @spec priority(Chain.priority()) :: iodata()
  defp priority({name, 0}), do: Atom.to_string(name)

  defp priority({name, offset}) when offset < 0,
    do: [Atom.to_string(name), " - ", Integer.to_string(-offset)]

  defp priority({name, offset}), do: [Atom.to_string(name), " + ", Integer.to_string(offset)]
  defp priority(number) when is_integer(number), do: Integer.to_string(number)
  defp priority(name) when is_atom(name), do: Atom.to_string(name)

  defp policy(%Chain{policy: nil}), do: []
  defp policy(%Chain{policy: policy}), do: ["    policy ", Atom.to_string(policy), "\n"]

  defp chain_flags(%Chain{flags: flags}),
    do: if(:hw_offload in flags, do: "    flags offload\n", else: [])

  ## Rules

  defp rules(rules, context, depth), do: rules(rules, 0, Layout.indent(depth), context, depth)

  defp rules([rule | rules], n, indent, context, depth) do
    text = Text.at(fn -> "rule #{n}" end, fn -> rule(rule, context, depth) end)
    [indent, text, "\n" | rules(rules, n + 1, indent, context, depth)]
  end

  defp rules([], _n, _indent, _context, _depth), do: []

  defp rule(%Rule{} = rule, context, depth) do
    comment = if rule.comment, do: [" comment ", Text.comment(rule.comment)], else: ""

    case RuleText.statements(rule.expressions, context) do
      # Loads that nothing is done with have no words.
      {:ok, []} when rule.expressions != [] ->
        unsupported(rule, context, to_string(hd(rule.expressions).name))

      {:ok, pieces} ->
        [pieces |> Enum.map(&piece(&1, context, depth)) |> Enum.intersperse(" "), comment]

      {:error, name} ->
        unsupported(rule, context, name)
    end
  end

  # Half a rule would match more than the whole: what cannot be written is a comment altogether,
  # with what is known of it.
  defp unsupported(rule, context, name) do
    known =
      for expr <- rule.expressions,
          {:ok, [text]} <- [RuleText.statements([expr], context)],
          not is_tuple(text),
          do: [" ", text]

    ["# <unsupported expression: ", printable(name), ">", printable(IO.iodata_to_binary(known))]
  end

  defp printable(text), do: String.replace(text, ~r/[\r\n]/, " ")

  defp piece({:block, verdict, rules}, context, depth) do
    [
      verdict,
      " {\n",
      rules(rules, Context.new(context.table), depth + 1),
      Layout.indent(depth),
      "}"
    ]
  end

  defp piece(text, _context, _depth), do: text

  ## Flowtables

  defp flowtable(%Flowtable{} = ft) do
    [
      "  flowtable ",
      Text.name(ft.name),
      " {\n",
      if(ft.hook || ft.priority,
        do: [
          "    hook ",
          Atom.to_string(ft.hook || :ingress),
          " priority ",
          priority(ft.priority || 0),
          "\n"
        ],
        else: []
      ),
      if(ft.devices == [], do: [], else: ["    devices = ", devices(ft.devices), "\n"]),
      if(:hw_offload in ft.flags, do: "    flags offload\n", else: []),
      if(:counter in ft.flags, do: "    counter\n", else: []),
      "  }\n"
    ]
  end
end
