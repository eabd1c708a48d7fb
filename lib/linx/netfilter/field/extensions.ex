defmodule Linx.Netfilter.Field.Extensions do
  @moduledoc false
  # What the exthdr expression finds: {name, operation, header number, [{field, offset, length, datatype}]}.

  @routing [
    {"nexthdr", 0, 8, :inet_proto},
    {"hdrlength", 8, 8, :integer},
    {"type", 16, 8, :integer},
    {"seg-left", 24, 8, :integer}
  ]
  @option [{"kind", 0, 8, :integer}, {"length", 8, 8, :integer}]
  @ipoption [{"type", 0, 8, :integer}, {"length", 8, 8, :integer}]
  @source_route [
    {"type", 0, 8, :integer},
    {"length", 8, 8, :integer},
    {"ptr", 16, 8, :integer},
    {"addr", 24, 32, :ipv4_addr}
  ]
  @chunk [{"type", 0, 8, :integer}, {"flags", 8, 8, :integer}, {"length", 16, 16, :integer}]
  @init @chunk ++
          [
            {"init-tag", 32, 32, :integer},
            {"a-rwnd", 64, 32, :integer},
            {"num-outbound-streams", 96, 16, :integer},
            {"num-inbound-streams", 112, 16, :integer},
            {"initial-tsn", 128, 32, :integer}
          ]

  @ipv6 [
    {:hbh, :ipv6, 0, [{"nexthdr", 0, 8, :inet_proto}, {"hdrlength", 8, 8, :integer}]},
    {:rt, :ipv6, 43, @routing},
    {:rt0, :ipv6, 43, for(n <- 0..15, do: {"addr[#{n + 1}]", 64 + 128 * n, 128, :ipv6_addr})},
    {:rt2, :ipv6, 43, [{"addr", 64, 128, :ipv6_addr}]},
    {:srh, :ipv6, 43,
     [{"last-entry", 32, 8, :integer}, {"flags", 40, 8, :integer}, {"tag", 48, 16, :integer}] ++
       for(n <- 0..15, do: {"sid[#{n + 1}]", 64 + 128 * n, 128, :ipv6_addr})},
    {:frag, :ipv6, 44,
     [
       {"nexthdr", 0, 8, :inet_proto},
       {"reserved", 8, 8, :integer},
       {"frag-off", 16, 13, :integer},
       {"reserved2", 29, 2, :integer},
       {"more-fragments", 31, 1, :integer},
       {"id", 32, 32, :integer}
     ]},
    {:dst, :ipv6, 60, [{"nexthdr", 0, 8, :inet_proto}, {"hdrlength", 8, 8, :integer}]},
    {:mh, :ipv6, 135,
     [
       {"nexthdr", 0, 8, :inet_proto},
       {"hdrlength", 8, 8, :integer},
       {"type", 16, 8, :mh_type},
       {"reserved", 24, 8, :integer},
       {"checksum", 32, 16, :integer}
     ]}
  ]

  @tcp [
         {:tcpopt_eol, :tcpopt, 0, [{"kind", 0, 8, :integer}]},
         {:tcpopt_nop, :tcpopt, 1, [{"kind", 0, 8, :integer}]},
         {:tcpopt_maxseg, :tcpopt, 2, @option ++ [{"size", 16, 16, :integer}]},
         {:tcpopt_window, :tcpopt, 3, @option ++ [{"count", 16, 8, :integer}]},
         {:tcpopt_sack_perm, :tcpopt, 4, @option},
         {:tcpopt_timestamp, :tcpopt, 8,
          @option ++ [{"tsval", 16, 32, :integer}, {"tsecr", 48, 32, :integer}]},
         {:tcpopt_md5sig, :tcpopt, 19, @option},
         {:tcpopt_mptcp, :tcpopt, 30, @option ++ [{"subtype", 16, 4, :integer}]},
         {:tcpopt_fastopen, :tcpopt, 34, @option}
       ] ++
         for(
           {name, n} <- [
             tcpopt_sack: 0,
             tcpopt_sack0: 0,
             tcpopt_sack1: 1,
             tcpopt_sack2: 2,
             tcpopt_sack3: 3
           ],
           do:
             {name, :tcpopt, 5,
              @option ++
                [{"left", 16 + 64 * n, 32, :integer}, {"right", 48 + 64 * n, 32, :integer}]}
         )

  @ip [
    {:ipopt_lsrr, :ipv4, 131, @source_route},
    {:ipopt_ra, :ipv4, 148, @ipoption ++ [{"value", 16, 16, :integer}]},
    {:ipopt_rr, :ipv4, 7, @source_route},
    {:ipopt_ssrr, :ipv4, 137, @source_route}
  ]

  @sctp [
    {:chunk_data, :sctp, 0,
     @chunk ++
       [
         {"tsn", 32, 32, :integer},
         {"stream", 64, 16, :integer},
         {"ssn", 80, 16, :integer},
         {"ppid", 96, 32, :integer}
       ]},
    {:chunk_init, :sctp, 1, @init},
    {:chunk_init_ack, :sctp, 2, @init},
    {:chunk_sack, :sctp, 3,
     @chunk ++
       [
         {"cum-tsn-ack", 32, 32, :integer},
         {"a-rwnd", 64, 32, :integer},
         {"num-gap-ack-blocks", 96, 16, :integer},
         {"num-dup-tsns", 112, 16, :integer}
       ]},
    {:chunk_heartbeat, :sctp, 4, @chunk},
    {:chunk_heartbeat_ack, :sctp, 5, @chunk},
    {:chunk_abort, :sctp, 6, @chunk},
    {:chunk_shutdown, :sctp, 7, @chunk ++ [{"cum-tsn-ack", 32, 32, :integer}]},
    {:chunk_shutdown_ack, :sctp, 8, @chunk},
    {:chunk_error, :sctp, 9, @chunk},
    {:chunk_cookie_echo, :sctp, 10, @chunk},
    {:chunk_cookie_ack, :sctp, 11, @chunk},
    {:chunk_ecne, :sctp, 12, @chunk ++ [{"lowest-tsn", 32, 32, :integer}]},
    {:chunk_cwr, :sctp, 13, @chunk ++ [{"lowest-tsn", 32, 32, :integer}]},
    {:chunk_shutdown_complete, :sctp, 14, @chunk},
    {:chunk_asconf_ack, :sctp, 128, @chunk ++ [{"seqno", 32, 32, :integer}]},
    {:chunk_forward_tsn, :sctp, 192, @chunk ++ [{"new-cum-tsn", 32, 32, :integer}]},
    {:chunk_asconf, :sctp, 193, @chunk ++ [{"seqno", 32, 32, :integer}]}
  ]

  @doc false
  def rows, do: @ipv6 ++ @tcp ++ @ip ++ @sctp
end
