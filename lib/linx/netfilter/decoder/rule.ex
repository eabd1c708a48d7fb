defmodule Linx.Netfilter.Decoder.Rule do
  @moduledoc false
  # One NEWRULE payload. Dumps go through Decoder.Rules.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.{Dependencies, Rule, Table, Userdata}
  alias Linx.Netfilter.Wire.Reader

  @spec rule(binary()) :: {Table.family(), String.t(), String.t(), Rule.t()}
  def rule(body) do
    {family, attrs} = Reader.message(body)
    {comment, tag, userdata} = Userdata.parse_rule(attrs[nfta_rule_userdata()])
    chain = Reader.name(attrs[nfta_rule_chain()])
    expressions = Expressions.list(attrs[nfta_rule_expressions()] || <<>>)

    rule = %Rule{
      expressions: Dependencies.fold(expressions, family),
      chain: chain,
      handle: Reader.uint(attrs[nfta_rule_handle()]),
      tag: tag,
      comment: comment,
      userdata: userdata
    }

    {family, Reader.name(attrs[nfta_rule_table()]), chain, rule}
  end
end
