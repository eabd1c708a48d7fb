defmodule Linx.NFT.Parser do
  @moduledoc """
  Turns the tokens of nft text into a tree, one node a construct, each with its line and column.

  The tree is what the text says, before any meaning: names are not looked up, values have no type
  yet. `Linx.NFT.Compiler` gives it both, the formatter prints it back. The last element of every
  node is `%{line: _, column: _}`.

  Top level:

      {:table, family, name, items, meta}        {:command, verb, object, meta}
      {:include, path, meta}                     {:define | :redefine, name, value, meta}
      {:undefine, name, meta}

  `include`, `define`, `redefine` and `undefine` stand in every block too: among a table's items
  and a chain's rules as they are, among the options of a set, object or flowtable as
  `{:definition, item}`. What a chain says of itself after one of them is a
  `{:chain_option, option, meta}` among its rules, since it may use what they define.

  A table's items, with `{:options, keyword, meta}` first when the table has flags or a comment:

      {:chain, name, opts, rules, meta}          {:set | :map | :vmap, name, opts, meta}
      {:object, kind, name, opts, meta}          {:flowtable, name, opts, meta}

  A chain's rules are `{:rule, statements, opts, meta}`, with `comment:` in `opts`. Statements:

      {:match, lhs, op, rhs, meta}               {:vmap, key, map, meta}
      {:verdict, kind, meta}                     {:meta_set | :ct_set, key, value, meta}
      {:counter | :quota | :last | :connlimit, opts, meta}
      {:limit, {n, unit, type}, opts, meta}
      {:log | :reject | :queue | :dup | :fwd | :synproxy, opts, meta}
      {:nat, kind, target, opts, meta}           {:tproxy, target, opts, meta}
      {:assign, lhs, value, meta}                {:objref, kind, value, meta}
      {:dynset, op, set, key, data, opts, meta}  {:meter, name, size, key, opts, meta}
      {:flow_offload, name, meta}                {:reset, option, meta}          {:notrack, meta}

  `op` is `:implicit` when none is written. What can be loaded, on the left:

      {:payload, protocol, field, meta}          {:raw_payload, base, offset, len, meta}
      {:exthdr, header, field, meta}             {:option_exists, op, number, meta}
      {:meta, key, meta}                         {:ct, key | {key, direction}, meta}
      {:fib, result, flags, meta}                {:rt, key, family, meta}
      {:socket, key, level, meta}                {:osf, what, ttl, meta}
      {:numgen, type, modulus, offset, meta}     {:jhash, key, modulus, seed, offset, meta}
      {:xfrm, key, direction, spnum, meta}       {:inner, tunnel, expr, meta}
      {:concat, [expr], meta}                    {:binop, op, a, b, meta}
      {:map, key, map, meta}

  Values, on the right:

      {:integer, n, meta}     {:string, s, meta}     {:identifier, name, meta}
      {:address, kind, raw, meta}
      {:range, lo, hi, meta}  {:prefix, v, bits, meta}  {:list, values, meta}    {:wildcard, meta}
      {:set_inline, elements, meta}   {:set_ref, name, meta}   {:classid, raw, meta}
      {:variable, name, meta}         {:elixir_expr, source, meta}

  An element of a set is a value, `{:element, value, opts, meta}` when it has a timeout, a comment
  or a statement, and `{:mapping, element, data, meta}` in a map. A name that is interpolated or a
  variable stands as that node where a string would.

  Source: nft(8); its grammar.
  """

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.{Object, ParseError}
  alias Linx.NFT.Parser.{Block, Chain, Command, Set}

  @type ast :: tuple()

  # Blocks, sets and parentheses nest a few levels in any real ruleset; the parser recurses on
  # them.
  @depth 64

  @doc """
  Parses tokens into the list of top-level items.

  Options: `:file` (default `"nofile"`) and `:source` (default `""`) for error messages,
  `:first_line` the number of the source's first line (default 1).

  Returns `{:ok, items}` or `{:error, %Linx.NFT.ParseError{}}` at the first token that fits
  nowhere.
  """
  @spec parse([tuple()], keyword()) :: {:ok, [ast()]} | {:error, ParseError.t()}
  def parse(tokens, opts \\ []) when is_list(tokens) do
    tokens = Enum.reject(tokens, &match?({:comment, _, _}, &1))
    check_depth(tokens, 0)
    {:ok, items(tokens ++ [{:eof, end_of(tokens)}], [])}
  catch
    {:syntax, meta, message} -> {:error, error(meta, message, opts)}
  end

  @typedoc """
  A kind of block: a table, a chain, a set or map, a flowtable, or a named object of a kind.
  """
  @type block :: :table | :chain | :set | :flowtable | {:object, atom()}

  @doc false
  # The contents of a file that is included inside a block, as the parser of that block gives
  # them: a list of items or options, for a chain {options, rules}.
  @spec parse_inside([tuple()], block(), keyword()) :: {:ok, term()} | {:error, ParseError.t()}
  def parse_inside(tokens, block, opts) do
    tokens = Enum.reject(tokens, &match?({:comment, _, _}, &1))
    check_depth(tokens, 0)
    place = end_of(tokens)

    case inside(block, [{:lbrace, place}] ++ tokens ++ [{:rbrace, place}, {:eof, place}]) do
      {contents, [{:eof, _}]} -> {:ok, contents}
      {_contents, rest} -> unexpected(rest, "end of file")
    end
  catch
    {:syntax, meta, message} -> {:error, error(meta, message, opts)}
  end

  defp inside(:table, tokens) do
    {items, opts, rest} = Block.table(tokens)
    {with_options(items, opts, meta(tokens)), rest}
  end

  defp inside(:chain, tokens) do
    {opts, rules, rest} = Chain.body(tokens)
    {{opts, rules}, rest}
  end

  defp inside(:set, tokens), do: Set.body(tokens)
  defp inside(:flowtable, tokens), do: Block.flowtable(tokens)
  defp inside({:object, kind}, tokens), do: Object.body(kind, tokens)

  # A table's items, with its flags and comment in front.
  defp with_options(items, [], _meta), do: items
  defp with_options(items, opts, meta), do: [{:options, opts, meta} | items]

  @doc false
  @spec error(map(), String.t(), keyword()) :: ParseError.t()
  # A node of an included file says which file that is.
  def error(%{origin: {file, source}} = meta, message, _opts),
    do: error(Map.delete(meta, :origin), message, file: file, source: source)

  def error(meta, message, opts) do
    %ParseError{
      file: Keyword.get(opts, :file, "nofile"),
      line: meta.line,
      column: meta.column,
      snippet:
        ParseError.line(
          Keyword.get(opts, :source, ""),
          meta.line,
          Keyword.get(opts, :first_line, 1)
        ),
      message: message |> ParseError.visible() |> clipped()
    }
  end

  # A message quotes what is wrong, which may be a megabyte.
  defp clipped(message) when byte_size(message) > 1000, do: String.slice(message, 0, 400) <> "..."
  defp clipped(message), do: message

  defp items([{:eof, _}], acc), do: Enum.reverse(acc)
  defp items([{:stmt_sep, _} | rest], acc), do: items(rest, acc)

  defp items([{:identifier, "table", meta} | rest], acc) do
    {item, rest} = table(rest, meta)
    items(statement_end(rest), [item | acc])
  end

  defp items([{:identifier, word, _} | _] = tokens, acc)
       when word in ~w(include define redefine undefine) do
    {item, rest} = Block.definition(tokens)
    items(rest, [item | acc])
  end

  defp items(tokens, acc) do
    {item, rest} = Command.command(tokens)
    items(statement_end(rest), [item | acc])
  end

  defp table(tokens, meta) do
    {family, rest} = family(tokens)
    {name, rest} = name(rest, "table")
    {items, rest} = contents(rest, meta)
    {{:table, family, name, items, meta}, rest}
  end

  @doc false
  # The content of a table: its block, or nothing where it has none.
  def contents([{:lbrace, _} | _] = tokens, meta) do
    {items, opts, rest} = Block.table(tokens)
    {with_options(items, opts, meta), rest}
  end

  def contents([{kind, _} | _] = tokens, _meta) when kind in [:stmt_sep, :eof], do: {[], tokens}
  def contents(tokens, _meta), do: unexpected(tokens, "'{' or the end of the statement")

  @families ~w(ip ip6 inet arp bridge netdev)

  @doc false
  # A family before a name; without one it is ip.
  def family([{:identifier, word, meta}, {kind, _, _} | _] = tokens)
      when kind in [:identifier, :string, :elixir_expr, :variable] do
    if word in @families,
      do: {known(word), tl(tokens)},
      else: unexpected([{:identifier, word, meta}], "a family", @families)
  end

  def family([{:elixir_expr, _, _} = token, {kind, _, _} | _] = tokens)
      when kind in [:identifier, :string, :elixir_expr],
      do: {token, tl(tokens)}

  def family(tokens), do: {:ip, tokens}

  defp end_of([]), do: %{line: 1, column: 1}
  defp end_of(tokens), do: tokens |> List.last() |> meta()

  defp check_depth([], _depth), do: :ok

  defp check_depth([{kind, meta} | rest], depth) when kind in [:lbrace, :lparen, :lbracket] do
    if depth == @depth,
      do: fail(meta, "nested more than #{@depth} deep"),
      else: check_depth(rest, depth + 1)
  end

  defp check_depth([{kind, _} | rest], depth) when kind in [:rbrace, :rparen, :rbracket],
    do: check_depth(rest, max(depth - 1, 0))

  defp check_depth([_ | rest], depth), do: check_depth(rest, depth)
end
