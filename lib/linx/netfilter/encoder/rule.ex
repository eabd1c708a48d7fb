defmodule Linx.Netfilter.Encoder.Rule do
  @moduledoc false
  # NEWRULE, and before it the sets and chains of the rule's own.

  import Linx.Netfilter.Wire
  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.Encoder.{Anonymous, Bound, Expressions, Pattern, Place}
  alias Linx.Netfilter.{Guard, Rule, Table, Userdata}
  alias Linx.Netfilter.Wire.Writer
  alias Linx.Netlink.Message
  alias Linx.Netlink.Nfnl.Header

  # nlmsghdr flags, include/uapi/linux/netlink.h.
  @replace 0x100
  @create 0x400
  @append 0x800

  @typedoc "The next set's id in the batch, and what was written before."
  @type state :: {pos_integer(), Pattern.memory()}

  @typedoc "A chain's name, or its id in the batch."
  @type chain :: String.t() | {:id, pos_integer()}

  @doc "A rule without sets of its own."
  @spec bare(Rule.t(), Table.family(), String.t(), String.t(), keyword()) :: Message.t()
  def bare(rule, family, table_name, chain_name, opts) do
    exprs = rule.expressions |> Guard.expand(family) |> Expressions.list()
    whole(rule_message(exprs, rule, family, table_name, chain_name, opts))
  end

  @doc """
  The rule's messages with their place `at`.

  A rule's own sets and chains come before it in the batch; the rule names them by id, since the kernel makes their names.
  """
  @spec messages(Rule.t(), Table.family(), String.t(), chain(), keyword(), state(), keyword()) ::
          {list(), state()}
  def messages(rule, family, table_name, chain, opts, state, at) do
    {result, _at} =
      Place.at(at, fn -> write(rule, family, table_name, chain, opts, state, at) end)

    result
  end

  defp write(rule, family, table_name, chain, opts, {id, memory}, at) do
    case Pattern.write(rule.expressions, family, memory) do
      {exprs, memory} ->
        {[{rule_message(exprs, rule, family, table_name, chain, opts), at}], {id, memory}}

      :own ->
        with_sets(rule, family, table_name, chain, opts, {id, memory}, at)
    end
  end

  defp with_sets(rule, family, table_name, chain, opts, {id, memory}, at) do
    exprs = Guard.expand(rule.expressions, family)
    {exprs, sets, id} = Anonymous.sets(exprs, family, table_name, id, at)
    {exprs, chains, state} = Bound.chains(exprs, family, table_name, {id, memory}, at)
    message = rule_message(Expressions.list(exprs), rule, family, table_name, chain, opts)
    {[sets, chains, {message, at}], state}
  end

  # In pieces, of which most are a pattern's own: the batch becomes one binary when it is sent. To make one of each message on the
  # way costs more than all else, since the collector runs for each few hundred.
  defp rule_message(exprs, rule, family, table_name, chain, opts) do
    {flags, place} = place(opts)

    payload = [
      Header.encode(family, 0),
      Writer.text(nfta_rule_table(), table_name),
      chain(chain),
      place,
      Writer.pieces(nfta_rule_expressions(), exprs),
      case Userdata.rule(rule) do
        <<>> -> []
        bytes -> Writer.attr(nfta_rule_userdata(), bytes)
      end
    ]

    %Message{type: 0x0A00 + nft_msg_newrule(), flags: flags, payload: payload}
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
