defmodule Linx.Netfilter.Encoder.Rule do
  @moduledoc false
  # NEWRULE, and before it the sets and chains of the rule's own.

  import Linx.Netfilter.Wire
  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.Encoder.{Anonymous, Bound, Expressions, Place}
  alias Linx.Netfilter.{Guard, Rule, Table, Userdata}
  alias Linx.Netfilter.Wire.Writer
  alias Linx.Netlink.Message

  # nlmsghdr flags, include/uapi/linux/netlink.h.
  @replace 0x100
  @create 0x400
  @append 0x800

  @typedoc "The next set's id in the batch, and the expressions written before."
  @type state :: {pos_integer(), Expressions.cache()}

  @typedoc "A chain's name, or its id in the batch."
  @type chain :: String.t() | {:id, pos_integer()}

  @doc "A rule without sets of its own."
  @spec bare(Rule.t(), Table.family(), String.t(), String.t(), keyword()) :: Message.t()
  def bare(rule, family, table_name, chain_name, opts) do
    exprs = rule.expressions |> Guard.expand(family) |> Expressions.list()
    rule_message(exprs, rule, family, table_name, chain_name, opts)
  end

  @doc """
  The rule's messages with their place `at`.

  A rule's own sets and chains come before it in the batch; the rule names them by id, since the kernel makes their names.
  """
  @spec messages(Rule.t(), Table.family(), String.t(), chain(), keyword(), state(), keyword()) ::
          {list(), state()}
  def messages(rule, family, table_name, chain, opts, state, at) do
    {result, _at} =
      Place.at(at, fn -> with_sets(rule, family, table_name, chain, opts, state, at) end)

    result
  end

  defp with_sets(rule, family, table_name, chain, opts, {id, cache}, at) do
    exprs = Guard.expand(rule.expressions, family)
    {exprs, sets, id} = Anonymous.sets(exprs, family, table_name, id, at)
    {exprs, chains, {id, cache}} = Bound.chains(exprs, family, table_name, {id, cache}, at)
    {exprs, cache} = Expressions.list(exprs, cache)
    message = rule_message(exprs, rule, family, table_name, chain, opts)
    {[sets, chains, {message, at}], {id, cache}}
  end

  defp rule_message(exprs, rule, family, table_name, chain, opts) do
    {flags, place} = place(opts)

    message(nft_msg_newrule(), flags, family, [
      Writer.text(nfta_rule_table(), table_name),
      chain(chain),
      place,
      Writer.nest(nfta_rule_expressions(), exprs),
      case Userdata.rule(rule) do
        <<>> -> []
        bytes -> Writer.attr(nfta_rule_userdata(), bytes)
      end
    ])
  end

  # By name, or by the id that a chain without one has in its batch.
  defp chain({:id, id}), do: Writer.u32(nfta_rule_chain_id(), id)
  defp chain(name), do: Writer.text(nfta_rule_chain(), name)

  defp place(opts) do
    case {opts[:replace], Keyword.get(opts, :position, :append)} do
      {handle, _position} when is_integer(handle) ->
        {@replace, Writer.u64(nfta_rule_handle(), handle)}

      {nil, :append} ->
        {Bitwise.bor(@create, @append), []}

      {nil, {:after, handle}} ->
        {Bitwise.bor(@create, @append), Writer.u64(nfta_rule_position(), handle)}

      {nil, {:before, handle}} ->
        {@create, Writer.u64(nfta_rule_position(), handle)}

      {nil, {:at_index, 0}} ->
        {@create, []}

      {nil, other} ->
        raise ArgumentError,
              "no such position on the wire: #{inspect(other)}; use {:after, handle}"
    end
  end
end
