defmodule Linx.Netfilter.Encoder.Bound do
  @moduledoc false
  # The chains that a rule brings with it: `jump { ... }`. The kernel names such a chain, binds it to the rule that jumps to it, and takes
  # no more rules for it then: the chain comes first, its rules after it, the rule that owns it last.
  #
  # Source: NFT_CHAIN_BINDING, NFTA_CHAIN_ID in linux/netfilter/nf_tables.h; nf_tables_newrule, "nft_chain_is_bound".

  import Linx.Netfilter.Wire
  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.{Encoder, Expr, Table, Verdict, Wire}
  alias Linx.Netfilter.Wire.Writer

  @doc "The expressions with verdicts to the chains' ids, the chains' messages placed at `at`, and the state after them."
  @spec chains([Expr.t()], Table.family(), String.t(), Encoder.Rule.state(), keyword()) ::
          {[Expr.t()], list(), Encoder.Rule.state()}
  def chains(exprs, family, table_name, state, at) do
    if Enum.any?(exprs, &own?/1) do
      {exprs, {messages, state}} =
        Enum.map_reduce(exprs, {[], state}, fn expr, {messages, state} ->
          if own?(expr) do
            {expr, more, state} = chain(expr, family, table_name, state, at)
            {expr, {[more | messages], state}}
          else
            {expr, {messages, state}}
          end
        end)

      {exprs, Enum.reverse(messages), state}
    else
      {exprs, [], state}
    end
  end

  defp own?(%Expr{name: :immediate, data: %Verdict{target: rules}}) when is_list(rules), do: true
  defp own?(_expr), do: false

  defp chain(%Expr{data: %{target: rules}} = expr, family, table_name, {id, memory}, at) do
    new =
      message(nft_msg_newchain(), create([]), family, [
        Writer.text(nfta_chain_table(), table_name),
        Writer.u32(nfta_chain_id(), id),
        flags(nfta_chain_flags(), Wire.chain_flags_int([:binding]))
      ])

    {inside, state} =
      Enum.map_reduce(rules, {id + 1, memory}, fn rule, state ->
        Encoder.Rule.messages(rule, family, table_name, {:id, id}, [], state, at)
      end)

    {%{expr | data: %{expr.data | target: {:id, id}}}, [{new, at} | inside], state}
  end
end
