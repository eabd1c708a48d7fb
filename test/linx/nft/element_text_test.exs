defmodule Linx.NFT.ElementTextTest do
  # Lists of elements as text and token by token: one value, or one error at one place.
  use ExUnit.Case, async: true

  alias Linx.NFT
  alias Linx.NFT.{Compiler, Parser, Tokenizer}

  # Every list as text, however short, or none.
  defp fast(source), do: read(source, element_text: 0)
  defp slow(source), do: read(source, [])

  defp read(source, options) do
    context = [file: "nofile", source: source] ++ options

    with {:ok, tokens} <- Tokenizer.tokenize(source, options),
         {:ok, items} <- Parser.parse(tokens, context),
         do: Compiler.compile(items, context)
  end

  defp texts?(source) do
    {:ok, tokens} = Tokenizer.tokenize(source, element_text: 0)
    Enum.any?(tokens, &match?({:element_text, _, _}, &1))
  end

  defp set(head, elements), do: "table inet t { set s { #{head}; elements = { #{elements} }; }; }"
  defp map(head, elements), do: "table inet t { map s { #{head}; elements = { #{elements} }; }; }"

  # Elements read as text are right; refused ones get the message of the parser, for only the
  # tokens give the reason.
  defp same(source) do
    slow = slow(source)

    case {fast(source), slow} do
      {{:ok, value}, wanted} -> assert {:ok, value} == wanted, source
      {{:error, _}, {:ok, _}} -> flunk("refused as text: #{source}")
      {{:error, _}, {:error, _}} -> :ok
    end

    assert NFT.parse(source) == slow, source
    elem(slow, 0)
  end

  test "forms that are read in one pass" do
    for source <- [
          set("type ipv4_addr", "10.0.0.1,10.0.0.2 , 10.0.0.3,"),
          set(
            "type ipv4_addr; flags interval",
            "10.0.0.0/8, 11.0.0.1-11.0.0.9, 12.0.0.0-12.0.0.255"
          ),
          set("type ipv4_addr; flags interval", "10.0.0.7/24, 0.0.0.0/0"),
          set("type ipv4_addr; flags interval", "10.0.0.1/32, 10.0.0.2-10.0.0.2"),
          set("typeof ip saddr . tcp dport", "10.0.0.1/32 . 22"),
          set("type ipv4_addr . ipv6_addr", "10.0.0.1 . ::/128, 10.0.0.1/32 . ::1/128"),
          set(
            "type ipv4_addr; flags interval; auto-merge",
            "10.0.0.0/25, 10.0.0.128/25, 9.0.0.1"
          ),
          set(
            "type ipv6_addr; flags interval",
            "2001:db8::/32, ::1, ::, 1:2:3:4:5:6:7:8, fe80::-fe80::f"
          ),
          set("type ipv6_addr", "::ffff:192.0.2.1, 2001:DB8::A, 1::, 1:2:3:4:5:6:7::"),
          set("type inet_service; flags interval", "22, 80-90, ssh, 0x50, 0100, 65535"),
          set("type mark", "1, 0xffffffff, 4294967295"),
          set(
            "typeof ip saddr . tcp dport; flags interval",
            "10.0.0.0/8 . 80-90, 192.0.2.1 . 22"
          ),
          set("typeof vlan id", "1, 4095"),
          set("type ipv4_addr . inet_service . mark", "10.0.0.1 . 80 . 3, 10.0.0.1 . 80 . 2"),
          set("type ifname", "eth0, \"wg0\", lo"),
          set("type ether_addr", "02:00:00:00:00:01, 2:0:0:0:0:2"),
          set(
            "type ipv4_addr; flags timeout",
            "10.0.0.1 timeout 1h comment \"a, b } #\", 10.0.0.2"
          ),
          set("type ipv4_addr; counter", "10.0.0.1 counter packets 1 bytes 2, 10.0.0.2"),
          set("type ipv4_addr; flags interval", "*, 10.0.0.1"),
          set(
            "type ipv4_addr",
            "# first, } {\n10.0.0.1, # \"one\n 10.0.0.2 # two\n\n, 10.0.0.1,\n"
          ),
          set("type ipv4_addr", ""),
          map("type inet_service : ipv4_addr", "80 : 10.0.0.1, 81:10.0.0.2, 443 : 10.0.0.3"),
          map(
            "type ipv4_addr . inet_service : ipv4_addr . inet_service",
            "10.0.0.1 . 80 : 10.0.0.2 . 81"
          ),
          map("type ipv6_addr : verdict", "::1 : accept, ::2 : jump c, 2001:db8::3 : drop"),
          map("type ipv4_addr : verdict; flags interval", "10.0.0.0/8 : accept, * : drop"),
          map(
            "type inet_service : interval ipv4_addr",
            "80 : 10.0.0.1-10.0.0.9, 81 : 10.1.0.0/24"
          ),
          map("type ipv4_addr : counter", "10.0.0.1 : \"c\", 10.0.0.2 : c"),
          "add table inet t; add set inet t s { type ipv4_addr; }; add element inet t s { " <>
            "10.0.0.1, 10.0.0.2 }",
          "add table ip t; add set t s { type ipv4_addr; }; add element t s { 10.0.0.1, " <>
            "10.0.0.2 }",
          "define l = { 10.0.0.1, 10.0.0.2 }\ntable inet t { set s { type ipv4_addr; " <>
            "elements = $l; }; }",
          "define l = { 10.0.0.1, 10.0.0.2 }\ntable inet t { set s { type ipv4_addr; " <>
            "elements = { $l, 10.0.0.3 }; }; chain c { ip saddr $l drop; }; }",
          "define l = { 80, 443 }\ntable inet t { chain c { tcp dport $l drop; udp dport $l " <>
            "accept; }; }",
          "define d = { lo, eth0 }\ntable netdev t { chain c { type filter hook ingress " <>
            "devices = $d priority 0; }; }"
        ] do
      assert {source, same(source), texts?(source)} == {source, :ok, true}
    end
  end

  test "mistakes keep their words and their place" do
    for source <- [
          set("type ipv4_addr", "10.0.0.1, 10.0.0.256"),
          set("type ipv4_addr", "10.0.0.1, 010.0.0.1"),
          set("type ipv4_addr; flags interval", "10.0.0.1, 010.0.0.0/8"),
          set("type ipv4_addr", "10.0.0.1,, 10.0.0.2"),
          set("type ipv4_addr", ", 10.0.0.1"),
          set("type ipv4_addr", "10.0.0.1 10.0.0.2"),
          set("type ipv4_addr", "10.0.0.1, 2001:db8::1"),
          set("type ipv4_addr", "10.0.0.0/8"),
          set("type ipv4_addr", "10.0.0.1, 10.0.0.2/32"),
          set("type ipv6_addr", "::1/128"),
          map("type ipv4_addr : verdict", "10.0.0.1/32 : accept"),
          set("type ipv4_addr; flags interval", "10.0.0.9-10.0.0.1"),
          set("type ipv4_addr; flags interval", "10.0.0.0/33"),
          set("type ipv4_addr", "10.0.0.1 timeout 1h"),
          set("type ipv4_addr", "10.0.0.1 : accept"),
          set("type inet_service", "65536"),
          set("type inet_service", "22, sshh"),
          set("typeof vlan id", "4096"),
          map("type inet_service : ipv4_addr", "80 : 10.0.0.1, 81"),
          map("type inet_service : verdict", "80 : acept"),
          "table inet t { set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 } }\n " <>
            "chain c { bogus }\n }",
          "table inet t { set s { type ipv4_addr; elements = { 10.0.0.1,\n\n 10.0.0.2 } }; " <>
            "}\ntable inet u { chain c { jmp x; }; }"
        ] do
      assert {:error, _} = slow(source)
      same(source)
    end
  end

  test "long lists are text" do
    assert texts?(set("type ipv4_addr", "10.0.0.1, 10.0.0.2"))
    refute texts?(set("type ipv4_addr", "10.0.0.1, $x"))
    refute texts?(set("type ipv4_addr", "10.0.0.1, { 10.0.0.2 }"))
    refute texts?(set("type ipv4_addr", "10.0.0.1 comment \"a\\\"b\""))
    refute texts?("table inet t { chain c { ip saddr { 10.0.0.1 } drop; }; }")

    {:ok, tokens} = Tokenizer.tokenize(set("type ipv4_addr", "10.0.0.1"))
    refute Enum.any?(tokens, &match?({:element_text, _, _}, &1))
  end

  # -- random lists ------------------------------------------------------------------------------

  @heads [
    {:set, "type ipv4_addr"},
    {:set, "type ipv4_addr; flags interval"},
    {:set, "type ipv4_addr; flags interval; auto-merge"},
    {:set, "type ipv4_addr; flags timeout"},
    {:set, "type ipv6_addr; flags interval"},
    {:set, "type inet_service; flags interval"},
    {:set, "typeof ip saddr . tcp dport; flags interval"},
    {:set, "type ifname"},
    {:map, "type inet_service : ipv4_addr"},
    {:map, "type ipv4_addr . inet_service : ipv4_addr; flags interval"},
    {:map, "type ipv4_addr : verdict; flags interval"}
  ]
  @addresses ~w(10.0.0.1 10.0.0.2 10.0.0.0/24 10.0.1.0-10.0.1.9 010.0.0.1 10.0.0 256.1.1.1 0.0.0.0
                255.255.255.255)
  @six ~w(::1 2001:db8::/32 fe80::1-fe80::9 1:2:3:4:5:6:7:8 1::8 ::ffff:10.0.0.1 2001:db8:::1
          12345::1 02:00:00:00:00:01)
  @ports ~w(22 80-90 ssh 0x16 022 65535 65536 9-1 1-1 nope)
  @names ~w(eth0 "wg0" eth* lo)
  @options ["timeout 1h", "comment \"x, y\"", "counter", "expires 3s", ""]
  @blanks [" ", "\n", "  ", "\t", " # note, }\n", "", " /* c */ "]

  defp pick(list), do: Enum.random(list)

  defp one(head) do
    part = fn ->
      cond do
        :rand.uniform(12) == 1 ->
          pick(@six ++ @ports ++ @names ++ @addresses ++ ["*", "$v", "\#{x}"])

        head =~ "ipv6" ->
          pick(@six)

        head =~ "ifname" ->
          pick(@names)

        head =~ "type inet_service" ->
          pick(@ports)

        true ->
          pick(@addresses)
      end
    end

    key =
      if head =~ "." and not (head =~ "ifname"),
        do: part.() <> " . " <> pick(@ports),
        else: part.()

    key = if :rand.uniform(6) == 1, do: key <> " " <> pick(@options), else: key

    data =
      cond do
        head =~ "verdict" ->
          pick([" : accept", " : drop", " : jump c", ": goto c", "", " : acept"])

        head =~ ": ipv4_addr" ->
          pick([" : ", ":", ": "]) <> pick(@addresses)

        true ->
          ""
      end

    key <> data
  end

  test "random lists are read alike" do
    :rand.seed(:exsss, {1, 2, 3})

    read =
      for _ <- 1..1_500 do
        {kind, head} = pick(@heads)
        # Short lists, so that a few hundred are right and values are compared, not errors alone.
        count = :rand.uniform(4)

        list =
          Enum.map_join(1..count, ",", fn _ -> pick(@blanks) <> one(head) <> pick(@blanks) end) <>
            pick(["", "", ",", ", # end\n"])

        source = if kind == :set, do: set(head, list), else: map(head, list)

        source =
          if :rand.uniform(5) == 1,
            do:
              String.replace(source, ~r/elements = (\{.*\}); \}; \}$/s, "elements = $l; }; }")
              |> then(&("define v = 10.0.0.9\ndefine l = {#{list}}\n" <> &1)),
            else: source

        {same(source), texts?(source)}
      end

    assert Enum.count(read, &(&1 == {:ok, true})) > 200
    assert Enum.count(read, &(&1 == {:error, true})) > 200
  end

  test "an element is deleted in whichever form it was written" do
    for {head, written, deleted} <- [
          {"set s { type ipv4_addr; flags interval", "10.0.0.0/24", "10.0.0.0-10.0.0.255"},
          {"set s { type ipv4_addr; flags interval", "10.0.0.0-10.0.0.255", "10.0.0.9/24"},
          {"set s { type ipv4_addr; flags interval", "10.0.0.7/32", "10.0.0.7-10.0.0.7"},
          {"set s { type ipv4_addr; flags interval, timeout", "10.0.0.0/24 timeout 5s",
           "10.0.0.0-10.0.0.255"},
          {"set s { type ipv6_addr; flags interval", "::-::ff", "::/120"},
          {"set s { type ipv4_addr . inet_service; flags interval", "10.0.0.0-10.0.0.255 . 1-5",
           "10.0.0.0/24 . 1-5"},
          {"map s { type ipv4_addr : verdict; flags interval", "10.0.0.0-10.0.0.255 : drop",
           "10.0.0.0/24"}
        ] do
      text = fn elements, gone ->
        "table ip t { #{head}; elements = { #{elements} } } }\ndelete element ip t s { #{gone} }"
      end

      for source <- [
            text.(written, deleted),
            text.("#{written}, #{written}", deleted),
            text.(written, "#{deleted}, #{written}")
          ] do
        assert same(source) == :ok, source
        {:ok, ruleset} = slow(source)
        [table] = Map.values(ruleset.tables)
        assert [%{elements: []}] = Map.values(table.sets) ++ Map.values(table.maps)
      end

      other =
        String.replace(deleted, ["10.0.0.", "::"], &if(&1 == "::", do: "9::", else: "10.0.9."))

      assert same(text.(written, other)) == :error, other
    end
  end
end
