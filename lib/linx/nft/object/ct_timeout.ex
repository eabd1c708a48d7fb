defmodule Linx.NFT.Object.CtTimeout do
  @moduledoc false
  # `ct timeout NAME { protocol tcp; l3proto ip; policy = { established : 120, close : 4 } }`

  @behaviour Linx.NFT.Object

  import Linx.NFT.Parser.Tokens, only: [duration: 1, skip_separators: 1, unexpected: 2]

  alias Linx.NFT.Compiler.{Elements, Fault, Value}
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.{Object, ParseError}
  alias Linx.NFT.Object.Conntrack

  # enum ctattr_timeout_tcp and ctattr_timeout_udp of nfnetlink_cttimeout.h
  @states %{
    tcp: ~w(syn_sent syn_recv established fin_wait close_wait last_ack time_wait close syn_sent2
         retrans unack),
    udp: ~w(unreplied replied)
  }
  @state_atoms Map.new(List.flatten(Map.values(@states)), &{&1, String.to_atom(&1)})

  @impl true
  def words, do: ~w(protocol l3proto policy)

  @impl true
  def option([{:identifier, "policy", _}, {:assign, _}, {:lbrace, _} | rest]) do
    {policy, rest} = policy(skip_separators(rest), [])
    {{:policy, policy}, rest}
  end

  def option(tokens), do: Conntrack.option(tokens)

  defp policy([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp policy([{:identifier, state, meta}, {:colon, _} | rest], acc) do
    {ms, rest} = duration(rest)
    acc = [{state, ms, meta} | acc]

    case skip_separators(rest) do
      [{:comma, _} | rest] -> policy(skip_separators(rest), acc)
      [{:rbrace, _} | rest] -> {Enum.reverse(acc), rest}
      other -> unexpected(other, "',' or '}'")
    end
  end

  defp policy(tokens, _acc),
    do: unexpected(tokens, "a connection state and its timeout: established : 120")

  @impl true
  def data(opts, meta, scope) do
    protocol = Object.required(opts[:protocol], "protocol", meta)
    policy = Map.new(opts[:policy] || [], &state(&1, protocol, scope))
    %{protocol: protocol, l3proto: opts[:l3proto] || scope.family, policy: policy}
  end

  # The kernel counts these timeouts in 32 bits of seconds.
  defp state({name, ms, meta}, protocol, scope) do
    known =
      Map.get(@states, protocol) || Fault.fail(meta, "only tcp and udp have timeouts by state")

    seconds = div(Elements.duration(ms, scope), 1000)

    if name in known,
      do:
        {Map.fetch!(@state_atoms, name),
         Value.number_within(seconds, 0xFFFFFFFF, "the timeout in seconds", meta, scope)},
      else:
        Fault.fail(
          meta,
          "#{name} is no state of #{protocol}#{ParseError.suggestion(name, known)}"
        )
  end

  @impl true
  def lines(data) do
    policy =
      for {state, seconds} <- Enum.sort(data[:policy] || %{}),
          do: [Text.word(state), " : ", Text.word(seconds)]

    policy =
      if policy == [], do: [], else: [["policy = { ", Enum.intersperse(policy, ", "), " }"]]

    Conntrack.protocol_line(data) ++ Conntrack.l3proto_line(data) ++ policy
  end

  @impl true
  def kept, do: nil
end
