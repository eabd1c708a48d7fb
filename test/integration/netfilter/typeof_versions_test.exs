defmodule Linx.Netfilter.TypeofVersionsTest do
  # nft's numbers of fib and xfrm in the record of a set's expression changed within 1.1: the
  # record of an anonymous set must be one that every version reads.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NewerNft, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :newer_nft

  setup do: NftDifferential.namespaces()

  @rules [
    {"ipsec in reqid", ["5", "6"]},
    {"ipsec in spi", ["5", "6"]},
    {"ip saddr . ipsec in reqid", ["192.0.2.1 . 5", "192.0.2.1 . 6"]},
    {"ip saddr . ipsec in spnum 3 spi", ["192.0.2.1 . 5", "192.0.2.1 . 6"]},
    {"ip saddr . ipsec in ip saddr", ["192.0.2.1 . 192.0.2.1", "192.0.2.2 . 192.0.2.1"]},
    {"ip saddr . ipsec in ip6 daddr", ["192.0.2.1 . 2001:db8::1", "192.0.2.2 . 2001:db8::1"]},
    {"ipsec in ip saddr . ipsec in reqid", ["192.0.2.1 . 5", "192.0.2.2 . 5"]},
    {"udp length . fib saddr . iif oif", ["5 . \"lo\"", "6 . \"lo\""]},
    {"udp length . fib saddr . iif oifname", ["5 . \"lo\"", "6 . \"lo\""]}
  ]

  for {load, elements} <- @rules do
    test "an anonymous set of #{load} is listed by an older and a newer nft", ctx do
      text = """
      table ip t {
        chain c { type filter hook prerouting priority 0; policy accept;
          #{unquote(load)} { #{unquote(Enum.join(elements, ", "))} }
        }
      }
      """

      {:ok, ruleset} = NFT.parse(text)
      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
      assert Netfilter.push(ctx.sock, ruleset) == :ok
      {:ok, pulled} = Netfilter.pull(ctx.sock)
      assert Netfilter.diff(pulled, ruleset).ops == []

      assert pulled |> NFT.format() |> elements(unquote(load)) ==
               ruleset |> NFT.format() |> elements(unquote(load))

      for nft <- ["nft", NewerNft.path!()] do
        listed = Firewall.run!(ctx.ours, [nft, "list", "ruleset"])
        assert {nft, elements(listed, unquote(load))} == {nft, Enum.sort(unquote(elements))}
      end
    end
  end

  # The elements behind the words of the load, in an order of their own.
  defp elements(text, load) do
    text = text |> IO.iodata_to_binary() |> String.replace(~r/\s+/, " ")
    [_, after_load] = String.split(text, load <> " { ")
    [elements | _] = String.split(after_load, " }")
    elements |> String.split(", ") |> Enum.sort()
  end
end
