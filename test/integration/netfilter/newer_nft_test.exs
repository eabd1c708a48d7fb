defmodule Linx.Netfilter.NewerNftTest do
  # What this kernel loads and an nft older than 1.1 cannot say: the text loaded by a newer nft in one namespace, parsed and pushed by
  # Linx in another, listed by that nft.
  use ExUnit.Case, async: false

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NewerNft}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :newer_nft

  setup do
    %{pid: ours, sock: sock} = Firewall.namespace()
    %{pid: theirs} = Firewall.namespace()
    %{ours: ours, sock: sock, theirs: theirs, nft: NewerNft.path!()}
  end

  @rules [
    {"ip", "input", "last"},
    {"ip", "input", "tcp dport 22 last counter accept"},
    {"inet", "output", "gre protocol ip"},
    {"ip", "input", "meta mark set ip dscp"}
  ]

  for {family, hook, rule} <- @rules do
    test "#{family} #{hook}: #{rule}", %{ours: ours, sock: sock, theirs: theirs, nft: nft} do
      text = """
      table #{unquote(family)} t {
        chain c { type filter hook #{unquote(hook)} priority 0; policy accept;
          #{unquote(rule)}
        }
      }
      """

      Firewall.load!(theirs, text, nft)
      assert {:ok, ruleset} = NFT.parse(text)
      assert :ok == Netfilter.push(sock, ruleset)
      assert Firewall.json(ours, nft) == Firewall.json(theirs, nft)

      {:ok, pulled} = Netfilter.pull(sock)
      assert Netfilter.diff(pulled, ruleset).ops == []
      formatted = NFT.format(pulled)
      Firewall.run!(theirs, [nft, "flush", "ruleset"])
      Firewall.load!(theirs, formatted, nft)
      assert Firewall.json(ours, nft) == Firewall.json(theirs, nft), formatted
      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
    end
  end
end
