defmodule Linx.NFT.Formatter do
  @moduledoc """
  Writes nft text from a `%Linx.Netfilter.Ruleset{}`, and lays out `~NFT` sigils and `.nft` files
  for `mix format`.

  `format/1` reads each rule's expressions back as nft(8) does: it follows the registers, finds
  the fields, prefixes, flags, ranges, sets and maps that the author wrote, and leaves out what
  the language implies. The text parses back to an equal ruleset (`Linx.NFT.parse/2`), `nft -f`
  loads it, and formatting it again changes nothing. Tables come in the order of family and name;
  within a table objects and flowtables, then chains, sets and maps. Things of one kind come in
  the order in which they were declared or, when pulled, listed by the kernel
  (`Linx.Netfilter.Table.in_order/2`).

  A rule with an expression that has no words in nft becomes a comment as a whole,
  `# <unsupported expression: name> ...`: the part that has words would match more than the rule
  did.

  ## In `mix format`

      # .formatter.exs
      [
        plugins: [Linx.NFT.Formatter],
        inputs: ["{lib,test}/**/*.{ex,exs}", "**/*.nft"]
      ]

  The plugin lays the author's own text out again. Comments, `define`, `include`, commands, the
  order of things and `\#{...}` stay; only white space, line ends and separators change. It needs
  no native code. A file that does not parse raises `Linx.NFT.ParseError`; a sigil that does not
  is left as it is, since the compiler reports it.

  Source: nft(8); nft_tables.h for the expressions; `Mix.Tasks.Format` for the plugin.
  """

  @behaviour Mix.Tasks.Format

  alias Linx.Netfilter.{Chain, Rule, Ruleset, Set, Table}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.NFT.Formatter.{Plugin, Tables}

  @doc """
  The ruleset as nft text, ending in a newline; the empty string for an empty ruleset.

  An expression that has no words becomes a comment. A string or name that `Linx.NFT.parse/1` and
  nft(8) do not read alike raises `ArgumentError` with its place (`Linx.NFT.format/1`).

      iex> alias Linx.Netfilter.{Expr, Ruleset}
      iex> Ruleset.new()
      ...> |> Ruleset.add_table!(:inet, "fw")
      ...> |> Ruleset.add_chain!("fw", "in")
      ...> |> Ruleset.add_rule!("fw", "in", [
      ...>   Expr.payload(:tcp_dport),
      ...>   Expr.cmp(:eq, <<22::16>>),
      ...>   :accept
      ...> ])
      ...> |> Linx.NFT.Formatter.format()
      "table inet fw {\\n  chain in {\\n    tcp dport 22 accept\\n  }\\n}\\n"
  """
  @spec format(Ruleset.t()) :: String.t()
  def format(%Ruleset{tables: tables}) do
    writable(fn ->
      tables
      |> Enum.sort_by(fn {key, _table} -> key end)
      |> Enum.map(fn {_key, %Table{} = table} -> Tables.text(table) end)
      |> Enum.intersperse("\n")
      |> IO.iodata_to_binary()
    end)
  end

  defp writable(fun) do
    fun.()
  catch
    {:unwritable, path, fault} -> raise ArgumentError, unwritable(path, fault)
  end

  # "table inet t, chain c, rule 0: the comment holds ..."
  defp unwritable(path, fault) do
    case Enum.split(path, -1) do
      {[], []} -> fault
      {[], ["the " <> _ = last]} -> "#{last} #{fault}"
      {places, ["the " <> _ = last]} -> "#{Enum.join(places, ", ")}: #{last} #{fault}"
      {_places, _last} -> "#{Enum.join(path, ", ")}: #{fault}"
    end
  end

  @doc """
  The text of a part of a ruleset: a rule as one statement list without a newline, a chain, set or
  map as a block.

  `:table` is the `%Linx.Netfilter.Table{}` that it belongs to, whose sets say how values read;
  without it, `:family` says where a rule stands (default `:inet`). Another option raises
  `ArgumentError`.
  """
  @spec text(Rule.t() | Chain.t() | Set.t() | NMap.t(), keyword()) :: String.t()
  def text(part, opts) do
    opts = Keyword.validate!(opts, [:table, family: :inet])
    table = opts[:table] || %Table{family: opts[:family], name: ""}

    writable(fn -> part |> Tables.part(table) |> IO.iodata_to_binary() end)
    |> String.split("\n")
    |> Enum.map_join("\n", &String.replace_prefix(&1, "  ", ""))
  end

  @doc false
  @impl Mix.Tasks.Format
  def features(_opts), do: [sigils: [:NFT], extensions: [".nft"]]

  @doc false
  @impl Mix.Tasks.Format
  def format(contents, opts), do: Plugin.format(contents, opts)
end
