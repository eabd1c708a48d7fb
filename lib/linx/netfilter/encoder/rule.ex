defmodule Linx.Netfilter.Encoder.Rule do
  @moduledoc false
  # NEWRULE, and before it the sets and chains of the rule's own.

  import Linx.Netfilter.Wire
  import Linx.Netlink.Constants

  alias Linx.Netfilter.Encoder.{Anonymous, Bound, Expressions, Frames, Place, TemplateCache}
  alias Linx.Netfilter.{Dependencies, Rule, Table, Userdata}
  alias Linx.Netlink.{Attr, Message}
  alias Linx.Netlink.Nfnl.Header

  require Attr

  # An attribute's length has sixteen bits.
  @room 0xFFFB

  @typedoc "The next set's id in the batch, and what was written before."
  @type state :: {pos_integer(), TemplateCache.cache()}

  @typedoc "Family, table, and the chain's name, or its id in the batch."
  @type chain :: {Table.family(), String.t(), String.t() | {:id, pos_integer()}}

  @doc "A rule without sets of its own."
  @spec bare(Rule.t(), Table.family(), String.t(), String.t(), keyword()) :: Message.t()
  def bare(rule, family, table_name, chain_name, opts) do
    exprs = rule.expressions |> Dependencies.expand(family) |> Expressions.list()
    message(exprs, rule, head({family, table_name, chain_name}, opts))
  end

  @doc "A chain's rules, of which the first is at `at` with `rule: 0`."
  @spec all([Rule.t()], chain(), keyword(), state(), Frames.t()) :: {Frames.t(), state()}
  def all(rules, chain, at, state, frames),
    do: from(rules, 0, chain, head(chain, []), at, state, frames)

  @doc """
  One rule. Options: `:replace`, `:position`.

  A rule's own sets and chains come before it in the batch; the rule names them by id, since the
  kernel makes their names.
  """
  @spec one(Rule.t(), chain(), keyword(), keyword(), state(), Frames.t()) ::
          {Frames.t(), state()}
  def one(rule, chain, opts, at, {id, cache} = state, frames) do
    head = Place.at(at, fn -> head(chain, opts) end)

    case plain(rule, chain, head, at, nil, cache, frames.bytes) do
      :own -> with_own(rule, chain, head, at, state, frames)
      {bytes, cache} -> {frames |> Frames.run(at, nil) |> Frames.grown(bytes, 1), {id, cache}}
    end
  end

  # -- many --------------------------------------------------------------------------------------

  # A run of rules without anything of their own, a rule with, and again.
  defp from([], _index, _chain, _head, _at, state, frames), do: {frames, state}

  defp from(rules, index, chain, head, at, {id, cache}, frames) do
    frames = Frames.run(frames, at, index)
    {rest, next, bytes, cache} = written(rules, index, chain, head, at, cache, frames.bytes)
    frames = Frames.grown(frames, bytes, next - index)

    case rest do
      [] ->
        {frames, {id, cache}}

      [rule | rest] ->
        place = at ++ [rule: next]
        {frames, state} = with_own(rule, chain, head, place, {id, cache}, frames)
        from(rest, next + 1, chain, head, at, state, frames)
    end
  end

  defp written([rule | rest] = rules, index, chain, head, at, cache, bytes) do
    case plain(rule, chain, head, at, index, cache, bytes) do
      :own -> {rules, index, bytes, cache}
      {bytes, cache} -> written(rest, index + 1, chain, head, at, cache, bytes)
    end
  end

  defp written([], index, _chain, _head, _at, cache, bytes), do: {[], index, bytes, cache}

  # -- one ---------------------------------------------------------------------------------------

  # The rule behind `bytes`, or `:own`. Each byte is written once.
  defp plain(rule, {family, _, _}, {flags, head}, at, index, cache, bytes) do
    case TemplateCache.find(rule.expressions, family, cache) do
      {size, pieces, values, cache} ->
        userdata = userdata(rule)

        bytes =
          <<bytes::binary, byte_size(head) + size + byte_size(userdata) + 20::native-32,
            0x0A00 + nft_msg_newrule()::native-16, flags::native-16, 0::64, head::binary,
            nest(size)::binary>>

        bytes = TemplateCache.fill(pieces, values, bytes)
        {if(userdata == <<>>, do: bytes, else: <<bytes::binary, userdata::binary>>), cache}

      :own ->
        :own
    end
  rescue
    error in [ArgumentError, KeyError, FunctionClauseError, Protocol.UndefinedError] ->
      Place.unencodable!(if(index, do: at ++ [rule: index], else: at), error)
  end

  defp with_own(rule, {family, table_name, _} = chain, head, at, {id, cache}, frames) do
    {exprs, sets, id} =
      Place.at(at, fn ->
        rule.expressions
        |> Dependencies.expand(family)
        |> Anonymous.sets(family, table_name, id)
      end)

    frames = Enum.reduce(sets, frames, &Frames.add(&2, &1, at))
    {exprs, state, frames} = Bound.chains(exprs, chain, at, {id, cache}, frames)
    message = Place.at(at, fn -> exprs |> Expressions.list() |> message(rule, head) end)
    {Frames.add(frames, message, at), state}
  end

  defp message(exprs, rule, {flags, head}) do
    exprs = IO.iodata_to_binary(exprs)

    payload =
      <<head::binary, nest(byte_size(exprs))::binary, exprs::binary, userdata(rule)::binary>>

    %Message{type: 0x0A00 + nft_msg_newrule(), flags: flags, payload: payload}
  end

  defp nest(size) when size <= @room,
    do: Attr.head(0x8000 + nfta_rule_expressions(), size)

  defp nest(size),
    do: raise(ArgumentError, "expressions of #{size} bytes; a 16-bit length holds #{@room}")

  defp userdata(rule) do
    case Userdata.rule(rule) do
      <<>> -> <<>>
      bytes -> Attr.bytes(nfta_rule_userdata(), bytes)
    end
  end

  # The flags of nlmsghdr and the bytes before the expressions, which are the same for all rules
  # of a chain.
  defp head({family, table_name, chain}, opts) do
    {flags, place} = place(opts)

    {flags,
     IO.iodata_to_binary([
       Header.encode(family, 0),
       Attr.text(nfta_rule_table(), table_name),
       chain(chain),
       place
     ])}
  end

  # By name, or by the id that a chain without one has in its batch.
  defp chain({:id, id}), do: Attr.u32_be(nfta_rule_chain_id(), id)
  defp chain(name), do: Attr.text(nfta_rule_chain(), name)

  defp place(opts) do
    case {opts[:replace], Keyword.get(opts, :position, :append)} do
      {handle, _position} when is_integer(handle) ->
        {nlm_f_replace(), Attr.u64_be(nfta_rule_handle(), handle)}

      {nil, :append} ->
        {Bitwise.bor(nlm_f_create(), nlm_f_append()), []}

      {nil, {:after, handle}} ->
        {Bitwise.bor(nlm_f_create(), nlm_f_append()), Attr.u64_be(nfta_rule_position(), handle)}

      {nil, {:before, handle}} ->
        {nlm_f_create(), Attr.u64_be(nfta_rule_position(), handle)}

      {nil, {:at_index, 0}} ->
        {nlm_f_create(), []}

      {nil, other} ->
        raise ArgumentError,
              "no such position on the wire: #{inspect(other)}; use {:after, handle}"
    end
  end
end
