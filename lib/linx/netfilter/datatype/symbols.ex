defmodule Linx.Netfilter.Datatype.Symbols do
  @moduledoc false
  # The names that nft(8) gives to values, per datatype. Of two names for one value the first is
  # printed.

  @dscp for(n <- 0..7, do: {"cs#{n}", n * 8}) ++
          [{"df", 0}, {"be", 0}, {"lephb", 1}] ++
          for(c <- 1..4, d <- 1..3, do: {"af#{c}#{d}", c * 8 + d * 2}) ++
          [{"va", 0x2C}, {"ef", 0x2E}]

  alias Linx.Netfilter.Protocol.Rows

  # The words of nft's grammar for protocols, by their numbers over a lower layer.
  numbers = fn layer ->
    for row <- Rows.all(), [number | _] <- [row.numbers[layer]], do: {hd(row.words), number}
  end

  @ether Map.new(numbers.(:ether))
  @family Map.new(numbers.(:family))

  # protocols(5), as the C library reads it; a protocol that nft's grammar names has its own word
  # beside it.
  @protocols [
    {"ip", 0},
    {"hopopt", 0},
    {"ggp", 3},
    {"ipencap", 4},
    {"st", 5},
    {"egp", 8},
    {"igp", 9},
    {"pup", 12},
    {"hmp", 20},
    {"xns-idp", 22},
    {"rdp", 27},
    {"iso-tp4", 29},
    {"xtp", 36},
    {"ddp", 37},
    {"idpr-cmtp", 38},
    {"ipv6", 41},
    {"ipv6-route", 43},
    {"ipv6-frag", 44},
    {"idrp", 45},
    {"rsvp", 46},
    {"skip", 57},
    {"ipv6-icmp", 58},
    {"ipv6-nonxt", 59},
    {"ipv6-opts", 60},
    {"rspf", 73},
    {"vmtp", 81},
    {"eigrp", 88},
    {"ospf", 89},
    {"ax.25", 93},
    {"ipip", 94},
    {"etherip", 97},
    {"encap", 98},
    {"pim", 103},
    {"ipcomp", 108},
    {"vrrp", 112},
    {"l2tp", 115},
    {"isis", 124},
    {"fc", 133},
    {"mobility-header", 135},
    {"mpls-in-ip", 137},
    {"manet", 138},
    {"hip", 139},
    {"shim6", 140},
    {"wesp", 141},
    {"rohc", 142},
    {"ethernet", 143}
  ]

  @tables %{
    nf_proto: [{"ipv4", @family["ip"]}, {"ipv6", @family["ip6"]}],
    ether_type:
      for(word <- ["ip", "arp", "ip6"], do: {word, @ether[word]}) ++
        [{"8021q", 0x8100}, {"8021ad", 0x88A8}, {"vlan", @ether["vlan"]}],
    arp_op: [
      {"request", 1},
      {"reply", 2},
      {"rrequest", 3},
      {"rreply", 4},
      {"inrequest", 8},
      {"inreply", 9},
      {"nak", 10}
    ],
    icmp_type: [
      {"echo-reply", 0},
      {"destination-unreachable", 3},
      {"source-quench", 4},
      {"redirect", 5},
      {"echo-request", 8},
      {"router-advertisement", 9},
      {"router-solicitation", 10},
      {"time-exceeded", 11},
      {"parameter-problem", 12},
      {"timestamp-request", 13},
      {"timestamp-reply", 14},
      {"info-request", 15},
      {"info-reply", 16},
      {"address-mask-request", 17},
      {"address-mask-reply", 18}
    ],
    icmp_code: [
      {"net-unreachable", 0},
      {"host-unreachable", 1},
      {"prot-unreachable", 2},
      {"port-unreachable", 3},
      {"net-prohibited", 9},
      {"host-prohibited", 10},
      {"admin-prohibited", 13},
      {"frag-needed", 4}
    ],
    icmpv6_type: [
      {"destination-unreachable", 1},
      {"packet-too-big", 2},
      {"time-exceeded", 3},
      {"parameter-problem", 4},
      {"echo-request", 128},
      {"echo-reply", 129},
      {"mld-listener-query", 130},
      {"mld-listener-report", 131},
      {"mld-listener-done", 132},
      {"mld-listener-reduction", 132},
      {"nd-router-solicit", 133},
      {"nd-router-advert", 134},
      {"nd-neighbor-solicit", 135},
      {"nd-neighbor-advert", 136},
      {"nd-redirect", 137},
      {"router-renumbering", 138},
      {"ind-neighbor-solicit", 141},
      {"ind-neighbor-advert", 142},
      {"mld2-listener-report", 143}
    ],
    icmpv6_code: [
      {"no-route", 0},
      {"admin-prohibited", 1},
      {"addr-unreachable", 3},
      {"port-unreachable", 4},
      {"policy-fail", 5},
      {"reject-route", 6}
    ],
    icmpx_code: [
      {"port-unreachable", 1},
      {"admin-prohibited", 3},
      {"no-route", 0},
      {"host-unreachable", 2}
    ],
    igmp_type: [
      {"membership-query", 17},
      {"membership-report-v1", 18},
      {"membership-report-v2", 22},
      {"membership-report-v3", 34},
      {"leave-group", 23}
    ],
    tcp_flag: [
      {"fin", 1},
      {"syn", 2},
      {"rst", 4},
      {"psh", 8},
      {"ack", 16},
      {"urg", 32},
      {"ecn", 64},
      {"cwr", 128}
    ],
    dccp_pkttype: [
      {"request", 0},
      {"response", 1},
      {"data", 2},
      {"ack", 3},
      {"dataack", 4},
      {"closereq", 5},
      {"close", 6},
      {"reset", 7},
      {"sync", 8},
      {"syncack", 9}
    ],
    mh_type: [
      {"binding-refresh-request", 0},
      {"home-test-init", 1},
      {"careof-test-init", 2},
      {"home-test", 3},
      {"careof-test", 4},
      {"binding-update", 5},
      {"binding-acknowledgement", 6},
      {"binding-error", 7},
      {"fast-binding-update", 8},
      {"fast-binding-acknowledgement", 9},
      {"fast-binding-advertisement", 10},
      {"experimental-mobility-header", 11},
      {"home-agent-switch-message", 12}
    ],
    mptcpopt_subtype: [
      {"mp-capable", 0},
      {"mp-join", 1},
      {"dss", 2},
      {"add-addr", 3},
      {"remove-addr", 4},
      {"mp-prio", 5},
      {"mp-fail", 6},
      {"mp-fastclose", 7},
      {"mp-tcprst", 8}
    ],
    iface_type: [
      {"ether", 1},
      {"ppp", 512},
      {"ipip", 768},
      {"ipip6", 769},
      {"loopback", 772},
      {"sit", 776},
      {"ipgre", 778}
    ],
    realm: [{"cosmos", 0}],
    devgroup: [{"default", 0}],
    ct_state: [
      {"invalid", 1},
      {"new", 8},
      {"established", 2},
      {"related", 4},
      {"untracked", 64}
    ],
    ct_dir: [{"original", 0}, {"reply", 1}],
    ct_status: [
      {"expected", 1},
      {"seen-reply", 2},
      {"assured", 4},
      {"confirmed", 8},
      {"snat", 16},
      {"dnat", 32},
      {"dying", 512}
    ],
    ct_event: [
      {"new", 1},
      {"related", 2},
      {"destroy", 4},
      {"reply", 8},
      {"assured", 16},
      {"protoinfo", 32},
      {"helper", 64},
      {"mark", 128},
      {"seqadj", 256},
      {"secmark", 512},
      {"label", 1024}
    ],
    pkt_type: [{"host", 0}, {"unicast", 0}, {"broadcast", 1}, {"multicast", 2}, {"other", 3}],
    dscp: @dscp,
    ecn: [{"not-ect", 0}, {"ect1", 1}, {"ect0", 2}, {"ce", 3}],
    fib_addrtype: [
      {"unspec", 0},
      {"unicast", 1},
      {"local", 2},
      {"broadcast", 3},
      {"anycast", 4},
      {"multicast", 5},
      {"blackhole", 6},
      {"unreachable", 7},
      {"prohibit", 8}
    ],
    boolean: [{"exists", 1}, {"missing", 0}],
    day: [
      {"Sunday", 0},
      {"Monday", 1},
      {"Tuesday", 2},
      {"Wednesday", 3},
      {"Thursday", 4},
      {"Friday", 5},
      {"Saturday", 6}
    ],
    inet_proto: Enum.sort_by(@protocols ++ numbers.(:inet), &elem(&1, 1))
  }

  @doc false
  def tables, do: @tables
end
