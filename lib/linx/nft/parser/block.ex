defmodule Linx.NFT.Parser.Block do
  @moduledoc false
  # What stands in the braces of a table: chains, sets, maps, objects, flowtables.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.{Expression, Primary, Statement}

  @items ~w(chain set map vmap counter quota limit ct secmark synproxy flowtable tunnel flags comment include define redefine undefine)

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
    {text, rest} = string(rest, "a comment")
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

  @doc false
  def item([{:identifier, "chain", meta} | rest]) do
    {name, rest} = name(rest, "chain")
    {opts, rules, rest} = chain(rest)
    {{:chain, name, opts, rules, meta}, rest}
  end

  def item([{:identifier, "set", meta} | rest]) do
    {name, rest} = name(rest, "set")
    {opts, rest} = set(rest)
    {{:set, name, opts, meta}, rest}
  end

  def item([{:identifier, kind, meta} | rest]) when kind in ["map", "vmap"] do
    {name, rest} = name(rest, "map")
    {opts, rest} = set(rest)
    {{known(kind), name, opts, meta}, rest}
  end

  def item([{:identifier, "flowtable", meta} | rest]) do
    {name, rest} = name(rest, "flowtable")
    {opts, rest} = flowtable(rest)
    {{:flowtable, name, opts, meta}, rest}
  end

  def item([{:identifier, "ct", meta}, {:identifier, kind, _} | rest])
      when kind in ["helper", "timeout", "expectation"],
      do: object(known("ct_" <> kind), rest, meta)

  def item([{:identifier, kind, meta} | rest])
      when kind in ~w(counter quota limit secmark synproxy tunnel),
      do: object(known(kind), rest, meta)

  def item(tokens), do: unexpected(tokens, "chain, set, map, an object or '}'", @items)

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

  defp definition_value([{:dash, meta}, {:integer, n, _} | rest]),
    do: {{:integer, -n, meta}, rest}

  defp definition_value(tokens), do: Expression.value(tokens)

  # -- chains ----------------------------------------------------------------------------------------------------------

  @doc false
  def chain([{:lbrace, _} | rest]), do: chain_body(rest, [], [])
  def chain(tokens), do: unexpected(tokens, "'{'")

  defp chain_body([{:stmt_sep, _} | rest], opts, rules), do: chain_body(rest, opts, rules)

  defp chain_body([{:rbrace, _} | rest], opts, rules),
    do: {Enum.reverse(opts), Enum.reverse(rules), rest}

  defp chain_body(
         [{:identifier, "type", meta}, {:identifier, type, _}, {:identifier, "hook", _} | rest],
         opts,
         rules
       ) do
    {hook, rest} = hook(rest)
    chain_body(header_end(rest), [{:base, {type, hook}, meta} | opts], rules)
  end

  defp chain_body([{:identifier, "policy", meta} | rest], opts, rules) do
    case rest do
      [{:identifier, policy, _} | rest] when policy in ["accept", "drop"] ->
        chain_body(
          header_end(rest),
          [{:policy, known(policy), meta} | opts],
          rules
        )

      [{:variable, _, _} = token | rest] ->
        chain_body(header_end(rest), [{:policy, token, meta} | opts], rules)

      [{:elixir_expr, _, _} = token | rest] ->
        chain_body(header_end(rest), [{:policy, token, meta} | opts], rules)

      rest ->
        unexpected(rest, "accept or drop", ~w(accept drop))
    end
  end

  defp chain_body(
         [{:identifier, "flags", meta}, {:identifier, "offload", _} | rest],
         opts,
         rules
       ),
       do: chain_body(header_end(rest), [{:flags, [:hw_offload], meta} | opts], rules)

  defp chain_body([{:identifier, "devices", meta}, {:assign, _} | rest], opts, rules) do
    {devices, rest} = devices(rest)
    chain_body(header_end(rest), [{:devices, devices, meta} | opts], rules)
  end

  # A comment of the chain stands before its rules; a rule's own comes last on its line.
  defp chain_body([{:identifier, "comment", meta} | rest], opts, rules) do
    {text, rest} = string(rest, "a comment")
    chain_body(header_end(rest), [{:comment, text, meta} | opts], rules)
  end

  defp chain_body([{:identifier, word, _} | _] = tokens, opts, rules)
       when word in ~w(include define redefine undefine) do
    {item, rest} = definition(tokens)
    chain_body(rest, opts, [item | rules])
  end

  defp chain_body(tokens, opts, rules) do
    {rule, rest} = Statement.rule(tokens)
    chain_body(statement_end(rest), opts, [rule | rules])
  end

  # "priority 0 policy drop" on one line is taken as well.
  defp header_end([{:identifier, word, _} | _] = tokens)
       when word in ["policy", "flags", "devices"], do: tokens

  defp header_end(tokens), do: statement_end(tokens)

  defp hook(tokens) do
    {hook, rest} = string(tokens, "a hook")
    hook_options(rest, [{:hook, hook, meta(tokens)}])
  end

  defp hook_options([{:identifier, "device", _} | rest], opts) do
    {device, rest} = string(rest, "a device name")
    hook_options(rest, [{:device, device} | opts])
  end

  defp hook_options([{:identifier, "devices", _}, {:assign, _} | rest], opts) do
    {devices, rest} = devices(rest)
    hook_options(rest, [{:devices, devices} | opts])
  end

  defp hook_options([{:identifier, "priority", meta} | rest], opts) do
    {priority, rest} = priority(rest)
    hook_options(rest, [{:priority, priority, meta} | opts])
  end

  defp hook_options(rest, opts), do: {Enum.reverse(opts), rest}

  @doc false
  # N, -N, NAME, NAME + N, $var
  def priority([{:dash, _}, {:integer, n, _} | rest]), do: {-n, rest}
  def priority([{:integer, n, _} | rest]), do: {n, rest}
  def priority([{:plus, _}, {:integer, n, _} | rest]), do: {n, rest}

  def priority([{:identifier, name, meta} | rest]) do
    case rest do
      [{:plus, _}, {:integer, n, _} | rest] -> {{name, n, meta}, rest}
      [{:dash, _}, {:integer, n, _} | rest] -> {{name, -n, meta}, rest}
      rest -> {{name, 0, meta}, rest}
    end
  end

  def priority([{kind, _, _} = token | rest]) when kind in [:variable, :elixir_expr] do
    case rest do
      [{:plus, _}, {:integer, n, _} | rest] -> {{:plus, token, n}, rest}
      [{:dash, _}, {:integer, n, _} | rest] -> {{:plus, token, -n}, rest}
      rest -> {token, rest}
    end
  end

  def priority(tokens), do: unexpected(tokens, "a priority: a number or a name")

  defp devices([{:lbrace, _} | rest]), do: device_list(skip_separators(rest), [])

  defp devices([{kind, _, _} = token | rest]) when kind in [:variable, :elixir_expr],
    do: {token, rest}

  defp devices(tokens), do: unexpected(tokens, "'{' and device names")

  defp device_list([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp device_list(tokens, acc) do
    {device, rest} = string(tokens, "a device name")

    case skip_separators(rest) do
      [{:comma, _} | rest] -> device_list(skip_separators(rest), [device | acc])
      [{:rbrace, _} | rest] -> {Enum.reverse([device | acc]), rest}
      other -> unexpected(other, "',' or '}'")
    end
  end

  # -- sets ------------------------------------------------------------------------------------------------------------

  @set_words ~w(type typeof flags timeout gc-interval elements size policy auto-merge comment counter)

  @doc false
  def set([{:lbrace, _} | rest]), do: set_body(rest, [])
  def set(tokens), do: unexpected(tokens, "'{'")

  defp set_body([{:stmt_sep, _} | rest], opts), do: set_body(rest, opts)
  defp set_body([{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp set_body([{:identifier, "type", meta} | rest], opts) do
    {key, rest} = type(rest)
    {data, rest} = map_data(rest, &type/1)
    set_next(rest, [{:type, {key, data, meta}} | opts])
  end

  defp set_body([{:identifier, "typeof", meta} | rest], opts) do
    {key, rest} = Expression.load(rest)
    {data, rest} = map_data(rest, &Expression.load/1)
    set_next(rest, [{:typeof, {key, data, meta}} | opts])
  end

  defp set_body([{:identifier, "flags", _} | rest], opts) do
    {flags, rest} = commas(rest, &flag(&1, ~w(constant interval timeout dynamic)))
    set_next(rest, [{:flags, flags} | opts])
  end

  defp set_body([{:identifier, "timeout", _} | rest], opts) do
    {ms, rest} = duration(rest)
    set_next(rest, [{:timeout, ms} | opts])
  end

  defp set_body([{:identifier, "gc-interval", _} | rest], opts) do
    {ms, rest} = duration(rest)
    set_next(rest, [{:gc_interval, ms} | opts])
  end

  defp set_body([{:identifier, "size", _} | rest], opts) do
    {n, rest} = integer(rest)
    set_next(rest, [{:size, n} | opts])
  end

  defp set_body([{:identifier, "policy", _}, {:identifier, policy, _} | rest], opts)
       when policy in ["performance", "memory"],
       do: set_next(rest, [{:policy, known(policy)} | opts])

  defp set_body([{:identifier, "auto-merge", _} | rest], opts),
    do: set_next(rest, [{:auto_merge, true} | opts])

  defp set_body([{:identifier, "comment", _} | rest], opts) do
    {text, rest} = string(rest, "a comment")
    set_next(rest, [{:comment, text} | opts])
  end

  defp set_body([{:identifier, "elements", _}, {:assign, _} | rest], opts) do
    {elements, rest} =
      case rest do
        [{kind, _, _} = token | rest] when kind in [:variable, :elixir_expr] -> {token, rest}
        rest -> Expression.set(rest)
      end

    set_next(rest, [{:elements, elements} | opts])
  end

  defp set_body([{:identifier, word, _} | _] = tokens, opts)
       when word in ~w(counter limit quota last ct) do
    {statement, rest} = Statement.stateful(tokens)

    case rest do
      # "counter quota 500 bytes": several on one line.
      [{:identifier, word, _} | _] when word in ~w(counter limit quota last ct) ->
        set_body(rest, [{:stmt, statement} | opts])

      rest ->
        set_next(rest, [{:stmt, statement} | opts])
    end
  end

  defp set_body(tokens, _opts), do: unexpected(tokens, "an attribute of the set", @set_words)

  defp set_next(tokens, opts), do: tokens |> statement_end() |> set_body(opts)

  # NAME . NAME ...
  defp type(tokens) do
    {first, rest} = type_name(tokens)
    type_rest(rest, [first])
  end

  defp type_rest([{:dot, _} | rest], acc) do
    {next, rest} = type_name(rest)
    type_rest(rest, [next | acc])
  end

  defp type_rest(rest, acc), do: {Enum.reverse(acc), rest}

  defp type_name([{:identifier, name, meta} | rest]), do: {{name, meta}, rest}
  defp type_name(tokens), do: unexpected(tokens, "a datatype", Linx.Netfilter.Datatype.names())

  @object_words ~w(counter quota limit synproxy secmark)

  defp map_data([{:colon, _}, {:identifier, "interval", _} | rest], one) do
    {data, rest} = one.(rest)
    {{:interval, data}, rest}
  end

  defp map_data([{:colon, _}, {:identifier, word, _} | rest], _one) when word in @object_words,
    do: {{:object, known(word)}, rest}

  defp map_data([{:colon, _}, {:identifier, "ct", _}, {:identifier, kind, _} | rest], _one)
       when kind in ["helper", "timeout", "expectation"],
       do: {{:object, known("ct_" <> kind)}, rest}

  defp map_data([{:colon, _}, {:identifier, "verdict", _} | rest], _one), do: {:verdict, rest}
  defp map_data([{:colon, _} | rest], one), do: one.(rest)
  defp map_data(rest, _one), do: {nil, rest}

  @flag_atoms Map.new(
                ~w(constant interval timeout dynamic dormant owner persist),
                &{&1, String.to_atom(&1)}
              )

  defp flag([{:identifier, word, _} | rest] = tokens, allowed) do
    if word in allowed,
      do: {Map.fetch!(@flag_atoms, word), rest},
      else: unexpected(tokens, Enum.join(allowed, ", "), allowed)
  end

  defp flag(tokens, allowed), do: unexpected(tokens, Enum.join(allowed, ", "), allowed)

  # -- flowtables and objects ------------------------------------------------------------------------------------------

  @doc false
  def flowtable([{:lbrace, _} | rest]), do: flowtable_body(rest, [])
  def flowtable(tokens), do: unexpected(tokens, "'{'")

  defp flowtable_body([{:stmt_sep, _} | rest], opts), do: flowtable_body(rest, opts)
  defp flowtable_body([{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp flowtable_body([{:identifier, "hook", meta} | rest], opts) do
    {hook, rest} = hook(rest)
    flowtable_body(statement_end(rest), [{:base, hook, meta} | opts])
  end

  defp flowtable_body([{:identifier, "devices", _}, {:assign, _} | rest], opts) do
    {devices, rest} = devices(rest)
    flowtable_body(statement_end(rest), [{:devices, devices} | opts])
  end

  defp flowtable_body([{:identifier, "counter", _} | rest], opts),
    do: flowtable_body(statement_end(rest), [{:flag, :counter} | opts])

  defp flowtable_body([{:identifier, "flags", _}, {:identifier, "offload", _} | rest], opts),
    do: flowtable_body(statement_end(rest), [{:flag, :hw_offload} | opts])

  defp flowtable_body(tokens, _opts),
    do: unexpected(tokens, "hook, devices, counter or flags", ~w(hook devices counter flags))

  defp object(kind, tokens, meta) do
    {name, rest} = name(tokens, "object")
    {opts, rest} = Linx.NFT.Parser.Objects.body(kind, rest)
    {{:object, kind, name, opts, meta}, rest}
  end

  @doc false
  def family_words, do: ~w(ip ip6 inet arp bridge netdev)

  @doc false
  def family([{:identifier, word, _} | rest], default) do
    if word in family_words(),
      do: {known(word), rest},
      else: {default, [{:identifier, word, nil} | rest]}
  end

  @doc false
  def verdict(tokens), do: Primary.verdict(tokens)
end
