defmodule Linx.NFT.Object.Kinds do
  @moduledoc false
  # The kinds of named object in nft's language, one row each. This module holds data alone and
  # depends on nothing, so that others may read it at compile time.

  # {kind, module, words that declare an object, words before its name in a rule}
  @rows [
    {:counter, :Counter, "counter", "counter name"},
    {:quota, :Quota, "quota", "quota name"},
    {:limit, :Limit, "limit", "limit name"},
    {:ct_helper, :CtHelper, "ct helper", "ct helper set"},
    {:ct_timeout, :CtTimeout, "ct timeout", "ct timeout set"},
    {:ct_expectation, :CtExpectation, "ct expectation", "ct expectation set"},
    {:secmark, :Secmark, "secmark", "meta secmark set"},
    {:synproxy, :Synproxy, "synproxy", "synproxy name"},
    {:tunnel, :Tunnel, "tunnel", "tunnel name"}
  ]

  @doc """
  `{kind, module, declaring words, referring words}` of each kind, the module by the last part of
  its name.
  """
  @spec rows() :: [{atom(), atom(), String.t(), String.t()}, ...]
  def rows, do: @rows

  @doc "The kinds."
  @spec names() :: [atom(), ...]
  def names, do: for({kind, _, _, _} <- @rows, do: kind)

  @doc "The words that begin a declaration."
  @spec words() :: [String.t(), ...]
  def words, do: @rows |> Enum.map(&hd(String.split(elem(&1, 2)))) |> Enum.uniq()

  @doc """
  The words that begin a reference in a rule. Those of a security mark also begin the statement
  that sets one from the connection's: they are parsed as that statement.
  """
  @spec references() :: [String.t(), ...]
  def references, do: for({kind, _, _, words} <- @rows, kind != :secmark, do: words)
end
