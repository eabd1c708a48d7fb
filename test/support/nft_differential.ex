defmodule Linx.Test.NftDifferential do
  @moduledoc false
  # One text, loaded by nft(8) in one namespace and pushed by Linx in another: both list the same,
  # and what Linx writes of either loads to the same listing again.

  import ExUnit.Assertions

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.Ruleset
  alias Linx.Netlink.Socket
  alias Linx.Test.Firewall

  @type t :: %{
          :ours => pos_integer(),
          :sock => Socket.t(),
          :theirs => pos_integer(),
          :other => Socket.t(),
          optional(atom()) => term()
        }

  @doc "Two namespaces, for `setup`: Linx's with `sock` in it, nft's with `other` in it."
  @spec namespaces() :: t()
  def namespaces do
    %{pid: ours, sock: sock} = Firewall.namespace()
    %{pid: theirs, sock: other} = Firewall.namespace()
    %{ours: ours, sock: sock, theirs: theirs, other: other}
  end

  @doc """
  Fails unless both say the same of `text` in every direction; both namespaces are empty behind
  it. The ruleset that Linx read, and what it pulled of its own and of nft's.
  """
  @spec same!(t(), String.t(), String.t()) :: %{
          parsed: Ruleset.t(),
          pulled: Ruleset.t(),
          loaded: Ruleset.t()
        }
  def same!(%{ours: ours, sock: sock, theirs: theirs, other: other}, text, nft \\ "nft") do
    Firewall.load!(theirs, text, nft)
    assert {:ok, ruleset} = NFT.parse(text)
    assert Netfilter.push(sock, ruleset) == :ok
    listed = Firewall.json(theirs, nft)
    same_list!(Firewall.json(ours, nft), listed, text)
    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}

    assert {:ok, pulled} = Netfilter.pull(sock)
    assert Netfilter.diff(pulled, ruleset).ops == []
    assert {:ok, loaded} = Netfilter.pull(other)

    for formatted <- Enum.uniq([NFT.format(pulled), NFT.format(loaded)]) do
      assert {:ok, _} = NFT.parse(formatted)
      Firewall.run!(theirs, [nft, "flush", "ruleset"])
      Firewall.load!(theirs, formatted, nft)
      same_list!(Firewall.json(theirs, nft), listed, formatted)
    end

    for pid <- [ours, theirs], do: Firewall.run!(pid, [nft, "flush", "ruleset"])
    %{parsed: ruleset, pulled: pulled, loaded: loaded}
  end

  # The first entries that differ say more than two lists of hundreds.
  defp same_list!(one, other, text) do
    different = for {a, b} <- Enum.zip(one, other), a != b, do: {a, b}
    assert Enum.take(different, 3) == [], text
    assert length(one) == length(other), text
  end
end
