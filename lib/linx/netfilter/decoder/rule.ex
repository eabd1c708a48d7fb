defmodule Linx.Netfilter.Decoder.Rule do
  @moduledoc false
  # NEWRULE payloads, thousands at a time: what repeats from rule to rule is decoded once.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.{Guard, Rule, Table, Userdata}
  alias Linx.Netfilter.Wire.Reader

  @doc "The rules of a dump, in its order."
  @spec rules([binary()]) :: [{Table.family(), String.t(), String.t(), Rule.t()}]
  def rules(bodies) do
    {rules, _cache} = Enum.map_reduce(bodies, %{}, &rule/2)
    rules
  end

  @doc "One rule, with what was seen in those before."
  @spec rule(binary(), Expressions.cache()) ::
          {{Table.family(), String.t(), String.t(), Rule.t()}, Expressions.cache()}
  def rule(body, cache) do
    {family, attrs} = Reader.message_list(body)
    rule_fields(attrs, family, cache, "", "", nil, [], {nil, nil, []})
  end

  # One struct at the end: thousands of rules are read here.
  defp rule_fields([], family, cache, table, chain, handle, exprs, {comment, tag, other}) do
    rule = %Rule{
      expressions: exprs,
      chain: chain,
      handle: handle,
      tag: tag,
      comment: comment,
      userdata: other
    }

    {{family, table, chain, rule}, cache}
  end

  defp rule_fields([{type, bytes} | rest], family, cache, table, chain, handle, exprs, userdata) do
    case type do
      nfta_rule_table() ->
        {table, cache} = name(bytes, cache)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_chain() ->
        {chain, cache} = name(bytes, cache)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_handle() ->
        rule_fields(rest, family, cache, table, chain, Reader.uint(bytes), exprs, userdata)

      nfta_rule_expressions() ->
        {exprs, cache} = Expressions.list(bytes, cache)
        exprs = Guard.fold(exprs, family)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_userdata() ->
        userdata = Userdata.parse_rule(bytes)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      _unknown ->
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)
    end
  end

  # The names of tables and chains repeat from rule to rule.
  defp name(bytes, cache) do
    key = {:name, bytes}

    case cache do
      %{^key => name} ->
        {name, cache}

      _ ->
        name = Reader.text(bytes)
        {name, Map.put(cache, {:name, :binary.copy(bytes)}, name)}
    end
  end
end
