defmodule Linx.NFT.FieldDifferentialTest do
  # Every header field that Linx knows, as a match and as the target of `set`, against the code
  # that a newer nft makes of the same text. nft's listings do not show it: only the code has the
  # tests that a field implies and the checksums that a write mends. Each rule has a table of its
  # own.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Datatype, Field, Protocol, Ruleset}
  alias Linx.Netfilter.Keys
  alias Linx.Test.{Firewall, NewerNft, NftDifferential, Scratch}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :newer_nft

  setup do: Map.put(NftDifferential.namespaces(), :nft, NewerNft.path!())

  # {what differs, which rules, why that is no fault}; docs/netfilter/nft-language.md has the list
  # in words.
  defp allowed do
    [
      {:code, ~r/^vlan (pcp|dei|cfi) set/,
       "the byte that holds the bits is written, nft writes two; no checksum covers this header"},
      {:code, ~r/^udplite \w+ set/,
       "nft mends no checksum and leaves a stale one; RFC 3828 always covers the header"},
      {:code, ~r/^ip option \w+ type\b/,
       "nft reads any value here as `exists`; Linx compares the byte that the words name"},
      {:nft_refuses, ~r/^(rt0 addr|srh sid)\[\d+\]/,
       "nft's grammar has the first addresses only"},
      {:nft_refuses, ~r/^tcp option \S+ kind\b/, "nft has no such word for each option"}
    ]
  end

  defp rules do
    for field <- Field.all(),
        family <- families(field.protocol),
        set <- if(settable?(field), do: ["", "set "], else: [""]),
        words = "#{Protocol.text(field.protocol)} #{field.field} #{set}#{value(field.type)}",
        uniq: true,
        do: {family, tunnel(field.base) <> words}
  end

  # Nothing of these extensions can be written: one field of each is tried.
  defp settable?(%{base: base} = field) when base in [:ipv6, :ipv4, :sctp],
    do: hd(Protocol.fetch!(field.protocol).fields) == field

  defp settable?(_field), do: true

  defp tunnel(:tunnel), do: "udp dport 4789 "
  defp tunnel(_base), do: ""

  defp families(protocol) when protocol in [:ether, :vlan], do: ["bridge", "inet"]
  defp families(:arp), do: ["arp", "bridge"]
  defp families(protocol) when protocol in [:ip, :icmp, :igmp], do: ["ip", "inet", "bridge"]
  defp families(protocol) when protocol in [:ip6, :icmpv6], do: ["ip6", "inet", "bridge"]
  defp families(protocol) when protocol in [:udp, :sctp], do: ["inet", "ip", "bridge"]
  defp families(_protocol), do: ["inet"]

  defp value(:ipv4_addr), do: "192.0.2.1"
  defp value(:ipv6_addr), do: "2001:db8::1"
  defp value(:ether_addr), do: "02:00:00:00:00:01"
  defp value(_type), do: "1"

  test "every header field is the same code as nft's", context do
    # Rules that nft refuses have a test of their own: nft names ten such lines a run.
    rules = Enum.reject(rules(), fn {_family, rule} -> listed?(rule, :nft_refuses) end)
    different = context |> compared(rules) |> Enum.reject(&explained?/1)
    assert different == []
  end

  # Beyond single fields: types before and after, writes of single bits, fields that are loaded at
  # once.
  @more [
    {"ip", "icmp type echo-request icmp id 5"},
    {"ip", "icmp type { echo-request, echo-reply } icmp sequence 5"},
    {"ip", "icmp type { destination-unreachable, echo-request } icmp id 5"},
    {"ip", "icmp type { echo-request, destination-unreachable } icmp id 5"},
    {"ip", "icmp type echo-request icmp mtu 5"},
    {"ip", "icmp mtu 5 icmp gateway 6"},
    {"ip", "icmp id 5 icmp sequence 6"},
    {"ip", "icmp code 4 icmp mtu 1500"},
    {"ip", "icmp mtu 1500 icmp code 4"},
    {"ip", "icmp type . icmp code { 8 . 0 } icmp id 5"},
    {"ip", "icmp type vmap { 8 : accept } icmp id 5"},
    {"ip6", "icmpv6 type 135 icmpv6 taddr ::1"},
    {"ip6", "icmpv6 type { 135, 136 } icmpv6 taddr ::1"},
    {"ip6", "icmpv6 type echo-request icmpv6 taddr ::1"},
    {"ip6", "icmpv6 type echo-request icmpv6 taddr set ::1"},
    {"ip6", "icmpv6 type 136 icmpv6 taddr set ::1"},
    {"ip6", "icmpv6 taddr ::1 icmpv6 daddr ::2"},
    {"ip6", "icmpv6 taddr ::1 icmpv6 max-delay 5"},
    {"ip6", "icmpv6 daddr ::1 icmpv6 taddr ::2"},
    {"ip6", "icmpv6 taddr ::1 icmpv6 type 136"},
    {"ip6", "icmpv6 taddr . ip6 saddr { ::1 . ::2 }"},
    {"ip6", "icmpv6 taddr { ::1, ::2 }"},
    {"ip6", "icmpv6 taddr vmap { ::1 : accept }"},
    {"ip6", "icmpv6 id . icmpv6 sequence { 1 . 2 }"},
    {"ip6", "icmpv6 parameter-problem 1"},
    {"ip", "udp dport 4789 vxlan icmp type 8 vxlan icmp mtu 5"},
    {"ip", "udp dport 4789 vxlan icmp type 8 vxlan icmp id 5"},
    {"arp", "arp saddr ether 02:00:00:00:00:01 arp saddr ip 192.0.2.1"},
    {"arp", "arp saddr ip 192.0.2.1 arp daddr ether 02:00:00:00:00:01"},
    {"arp", "arp plen 4 arp operation 1"},
    {"arp", "arp operation 1 arp saddr ether 02:00:00:00:00:01"},
    {"arp",
     "arp saddr ether 02:00:00:00:00:01 arp saddr ip 192.0.2.1 " <>
       "arp daddr ether 02:00:00:00:00:02 arp daddr ip 192.0.2.2"},
    {"bridge", "arp daddr ether 02:00:00:00:00:01 arp daddr ip 192.0.2.1"},
    {"netdev", "arp daddr ether 02:00:00:00:00:01 arp daddr ip 192.0.2.1"},
    {"ip", "udp dport 4789 vxlan arp saddr ether 02:00:00:00:00:01 vxlan arp saddr ip 192.0.2.1"},
    {"ip", "ip protocol 6 ip checksum 5"},
    {"ip", "ip saddr 192.0.2.1 ip daddr 192.0.2.2"},
    {"ip6", "ip6 hoplimit 1 ip6 saddr ::2"},
    {"ip", "udp dport set udp dport | 1"},
    {"ip", "sctp dport set sctp dport & 0xff00"},
    {"ip", "ip protocol set ip protocol | 1"},
    {"netdev", "ip protocol set 1"},
    {"ip", "ip length set ip length ^ 1"},
    {"ip6", "ip6 nexthdr set ip6 nexthdr & 1"},
    {"ip6", "ip6 saddr set ip6 saddr | ::1"},
    {"netdev", "ip6 length set 1"},
    {"ip", "ip dscp set 1"},
    {"ip", "tcp dport 1 th dport set 5"},
    {"ip", "sctp dport 1 @th,16,16 set 5"},
    {"ip", "ct event set 0x40"},
    {"ip", "ct event set 0x80"},
    {"ip", "ct event set new | 0x200"},
    {"ip", "fib saddr . iif oif exists"},
    {"ip", "fib saddr . iif oif missing"},
    {"ip", "fib saddr . iif oif != missing"},
    {"ip6", "fib daddr . mark . oif check exists"},
    {"inet", "fib saddr . mark . iif oif missing drop"}
  ]

  # nft 1.1.7 reads its own word for the field, and lists the other.
  @ours_alone ["icmpv6 parameter-problem 1"]

  test "fields together are the same code as nft's", context do
    different =
      Enum.reject(compared(context, @more), fn {_family, rule, kind, _, _} ->
        rule in @ours_alone and kind == :nft_refuses
      end)

    assert different == []
  end

  test "what the list of harmless differences names does differ", context do
    listed = fn {_family, rule} -> listed?(rule, :nft_refuses) or listed?(rule, :code) end
    found = compared(context, Enum.filter(rules(), listed))
    assert Enum.reject(found, &explained?/1) == []
    for {_kind, match, _why} <- allowed(), do: assert(Enum.any?(found, &(elem(&1, 1) =~ match)))
  end

  defp listed?(rule, kind),
    do: Enum.any?(allowed(), fn {k, match, _why} -> k == kind and rule =~ match end)

  defp explained?({_family, rule, kind, _theirs, _ours}),
    do: Enum.any?(allowed(), fn {k, match, _why} -> k == kind and rule =~ match end)

  # -- words -------------------------------------------------------------------------------------

  # Keywords of nft's grammar, which it lists as events and does not read as such: Linx reads them
  # and writes the number.
  @unreadable ["ct event set helper", "ct event set secmark"]
  # Another one, which Linx does not read either: it is a key of its own.
  @unread ["ct event set mark"]

  # A word that the parser takes must be one that the encoder can send, that nft reads, and that
  # comes back out of the text.
  test "every word of every table is parsed, encoded, formatted, and read by nft", context do
    rules = words()

    {unreadable, different} =
      Enum.split_with(compared(context, rules), &(elem(&1, 1) in @unreadable))

    assert different == []
    assert Enum.map(unreadable, &elem(&1, 2)) == [:nft_refuses, :nft_refuses]

    for {family, rule} <- rules, rule not in @unread do
      {:ok, ruleset} = NFT.parse(text({"t", {family, rule}}))
      assert {rule, NFT.parse(NFT.format(ruleset))} == {rule, {:ok, ruleset}}
    end
  end

  test "the protocols of conntrack objects are those that nft " <>
         "reads",
       %{theirs: theirs, nft: nft} do
    texts =
      for word <- ["tcp", "udp" | Enum.map(Protocol.over(:inet), &Protocol.text/1)],
          body <- [
            "ct helper x { type \"ftp\" protocol #{word}; }",
            "ct timeout x { protocol #{word}; l3proto ip; }",
            "ct expectation x { protocol #{word}; dport 9; timeout 2m; size 12; l3proto ip; }"
          ],
          text = "table inet t { #{body}; }\n",
          taken = match?({:ok, _}, NFT.parse(text)),
          assert(taken or word not in ["tcp", "udp"]),
          taken,
          do: text

    # nft reads a whole file before it evaluates any of it, so a syntax error of any line is told.
    assert length(texts) >= 6
    {out, _status} = nft(theirs, nft, ["-c"], texts)
    refute out =~ "syntax error"
  end

  @typed [
    nf_proto: {"inet", "meta nfproto"},
    ether_type: {"bridge", "ether type"},
    arp_op: {"arp", "arp operation"},
    icmp_type: {"ip", "icmp type"},
    icmp_code: {"ip", "icmp code"},
    icmpv6_type: {"ip6", "icmpv6 type"},
    icmpv6_code: {"ip6", "icmpv6 code"},
    igmp_type: {"ip", "igmp type"},
    icmpx_code: {"inet", "reject with icmpx"},
    tcp_flag: {"ip", "tcp flags"},
    dccp_pkttype: {"ip", "dccp type"},
    mh_type: {"ip6", "mh type"},
    mptcpopt_subtype: {"ip", "tcp option mptcp subtype"},
    iface_type: {"ip", "meta iiftype"},
    ct_state: {"ip", "ct state"},
    ct_dir: {"ip", "ct direction"},
    ct_status: {"ip", "ct status"},
    ct_event: {"ip", "ct event set"},
    pkt_type: {"ip", "meta pkttype"},
    dscp: {"ip", "ip dscp"},
    ecn: {"ip6", "ip6 ecn"},
    fib_addrtype: {"ip", "fib daddr type"},
    boolean: {"ip", "tcp option sack"},
    day: {"ip", "meta day"}
  ]

  defp words do
    typed =
      for {type, {family, words}} <- @typed,
          symbol <- Datatype.symbols(type),
          do: {family, "#{words} #{symbol}"}

    options =
      for {space, family, words} <- [
            {:tcpopt, "ip", "tcp option"},
            {:tcpopt, "ip", "reset tcp option"},
            {:ipv4, "ip", "ip option"},
            {:sctp, "ip", "sctp chunk"}
          ],
          word <- Map.keys(Protocol.words(space)) do
        {family, if(words =~ "reset", do: "#{words} #{word}", else: "#{words} #{word} exists")}
      end

    headers =
      for row <- Protocol.all(),
          row.base == :ipv6,
          Protocol.by_header(:ipv6, row.header) == row.name,
          do: {"ip6", "exthdr #{row.text} exists"}

    protocols =
      for name <- Protocol.over(:inet), do: {"inet", "meta l4proto #{Protocol.text(name)}"}

    typed ++ options ++ headers ++ protocols ++ keys()
  end

  # The keys that a rule of any hook may read.
  defp keys do
    for {word, key} <- Keys.words(:meta),
        {type, _bits, _order} = Keys.type(:meta, key),
        key != :secmark,
        text = key_value(type),
        do: {key_family(key), "meta #{word} #{text}"}
  end

  defp key_family(key) do
    case Atom.to_string(key) do
      "bri_" <> _ -> "bridge"
      _ -> "inet"
    end
  end

  defp key_value(type) when type in [:integer, :mark, :realm, :devgroup, :uid, :gid], do: "1"
  defp key_value(:iface_index), do: "lo"
  defp key_value(:ifname), do: "\"lo\""
  defp key_value(:iface_type), do: "ether"
  defp key_value(:ether_type), do: "ip"
  defp key_value(:nf_proto), do: "ipv4"
  defp key_value(:inet_proto), do: "tcp"
  defp key_value(:pkt_type), do: "host"
  defp key_value(:boolean), do: "exists"
  defp key_value(:classid), do: "1:2"
  defp key_value(:ether_addr), do: "02:00:00:00:00:01"
  defp key_value(:day), do: "Monday"
  defp key_value(_type), do: nil

  # -- both sides --------------------------------------------------------------------------------

  # The rules that are not the same: {family, rule, kind, nft's, ours}.
  defp compared(%{ours: ours, sock: sock, theirs: theirs, nft: nft}, rules) do
    numbered = rules |> Enum.with_index() |> Enum.map(fn {rule, n} -> {"t#{n}", rule} end)
    {parsed, refused} = Enum.split_with(numbered, &match?({:ok, _}, NFT.parse(text(&1))))

    # Rules that Linx refuses are loaded with `nft -c` first, and none should load: nft reads
    # every table of the namespace before each check.
    taken = loaded(theirs, nft, refused, ["-c"])
    loaded = loaded(theirs, nft, parsed, [])
    pushed = pushed(sock, parsed)
    {their_code, our_code} = {code(theirs, nft), code(ours, nft)}

    differing =
      for {name, {family, rule}} = entry <- parsed,
          {mine, yours} = {our_code[name], their_code[name]},
          kind = kind(entry in loaded, entry in pushed, mine == yours),
          do: {family, rule, kind, yours, mine}

    differing ++ for {_name, {family, rule}} <- taken, do: {family, rule, :linx_refuses, nil, nil}
  end

  # Taken by nft, taken by Linx, the same code. What the kernel refuses of both is the same too.
  defp kind(false, false, _same?), do: nil
  defp kind(false, true, _same?), do: :nft_refuses
  defp kind(true, false, _same?), do: :linx_refuses
  defp kind(true, true, true), do: nil
  defp kind(true, true, false), do: :code

  # Pushed in one go; the kernel names every rule that it refuses.
  defp pushed(sock, entries) do
    ruleset =
      for entry <- entries,
          {:ok, ruleset} = NFT.parse(text(entry)),
          {_family, _name, table} <- Ruleset.tables(ruleset),
          reduce: Ruleset.new(),
          do: (acc -> Ruleset.put_table(acc, table))

    case Netfilter.push(sock, ruleset) do
      :ok ->
        entries

      {:error, %Netfilter.Error{} = error} ->
        refused = Enum.map([error | error.others], & &1.at[:table])
        kept = Enum.reject(entries, fn {name, _rule} -> name in refused end)
        assert length(kept) < length(entries), Exception.message(error)
        pushed(sock, kept)
    end
  end

  # nft reads no class identifier before a semicolon. Five lines, see entry_at/1.
  defp text({name, {family, rule}}),
    do: "table #{family} #{name} {\nchain c {\n#{rule}\n}\n}\n"

  # Loaded in one go; nft names ten of the lines that it refuses, which are left out the next
  # time. It crashes on some rules: halves are tried then.
  defp loaded(_pid, _nft, [], _options), do: []

  defp loaded(pid, nft, entries, options) do
    case nft(pid, nft, options, Enum.map(entries, &text/1)) do
      {_out, 0} ->
        entries

      {out, _status} ->
        case for [_, n] <- Regex.scan(~r/^\S*?:(\d+):[\d-]+: Error/m, out), do: entry_at(n) do
          [] when length(entries) == 1 ->
            []

          [] ->
            {first, second} = Enum.split(entries, div(length(entries), 2))
            loaded(pid, nft, first, options) ++ loaded(pid, nft, second, options)

          refused ->
            kept = for {entry, n} <- Enum.with_index(entries), n not in refused, do: entry
            loaded(pid, nft, kept, options)
        end
    end
  end

  defp entry_at(line), do: div(String.to_integer(line) - 1, 5)

  defp nft(pid, nft, options, texts) do
    path = Scratch.path("fields.nft")
    File.write!(path, texts)
    result = Firewall.run(pid, [nft | options] ++ ["-f", path])
    File.rm!(path)
    result
  end

  # The code of each table's rules and the elements of its sets. The kernel names anonymous sets,
  # and keeps them in any order.
  defp code(pid, nft) do
    out = Firewall.run!(pid, [nft, "--debug=netlink", "list", "ruleset"])

    out
    |> String.split("\n")
    |> Enum.reduce({nil, %{}}, fn line, {table, code} ->
      cond do
        match = Regex.run(~r/^(?:ip6?|inet|arp|bridge|netdev) (t\d+)\b/, line) ->
          {Enum.at(match, 1), code}

        line =~ ~r/^(  \[|\telement )/ ->
          {table, Map.update(code, table, [tidy(line)], &[tidy(line) | &1])}

        line =~ ~r/^table / ->
          {nil, code}

        true ->
          {table, code}
      end
    end)
    |> elem(1)
    |> Map.new(fn {table, lines} ->
      {elements, code} = Enum.split_with(Enum.reverse(lines), &String.starts_with?(&1, "element"))
      {table, Enum.sort(elements) ++ code}
    end)
  end

  defp tidy(line), do: line |> String.trim() |> String.replace(~r/__(set|map)(\d+|%d)/, "set")
end
