defmodule Linx.Netfilter.Field.Headers do
  @moduledoc false
  # The payload protocols: {protocol, base, nil, [{field, offset in bits, length in bits, datatype}]}.

  @ports [{"sport", 0, 16, :inet_service}, {"dport", 16, 16, :inet_service}]

  @rows [
    {:ether, :link, nil,
     [
       {"daddr", 0, 48, :ether_addr},
       {"saddr", 48, 48, :ether_addr},
       {"type", 96, 16, :ether_type}
     ]},
    # The tag follows the two addresses and the tag protocol identifier, which takes the place of the
    # Ethernet type: bit 112 of the frame.
    {:vlan, :link, nil,
     [
       {"pcp", 112, 3, :integer},
       {"dei", 115, 1, :integer},
       {"cfi", 115, 1, :integer},
       {"id", 116, 12, :integer},
       {"type", 128, 16, :ether_type}
     ]},
    {:arp, :network, nil,
     [
       {"htype", 0, 16, :integer},
       {"ptype", 16, 16, :ether_type},
       {"hlen", 32, 8, :integer},
       {"plen", 40, 8, :integer},
       {"operation", 48, 16, :arp_op},
       {"saddr ether", 64, 48, :ether_addr},
       {"saddr ip", 112, 32, :ipv4_addr},
       {"daddr ether", 144, 48, :ether_addr},
       {"daddr ip", 192, 32, :ipv4_addr}
     ]},
    {:ip, :network, nil,
     [
       {"version", 0, 4, :integer},
       {"hdrlength", 4, 4, :integer},
       {"dscp", 8, 6, :dscp},
       {"ecn", 14, 2, :ecn},
       {"length", 16, 16, :integer},
       {"id", 32, 16, :integer},
       {"frag-off", 48, 16, :integer},
       {"ttl", 64, 8, :integer},
       {"protocol", 72, 8, :inet_proto},
       {"checksum", 80, 16, :integer},
       {"saddr", 96, 32, :ipv4_addr},
       {"daddr", 128, 32, :ipv4_addr}
     ]},
    {:ip6, :network, nil,
     [
       {"version", 0, 4, :integer},
       {"dscp", 4, 6, :dscp},
       {"ecn", 10, 2, :ecn},
       {"flowlabel", 12, 20, :integer},
       {"length", 32, 16, :integer},
       {"nexthdr", 48, 8, :inet_proto},
       {"hoplimit", 56, 8, :integer},
       {"saddr", 64, 128, :ipv6_addr},
       {"daddr", 192, 128, :ipv6_addr}
     ]},
    {:icmp, :transport, nil,
     [
       {"type", 0, 8, :icmp_type},
       {"code", 8, 8, :icmp_code},
       {"checksum", 16, 16, :integer},
       {"id", 32, 16, :integer},
       {"sequence", 48, 16, :integer},
       {"gateway", 32, 32, :integer},
       {"mtu", 48, 16, :integer}
     ]},
    {:icmpv6, :transport, nil,
     [
       {"type", 0, 8, :icmpv6_type},
       {"code", 8, 8, :icmpv6_code},
       {"checksum", 16, 16, :integer},
       {"parameter-problem", 32, 32, :integer},
       {"mtu", 32, 32, :integer},
       {"id", 32, 16, :integer},
       {"sequence", 48, 16, :integer},
       {"max-delay", 32, 16, :integer},
       {"taddr", 64, 128, :ipv6_addr},
       {"daddr", 192, 128, :ipv6_addr}
     ]},
    {:igmp, :transport, nil,
     [
       {"type", 0, 8, :igmp_type},
       {"mrt", 8, 8, :integer},
       {"checksum", 16, 16, :integer},
       {"group", 32, 32, :integer}
     ]},
    {:tcp, :transport, nil,
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
       ]},
    {:udp, :transport, nil,
     @ports ++ [{"length", 32, 16, :integer}, {"checksum", 48, 16, :integer}]},
    {:udplite, :transport, nil,
     @ports ++ [{"csumcov", 32, 16, :integer}, {"checksum", 48, 16, :integer}]},
    {:sctp, :transport, nil,
     @ports ++ [{"vtag", 32, 32, :integer}, {"checksum", 64, 32, :integer}]},
    {:dccp, :transport, nil, @ports ++ [{"type", 67, 4, :dccp_pkttype}]},
    # No protocol of its own: the ports of whatever transport it is.
    {:th, :transport, nil, @ports},
    {:ah, :transport, nil,
     [
       {"nexthdr", 0, 8, :inet_proto},
       {"hdrlength", 8, 8, :integer},
       {"reserved", 16, 16, :integer},
       {"spi", 32, 32, :integer},
       {"sequence", 64, 32, :integer}
     ]},
    {:esp, :transport, nil, [{"spi", 0, 32, :integer}, {"sequence", 32, 32, :integer}]},
    {:comp, :transport, nil,
     [
       {"nexthdr", 0, 8, :inet_proto},
       {"flags", 8, 8, :bitmask},
       {"cpi", 16, 16, :integer}
     ]},
    {:gre, :transport, nil,
     [
       {"flags", 0, 5, :integer},
       {"version", 13, 3, :integer},
       {"protocol", 16, 16, :ether_type}
     ]},
    # The tunnel headers begin where the inner expression's header does.
    {:vxlan, :tunnel, nil, [{"flags", 0, 8, :integer}, {"vni", 32, 24, :integer}]},
    {:geneve, :tunnel, nil, [{"type", 16, 16, :ether_type}, {"vni", 32, 24, :integer}]}
  ]

  @doc false
  def rows, do: @rows
end
