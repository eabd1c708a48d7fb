defmodule Linx.NFT.Parser.Chain do
  @moduledoc false
  # The braces of a chain: its type, hook, priority and policy, then its rules.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.{Block, Statement}

  # The first words of a chain's own declarations, and of those that every block may contain.
  @words ~w(type policy flags devices comment include define redefine undefine)
  @definitions [:include, :define, :redefine, :undefine]

  @doc false
  # {options, rules, rest}
  def body([{:lbrace, _} | rest]), do: chain_body(rest, [], [])
  def body(tokens), do: unexpected(tokens, "'{'")

  defp chain_body([{:stmt_sep, _} | rest], opts, rules), do: chain_body(rest, opts, rules)

  defp chain_body([{:rbrace, _} | rest], opts, rules),
    do: {Enum.reverse(opts), Enum.reverse(rules), rest}

  defp chain_body([{:rule_text, _, _} = text | rest], opts, rules),
    do: chain_body(rest, opts, [text | rules])

  defp chain_body(
         [{:identifier, "type", meta}, {:identifier, type, _}, {:identifier, "hook", _} | rest],
         opts,
         rules
       ) do
    {hook, rest} = hook(rest)
    option({:base, {type, hook}, meta}, header_end(rest), opts, rules)
  end

  defp chain_body(
         [{:identifier, "type", _}, {:identifier, _, _}, {:identifier, word, meta} | _],
         _opts,
         _rules
       ),
       do: unexpected([{:identifier, word, meta}], "hook", ["hook"])

  defp chain_body([{:identifier, "policy", meta} | rest], opts, rules) do
    case rest do
      [{:identifier, policy, _} | rest] when policy in ["accept", "drop"] ->
        option({:policy, known(policy), meta}, header_end(rest), opts, rules)

      [{:variable, _, _} = token | rest] ->
        option({:policy, token, meta}, header_end(rest), opts, rules)

      [{:elixir_expr, _, _} = token | rest] ->
        option({:policy, token, meta}, header_end(rest), opts, rules)

      rest ->
        unexpected(rest, "accept or drop", ~w(accept drop))
    end
  end

  defp chain_body(
         [{:identifier, "flags", meta}, {:identifier, "offload", _} | rest],
         opts,
         rules
       ),
       do: option({:flags, [:hw_offload], meta}, header_end(rest), opts, rules)

  defp chain_body([{:identifier, "devices", meta}, {:assign, _} | rest], opts, rules) do
    {devices, rest} = devices(rest)
    option({:devices, devices, meta}, header_end(rest), opts, rules)
  end

  # A comment of the chain stands before its rules; a rule's own comes last on its line.
  defp chain_body([{:identifier, "comment", meta} | rest], opts, rules) do
    {text, rest} = comment(rest)
    option({:comment, text, meta}, header_end(rest), opts, rules)
  end

  defp chain_body([{:identifier, word, _} | _] = tokens, opts, rules)
       when word in ~w(include define redefine undefine) do
    {item, rest} = Block.definition(tokens)
    chain_body(rest, opts, [item | rules])
  end

  defp chain_body(tokens, opts, rules) do
    {rule, rest} = Statement.rule(tokens, @words)
    chain_body(statement_end(rest), opts, [rule | rules])
  end

  # An option behind a definition may use it: it stays in its place among the rules.
  defp option(option, rest, opts, rules) do
    if Enum.any?(rules, &(elem(&1, 0) in @definitions)),
      do: chain_body(rest, opts, [{:chain_option, option, elem(option, 2)} | rules]),
      else: chain_body(rest, [option | opts], rules)
  end

  # "priority 0 policy drop" on one line is taken as well.
  @header ~w(device devices priority policy flags)

  defp header_end([{:identifier, word, _} | _] = tokens)
       when word in ["policy", "flags", "devices"], do: tokens

  defp header_end([{:identifier, _, _} | _] = tokens),
    do: unexpected(tokens, "end of statement", @header)

  defp header_end(tokens), do: statement_end(tokens)

  @doc false
  def hook(tokens) do
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

  @doc false
  def devices([{:lbrace, _} | rest]), do: device_list(skip_separators(rest), [])

  def devices([{kind, _, _} = token | rest]) when kind in [:variable, :elixir_expr],
    do: {token, rest}

  def devices(tokens), do: unexpected(tokens, "'{' and device names")

  defp device_list([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp device_list(tokens, acc) do
    {device, rest} = string(tokens, "a device name")

    case skip_separators(rest) do
      [{:comma, _} | rest] -> device_list(skip_separators(rest), [device | acc])
      [{:rbrace, _} | rest] -> {Enum.reverse([device | acc]), rest}
      other -> unexpected(other, "',' or '}'")
    end
  end
end
