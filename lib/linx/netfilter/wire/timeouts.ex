defmodule Linx.Netfilter.Wire.Timeouts do
  @moduledoc false
  # The states of a conntrack timeout policy (nfnetlink_cttimeout.h), in the kernel's order, with nft's defaults in seconds. nft sends
  # every state, so that a policy means the same whatever the namespace's sysctls say; a default is not listed.

  @tcp [
    syn_sent: 120,
    syn_recv: 60,
    established: 432_000,
    fin_wait: 120,
    close_wait: 60,
    last_ack: 30,
    time_wait: 120,
    close: 10,
    syn_sent2: 120,
    retrans: 300,
    unack: 300
  ]
  @udp [unreplied: 30, replied: 120]
  @generic [timeout: 600]

  @spec encode(atom(), %{optional(atom()) => non_neg_integer()}) :: [
          {pos_integer(), non_neg_integer()}
        ]
  def encode(protocol, policy) do
    states = states(protocol)

    case Map.keys(policy) -- Keyword.keys(states) do
      [] -> :ok
      unknown -> raise ArgumentError, "no timeout state #{inspect(unknown)} for #{protocol}"
    end

    for {{state, default}, n} <- Enum.with_index(states, 1),
        do: {n, Map.get(policy, state, default)}
  end

  @spec decode(atom() | integer(), [{non_neg_integer(), non_neg_integer()}]) :: %{
          atom() => non_neg_integer()
        }
  def decode(protocol, values) do
    for {{state, default}, n} <- Enum.with_index(states(protocol), 1),
        {^n, seconds} <- values,
        seconds != default,
        into: %{},
        do: {state, seconds}
  end

  defp states(:tcp), do: @tcp
  defp states(protocol) when protocol in [:udp, :udplite], do: @udp
  defp states(_other), do: @generic
end
