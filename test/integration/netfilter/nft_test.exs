defmodule Linx.Netfilter.NftTest do
  # The truth is what `nft -j list ruleset` shows: the same thing said in text to nft and in
  # values to Linx, each in a namespace of its own, must look the same.
  use ExUnit.Case, async: true

  alias Linx.Netfilter
  alias Linx.Netfilter.{Chain, Element, Expr, Object, Ruleset, Set, Vmap, Wire}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Test.{Firewall, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: NftDifferential.namespaces()

  @input [type: :filter, hook: :input, priority: 0]
  @output [type: :filter, hook: :output, priority: 0]
  @prerouting [type: :filter, hook: :prerouting, priority: 0]
  @dstnat [type: :nat, hook: :prerouting, priority: :dstnat]
  @srcnat [type: :nat, hook: :postrouting, priority: :srcnat]

  defp tcp, do: [Expr.meta(:l4proto), Expr.cmp(:eq, <<6>>)]
  defp host(n, bits \\ 32), do: <<n::native-size(bits)>>

  # {family, chain, nft's text, expressions}
  defp statements do
    reg = &[Expr.payload(:ip_saddr) | &1]

    [
      {:inet, @input, "tcp dport 22 accept",
       [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), :accept]},
      {:inet, @input, "ip saddr 10.0.0.1 drop",
       [Expr.payload(:ip_saddr), Expr.cmp(:eq, <<10, 0, 0, 1>>), :drop]},
      {:inet, @input, "tcp dport 22-25 accept",
       [
         Expr.payload(:tcp_dport),
         Expr.cmp(:gte, <<22::16>>),
         Expr.cmp(:lte, <<25::16>>),
         :accept
       ]},
      {:inet, @input, "tcp dport != 22-25 accept",
       [Expr.payload(:tcp_dport), Expr.range(:neq, <<22::16>>, <<25::16>>), :accept]},
      {:inet, @input, "ip saddr 10.1.0.0/17 accept",
       [
         Expr.payload(:ip_saddr),
         Expr.bitwise(<<255, 255, 128, 0>>, <<0::32>>),
         Expr.cmp(:eq, <<10, 1, 0, 0>>),
         :accept
       ]},
      {:inet, @input, "meta mark 1-9 accept",
       [
         Expr.meta(:mark),
         Expr.byteorder(:hton),
         Expr.cmp(:gte, <<1::32>>),
         Expr.cmp(:lte, <<9::32>>),
         :accept
       ]},
      {:inet, @input, "meta mark and 0xff == 5",
       [Expr.meta(:mark), Expr.bitwise(host(0xFF), host(0)), Expr.cmp(:eq, host(5))]},
      {:inet, @input, "meta mark set meta mark << 8",
       [Expr.meta(:mark), Expr.shift(:lshift, 8), Expr.meta(:mark, sreg: 1)]},
      {:inet, @input, "iifname \"lo\" counter accept",
       [Expr.meta(:iifname), Expr.cmp(:eq, <<"lo", 0::112>>), Expr.counter(), :accept]},
      {:inet, @input, "ct state invalid drop",
       [
         Expr.ct(:state),
         Expr.bitwise(host(Wire.ct_state_bits(:invalid)), host(0)),
         Expr.cmp(:neq, host(0)),
         :drop
       ]},
      {:ip, @input, "ct original ip saddr 10.0.0.1",
       [Expr.ct(:src_ip, direction: :original), Expr.cmp(:eq, <<10, 0, 0, 1>>)]},
      {:inet, @input, "limit rate 10/second burst 5 packets", [Expr.limit(10)]},
      {:inet, @input, "limit rate over 1 mbytes/minute burst 100 bytes",
       [Expr.limit(1_048_576, unit: :minute, type: :bytes, burst: 100, flags: [:inv])]},
      {:inet, @input, "quota over 10 mbytes", [Expr.quota(10_485_760, flags: [:inv])]},
      {:inet, @input, "ct count over 10 accept", [Expr.connlimit(10, flags: [:inv]), :accept]},
      {:inet, @input, "meta mark set 0x10", [Expr.immediate(0x10), Expr.meta(:mark, sreg: 1)]},
      {:inet, @input, "ct mark set meta mark", [Expr.meta(:mark), Expr.ct(:mark, sreg: 1)]},
      {:ip, @input, "ip ttl set 64",
       [
         Expr.payload(:network, 8, 2),
         Expr.bitwise(<<0, 255>>, <<64, 0>>),
         Expr.payload(:network, 8, 2, sreg: 1, csum_type: :inet, csum_offset: 10)
       ]},
      {:ip, @input, "tcp dport set 8080",
       tcp() ++
         [
           Expr.load(<<8080::16>>),
           Expr.payload(:transport, 2, 2, sreg: 1, csum_type: :inet, csum_offset: 16)
         ]},
      {:ip, @input, "add @s { ip saddr }", reg.([Expr.dynset(:add, "s")])},
      {:ip, @input, "update @s { ip saddr timeout 30s limit rate 5/second }",
       reg.([Expr.dynset(:update, "s", timeout: 30_000, exprs: [Expr.limit(5)])])},
      {:ip, @input, "add @m { ip saddr : tcp dport }",
       tcp() ++
         reg.([Expr.payload(:transport, 2, 2, dreg: 2), Expr.dynset(:add, "m", sreg_data: 2)])},
      {:inet, @input, "counter name cnt", [Expr.objref(:counter, "cnt")]},
      {:inet, @input, "quota name q", [Expr.objref(:quota, "q")]},
      {:inet, @input, "limit name l", [Expr.objref(:limit, "l")]},
      {:inet, @input, "ct helper set h", [Expr.objref(:ct_helper, "h")]},
      {:inet, @input, "counter name tcp dport map @om",
       [Expr.payload(:tcp_dport), Expr.objref_map("om")]},
      {:inet, @input, "counter name tcp dport map { 22 : \"cnt\" }",
       [
         Expr.payload(:tcp_dport),
         Expr.set_literal([{22, "cnt"}], :inet_service, data_type: {:object, :counter})
       ]},
      {:inet, @input, "tcp dport { 22, 80-90 } accept",
       [Expr.payload(:tcp_dport), Expr.set_literal([22, 80..90], :inet_service), :accept]},
      {:inet, @input, "tcp dport != { 22, 23 } accept",
       [
         Expr.payload(:tcp_dport),
         Expr.set_literal([22, 23], :inet_service, lookup_flags: [:inv]),
         :accept
       ]},
      {:inet, @input, "tcp dport vmap { 22 : accept, 80 : jump other }",
       [
         Expr.payload(:tcp_dport),
         Expr.set_literal([{22, :accept}, {80, {:jump, "other"}}], :inet_service,
           data_type: :verdict
         )
       ]},
      {:ip, @input, "meta mark set ip saddr map { 10.0.0.0/8 : 5, 11.0.0.1 : 6 }",
       reg.([
         Expr.set_literal([{"10.0.0.0/8", 5}, {"11.0.0.1", 6}], :ipv4_addr, data_type: :mark),
         Expr.meta(:mark, sreg: 1)
       ])},
      {:ip, @input, "ip saddr . tcp dport { 10.0.0.1 . 22 } accept",
       tcp() ++
         [
           Expr.payload(:network, 12, 4),
           Expr.payload(:transport, 2, 2, dreg: 9),
           Expr.set_literal([{"10.0.0.1", 22}], {:concat, [:ipv4_addr, :inet_service]}),
           :accept
         ]},
      {:inet, @prerouting, "fib saddr . iif oif missing drop",
       [Expr.fib(:oif, [:saddr, :iif, :present]), Expr.cmp(:eq, host(0)), :drop]},
      {:inet, @prerouting, "fib daddr type local accept",
       [Expr.fib(:addrtype, [:daddr]), Expr.cmp(:eq, host(2)), :accept]},
      {:inet, @input, "numgen random mod 10 < 5 accept",
       [Expr.numgen(:random, 10), Expr.byteorder(:hton), Expr.cmp(:lt, <<5::32>>), :accept]},
      {:inet, @input, "numgen inc mod 2 offset 100 101 accept",
       [Expr.numgen(:incremental, 2, offset: 100), Expr.cmp(:eq, host(101)), :accept]},
      {:ip, @input, "jhash ip saddr mod 10 seed 0xdeadbeef 5 accept",
       [
         Expr.payload(:network, 12, 4, dreg: 2),
         Expr.hash(:jenkins, 10, sreg: 2, len: 4, seed: 0xDEADBEEF),
         Expr.cmp(:eq, host(5)),
         :accept
       ]},
      {:ip, @input, "symhash mod 10 5 accept",
       [Expr.hash(:sym, 10), Expr.cmp(:eq, host(5)), :accept]},
      {:inet, @output, "rt classid 1 accept",
       [Expr.rt(:classid), Expr.cmp(:eq, host(1)), :accept]},
      {:ip, @output, "rt nexthop 10.0.0.1 accept",
       [Expr.rt(:nexthop4), Expr.cmp(:eq, <<10, 0, 0, 1>>), :accept]},
      {:inet, @output, "rt ipsec exists accept", [Expr.rt(:xfrm), Expr.cmp(:eq, <<1>>), :accept]},
      {:inet, @input, "tcp option maxseg size 500",
       [Expr.exthdr(:tcpopt, 2, offset: 2, len: 2), Expr.cmp(:eq, <<500::16>>)]},
      {:inet, @input, "tcp option sack-perm exists",
       [Expr.exthdr(:tcpopt, 4, flags: [:present]), Expr.cmp(:eq, <<1>>)]},
      {:ip6, @input, "frag id 5",
       [Expr.exthdr(:ipv6, 44, offset: 4, len: 4), Expr.cmp(:eq, <<5::32>>)]},
      {:ip, @input, "ip option rr exists",
       [Expr.exthdr(:ipv4, 7, flags: [:present]), Expr.cmp(:eq, <<1>>)]},
      {:inet, @input, "sctp chunk data exists",
       [Expr.exthdr(:sctp, 0, flags: [:present]), Expr.cmp(:eq, <<1>>)]},
      {:inet, @input, "tcp option maxseg size set 1360",
       [Expr.load(<<1360::16>>), Expr.exthdr(:tcpopt, 2, offset: 2, len: 2, sreg: 1)]},
      {:inet, @prerouting, "socket transparent 1 accept",
       [Expr.socket(:transparent), Expr.cmp(:eq, <<1>>), :accept]},
      {:inet, @prerouting, "socket mark 5 accept",
       [Expr.socket(:mark), Expr.cmp(:eq, host(5)), :accept]},
      {:inet, @input, "osf name \"Linux\"", [Expr.osf(), Expr.cmp(:eq, <<"Linux", 0::88>>)]},
      {:inet, @prerouting, "meta l4proto tcp tproxy ip to 127.0.0.1:8080",
       tcp() ++
         [
           Expr.load(<<127, 0, 0, 1>>),
           Expr.load(<<8080::16>>, 2),
           Expr.tproxy(family: :ip, reg_addr: 1, reg_port: 2)
         ]},
      {:inet, @input, "synproxy mss 1460 wscale 7 timestamp sack-perm",
       [Expr.synproxy(mss: 1460, wscale: 7, flags: [:timestamp, :sack_perm])]},
      {:ip, @input, "dup to 10.0.0.1", [Expr.load(<<10, 0, 0, 1>>), Expr.dup(sreg_addr: 1)]},
      {:ip, @input, "dup to 10.0.0.1 device \"lo\"",
       [Expr.load(<<10, 0, 0, 1>>), Expr.load(host(1), 2), Expr.dup(sreg_addr: 1, sreg_dev: 2)]},
      {:inet, @prerouting, "notrack", [Expr.notrack()]},
      {:inet, @input, "reject", [Expr.reject(:icmpx_unreach)]},
      {:inet, @input, "tcp dport 1 reject with tcp reset",
       [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<1::16>>), Expr.reject(:tcp_reset)]},
      {:inet, @input, "reject with icmpx admin-prohibited",
       [Expr.reject(:icmpx_unreach, icmp_code: 3)]},
      {:ip, @input, "reject with icmp host-unreachable",
       [Expr.reject(:icmp_unreach, icmp_code: 1)]},
      {:inet, @input, "log prefix \"x\" level debug flags all",
       [
         Expr.log(
           prefix: "x",
           level: :debug,
           flags: [:tcp_seq, :tcp_opt, :ip_opt, :uid, :macdecode]
         )
       ]},
      {:inet, @input, "log prefix \"x\" group 5 snaplen 100 queue-threshold 3",
       [Expr.log(prefix: "x", group: 5, snaplen: 100, qthreshold: 3)]},
      {:ip, @dstnat, "dnat to 10.0.0.1", [Expr.dnat_to("10.0.0.1")]},
      {:inet, @dstnat, "tcp dport 80 dnat ip to 10.0.0.1:8080",
       [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<80::16>>), Expr.dnat_to({10, 0, 0, 1}, 8080)]},
      {:ip, @srcnat, "snat to 10.0.0.1-10.0.0.9 random,persistent",
       [
         Expr.load(<<10, 0, 0, 1>>),
         Expr.load(<<10, 0, 0, 9>>, 2),
         Expr.nat(:snat,
           family: :ip,
           reg_addr_min: 1,
           reg_addr_max: 2,
           flags: [:random, :persistent]
         )
       ]},
      {:inet, @srcnat, "masquerade fully-random", [Expr.masquerade(flags: [:fully_random])]},
      {:ip, @dstnat, "tcp dport 80 redirect to :8080",
       [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<80::16>>), Expr.redirect(port: 8080)]},
      {:inet, @input, "ipsec in reqid 5", [Expr.xfrm(:reqid), Expr.cmp(:eq, host(5))]},
      {:inet, @input, "jump other", [{:jump, "other"}]},
      {:inet, @input, "tcp dport 22 return comment \"why\"",
       [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), :return]}
    ]
  end

  defp text(family, chain, rule) do
    """
    table #{family} t {
      counter cnt { packets 0 bytes 0 }
      quota q { 10 mbytes }
      limit l { rate 1/second
      }
      ct helper h {
        type "ftp" protocol tcp
      }
      set s { type ipv4_addr; flags dynamic,timeout; size 1000; timeout 1m; }
      map m { type ipv4_addr : inet_service; flags dynamic; size 100; }
      map om { type inet_service : counter; elements = { 22 : "cnt" } }
      chain other { }
      chain c { type #{chain[:type]} hook #{chain[:hook]} priority \
    #{priority(chain[:priority])}; policy accept;
        #{rule}
      }
    }
    """
  end

  defp priority(:dstnat), do: -100
  defp priority(:srcnat), do: 100
  defp priority(n), do: n

  defp values(family, chain, exprs, opts) do
    l3proto = if family == :inet, do: :ip, else: family

    Ruleset.new()
    |> Ruleset.add_table!(family, "t")
    |> Ruleset.add_object!("t", Object.new!(:counter, "cnt"))
    |> Ruleset.add_object!("t", Object.new!(:quota, "q", %{bytes: 10_485_760}))
    |> Ruleset.add_object!("t", Object.new!(:limit, "l", %{rate: 1}))
    |> Ruleset.add_object!(
      "t",
      Object.new!(:ct_helper, "h", %{
        type: "ftp",
        protocol: :tcp,
        l3proto: if(family == :inet, do: :inet, else: l3proto)
      })
    )
    |> Ruleset.add_set!(
      "t",
      Set.new!("s",
        key_type: :ipv4_addr,
        flags: [:dynamic, :timeout],
        size: 1000,
        timeout: 60_000
      )
    )
    |> Ruleset.add_map!(
      "t",
      NMap.new!("m", key_type: :ipv4_addr, data_type: :inet_service, flags: [:dynamic], size: 100)
    )
    |> Ruleset.add_map!(
      "t",
      NMap.new!("om",
        key_type: :inet_service,
        data_type: {:object, :counter},
        elements: [{22, "cnt"}]
      )
    )
    |> Ruleset.add_chain!("t", "other")
    |> Ruleset.add_chain!("t", "c", [policy: :accept] ++ chain)
    |> Ruleset.add_rule!("t", "c", exprs, opts)
  end

  test "every expression looks to nft as its own text does", %{
    ours: ours,
    sock: sock,
    theirs: theirs
  } do
    for {family, chain, rule, exprs} <- statements() do
      opts = if rule =~ "comment", do: [comment: "why"], else: []
      Firewall.run!(theirs, ["nft", "flush", "ruleset"])
      Firewall.load!(theirs, text(family, chain, rule))
      ruleset = values(family, chain, exprs, opts)
      assert :ok == Netfilter.push(sock, ruleset), rule
      assert {rule, Firewall.json(ours)} == {rule, Firewall.json(theirs)}

      # The pulled ruleset equals the pushed one, and so does the one pulled from nft's namespace.
      {:ok, back} = Netfilter.pull(sock)
      assert Netfilter.diff(back, ruleset).ops == [], rule
      {:ok, other} = Linx.Netlink.Nfnl.open({:pid, theirs})
      {:ok, nfts} = Netfilter.pull(other)
      Linx.Netlink.Socket.close(other)
      assert Netfilter.diff(nfts, ruleset).ops == [], rule
      # A pulled ruleset can be pushed again.
      assert :ok == Netfilter.push(sock, back), rule
      assert Firewall.json(ours) == Firewall.json(theirs), "#{rule}, pushed again"
      Firewall.run!(ours, ["nft", "flush", "ruleset"])
    end
  end

  test "every set and map looks to nft as its own text does", %{
    ours: ours,
    sock: sock,
    theirs: theirs
  } do
    concat = {:concat, [:ipv4_addr, :inet_service]}

    sets = [
      {"set x { type ipv4_addr; comment \"hi\"; elements = { 10.0.0.1, 10.0.0.2 comment " <>
         "\"el\" } }",
       Set.new!("x",
         key_type: :ipv4_addr,
         comment: "hi",
         elements: ["10.0.0.1", %Element{key: "10.0.0.2", comment: "el"}]
       )},
      {"set x { type ipv6_addr; flags interval; elements = { fe80::/10, " <>
         "2001:db8::1-2001:db8::9 } }",
       Set.new!("x",
         key_type: :ipv6_addr,
         flags: [:interval],
         elements: ["fe80::/10", {:range, "2001:db8::1", "2001:db8::9"}]
       )},
      {"set x { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8, " <>
         "10.1.0.0/16, 255.255.0.0/16, 1.1.1.1 } }",
       Set.new!("x",
         key_type: :ipv4_addr,
         flags: [:interval, :auto_merge],
         elements: ["10.0.0.0/8", "10.1.0.0/16", "255.255.0.0/16", "1.1.1.1"]
       )},
      {"set x { type mark; flags interval; elements = { 1-5, 0x100 } }",
       Set.new!("x", key_type: :mark, flags: [:interval], elements: [1..5, 0x100])},
      {"set x { type mark; elements = { 1, 0x100 } }",
       Set.new!("x", key_type: :mark, elements: [1, 0x100])},
      {"set x { type inet_service; flags interval; elements = { 0-65535 } }",
       Set.new!("x", key_type: :inet_service, flags: [:interval], elements: [0..65535])},
      {"set x { type ifname; flags interval; elements = { \"eth*\", \"lo\" } }",
       Set.new!("x", key_type: :ifname, flags: [:interval], elements: ["eth*", "lo"])},
      {"set x { type ifname; elements = { \"eth0\", \"lo\" } }",
       Set.new!("x", key_type: :ifname, elements: ["eth0", "lo"])},
      {"set x { type ether_addr; elements = { 02:00:00:00:00:01 } }",
       Set.new!("x", key_type: :ether_addr, elements: ["02:00:00:00:00:01"])},
      {"set x { type inet_proto; elements = { tcp, udp } }",
       Set.new!("x", key_type: :inet_proto, elements: [:tcp, 17])},
      {"set x { type ct_state; elements = { new, established } }",
       Set.new!("x", key_type: :ct_state, elements: [:new, :established])},
      {"set x { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 80, " <>
         "10.0.0.0/8 . 1-1024 } }",
       Set.new!("x",
         key_type: concat,
         flags: [:interval],
         elements: [{"10.0.0.1", 80}, {"10.0.0.0/8", 1..1024}]
       )},
      {"set x { type mark . ipv4_addr; flags interval; elements = { 1-9 . 10.0.0.0/24 } }",
       Set.new!("x",
         key_type: {:concat, [:mark, :ipv4_addr]},
         flags: [:interval],
         elements: [{1..9, "10.0.0.0/24"}]
       )},
      {"set x { type ifname . ether_addr . mark; elements = { \"lo\" . 02:00:00:00:00:01 . 5 } }",
       Set.new!("x",
         key_type: {:concat, [:ifname, :ether_addr, :mark]},
         elements: [{"lo", "02:00:00:00:00:01", 5}]
       )},
      {"set x { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, * } }",
       Set.new!("x",
         key_type: :ipv4_addr,
         flags: [:interval],
         elements: ["10.0.0.0/8", :catch_all]
       )},
      {"set x { type ipv4_addr; flags dynamic,timeout; timeout 1m; gc-interval 10s; size " <>
         "65535; counter; elements = { 1.2.3.4 counter packets 3 bytes 4 timeout 30s } }",
       Set.new!("x",
         key_type: :ipv4_addr,
         flags: [:dynamic, :timeout],
         timeout: 60_000,
         gc_interval: 10_000,
         size: 65_535,
         exprs: [Expr.counter()],
         elements: [
           %Element{key: "1.2.3.4", timeout: 30_000, exprs: [Expr.counter(packets: 3, bytes: 4)]}
         ]
       )},
      {"set x { type ipv4_addr; flags constant; elements = { 1.2.3.4 } }",
       Set.new!("x",
         key_type: :ipv4_addr,
         flags: [:constant],
         elements: ["1.2.3.4"]
       )},
      {"map x { type inet_service : verdict; elements = { 22 : jump other, 80 : accept, 90 " <>
         ": goto other } }",
       Vmap.new!("x",
         key_type: :inet_service,
         elements: [{22, {:jump, "other"}}, {80, :accept}, {90, {:goto, "other"}}]
       )},
      {"map x { type inet_service : verdict; flags interval; elements = { 22-25 : drop, * : " <>
         "accept } }",
       Vmap.new!("x",
         key_type: :inet_service,
         flags: [:interval],
         elements: [{22..25, :drop}, {:catch_all, :accept}]
       )},
      {"map x { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 1, " <>
         "11.0.0.0/8 : 2 } }",
       NMap.new!("x",
         key_type: :ipv4_addr,
         data_type: :mark,
         flags: [:interval],
         elements: [{"10.0.0.0/8", 1}, {"11.0.0.0/8", 2}]
       )},
      {"map x { type ipv4_addr . inet_service : ipv4_addr . inet_service; elements = { " <>
         "1.1.1.1 . 80 : 2.2.2.2 . 8080 } }",
       NMap.new!("x",
         key_type: concat,
         data_type: concat,
         elements: [{{"1.1.1.1", 80}, {"2.2.2.2", 8080}}]
       )},
      {"map x { type ipv4_addr : interval ipv4_addr . inet_service; flags interval; " <>
         "elements = { 10.0.0.0/8 : 1.1.1.1-1.1.1.9 . 80-90 } }",
       NMap.new!("x",
         key_type: :ipv4_addr,
         data_type: {:interval, concat},
         flags: [:interval],
         elements: [{"10.0.0.0/8", {{:range, "1.1.1.1", "1.1.1.9"}, 80..90}}]
       )}
    ]

    for {text, set} <- sets do
      Firewall.run!(theirs, ["nft", "flush", "ruleset"])
      Firewall.load!(theirs, "table inet t {\n chain other { }\n #{text}\n}")

      ruleset =
        Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_chain!("t", "other")

      ruleset =
        if is_struct(set, Set),
          do: Ruleset.add_set!(ruleset, "t", set),
          else: Ruleset.add_map!(ruleset, "t", set)

      assert :ok == Netfilter.push(sock, ruleset), text
      assert {text, Firewall.json(ours)} == {text, Firewall.json(theirs)}

      {:ok, back} = Netfilter.pull(sock, {:inet, "t"})
      assert Netfilter.diff(back, ruleset).ops == [], text
      {:ok, other} = Linx.Netlink.Nfnl.open({:pid, theirs})
      {:ok, nfts} = Netfilter.pull(other)
      Linx.Netlink.Socket.close(other)
      assert Netfilter.diff(nfts, ruleset).ops == [], text
      assert :ok == Netfilter.push(sock, nfts), text
      assert Firewall.json(ours) == Firewall.json(theirs), "#{text}, pulled from nft"
      Firewall.run!(ours, ["nft", "flush", "ruleset"])
    end
  end

  test "objects, chains and tables look to nft as their own text does", %{
    ours: ours,
    sock: sock,
    theirs: theirs
  } do
    Firewall.load!(theirs, """
    table ip t {
      comment "tab"
      counter cnt { comment "cc"
        packets 1 bytes 2 }
      quota q { over 10 mbytes used 1 mbytes }
      limit l { rate over 10 mbytes/minute burst 7 kbytes
      }
      ct helper h {
        type "ftp" protocol tcp
        l3proto ip
      }
      ct timeout ctt {
        protocol tcp;
        l3proto ip
        policy = { established : 100, close : 4 }
      }
      ct expectation cte {
        protocol udp
        dport 9876
        timeout 2m
        size 12
        l3proto ip
      }
      synproxy sp {
        mss 1460
        wscale 7
        timestamp sack-perm
      }
      chain reg { comment "chain"
      }
      chain nat { type nat hook postrouting priority srcnat + 5; policy accept; }
      chain mangle { type route hook output priority mangle; policy drop; }
    }
    table netdev n {
      chain in { type filter hook ingress device "lo" priority -500; policy accept; }
    }
    table arp a {
      chain in { type filter hook input priority 0; policy accept; }
    }
    table bridge b {
      chain pre { type filter hook prerouting priority dstnat; policy accept; }
    }
    """)

    ruleset =
      Ruleset.new()
      |> Ruleset.add_table!(:ip, "t", comment: "tab")
      |> Ruleset.add_object!(
        "t",
        Object.new!(:counter, "cnt", %{packets: 1, bytes: 2}, comment: "cc")
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:quota, "q", bytes: 10_485_760, used: 1_048_576, flags: [:inv])
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:limit, "l",
          rate: 10_485_760,
          unit: :minute,
          burst: 7168,
          type: :bytes,
          flags: [:inv]
        )
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:ct_helper, "h", type: "ftp", protocol: :tcp, l3proto: :ip)
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:ct_timeout, "ctt",
          protocol: :tcp,
          l3proto: :ip,
          policy: %{established: 100, close: 4}
        )
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:ct_expectation, "cte",
          protocol: :udp,
          l3proto: :ip,
          dport: 9876,
          timeout: 120_000,
          size: 12
        )
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:synproxy, "sp", mss: 1460, wscale: 7, flags: [:timestamp, :sack_perm])
      )
      |> Ruleset.add_chain!("t", "reg", comment: "chain")
      |> Ruleset.add_chain!("t", "nat",
        type: :nat,
        hook: :postrouting,
        priority: {:srcnat, 5},
        policy: :accept
      )
      |> Ruleset.add_chain!("t", "mangle",
        type: :route,
        hook: :output,
        priority: :mangle,
        policy: :drop
      )
      |> Ruleset.add_table!(:netdev, "n")
      |> Ruleset.add_chain!("n", "in",
        type: :filter,
        hook: :ingress,
        priority: -500,
        device: "lo",
        policy: :accept
      )
      |> Ruleset.add_table!(:arp, "a")
      |> Ruleset.add_chain!("a", "in", type: :filter, hook: :input, priority: 0)
      |> Ruleset.add_table!(:bridge, "b")
      |> Ruleset.put_chain!(
        "b",
        Chain.new!("pre", type: :filter, hook: :prerouting, priority: :dstnat)
      )

    assert :ok == Netfilter.push(sock, ruleset)
    assert Firewall.json(ours) == Firewall.json(theirs)
    {:ok, back} = Netfilter.pull(sock)
    assert Netfilter.diff(back, ruleset).ops == []
    assert :ok == Netfilter.push(sock, back)
    assert Firewall.json(ours) == Firewall.json(theirs)
  end
end
