defmodule Linx.Netfilter.Wire.Timeouts do
  @moduledoc false
  # The states of a conntrack timeout policy (nfnetlink_cttimeout.h), in the kernel's order, with
  # nft's defaults in seconds. nft sends every state, so that a policy means the same whatever the
  # namespace's sysctls say; a default is not listed.

  alias Linx.Netfilter.Protocol

  # A protocol without states of its own has one timeout in the kernel.
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

  defp states(protocol) do
    case Protocol.fetch(protocol) do
      {:ok, %{timeouts: states}} when states != nil -> states
      _ -> @generic
    end
  end
end
