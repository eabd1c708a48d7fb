defmodule Linx.Netfilter.ModulesTest do
  # Parts of nf_tables that are modules of their own, which many kernels lack: the same text by
  # nft(8) and by Linx.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: NftDifferential.namespaces()

  # Each namespace gets the links that a text names.
  defp links(%{ours: ours, theirs: theirs}) do
    for pid <- [ours, theirs],
        do: Firewall.run!(pid, ~w(ip link add e0 type veth peer name e1))
  end

  describe "flow tables" do
    @describetag :flowtable

    @texts [
      """
      table inet t {
        flowtable f {
          hook ingress priority filter
          devices = { e0, e1 }
        }
        chain forward {
          type filter hook forward priority filter; policy accept;
          meta l4proto { tcp, udp } flow add @f comment "offload"
          ct state established,related accept comment "known"
        }
      }
      """,
      """
      table ip t {
        flowtable fast {
          hook ingress priority -10
          devices = { e0 }
          counter
        }
        chain forward {
          type filter hook forward priority 0;
          ip protocol tcp flow add @fast
        }
      }
      """,
      """
      table ip6 t {
        flowtable none {
          hook ingress priority 0
        }
      }
      """
    ]

    test "are listed by nft as nft's own", context do
      links(context)
      for text <- @texts, do: NftDifferential.same!(context, text)
    end

    test "settle, follow their devices, and go with what uses them", context do
      links(context)
      sock = context.sock
      [text | _] = @texts
      {:ok, both} = NFT.parse(text)
      {:ok, one} = text |> String.replace("e0, e1", "e1") |> NFT.parse()
      :ok = Netfilter.push(sock, both)

      for wanted <- [both, one, both] do
        assert :ok = Netfilter.push(sock, wanted, mode: :reconcile, tag: :comment)
        assert {:ok, %{ops: []}} = Netfilter.dry_run(sock, wanted, tag: :comment)
        {:ok, pulled} = Netfilter.pull(sock)
        assert Netfilter.diff(pulled, wanted).ops == []
      end

      {:ok, none} =
        NFT.parse("""
        table inet t {
          chain forward {
            type filter hook forward priority filter; policy accept;
            ct state established,related accept comment "known"
          }
        }
        """)

      assert :ok = Netfilter.push(sock, none, mode: :reconcile, tag: :comment)
      refute Firewall.run!(context.ours, ~w(nft list ruleset)) =~ "flow"
    end

    test "without their device wait for it, or are an error that names them", %{sock: sock} do
      {:ok, ruleset} = NFT.parse(hd(@texts))

      # Newer kernels keep the name and take the device when it comes; 6.12 refuses.
      case Netfilter.push(sock, ruleset) do
        :ok ->
          {:ok, pulled} = Netfilter.pull(sock)
          assert Netfilter.diff(pulled, ruleset).ops == []

        {:error, error} ->
          assert error.errno == :enoent
          assert Exception.message(error) =~ "flowtable"
      end
    end
  end

  describe "queue" do
    @describetag :nft_queue

    test "is listed by nft as nft's own", context do
      for rule <- [
            "queue num 1",
            "queue num 0-3",
            "queue num 1-4 fanout",
            "queue num 7 bypass",
            "tcp dport 22 queue num 2-5 bypass,fanout",
            "queue to numgen inc mod 4",
            "queue flags bypass to jhash ip saddr mod 8 offset 2"
          ] do
        text = "table ip t {\n chain c {\n type filter hook input priority 0;\n #{rule}\n }\n}\n"
        NftDifferential.same!(context, text)
      end
    end
  end

  describe "the bridge family" do
    @describetag :nft_bridge

    test "is listed by nft as nft's own", context do
      for {hook, rule} <- [
            {"prerouting", "meta ibrname \"br0\" accept"},
            {"forward", "ether saddr 02:00:00:00:00:01 ip daddr 192.0.2.1 drop"},
            {"input", "ether type arp arp operation request counter"},
            {"output", "meta obrname \"br0\" vlan id 5 accept"},
            {"postrouting", "ether type ip6 ip6 nexthdr tcp tcp dport 80 drop"},
            {"input", "reject with icmpx type admin-prohibited"},
            {"forward", "ct state established accept"}
          ] do
        text =
          "table bridge t {\n chain c {\n type filter hook #{hook} priority filter;\n " <>
            "#{rule}\n }\n}\n"

        NftDifferential.same!(context, text)
      end
    end
  end
end
