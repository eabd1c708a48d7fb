defmodule Linx.Netfilter.NewerNftTest do
  # Rules that this kernel loads and an nft older than 1.1 cannot write: the text loaded by a
  # newer nft in one namespace, parsed and pushed by Linx in another, listed by that nft.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NewerNft, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :newer_nft

  setup do: Map.put(NftDifferential.namespaces(), :nft, NewerNft.path!())

  @rules [
    {"ip", "input", "last"},
    {"ip", "input", "udp dport 4789 vxlan tcp dport 80"},
    {"inet", "input", "udp dport 4789 vxlan vni 10 accept"},
    {"netdev", "ingress device lo",
     "udp dport 4789 vxlan ip saddr 10.0.0.0/8 vxlan tcp dport 22 drop"},
    {"ip", "input",
     "udp dport 4789 vxlan ip saddr . vxlan ip daddr { 192.0.2.1 . 192.0.2.2 } counter"},
    {"inet", "input", "udp dport 4789 vxlan vlan id 5 vxlan ip saddr 192.0.2.1"},
    {"inet", "input", "udp dport 6081 geneve icmp type echo-request accept"},
    {"bridge", "input", "udp dport 6081 geneve ether saddr 02:00:00:00:00:01"},
    {"ip", "input", "gre ip dscp 5 gre tcp flags syn"},
    {"ip6", "input", "gretap arp operation request"},
    {"ip", "input", "ip saddr & 255.255.0.0 == 10.0.0.0"},
    {"ip", "output", "oif \"lo\" @th,16,16 { 1-7281, 65535 } accept"},
    {"ip", "input", "meta mark set meta mark | ct mark"},
    {"ip", "input", "ct mark set ct mark & 0xffff0000 | meta mark & 0xffff"},
    {"ip", "input", "meta mark set (ct mark | ip dscp) << 8"},
    {"ip6", "input", "ct mark set ip6 dscp << 2 | 0x10"},
    {"ip", "input", "ip saddr set ip saddr | ip daddr"},
    {"ip", "input", "meta mark set meta mark ^ ct mark"},
    {"ip", "input", "meta mark set tcp dport | 5"},
    {"ip", "input", "ip dscp set ip dscp | 3"},
    {"ip", "input", "ip ttl set ip ttl & 0xf0"},
    {"ip", "prerouting", "fib saddr . iif check missing drop"},
    {"inet", "prerouting", "fib daddr . iif check exists accept"},
    {"ip", "input", "tcp dport 22 last counter accept"},
    {"inet", "output", "gre protocol ip"},
    {"ip", "input", "meta mark set ip dscp"},
    {"inet", "input", "socket cgroupv2 level 1 42 accept"},
    {"ip", "input", "meta mark set ip saddr & 0xff"},
    {"ip", "input", "meta mark set ip daddr & 0xff | 0x100"},
    {"ip", "input", "meta mark set ip saddr << 8"},
    {"ip", "input", "meta mark set @nh,96,32 & 0xff"},
    {"ip", "input", "ct mark set ct original ip saddr & 0xff"},
    {"ip", "input", "meta mark set 0x10 | meta mark"},
    {"ip", "input", "meta mark set 0xff & tcp dport"},
    {"ip", "input", "meta nftrace set tcp dport << 2"},
    {"ip", "input", "meta mark set ip ttl & 0xf | ct mark"},
    {"ip", "input", "tcp flags { syn }"},
    {"ip", "input", "ct status { dnat }"},
    {"ip", "input", "ct state { new }"}
  ]

  for {family, hook, rule} <- @rules do
    test "#{family} #{hook}: #{rule}", context do
      text = """
      table #{unquote(family)} t {
        chain c { type filter hook #{unquote(hook)} priority 0; policy accept;
          #{unquote(rule)}
        }
      }
      """

      NftDifferential.same!(context, text, context.nft)
    end
  end

  test "what the versions of nft load of one text settles against Linx's", context do
    text = """
    table inet t {
      set pairs { type inet_proto . inet_service; flags interval; \
    elements = { tcp . 8000-8080 }; }
      set owned { type ipv4_addr . inet_proto; flags interval; elements = { 10.0.0.0/8 . udp }; }
      chain c {
        type filter hook prerouting priority 0; policy accept;
        udp dport 5000-5010 accept
        udp dport != 5000-5010 accept
        ip saddr 192.0.2.1-192.0.2.9 ip daddr != 192.0.2.1-192.0.2.9 drop
        ip6 saddr 2001:db8::1-2001:db8::9 drop
        meta mark 1-5 meta skuid 1000-1999
        meta hour 08:00-17:00 meta day 1-5
        ct bytes 1-1000 ct mark & 0xff 1-5
        vlan id 1-9 tcp option maxseg size 1-536
        ip dscp 1-5 counter
        frag frag-off 1-9
        @th,16,16 1-100 tcp dport { 1-1023 }
        esp spi 256-512 ether saddr 02:00:00:00:00:01-02:00:00:00:00:09
        meta l4proto . th dport @pairs accept
        ip saddr . meta l4proto @owned accept
        meta l4proto . th dport vmap { tcp . 22-23 : accept, udp . 53 : drop }
        fib saddr . iif oif missing drop
        fib daddr oif exists accept
      }
      chain n {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 8000-8010 redirect to :9000-9010
        meta nfproto ipv4 udp dport 7000-7009 dnat ip to 192.0.2.1-192.0.2.9:7000-7009
      }
    }
    """

    text =
      text <>
        """
        table bridge t {
          chain c {
            vlan pcp set 5
            vlan dei set 1
            vlan id set 5
          }
        }
        """

    {:ok, parsed} = NFT.parse(text)

    for nft <- ["nft", context.nft] do
      Firewall.load!(context.theirs, text, nft)
      {:ok, loaded} = Netfilter.pull(context.other)
      assert {nft, Netfilter.diff(loaded, parsed).ops} == {nft, []}
      {:ok, again} = loaded |> NFT.format() |> NFT.parse()
      assert {nft, Netfilter.diff(loaded, again).ops} == {nft, []}
      Firewall.run!(context.theirs, [nft, "flush", "ruleset"])
    end

    # Another range is another rule.
    {:ok, other} = text |> String.replace("5000-5010 accept", "5000-5011 accept") |> NFT.parse()
    Firewall.load!(context.theirs, text, context.nft)
    {:ok, loaded} = Netfilter.pull(context.other)
    assert Netfilter.diff(loaded, other).ops != []
  end

  # Addresses from numbers that are counted, drawn or hashed have the network's byte order; nft
  # 1.0 leaves it to chance in NAT.
  test "numbers that become addresses are turned as nft 1.1 turns them", context do
    text = """
    table ip t {
      chain pre { type nat hook prerouting priority dstnat; policy accept;
        dnat to numgen inc mod 255 offset 167772161
        tcp dport 80 dnat to numgen random mod 4 offset 167772161:8080
        dnat to symhash mod 4 offset 5
        dnat to jhash ip saddr mod 4 offset 167772161
        dnat to numgen inc mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }
      }
      chain post { type nat hook postrouting priority srcnat; policy accept;
        snat to numgen random mod 16 offset 3221225985
      }
      chain c { type filter hook prerouting priority mangle; policy accept;
        ip daddr set numgen inc mod 10 offset 167772161
        ip saddr set numgen random mod 10 offset 1
        ip daddr set jhash ip saddr mod 10 offset 167772161
        ip daddr set symhash mod 10 offset 5
        ip id set numgen inc mod 10
        tcp sequence set numgen inc mod 5
        tcp ackseq set jhash ip saddr mod 5
        @nh,128,32 set numgen inc mod 2
        meta mark set numgen inc mod 10 offset 5
        ct mark set jhash ip saddr mod 10
      }
    }
    """

    %{parsed: parsed, loaded: loaded} = NftDifferential.same!(context, text, context.nft)
    assert Netfilter.diff(loaded, parsed).ops == []
  end

  # nft 1.1 takes them for any number as wide in a set, and for a mark in a map. nft 1.0 refuses
  # both.
  test "generated numbers are keys of sets and maps of other numbers", context do
    numbers = ["numgen inc mod 5", "jhash ip saddr mod 5", "symhash mod 5"]

    for type <- ~w(mark iface_index uid gid realm classid ipv4_addr devgroup) do
      rules =
        for number <- numbers, name <- ["alone", "spans"] do
          "#{number} @#{name} accept\n#{number} != @#{name} drop\n"
        end

      # nft hashes a part of a concatenation in another register than Linx.
      rules = [
        rules,
        for(n <- numbers, do: "update @seen { #{n} }\n"),
        for n <- numbers, n != "jhash ip saddr mod 5" do
          "#{n} . tcp dport @pairs\nupdate @both { #{n} . tcp dport }\n#{n} . udp dport @ranges\n"
        end
      ]

      text = """
      table ip t {
        set alone { type #{type}; }
        set spans { type #{type}; flags interval; }
        set seen { type #{type}; flags dynamic; size 100; }
        set pairs { type #{type} . inet_service; }
        set both { type #{type} . inet_service; flags dynamic; size 100; }
        set ranges { type #{type} . inet_service; flags interval; }
        chain c {
      #{rules}
        }
      }
      """

      %{parsed: parsed, loaded: loaded} = NftDifferential.same!(context, text, context.nft)
      assert Netfilter.diff(loaded, parsed).ops == []
      {:ok, again} = loaded |> NFT.format() |> NFT.parse()
      assert Netfilter.diff(loaded, again).ops == []
    end

    rules =
      for number <- numbers,
          do:
            "#{number} vmap @verdicts\nmeta mark set #{number} map @marks\n" <>
              "counter name #{number} map @counts\nmeta mark set #{number} map @spans\n"

    text = """
    table ip t {
      counter a { }
      map verdicts { type mark : verdict; elements = { 1 : accept } }
      map marks { type mark : mark; elements = { 1 : 5 } }
      map spans { type mark : mark; flags interval; elements = { 1-3 : 5 } }
      map counts { type mark : counter; elements = { 1 : "a" } }
      chain c {
    #{rules}
      }
    }
    """

    %{parsed: parsed, loaded: loaded} = NftDifferential.same!(context, text, context.nft)
    assert Netfilter.diff(loaded, parsed).ops == []

    for {type, rule} <- [
          {"ipv4_addr : verdict", "numgen inc mod 5 vmap @s"},
          {"uid : verdict", "symhash mod 5 vmap @s"},
          {"mark . inet_service : verdict", "numgen inc mod 5 . tcp dport vmap @s"},
          {"inet_service", "numgen inc mod 5 @s"},
          {"ether_addr", "numgen inc mod 5 @s"},
          {"ct_state", "numgen inc mod 5 @s"},
          {"ifname", "symhash mod 5 @s"}
        ] do
      word = if type =~ ":", do: "map", else: "set"
      text = "table ip t { #{word} s { type #{type}; }; chain c { #{rule}; }; }"
      assert {:error, %{message: "@s holds" <> _}} = NFT.parse(text)
      command = [context.nft, "-c", text]
      assert {"Error: datatype mismatch" <> _, 1} = Firewall.run(context.theirs, command)
    end
  end

  # nft lists a raw write under the name of the field, which loads as one that mends the checksum.
  test "a raw write of a field's bytes stays one that mends no checksum", context do
    text = """
    table ip t {
      chain c { type filter hook prerouting priority mangle; policy accept;
        @nh,128,32 set 0xc0000201
        @nh,64,8 set 3
        @nh,96,32 set numgen inc mod 2
        @nh,0,3 set 5
        @nh,0,4 set 6
        @nh,4,4 set 6
        @nh,8,6 set 6
        @nh,0,13 set 5
        @nh,48,13 set 6
        @nh,51,13 set 6
        @nh,128,17 set 6
        @nh,8,8 set @nh,8,8 & 0xfc | 0x1
        ip dscp set 6
        tcp dport 80 @th,16,16 set 0x1f90
        udp dport 53 @th,16,16 set 0x14e9
        ip daddr set 192.0.2.1
        ip ttl set 3
        tcp dport set 8080
      }
    }
    """

    %{parsed: parsed, loaded: loaded} = NftDifferential.same!(context, text, context.nft)
    assert Netfilter.diff(loaded, parsed).ops == []
    {:ok, again} = loaded |> NFT.format() |> NFT.parse()
    assert Netfilter.diff(loaded, again).ops == []
    assert NFT.format(parsed) =~ "@nh,0,8 set @nh,0,8 & 0x6f | 0x60\n"
    assert NFT.format(parsed) =~ "    ip dscp set 6\n"
    assert NFT.format(parsed) =~ "@nh,64,8 set 3\n"
    assert NFT.format(parsed) =~ "    ip ttl set 3\n"
  end

  # nft 1.0 compares four bytes and lists the one byte of nft 1.1 as `exists/8`; nft 1.1 lists the
  # four bytes in JSON as a concatenation of one part. What the kernel writes is one byte, so that
  # is what Linx compares, and both forms settle.
  test "existence of a route is compared as nft 1.1 compares it", context do
    for address <- ["saddr", "daddr"],
        more <- ["", " . mark", " . iif", " . mark . iif"],
        word <- ["exists", "missing"] do
      text =
        "table inet t { chain c { type filter hook prerouting priority 0; " <>
          "fib #{address}#{more} oif #{word}; }; }"

      NftDifferential.same!(context, text, context.nft)
      {:ok, parsed} = NFT.parse(text)

      Firewall.load!(context.theirs, text)
      {:ok, loaded} = Netfilter.pull(context.other)
      assert Netfilter.diff(loaded, parsed).ops == [], text
      Firewall.run!(context.theirs, ["nft", "flush", "ruleset"])
    end
  end

  test "sets that say what they were made for are listed so", context do
    text = """
    table ip t {
      map cooked { typeof ip saddr . @ih,32,32 : verdict; elements = { 192.0.2.1 . 0x14 : accept \
    } }
      map plain { typeof ip saddr : verdict; elements = { 192.0.2.1 : accept } }
      set carried { typeof vxlan ip saddr . vxlan ip daddr; elements = { 192.0.2.1 . 192.0.2.2 } }
      set header { typeof vxlan vni; elements = { 3 } }
      set bits { typeof gre flags; elements = { 1 } }
      set pairs { typeof ip saddr . tcp dport; elements = { 192.0.2.1 . 22 } }
    }
    """

    %{parsed: parsed, loaded: loaded} = NftDifferential.same!(context, text, context.nft)
    assert Netfilter.diff(loaded, parsed).ops == []
    assert NFT.format(loaded) == NFT.format(parsed)
  end

  test "constants among what is loaded are looked up in a named set", context do
    text = """
    table ip t {
      set pairs { type ipv4_addr . inet_service; elements = { 192.0.2.1 . 22 }; }
      set spans { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 22 \
    }; }
      set ports { type ipv4_addr . ifname; }
      set marks { type ipv4_addr . inet_service . mark; }
      chain c {
        ip saddr . 80 @pairs accept
        ip saddr . ssh @pairs accept
        192.0.2.1 . tcp dport != @pairs drop
        ip saddr . 80 @spans
        ip saddr . "eth0" @ports
        ip saddr . tcp dport . 5 @marks
      }
    }
    """

    NftDifferential.same!(context, text, context.nft)

    for rule <- [
          "ip saddr . 80 { 192.0.2.1 . 80 }",
          "ip saddr . 192.0.2.1 @pairs",
          "ip saddr . 99999 @pairs",
          "192.0.2.1 @one"
        ] do
      sets = "set pairs { type ipv4_addr . inet_service; }; set one { type ipv4_addr; };"
      text = "table ip t { #{sets} chain c { #{rule}; }; }"
      assert {:error, %NFT.ParseError{}} = NFT.parse(text), rule
    end
  end

  test "tunnel objects", context do
    text = """
    table netdev t {
      tunnel t1 {
        id 10
        ip saddr 192.0.2.1
        ip daddr 192.0.2.2
        sport 10
        dport 20
        ttl 10
        vxlan {
          gbp 200
        }
      }
      tunnel t2 {
        id 11
        ip6 saddr 2001:db8::1
        ip6 daddr 2001:db8::2
        tos 10
        erspan {
          version 1
          index 2
        }
      }
      tunnel t3 {
        id 12
        ip saddr 192.0.2.1
        ip daddr 192.0.2.2
        erspan {
          version 2
          direction egress
          id 9
        }
      }
      tunnel t4 {
        id 13
        ip saddr 192.0.2.1
        ip daddr 192.0.2.2
        geneve {
          class 0x1 opt-type 0x1 data "0x12345678"
          class 0x1010 opt-type 0x2 data "0x87654321"
        }
      }
      chain c {
        tunnel name "t1"
      }
    }
    """

    NftDifferential.same!(context, text, context.nft)
  end

  test "tunnel objects that say too little, or both families" do
    for body <- [
          "ip daddr 192.0.2.2",
          "id 5",
          "id 5\nip saddr 192.0.2.1\nip6 daddr " <>
            "2001:db8::1"
        ] do
      assert {:error, %NFT.ParseError{}} = NFT.parse("table ip t { tunnel x {\n#{body}\n}\n}")
    end

    for options <- [
          "erspan { version 3 }",
          "geneve { class 1 opt-type 1 data \"0x1\" }",
          "vxlan { }"
        ] do
      text = "table ip t { tunnel x {\nid 5\nip daddr 192.0.2.2\n#{options}\n}\n}"
      assert {:error, %NFT.ParseError{}} = NFT.parse(text)
    end
  end
end
