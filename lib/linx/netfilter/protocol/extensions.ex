defmodule Linx.Netfilter.Protocol.Extensions do
  @moduledoc false
  # The rows of IPv6 extension headers, IP and TCP options and SCTP chunks, which the kernel's
  # exthdr expression finds: `base` is its operation, `header` the number looked for. Their first
  # word is the one that is written, the others are read too. The fields are as in
  # Protocol.Headers.

  @routing [
    {"nexthdr", 0, 8, :inet_proto},
    {"hdrlength", 8, 8, :integer},
    {"type", 16, 8, :integer},
    {"seg-left", 24, 8, :integer}
  ]
  @hop_options [{"nexthdr", 0, 8, :inet_proto}, {"hdrlength", 8, 8, :integer}]

  @option [{"kind", 0, 8, :integer}, {"length", 8, 8, :integer}]

  @ip_option [{"type", 0, 8, :integer}, {"length", 8, 8, :integer}]
  # nft counts the value of the option as its third field.
  @source_route @ip_option ++
                  [{"ptr", 16, 8, :integer, place: 4}, {"addr", 24, 32, :ipv4_addr, place: 5}]

  @chunk [{"type", 0, 8, :integer}, {"flags", 8, 8, :integer}, {"length", 16, 16, :integer}]
  @init [
    {"init-tag", 32, 32, :integer},
    {"a-rwnd", 64, 32, :integer},
    {"num-outbound-streams", 96, 16, :integer},
    {"num-inbound-streams", 112, 16, :integer},
    {"initial-tsn", 128, 32, :integer}
  ]

  # The headers that all begin alike (43, 5) have a row for each form; the first is the one that
  # `exists` asks for.
  @ipv6 [
    %{name: :hbh, header: 0, id: 1, fields: @hop_options},
    %{name: :rt, header: 43, id: 2, fields: @routing},
    %{
      name: :rt0,
      header: 43,
      id: 3,
      fields: for(n <- 0..15, do: {"addr[#{n + 1}]", 64 + 128 * n, 128, :ipv6_addr, place: n + 2})
    },
    %{name: :rt2, header: 43, id: 4, fields: [{"addr", 64, 128, :ipv6_addr, place: 2}]},
    %{
      name: :srh,
      header: 43,
      id: 5,
      fields:
        [
          {"last-entry", 32, 8, :integer},
          {"flags", 40, 8, :integer},
          {"tag", 48, 16, :integer}
        ] ++
          for(n <- 0..15, do: {"sid[#{n + 1}]", 64 + 128 * n, 128, :ipv6_addr})
    },
    %{
      name: :frag,
      header: 44,
      id: 6,
      fields: [
        {"nexthdr", 0, 8, :inet_proto},
        {"reserved", 8, 8, :integer},
        {"frag-off", 16, 13, :integer},
        {"reserved2", 29, 2, :integer},
        {"more-fragments", 31, 1, :integer},
        {"id", 32, 32, :integer}
      ]
    },
    %{name: :dst, header: 60, id: 7, fields: @hop_options},
    %{
      name: :mh,
      header: 135,
      id: 8,
      fields: [
        {"nexthdr", 0, 8, :inet_proto},
        {"hdrlength", 8, 8, :integer},
        {"type", 16, 8, :mh_type},
        {"reserved", 24, 8, :integer},
        {"checksum", 32, 16, :integer}
      ]
    }
  ]

  @sack for {name, word, n} <- [
              {:tcpopt_sack, "sack", 0},
              {:tcpopt_sack0, "sack0", 0},
              {:tcpopt_sack1, "sack1", 1},
              {:tcpopt_sack2, "sack2", 2},
              {:tcpopt_sack3, "sack3", 3}
            ],
            do: %{
              name: name,
              words: word,
              header: 5,
              fields:
                @option ++
                  [
                    {"left", 16 + 64 * n, 32, :integer, place: 2 + 2 * n},
                    {"right", 48 + 64 * n, 32, :integer, place: 3 + 2 * n}
                  ]
            }

  @tcp [
         %{name: :tcpopt_eol, words: "eol", header: 0, fields: [{"kind", 0, 8, :integer}]},
         %{
           name: :tcpopt_nop,
           words: ["nop", "noop"],
           header: 1,
           fields: [{"kind", 0, 8, :integer}]
         },
         %{
           name: :tcpopt_maxseg,
           words: ["maxseg", "mss"],
           header: 2,
           fields: @option ++ [{"size", 16, 16, :integer}]
         },
         %{
           name: :tcpopt_window,
           words: "window",
           header: 3,
           fields: @option ++ [{"count", 16, 8, :integer}]
         },
         %{
           name: :tcpopt_sack_perm,
           words: ["sack-perm", "sack-permitted"],
           header: 4,
           fields: @option
         },
         %{
           name: :tcpopt_timestamp,
           words: "timestamp",
           header: 8,
           fields: @option ++ [{"tsval", 16, 32, :integer}, {"tsecr", 48, 32, :integer}]
         },
         %{name: :tcpopt_md5sig, words: "md5sig", header: 19, fields: @option},
         %{
           name: :tcpopt_mptcp,
           words: "mptcp",
           header: 30,
           fields: @option ++ [{"subtype", 16, 4, :mptcpopt_subtype}]
         },
         %{name: :tcpopt_fastopen, words: "fastopen", header: 34, fields: @option}
       ] ++ @sack

  @ip [
    %{name: :ipopt_lsrr, words: "lsrr", header: 131, fields: @source_route},
    %{
      name: :ipopt_ra,
      words: "ra",
      header: 148,
      fields: @ip_option ++ [{"value", 16, 16, :integer}]
    },
    %{name: :ipopt_rr, words: "rr", header: 7, fields: @source_route},
    %{name: :ipopt_ssrr, words: "ssrr", header: 137, fields: @source_route}
  ]

  @sctp [
    {"data", 0,
     [
       {"tsn", 32, 32, :integer},
       {"stream", 64, 16, :integer},
       {"ssn", 80, 16, :integer},
       {"ppid", 96, 32, :integer}
     ]},
    {"init", 1, @init},
    {"init-ack", 2, @init},
    {"sack", 3,
     [
       {"cum-tsn-ack", 32, 32, :integer},
       {"a-rwnd", 64, 32, :integer},
       {"num-gap-ack-blocks", 96, 16, :integer},
       {"num-dup-tsns", 112, 16, :integer}
     ]},
    {"heartbeat", 4, []},
    {"heartbeat-ack", 5, []},
    {"abort", 6, []},
    {"shutdown", 7, [{"cum-tsn-ack", 32, 32, :integer}]},
    {"shutdown-ack", 8, []},
    {"error", 9, []},
    {"cookie-echo", 10, []},
    {"cookie-ack", 11, []},
    {"ecne", 12, [{"lowest-tsn", 32, 32, :integer}]},
    {"cwr", 13, [{"lowest-tsn", 32, 32, :integer}]},
    {"shutdown-complete", 14, []},
    {"asconf-ack", 128, [{"seqno", 32, 32, :integer}]},
    {"forward-tsn", 192, [{"new-cum-tsn", 32, 32, :integer}]},
    {"asconf", 193, [{"seqno", 32, 32, :integer}]}
  ]

  @chunks for {word, number, fields} <- @sctp,
              do: %{
                name: String.to_atom("chunk_" <> String.replace(word, "-", "_")),
                words: word,
                header: number,
                fields: @chunk ++ fields
              }

  @rows for {base, rows} <- [ipv6: @ipv6, tcpopt: @tcp, ipv4: @ip, sctp: @chunks],
            row <- rows,
            do: Map.put(row, :base, base)

  @doc false
  def rows, do: @rows
end
