defmodule Linx.Netfilter.WidthsTest do
  # A number shorter than a register, joined with something else in a key: the kernel keeps
  # registers, and how wide the number in one is stands in the set's userdata alone.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Field, Patch}
  alias Linx.Netfilter.Keys
  alias Linx.Test.{Firewall, NewerNft, Settled}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  # Each of several hundred sets is a request of its own, which a busy machine answers late.
  @moduletag timeout: 600_000

  setup do: Firewall.namespace()

  # {text, bits} of each load whose values are numbers without a size of their own.
  defp loads do
    fields =
      for %Field{type: :integer, length: bits} = field <- Field.all(),
          bits < 32,
          text = words(field),
          do: {text, bits}

    keys =
      for kind <- [:meta, :ct],
          {word, key} <- Keys.words(kind),
          {:integer, bits, _order} <- [Keys.type(kind, key)],
          bits < 32,
          do: {"#{kind} #{word}", bits}

    others = [{"rt mtu", 16}, {"socket transparent", 8}, {"socket wildcard", 8}]
    Enum.filter(Enum.uniq(fields ++ keys) ++ others, fn {text, _} -> known?(text) end)
  end

  defp words(%Field{protocol: protocol, field: field, base: base}) do
    name = protocol |> Atom.to_string() |> String.replace("_", "-")

    case base do
      :tcpopt -> "tcp option #{String.replace_prefix(name, "tcpopt-", "")} #{field}"
      :ipv4 -> "ip option #{String.replace_prefix(name, "ipopt-", "")} #{field}"
      :sctp -> "sctp chunk #{String.replace_prefix(name, "sctp-", "")} #{field}"
      _ -> "#{name} #{field}"
    end
  end

  defp known?(text),
    do: match?({:ok, _}, NFT.parse("table bridge t { set s { typeof #{text} . meta mark; }; }"))

  # Each load in every place that a set has for it. `n` and `m` are values, `other` is another
  # narrow load.
  defp declarations(i, text, n, other), do: keys(i, text, n, other) <> data(i, text, n, other)

  # The first place and every fourth of the others, each load beginning with another one; every
  # place with LINX_SLOW. A pull lists each set by itself, so 1 000 of them are 1 000 requests.
  defp some(declarations, i) do
    [first | rest] = String.split(declarations, "\n", trim: true)
    slow? = Linx.Test.Host.slow?()
    kept = for {line, n} <- Enum.with_index(rest), slow? or rem(n + i, 4) == 0, do: line
    Enum.map([first | kept], &[&1, "\n"])
  end

  # nft takes no number for such a part of a map's data: "exceeds valid range 0-0".
  defp keys(i, text, n, {other, m}) do
    """
    set first#{i} { typeof #{text} . ip saddr; elements = { #{n} . 192.0.2.1, 0 . 192.0.2.2 }; }
    set middle#{i} { typeof ip saddr . #{text} . tcp dport; elements = { 192.0.2.1 . #{n} . 80 \
    }; }
    set last#{i} { typeof ip saddr . #{text}; elements = { 192.0.2.1 . #{n} comment "c" }; }
    set two#{i} { typeof #{text} . #{other}; elements = { #{n} . #{m} }; }
    set apart#{i} { typeof #{text} . ip saddr . #{other}; elements = { #{n} . 192.0.2.1 . #{m} \
    }; }
    set timed#{i} { typeof #{text} . ip saddr; flags timeout; timeout 1h; elements = { #{n} . \
    192.0.2.1 timeout 2h }; }
    set spans#{i} { typeof #{text} . ip saddr; flags interval; elements = { #{n} . 192.0.2.0/25 \
    }; }
    set filled#{i} { typeof #{text} . ip saddr; size 64; flags dynamic,timeout; elements = { \
    #{n} . 192.0.2.1 timeout 2h }; }
    map key#{i} { typeof #{text} . ip saddr : meta mark; elements = { #{n} . 192.0.2.1 : 0x7 }; }
    map verdict#{i} { typeof ip saddr . #{text} : verdict; elements = { 192.0.2.1 . #{n} : \
    accept }; }
    """
  end

  defp data(i, text, n, {other, m}) do
    """
    map data#{i} { typeof ip saddr : #{text} . ip daddr; elements = { 192.0.2.1 : #{n} . \
    192.0.2.2 }; }
    map both#{i} { typeof #{text} . ip saddr : #{other} . #{text}; elements = { #{n} . 192.0.2.1 \
    : #{m} . #{n} }; }
    """
  end

  defp highest(bits), do: Bitwise.bsl(1, bits) - 1

  test "is pulled as it was pushed, wherever it stands, and a reconcile sends nothing",
       %{sock: sock} = ctx do
    loads = loads()
    # The table of fields has many; none of them may get lost on the way here.
    assert length(loads) > 60
    others = tl(loads) ++ [hd(loads)]

    body =
      for {{{text, bits}, {other, width}}, i} <- Enum.with_index(Enum.zip(loads, others)),
          do: i |> declarations(text, highest(bits), {other, highest(width)}) |> some(i)

    rs = Settled.parse!("table bridge t {\n#{body}}")
    :ok = Netfilter.push(sock, rs)
    {:ok, pulled} = Netfilter.pull(sock, {:bridge, "t"})
    assert_same(pulled, rs)
    # nft 1.0 ends with a signal when it lists some of these.
    Settled.settled!(ctx, rs, nft: false)

    # One more element by a reconcile: it alone is new.
    more =
      Settled.parse!(
        "table bridge t " <>
          "{\n" <>
          String.replace(
            IO.iodata_to_binary(body),
            "0 . 192.0.2.2 }",
            "0 . 192.0.2.2, 1 . 192.0.2.3 }"
          ) <> "}"
      )

    assert {:ok, patch} = Netfilter.dry_run(sock, more)
    assert Enum.all?(patch.ops, &match?({:add_set_elements, :bridge, "t", "first" <> _, [_]}, &1))
    assert length(patch.ops) == length(loads)
    :ok = Netfilter.push(sock, more, mode: :reconcile)
    {:ok, pulled} = Netfilter.pull(sock, {:bridge, "t"})
    assert_same(pulled, more)
    Settled.settled!(ctx, more, nft: false)
  end

  defp assert_same(pulled, rs) do
    for {key, table} <- rs.tables, {name, set} <- Map.merge(table.sets, table.maps) do
      there = pulled.tables[key].sets[name] || pulled.tables[key].maps[name]
      assert {name, there.key_type} == {name, set.key_type}
      assert {name, Map.get(there, :data_type)} == {name, Map.get(set, :data_type)}
      assert {name, plain(there.elements)} == {name, plain(set.elements)}
    end
  end

  defp plain(elements), do: elements |> Enum.map(&still/1) |> Enum.sort()
  defp still(%{expires: _} = element), do: %{element | expires: nil}
  defp still(element), do: element

  test "settles in the sets of a rule: sets, maps and verdict maps", %{sock: sock} = ctx do
    rules =
      for {text, bits} <- loads() do
        n = highest(bits)

        """
        #{text} . meta mark { #{n} . 0x1, 0 . 0x2 } counter
        meta mark . #{text} != { 0x1 . #{n} } counter
        meta mark . #{text} . meta l4proto { 0x1 . #{n} . tcp } counter
        #{text} . meta mark vmap { #{n} . 0x1 : accept, 0 . 0x2 : drop }
        meta mark set #{text} . meta mark map { #{n} . 0x1 : 0x7 }
        """
      end

    # Rules of another family, or with a contradiction, are no cases.
    {rules, _} =
      rules
      |> Enum.flat_map(&String.split(&1, "\n", trim: true))
      |> Enum.split_with(&match?({:ok, _}, NFT.parse("table inet t { chain c { #{&1}; }; }")))

    {rules, rs} = taken(sock, rules)
    assert length(rules) > 200
    Settled.settled!(ctx, rs, nft: false)
    {:ok, pulled} = Netfilter.pull(sock, {:inet, "t"})
    there = pulled.tables[{:inet, "t"}].chains["c"].rules
    wanted = rs.tables[{:inet, "t"}].chains["c"].rules

    for {a, b, rule} <- Enum.zip([there, wanted, rules]),
        do: assert({rule, sets(a)} == {rule, sets(b)})
  end

  # The rules that this family's kernel has loads for, in the kernel.
  defp taken(sock, rules) do
    rs = Settled.parse!("table inet t { chain c {\n#{Enum.join(rules, "\n")}\n}; }")

    case Netfilter.push(sock, rs) do
      :ok ->
        {rules, rs}

      {:error, %{errno: :eopnotsupp} = error} ->
        refused = for %{errno: :eopnotsupp, at: at} <- [error | error.others], do: at[:rule]
        kept = for {rule, i} <- Enum.with_index(rules), i not in refused, do: rule
        taken(sock, kept)
    end
  end

  defp sets(rule) do
    for %{name: :__anon_set, data: data} <- rule.expressions,
        do: {data.key_type, Enum.sort(data.elements)}
  end

  @loaded ["vlan id", "vlan pcp", "ip length", "ip ttl", "ip frag-off", "udp length"] ++
            ["tcp window", "tcp doff", "ip6 flowlabel", "icmp sequence", "arp htype", "ct zone"]

  test "settles in sets that nft loaded", ctx do
    loaded(ctx, "nft")
  end

  @tag :newer_nft
  test "settles in sets that a newer nft loaded", ctx do
    loaded(ctx, NewerNft.path!())
  end

  defp loaded(%{sock: sock, pid: pid} = ctx, nft) do
    bits = Map.new(loads())
    pairs = Enum.zip(@loaded, tl(@loaded) ++ [hd(@loaded)])

    body =
      for {{text, other}, i} <- Enum.with_index(pairs),
          do: keys(i, text, highest(bits[text]), {other, highest(bits[other])})

    text = "table bridge t {\n#{body}}\n"
    Firewall.load!(pid, text, nft)
    rs = Settled.parse!(text)
    {:ok, pulled} = Netfilter.pull(sock, {:bridge, "t"})
    assert_same(pulled, rs)
    Settled.settled!(ctx, rs)
    # The pulled ruleset can be pushed like the written one.
    :ok = Netfilter.push(sock, pulled)
    Settled.settled!(ctx, rs)
  end

  test "of a part that an operation changes is recorded as nft does",
       %{sock: sock, pid: pid} = ctx do
    %{pid: theirs} = Firewall.namespace()

    text = """
    table inet t {
      chain c {
        ip length & 0xff . meta mark { 5 . 0x1 } accept
        meta mark & 0xff . ip length { 0x1 . 5 } accept
        ip ttl . tcp window & 0xff0 . tcp dport { 64 . 0x100 . 80 } drop
        ip length & 0xff . meta mark vmap { 5 . 0x1 : accept }
      }
    }
    """

    Firewall.load!(theirs, text)
    rs = Settled.parse!(text)
    :ok = Netfilter.push(sock, rs)
    # Only Linx's rules have tags, which nft does not list.
    assert Firewall.json(pid) == Firewall.json(theirs)
    Settled.settled!(ctx, rs)
  end

  test "of a set that is made again is written by its new declaration", %{sock: sock} = ctx do
    one =
      Settled.parse!(
        "table bridge t { map s { typeof vlan id . ip saddr : verdict; elements = { 5 . " <>
          "192.0.2.1 : jump c }; }; chain c { }; }"
      )

    other =
      Settled.parse!(
        "table bridge t { map s { typeof udp length . ip saddr : verdict; flags interval; " <>
          "elements = { 5 . 192.0.2.1 : jump c }; }; chain c { }; }"
      )

    :ok = Netfilter.push(sock, one)
    assert {:ok, %Patch{ops: ops}} = Netfilter.dry_run(sock, other)
    assert Enum.any?(ops, &match?({:delete_set, _, _, _}, &1))
    :ok = Netfilter.push(sock, other, mode: :reconcile)
    Settled.settled!(ctx, other)

    assert Settled.elements(sock, {:bridge, "t"}, "s") ==
             other.tables[{:bridge, "t"}].maps["s"].elements
  end
end
