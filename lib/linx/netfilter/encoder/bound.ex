defmodule Linx.Netfilter.Encoder.Bound do
  @moduledoc false
  # The chains that a rule brings with it: `jump { ... }`. The kernel names such a chain, binds it
  # to the rule that jumps to it, and takes no more rules for it then: the chain comes first, its
  # rules after it, the rule that owns it last.
  #
  # Source: NFT_CHAIN_BINDING, NFTA_CHAIN_ID in linux/netfilter/nf_tables.h; nf_tables_newrule,
  # "nft_chain_is_bound".

  import Linx.Netfilter.Wire
  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.Encoder.{Frames, Place, Rule}
  alias Linx.Netfilter.{Codec, Expr, Verdict, Wire}

  @doc """
  The expressions with verdicts to the chains' ids, the state after them, and the frames with the
  chains' messages, all at `at`.
  """
  @spec chains([Expr.t()], Rule.chain(), keyword(), Rule.state(), Frames.t()) ::
          {[Expr.t()], Rule.state(), Frames.t()}
  def chains(exprs, {family, table_name, _}, at, state, frames) do
    {exprs, {state, frames}} =
      Enum.map_reduce(exprs, {state, frames}, fn
        %Expr{name: :immediate, data: %Verdict{target: rules}} = expr, {state, frames}
        when is_list(rules) ->
          chain(expr, family, table_name, at, state, frames)

        expr, acc ->
          {expr, acc}
      end)

    {exprs, state, frames}
  end

  defp chain(%Expr{} = expr, family, table_name, at, {id, cache}, frames) do
    rules = expr.data.target

    new =
      Place.at(at, fn ->
        message(nft_msg_newchain(), create([]), %Codec.Chain{
          family: Wire.family_num(family),
          table: table_name,
          id: id,
          flags: [:binding]
        })
      end)

    {state, frames} =
      Enum.reduce(rules, {{id + 1, cache}, Frames.add(frames, new, at)}, fn rule,
                                                                            {state, frames} ->
        {frames, state} = Rule.one(rule, {family, table_name, {:id, id}}, [], at, state, frames)
        {state, frames}
      end)

    {%{expr | data: %{expr.data | target: {:id, id}}}, {state, frames}}
  end
end
