defmodule Linx.Netfilter.Protocol.Headers do
  @moduledoc false
  # The rows of the payload protocols. A field is {text, offset in bits, length in bits,
  # datatype}, and where they apply:
  #
  #   types:   the ICMP types in which the field exists; without it, it exists in all
  #   pseudo:  the field is in the pseudo header of the transport's checksum
  #   place:   the field's number in nft's record, where it is not its position in the row
  #   alias:   an older word for the field
  #
  # Source of the ICMP types: RFC 792, RFC 4443, RFC 2710, RFC 4861; nft 1.1 implies the same.

  @ports [{"sport", 0, 16, :inet_service}, {"dport", 16, 16, :inet_service}]

  @echo [types: [8, 0]]
  @echo6 [types: [128, 129]]

  # Source: linux/netfilter/nfnetlink_cttimeout.h for the order, nft for the defaults.
  @tcp_timeouts [
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
  @udp_timeouts [unreplied: 30, replied: 120]

  @link [
    %{
      name: :ether,
      base: :link,
      id: 17,
      fields: [
        {"daddr", 0, 48, :ether_addr},
        {"saddr", 48, 48, :ether_addr},
        {"type", 96, 16, :ether_type}
      ]
    },
    # The tag follows the two addresses and the tag protocol identifier, which takes the place of
    # the Ethernet type: bit 112 of the frame. The second Ethernet type is that of the outer of
    # two tags (IEEE 802.1ad).
    %{
      name: :vlan,
      base: :link,
      id: 16,
      numbers: [ether: [0x8100, 0x88A8]],
      fields: [
        {"pcp", 112, 3, :integer},
        {"dei", 115, 1, :integer},
        {"cfi", 115, 1, :integer},
        {"id", 116, 12, :integer},
        {"type", 128, 16, :ether_type}
      ]
    }
  ]

  @network [
    %{
      name: :arp,
      base: :network,
      id: 15,
      numbers: [ether: 0x0806],
      fields: [
        {"htype", 0, 16, :integer},
        {"ptype", 16, 16, :ether_type},
        {"hlen", 32, 8, :integer},
        {"plen", 40, 8, :integer},
        {"operation", 48, 16, :arp_op},
        {"saddr ether", 64, 48, :ether_addr},
        {"saddr ip", 112, 32, :ipv4_addr},
        {"daddr ether", 144, 48, :ether_addr},
        {"daddr ip", 192, 32, :ipv4_addr}
      ]
    },
    %{
      name: :ip,
      base: :network,
      id: 12,
      numbers: [ether: 0x0800, family: 2],
      checksum: {:inet, "checksum"},
      fields: [
        {"version", 0, 4, :integer},
        {"hdrlength", 4, 4, :integer},
        {"dscp", 8, 6, :dscp},
        {"ecn", 14, 2, :ecn},
        {"length", 16, 16, :integer, pseudo: true},
        {"id", 32, 16, :integer},
        {"frag-off", 48, 16, :integer},
        {"ttl", 64, 8, :integer},
        {"protocol", 72, 8, :inet_proto, pseudo: true},
        {"checksum", 80, 16, :integer},
        {"saddr", 96, 32, :ipv4_addr, pseudo: true},
        {"daddr", 128, 32, :ipv4_addr, pseudo: true}
      ]
    },
    %{
      name: :ip6,
      base: :network,
      id: 13,
      numbers: [ether: 0x86DD, family: 10],
      fields: [
        {"version", 0, 4, :integer},
        {"dscp", 4, 6, :dscp},
        {"ecn", 10, 2, :ecn},
        {"flowlabel", 12, 20, :integer},
        {"length", 32, 16, :integer, pseudo: true},
        {"nexthdr", 48, 8, :inet_proto, pseudo: true},
        {"hoplimit", 56, 8, :integer},
        {"saddr", 64, 128, :ipv6_addr, pseudo: true},
        {"daddr", 192, 128, :ipv6_addr, pseudo: true}
      ]
    }
  ]

  @control [
    %{
      name: :icmp,
      base: :transport,
      id: 4,
      numbers: [inet: 1],
      network: :ip,
      checksum: {:inet, "checksum"},
      fields: [
        {"type", 0, 8, :icmp_type},
        {"code", 8, 8, :icmp_code},
        {"checksum", 16, 16, :integer},
        {"id", 32, 16, :integer, @echo},
        {"sequence", 48, 16, :integer, @echo},
        {"gateway", 32, 32, :integer, types: [5]},
        {"mtu", 48, 16, :integer, types: [3]}
      ]
    },
    %{
      name: :icmpv6,
      base: :transport,
      id: 14,
      numbers: [inet: 58],
      network: :ip6,
      checksum: {:inet, "checksum"},
      fields: [
        {"type", 0, 8, :icmpv6_type},
        {"code", 8, 8, :icmpv6_code},
        {"checksum", 16, 16, :integer},
        # nft reads `param-problem` and lists `parameter-problem`, which it cannot read.
        {"param-problem", 32, 32, :integer, types: [4], alias: "parameter-problem"},
        {"mtu", 32, 32, :integer, types: [2]},
        {"id", 32, 16, :integer, @echo6},
        {"sequence", 48, 16, :integer, @echo6},
        {"max-delay", 32, 16, :integer, types: [130]},
        # The group or target of multicast listener and neighbour discovery messages.
        {"taddr", 64, 128, :ipv6_addr, types: [130, 131, 132, 135, 136, 137]},
        {"daddr", 192, 128, :ipv6_addr, types: [137]}
      ]
    },
    %{
      name: :igmp,
      base: :transport,
      id: 5,
      numbers: [inet: 2],
      network: :ip,
      checksum: {:inet, "checksum"},
      fields: [
        {"type", 0, 8, :igmp_type},
        {"mrt", 8, 8, :integer, place: 3},
        {"checksum", 16, 16, :integer, place: 2},
        {"group", 32, 32, :integer}
      ]
    }
  ]

  @transport [
    %{
      name: :tcp,
      base: :transport,
      id: 8,
      numbers: [inet: 6],
      ports?: true,
      checksum: {:inet, "checksum"},
      timeouts: @tcp_timeouts,
      fields:
        @ports ++
          [
            {"sequence", 32, 32, :integer},
            {"ackseq", 64, 32, :integer},
            {"doff", 96, 4, :integer},
            {"reserved", 100, 4, :integer},
            {"flags", 104, 8, :tcp_flag},
            {"window", 112, 16, :integer},
            {"checksum", 128, 16, :integer},
            {"urgptr", 144, 16, :integer}
          ]
    },
    %{
      name: :udp,
      base: :transport,
      id: 6,
      numbers: [inet: 17],
      ports?: true,
      checksum: {:optional, "checksum"},
      timeouts: @udp_timeouts,
      fields: @ports ++ [{"length", 32, 16, :integer}, {"checksum", 48, 16, :integer}]
    },
    # The header is always covered, whatever part of the payload is (RFC 3828); nft mends nothing
    # here.
    %{
      name: :udplite,
      base: :transport,
      id: 7,
      numbers: [inet: 136],
      ports?: true,
      checksum: {:inet, "checksum"},
      timeouts: @udp_timeouts,
      fields: @ports ++ [{"csumcov", 32, 16, :integer}, {"checksum", 48, 16, :integer}]
    },
    %{
      name: :sctp,
      base: :transport,
      id: 10,
      numbers: [inet: 132],
      ports?: true,
      checksum: {:sctp, "checksum"},
      fields: @ports ++ [{"vtag", 32, 32, :integer}, {"checksum", 64, 32, :integer}]
    },
    %{
      name: :dccp,
      base: :transport,
      id: 9,
      numbers: [inet: 33],
      ports?: true,
      fields: @ports ++ [{"type", 67, 4, :dccp_pkttype}]
    },
    # The ports of whatever transport the packet has: no protocol of its own, so no checksum.
    %{name: :th, base: :transport, id: 11, fields: @ports},
    %{
      name: :ah,
      base: :transport,
      id: 1,
      numbers: [inet: 51],
      fields: [
        {"nexthdr", 0, 8, :inet_proto},
        {"hdrlength", 8, 8, :integer},
        {"reserved", 16, 16, :integer},
        {"spi", 32, 32, :integer},
        {"sequence", 64, 32, :integer}
      ]
    },
    %{
      name: :esp,
      base: :transport,
      id: 2,
      numbers: [inet: 50],
      fields: [{"spi", 0, 32, :integer}, {"sequence", 32, 32, :integer}]
    },
    %{
      name: :comp,
      base: :transport,
      id: 3,
      numbers: [inet: 108],
      fields: [
        {"nexthdr", 0, 8, :inet_proto},
        {"flags", 8, 8, :bitmask},
        {"cpi", 16, 16, :integer}
      ]
    }
  ]

  # `hdrsize` counts what follows UDP's header, which the kernel takes as the tunnel's beginning.
  @tunnels [
    %{
      name: :gre,
      base: :transport,
      id: 20,
      numbers: [inet: 47],
      tunnel: %{hdrsize: 4, flags: [:nh, :th]},
      fields: [
        {"flags", 0, 5, :integer, place: 2},
        {"version", 13, 3, :integer, place: 1},
        {"protocol", 16, 16, :ether_type}
      ]
    },
    %{
      name: :gretap,
      base: nil,
      id: 21,
      tunnel: %{hdrsize: 4, flags: [:ll, :nh, :th]},
      fields: []
    },
    # The header begins where the inner expression's does.
    %{
      name: :vxlan,
      base: :tunnel,
      id: 18,
      tunnel: %{hdrsize: 8, flags: [:hdrsize, :ll, :nh, :th]},
      fields: [{"flags", 0, 8, :integer, place: 2}, {"vni", 32, 24, :integer, place: 1}]
    },
    %{
      name: :geneve,
      base: :tunnel,
      id: 19,
      tunnel: %{hdrsize: 8, flags: [:hdrsize, :ll, :nh, :th]},
      fields: [{"type", 16, 16, :ether_type, place: 2}, {"vni", 32, 24, :integer, place: 1}]
    }
  ]

  @doc false
  def rows, do: @link ++ @network ++ @control ++ @transport ++ @tunnels
end
