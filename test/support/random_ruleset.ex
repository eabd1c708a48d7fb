defmodule Linx.Test.RandomRuleset do
  @moduledoc false
  # nft text of a table with sets of every kind and rules that use them, from the generator of the
  # calling process (:rand).

  # {load, how its values are written}. Numbers of fewer bits than a register are what a set's
  # record matters for.
  @loads [
    {"ip saddr", :ipv4},
    {"ip daddr", :ipv4},
    {"ip6 saddr", :ipv6},
    {"ether saddr", :ether},
    {"tcp dport", {:number, 16}},
    {"meta mark", {:number, 32}},
    {"meta l4proto", :protocol},
    {"iifname", :ifname},
    {"meta skuid", {:number, 32}},
    {"ip length", {:number, 16}},
    {"ip ttl", {:number, 8}},
    {"ip id", {:number, 16}},
    {"udp length", {:number, 16}},
    {"tcp window", {:number, 16}},
    {"icmp sequence", {:number, 16}},
    {"vlan id", {:number, 12}},
    {"vlan pcp", {:number, 3}},
    {"ip6 flowlabel", {:number, 20}},
    {"frag id", {:number, 32}},
    {"tcp option maxseg size", {:number, 16}},
    {"ct zone", {:number, 16}},
    {"ct mark", {:number, 32}},
    {"arp htype", {:number, 16}},
    {"th sport", {:number, 16}}
  ]

  # These may stand together in one rule of an inet table.
  @together ["ip saddr", "ip daddr", "meta mark", "iifname", "ip length", "ip ttl", "ip id"] ++
              ["tcp dport", "tcp window", "ct mark"]

  @doc "A table of `family` with `count` sets, maps and rules each."
  @spec table(String.t(), String.t(), pos_integer()) :: String.t()
  def table(family, name, count) do
    sets = for i <- 1..count, do: set(i)
    rules = for i <- 1..count, do: "    #{rule(i)}\n"

    """
    table #{family} #{name} {
      counter n1 { }
      counter n2 { }
      chain other { }
    #{sets}
      chain c {
    #{rules}  }
    }
    """
  end

  defp set(i) do
    loads = some(@loads, 1 + :rand.uniform(3))
    text = Enum.map_join(loads, " . ", &elem(&1, 0))
    {data, value} = pick([{nil, nil} | List.duplicate(data(), 2)])
    word = if data, do: "map", else: "set"
    type = if data, do: "typeof #{text} : #{data}", else: "typeof #{text}"
    spans? = :rand.uniform(3) == 1
    timed? = :rand.uniform(3) == 1
    flags = for {true, flag} <- [{spans?, "interval"}, {timed?, "timeout"}], do: flag

    elements =
      for n <- 1..(1 + :rand.uniform(4)) do
        key = Enum.map_join(loads, " . ", fn {_, how} -> value(how, n, spans? and n == 1) end)
        life = if timed? and n > 1, do: " timeout #{n}h#{:rand.uniform(900)}ms", else: ""
        if value, do: "#{key}#{life} : #{value.(n)}", else: "#{key}#{life}"
      end

    flags = if flags == [], do: "", else: "flags #{Enum.join(flags, ",")};"
    "  #{word} s#{i} { #{type}; #{flags} elements = { #{Enum.join(elements, ", ")} }; }\n"
  end

  defp data do
    pick([
      {"verdict", fn _n -> pick(["accept", "drop", "jump other", "return"]) end},
      {"meta mark", fn n -> "0x#{Integer.to_string(n * 17, 16)}" end},
      {"ip daddr", fn n -> value(:ipv4, n, false) end},
      {"ip daddr . tcp dport", fn n -> "#{value(:ipv4, n, false)} . #{n + 80}" end},
      {"ip length . udp length", fn n -> "#{n + 5} . #{n + 9}" end},
      {"ip saddr . vlan id", fn n -> "#{value(:ipv4, n, false)} . #{n}" end}
    ])
  end

  # Values of different `n` are different, and spans do not meet them.
  defp value(:ipv4, n, false), do: "10.#{n}.#{:rand.uniform(250)}.#{:rand.uniform(250)}"
  defp value(:ipv4, n, true), do: "10.#{n}.#{:rand.uniform(200)}.0/25"
  defp value(:ipv6, n, false), do: "2001:db8:#{n}::#{:rand.uniform(999)}"
  defp value(:ipv6, n, true), do: "2001:db8:#{n}::/64"
  defp value(:ether, n, _span?), do: "02:00:00:00:0#{n}:#{10 + :rand.uniform(80)}"
  defp value(:ifname, n, _span?), do: "\"eth#{n}\""
  defp value(:protocol, n, _span?), do: Enum.at(~w(tcp udp icmp esp gre sctp), n)

  defp value({:number, bits}, n, false) when bits < 8, do: "#{rem(n, Bitwise.bsl(1, bits))}"

  defp value({:number, bits}, n, false),
    do: "#{n * 40 + :rand.uniform(min(30, Bitwise.bsl(1, bits - 4)))}"

  defp value({:number, bits}, n, true) when bits < 8, do: "#{n}"
  defp value({:number, _bits}, n, true), do: "#{n * 40 + 1}-#{n * 40 + 20}"

  defp rule(i) do
    together = Enum.filter(@loads, fn {text, _} -> text in @together end)
    loads = some(together, 1 + :rand.uniform(2))
    text = Enum.map_join(loads, " . ", &elem(&1, 0))
    key = fn n, span? -> Enum.map_join(loads, " . ", fn {_, how} -> value(how, n, span?) end) end

    pick([
      "#{text} { #{key.(1, false)}, #{key.(2, false)} } counter",
      "#{text} { #{key.(1, true)}, #{key.(2, false)} } counter accept",
      "#{text} vmap { #{key.(1, false)} : drop, #{key.(2, false)} : jump other }",
      "#{text} != { #{key.(3, false)}, #{key.(4, true)} } log prefix \"r#{i}\"",
      "meta mark set #{text} map { #{key.(1, false)} : 0x1, #{key.(2, false)} : 0x2 }",
      "counter name #{text} map { #{key.(1, false)} : \"n1\", #{key.(2, false)} : \"n2\" }",
      "meter m#{i} size 128 { #{text} timeout #{100 + :rand.uniform(900)}ms limit rate " <>
        "#{i}/second }",
      "tcp dport #{i} limit rate #{i}/minute counter drop comment \"rule #{i}\""
    ])
  end

  defp pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)

  # A set needs two parts for a record of widths to matter; one is allowed.
  defp some(list, count), do: list |> Enum.shuffle() |> Enum.take(count)
end
