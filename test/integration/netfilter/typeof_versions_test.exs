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

  @declared [
    {"set", "ipsec in reqid", ["5", "6"]},
    {"set", "ipsec out spnum 3 spi", ["5", "6"]},
    {"set", "ipsec in ip6 saddr", ["2001:db8::1", "2001:db8::2"]},
    {"set", "ip saddr . ipsec in reqid", ["192.0.2.1 . 5", "192.0.2.2 . 6"]},
    {"set", "ipsec in ip daddr . udp length", ["192.0.2.1 . 5", "192.0.2.2 . 6"]},
    {"set", "fib saddr . iif oifname", [~s("lo"), ~s("eth0")]},
    {"set", "udp length . fib saddr . iif oifname", [~s(5 . "lo"), ~s(6 . "lo")]},
    {"map", "ipsec in reqid : meta mark", ["5 : 0x00000007", "6 : 0x00000008"]},
    {"map", "ip saddr : ipsec in reqid", ["192.0.2.1 : 5", "192.0.2.2 : 6"]},
    {"map", "ipsec in spi : verdict", ["5 : accept", "6 : drop"]}
  ]

  for {kind, typeof, elements} <- @declared do
    test "a #{kind} declared typeof #{typeof} is listed by an older and a newer nft", ctx do
      text = """
      table ip t {
        #{unquote(kind)} s {
          typeof #{unquote(typeof)}
          elements = { #{unquote(Enum.join(elements, ", "))} }
        }
      }
      """

      {:ok, ruleset} = NFT.parse(text)
      assert Netfilter.push(ctx.sock, ruleset) == :ok

      # The words are in the record that nft passes over.
      {:ok, pulled} = Netfilter.pull(ctx.sock)
      assert NFT.format(pulled) =~ "typeof #{unquote(typeof)}\n"
      assert Netfilter.diff(pulled, ruleset).ops == []

      for nft <- ["nft", NewerNft.path!()] do
        listed = Firewall.run!(ctx.ours, [nft, "list", "ruleset"])
        assert {nft, elements(listed, "elements =")} == {nft, Enum.sort(unquote(elements))}
        # Its listing is text that this nft takes.
        Firewall.run!(ctx.ours, [nft, "flush", "ruleset"])
        Firewall.load!(ctx.ours, listed, nft)
        Firewall.run!(ctx.ours, [nft, "flush", "ruleset"])
        assert Netfilter.push(ctx.sock, ruleset) == :ok
      end
    end
  end

  test "what one nft declared typeof ipsec or fib, pulled and pushed, is listed by both", ctx do
    for nft <- ["nft", NewerNft.path!()],
        {kind, typeof, elements} <- @declared,
        # nft writes no elements of an ipsec's number in the data of a map.
        kind == "set" do
      text =
        "table ip t {\n#{kind} s {\ntypeof #{typeof}\n" <>
          "elements = { #{Enum.join(elements, ", ")} }\n}\n}\n"

      Firewall.load!(ctx.ours, text, nft)
      {:ok, pulled} = Netfilter.pull(ctx.sock)
      assert NFT.format(pulled) =~ "typeof #{typeof}\n"
      assert Netfilter.push(ctx.sock, pulled) == :ok

      for lister <- ["nft", NewerNft.path!()] do
        listed = Firewall.run!(ctx.ours, [lister, "list", "ruleset"])

        assert {nft, lister, elements(listed, "elements =")} ==
                 {nft, lister, Enum.sort(elements)}
      end

      Firewall.run!(ctx.ours, ["nft", "flush", "ruleset"])
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
