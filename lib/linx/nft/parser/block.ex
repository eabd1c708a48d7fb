defmodule Linx.NFT.Parser.Block do
  @moduledoc false
  # The block of a table: chains, sets, maps, objects, flowtables.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Object
  alias Linx.NFT.Parser.{Chain, Expression, Set}

  @items ~w(chain set map vmap) ++
           Object.Kinds.words() ++
           ~w(flowtable flags comment include define redefine undefine)

  @doc false
  # The items up to the closing brace, and the options (flags, comment) of the table itself.
  def table([{:lbrace, _} | rest]), do: items(rest, [], [])
  def table(tokens), do: unexpected(tokens, "'{'")

  defp items([{:stmt_sep, _} | rest], items, opts), do: items(rest, items, opts)

  defp items([{:rbrace, _} | rest], items, opts),
    do: {Enum.reverse(items), Enum.reverse(opts), rest}

  defp items([{:identifier, "flags", _} | rest], items, opts) do
    {flags, rest} = commas(rest, &flag(&1, ~w(dormant owner persist)))
    items(statement_end(rest), items, [{:flags, flags} | opts])
  end

  defp items([{:identifier, "comment", _} | rest], items, opts) do
    {text, rest} = comment(rest)
    items(statement_end(rest), items, [{:comment, text} | opts])
  end

  defp items([{:identifier, word, _} | _] = tokens, items, opts)
       when word in ~w(include define redefine undefine) do
    {item, rest} = definition(tokens)
    items(rest, [item | items], opts)
  end

  defp items(tokens, items, opts) do
    {item, rest} = item(tokens)
    items(statement_end(rest), [item | items], opts)
  end

  defp item([{:identifier, "chain", meta} | rest]) do
    {name, rest} = name(rest, "chain")
    {opts, rules, rest} = Chain.body(rest)
    {{:chain, name, opts, rules, meta}, rest}
  end

  defp item([{:identifier, "set", meta} | rest]) do
    {name, rest} = name(rest, "set")
    {opts, rest} = Set.body(rest)
    {{:set, name, opts, meta}, rest}
  end

  defp item([{:identifier, kind, meta} | rest]) when kind in ["map", "vmap"] do
    {name, rest} = name(rest, "map")
    {opts, rest} = Set.body(rest)
    {{known(kind), name, opts, meta}, rest}
  end

  defp item([{:identifier, "flowtable", meta} | rest]) do
    {name, rest} = name(rest, "flowtable")
    {opts, rest} = flowtable(rest)
    {{:flowtable, name, opts, meta}, rest}
  end

  defp item([{_, _, meta} | _] = tokens) do
    case Object.declared(tokens) do
      {kind, rest} -> object(kind, rest, meta)
      nil -> no_item(tokens)
    end
  end

  defp item(tokens), do: no_item(tokens)

  defp no_item(tokens), do: unexpected(tokens, "chain, set, map, an object or '}'", @items)

  @doc false
  # {:include, path, meta}, {:define, name, value, meta}, ...
  def definition([{:identifier, "include", meta} | rest]) do
    {path, rest} = string(rest, "a path in quotes")
    {{:include, path, meta}, statement_end(rest)}
  end

  def definition([{:identifier, "undefine", meta} | rest]) do
    {name, rest} = name(rest, "variable")
    {{:undefine, name, meta}, statement_end(rest)}
  end

  def definition([{:identifier, word, meta} | rest]) when word in ["define", "redefine"] do
    {name, rest} = name(rest, "variable")
    rest = expect(rest, :assign)
    {value, rest} = definition_value(rest)
    {{known(word), name, value, meta}, statement_end(rest)}
  end

  defp definition_value([{:lbrace, _} | _] = tokens), do: Expression.set(tokens)
  defp definition_value([{:element_text, _, _} = token | rest]), do: {token, rest}

  defp definition_value([{:dash, meta}, {:integer, n, _} | rest]),
    do: {{:integer, -n, meta}, rest}

  defp definition_value(tokens), do: Expression.value(tokens)

  # -- flowtables and objects --------------------------------------------------------------------

  @doc false
  def flowtable([{:lbrace, _} | rest]), do: flowtable_body(rest, [])
  def flowtable(tokens), do: unexpected(tokens, "'{'")

  defp flowtable_body([{:stmt_sep, _} | rest], opts), do: flowtable_body(rest, opts)
  defp flowtable_body([{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp flowtable_body([{:identifier, "hook", meta} | rest], opts) do
    {hook, rest} = Chain.hook(rest)
    flowtable_body(statement_end(rest, ["priority"]), [{:base, hook, meta} | opts])
  end

  defp flowtable_body([{:identifier, "devices", _}, {:assign, _} | rest], opts) do
    {devices, rest} = Chain.devices(rest)
    flowtable_body(statement_end(rest), [{:devices, devices} | opts])
  end

  defp flowtable_body([{:identifier, "counter", _} | rest], opts),
    do: flowtable_body(statement_end(rest), [{:flag, :counter} | opts])

  defp flowtable_body([{:identifier, "flags", _}, {:identifier, "offload", _} | rest], opts),
    do: flowtable_body(statement_end(rest), [{:flag, :hw_offload} | opts])

  defp flowtable_body([token | _] = tokens, opts) when definition?(token) do
    {item, rest} = definition(tokens)
    flowtable_body(rest, [{:definition, item} | opts])
  end

  defp flowtable_body(tokens, _opts),
    do: unexpected(tokens, "hook, devices, counter or flags", ~w(hook devices counter flags))

  defp object(kind, tokens, meta) do
    {name, rest} = name(tokens, "object")
    {opts, rest} = Object.body(kind, rest)
    {{:object, kind, name, opts, meta}, rest}
  end
end
