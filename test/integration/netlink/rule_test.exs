defmodule Linx.Netlink.RuleTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Diff, Rule}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    %{ns: ns, socket: Netns.open(ns)}
  end

  defp shown(ns), do: for(f <- ["-4", "-6"], do: ns |> Netns.run!("ip #{f} rule show") |> lines())
  defp lines(text), do: String.split(text, "\n", trim: true)

  defp ip(ns, family, verb, rule), do: Netns.run!(ns, "ip #{family} rule #{verb} #{rule}")

  # Each option alone; a rule in ip's words that has it, and one that differs in it.
  @alone [
    {[from: "192.0.2.0/24"], "from 192.0.2.0/24 table 100", "from 192.0.2.0/25 table 100"},
    {[to: "192.0.2.7"], "to 192.0.2.7 table 100", "to 192.0.2.8 table 100"},
    {[from: ~IP"2001:db8::/32"], "from 2001:db8::/32 table 100", "from 2001:db8::/33 table 100"},
    {[to: ~IP"2001:db8::1"], "to 2001:db8::1 unreachable", "to 2001:db8::2 unreachable"},
    {[table: 100], "from all table 100", "from all table 101"},
    {[table: 5000], "fwmark 1 table 5000", "fwmark 1 table 5001"},
    {[table: 100, family: :inet6], "from all table 100", "from all table 101"},
    {[fwmark: 7], "fwmark 7 unreachable", "fwmark 8 unreachable"},
    {[fwmark: 7], "fwmark 7 table 100", "fwmark 7/0xff table 100"},
    {[fwmask: 0xFF], "fwmark 7/0xff table 100", "fwmark 7/0xf0 table 100"},
    {[fwmark: 0, fwmask: 0xFF], "fwmark 0/0xff table 100", "fwmark 7/0xff table 100"},
    {[priority: 200], "from all prohibit", nil},
    {[suppress_prefixlength: 8], "table 100 suppress_prefixlength 8",
     "table 100 suppress_prefixlength 9"},
    {[suppress_ifgroup: 8], "table 100 suppress_ifgroup 8", "table 100 suppress_ifgroup 9"},
    {[iif: "lo"], "iif lo table 100", "iif eth9 table 100"},
    {[oif: "eth8"], "oif eth8 goto 31000", "oif eth9 goto 31000"},
    {[tos: 0x10], "tos 0x10 table 100", "tos 0x08 table 100"},
    {[ipproto: 6], "ipproto tcp blackhole", "ipproto udp blackhole"},
    {[sport: 80], "sport 80 table 100", "sport 81 table 100"},
    {[dport: 80..90], "dport 80-90 table 100", "dport 80-91 table 100"},
    {[uid: 0], "uidrange 0-0 table 100", "uidrange 1-1 table 100"},
    {[uid: 5..9], "uidrange 5-9 prohibit", "uidrange 5-10 prohibit"},
    {[protocol: 76], "from all table 100 protocol 76", "from all table 100 protocol 77"},
    {[l3mdev: true], "l3mdev", "from all table 100"},
    {[invert: true], "not from 192.0.2.0/24 table 100", "from 192.0.2.0/24 table 100"},
    {[invert: true], "not fwmark 7 unreachable", "fwmark 7 unreachable"},
    {[action: :blackhole], "from all blackhole", "from all unreachable"},
    {[action: :unreachable], "from all unreachable", "from all prohibit"},
    {[action: :prohibit], "from all prohibit", "from all blackhole"},
    {[action: :nop], "from all nop", "from all blackhole"},
    {[action: {:goto, 31_000}], "from all goto 31000", "from all goto 31001"},
    {[protocol: 0, iif: "lo"], "iif lo table 100 protocol 0", "iif lo table 100 protocol 9"},
    {[from: "0.0.0.0/0", fwmark: 7], "fwmark 7 table 100", "from 10.0.0.0/8 fwmark 7 table 100"},
    {[tos: 0, fwmark: 7], "fwmark 7 table 100", "tos 0x10 fwmark 7 table 100"}
  ]

  test "any option alone finds the first rule that has it, and no other goes",
       %{ns: ns, socket: s} do
    {:ok, before} = Rule.list(s)

    alike = for {opts, rule, other} <- @alone, not (rule =~ "2001:"), do: {opts, rule, other}

    inet6 =
      for {opts, rule, other} <- alike,
          not (rule =~ ~r/192|10\./ or "#{other}" =~ "10."),
          do: {[{:family, :inet6} | opts], rule, other}

    for {{opts, rule, other}, n} <- Enum.with_index(@alone ++ inet6) do
      family = if rule =~ "2001:" or opts[:family] == :inet6, do: "-6", else: "-4"
      rules = for {pref, text} <- [{100, other}, {150, rule}, {200, rule}], text, do: {pref, text}
      add_all(ns, family, rules)
      all = ns |> Netns.run!("ip #{family} rule show") |> lines()

      if rem(n, 2) == 0,
        do: assert({opts, :ok} == {opts, Rule.delete(s, opts)}),
        else: assert({opts, {:ok, [:ok]}} == {opts, Rule.delete_many(s, [opts])})

      left = ns |> Netns.run!("ip #{family} rule show") |> lines()
      first = opts[:priority] || 150
      assert {opts, [gone], []} = {opts, all -- left, left -- all}
      assert {opts, gone} == {opts, Enum.find(all, &String.starts_with?(&1, "#{first}:"))}

      {:ok, rules} = Rule.list(s)
      {:ok, _} = Rule.delete_many(s, rules -- before)
      assert {:ok, ^before} = Rule.list(s)
    end
  end

  # In one run of ip, since there are hundreds.
  defp add_all(ns, family, rules) do
    path = Linx.Test.Scratch.path("rules")
    File.write!(path, for({pref, text} <- rules, do: "rule add pref #{pref} #{text}\n"))
    Netns.run!(ns, "ip #{family} -batch #{path}")
    File.rm!(path)
  end

  test "no option that tells one rule from another is no deletion", %{ns: ns, socket: s} do
    before = shown(ns)

    for opts <- [
          [],
          [family: :inet],
          [family: :inet6],
          [from: "0.0.0.0/0"],
          [to: "::/0"],
          [fwmark: 0],
          [tos: 0],
          [protocol: 0],
          [ipproto: 0],
          [invert: false],
          [from: "0.0.0.0/0", tos: 0, invert: false]
        ] do
      assert {opts, {:error, {:missing, :selector}}} == {opts, Rule.delete(s, opts)}

      assert {opts, {:ok, [{:error, {:missing, :selector}}]}} ==
               {opts, Rule.delete_many(s, [opts])}

      assert {:ok, [{:error, {:missing, :selector}}]} = Rtnl.batch(s, [{Rule, :delete, [opts]}])
    end

    assert {:error, {:bad_option, :none}} = Rule.delete(s, :none)
    assert {:error, {:bad_option, {:invert, 1}}} = Rule.delete(s, invert: 1)
    assert {:error, {:missing, :table}} = Rule.add(s, from: "192.0.2.0/24")
    assert shown(ns) == before
  end

  test "a rule that is not there is enoent, also where it has to be looked for", %{socket: s} do
    for opts <- [
          [fwmark: 7],
          [invert: true],
          [action: {:goto, 5}],
          [from: "0.0.0.0/0", fwmark: 7]
        ] do
      assert {:error, %Error{errno: :enoent, message: "no such rule"}} = Rule.delete(s, opts)
    end
  end

  test "any rule goes as it was listed, and no other", %{ns: ns, socket: s} do
    {:ok, before} = Rule.list(s)

    rules =
      for {{_, rule, other}, n} <- Enum.with_index(@alone),
          text <- [rule, other],
          text,
          pref <- [100 + n, 1000],
          do: {if(text =~ "2001:", do: "-6", else: "-4"), pref, text}

    for {family, rules} <- Enum.group_by(Enum.uniq(rules), &elem(&1, 0)) do
      path = Linx.Test.Scratch.path("rules")
      File.write!(path, for({_, pref, text} <- rules, do: "rule add pref #{pref} #{text}\n"))
      # The same rule twice is refused.
      Netns.run(ns, "ip #{family} -force -batch #{path}")
      File.rm!(path)
    end

    {:ok, all} = Rule.list(s)
    made = all -- before
    assert length(made) > 80

    results =
      for rule <- Enum.shuffle(made) do
        {:ok, there} = Rule.list(s)
        result = Rule.delete(s, rule)
        {:ok, left} = Rule.list(s)

        case result do
          :ok -> assert there -- left == [rule]
          # Another one of its priority comes first that has all that it has.
          {:error, %Error{errno: :ebusy}} -> assert left == there
        end

        result
      end

    assert Enum.count(results, &(&1 == :ok)) > 80
    {:ok, left} = Rule.list(s)
    left = left -- before
    assert Enum.all?(left, &(&1.priority == 1000))

    # In the order of the list each is the first.
    assert {:ok, results} = Rule.delete_many(s, left)
    assert Enum.uniq(results) in [[], [:ok]]
    assert {:ok, ^before} = Rule.list(s)

    # And made again, as listed.
    apart = Enum.reject(made, &(&1.priority == 1000))
    assert {:ok, results} = Rule.add_many(s, apart)
    assert Enum.uniq(results) == [:ok]
    {:ok, again} = Rule.list(s)
    assert Enum.sort(again -- before) == Enum.sort(apart)
  end

  test "a rule that another hides is refused, alone and among many", %{ns: ns, socket: s} do
    ip(ns, "-4", "add", "pref 200 from 192.0.2.0/24 fwmark 7 table 100")
    ip(ns, "-4", "add", "pref 200 from 192.0.2.0/24 table 100")
    {:ok, rules} = Rule.list(s, family: :inet)
    [narrow, wide] = Enum.filter(rules, &(&1.priority == 200))
    assert narrow.fwmark == 7
    before = shown(ns)

    assert {:error, %Error{errno: :ebusy, message: text}} = Rule.delete(s, wide)
    assert text =~ "fwmark=0x7"
    assert {:ok, [{:error, %Error{errno: :ebusy}}]} = Rule.delete_many(s, [wide])
    assert shown(ns) == before
    assert {:ok, [:ok, :ok]} = Rule.delete_many(s, [narrow, wide])
    assert {:error, %Error{errno: :enoent}} = Rule.delete(s, narrow)
  end

  test "as values", %{socket: s} do
    for opts <- [
          [from: "192.0.2.1/24", table: 100],
          [fwmark: 7, table: 5000, priority: 9],
          [fwmark: 0, fwmask: 0x100000, table: 100, priority: 500],
          [sport: 80, dport: 1..2, action: :prohibit, family: :inet6],
          [tos: 0x10, table: 100, suppress_prefixlength: 0, suppress_ifgroup: 5],
          [iif: "eth9", invert: true, action: :blackhole, protocol: 76],
          [l3mdev: true, priority: 1000]
        ] do
      assert {:ok, %Rule{} = rule} = Rule.new(opts)
      assert {opts, :ok} == {opts, Rule.add(s, rule)}
      assert {:error, %Error{errno: :eexist}} = Rule.add(s, opts ++ [priority: last(s, rule)])
      assert {opts, :ok} == {opts, Rule.delete(s, rule)}
      assert {:error, %Error{errno: :enoent}} = Rule.delete(s, rule)
    end

    assert {:error, {:missing, :table}} = Rule.new(fwmark: 7)
    assert {:error, {:bad_option, {:dscp, 64}}} = Rule.new(dscp: 64, table: 100)
    assert {:error, {:bad_option, {:suppress_ifgroup, -1}}} = Rule.new(suppress_ifgroup: -1)
  end

  defp last(s, %{priority: nil, family: family}) do
    {:ok, rules} = Rule.list(s)
    Enum.find(rules, &(&1.family == family and &1.priority not in [nil, 32_766, 32_767])).priority
  end

  defp last(_s, rule), do: rule.priority

  test "a listed rule is the desired one that made it", %{socket: s} do
    for opts <- [
          [sport: 80, dport: 443, table: 100, priority: 9],
          [sport: 80..90, table: 100, priority: 10],
          [suppress_ifgroup: 5, table: 100, priority: 11],
          [dscp: 10, table: 100, priority: 12],
          [fwmark: 7, fwmask: 0xFF, invert: true, action: :prohibit, priority: 13]
        ] do
      :ok = Rule.add(s, opts)
      {:ok, wanted} = Rule.new(opts)
      {:ok, rules} = Rule.list(s)
      assert {opts, []} == {opts, Diff.rules([wanted], rules, MapSet.new())}
      {:ok, other} = Rule.new(Keyword.put(opts, :priority, 99))
      assert [{:create, ^other}] = Diff.rules([other], rules, MapSet.new())
    end

    for {a, b} <- [
          {[suppress_ifgroup: 5], [suppress_ifgroup: 6]},
          {[dscp: 0], []},
          {[dscp: 1], [dscp: 2]}
        ] do
      {:ok, a} = Rule.new([table: 100, priority: 50] ++ a)
      {:ok, b} = Rule.new([table: 100, priority: 50] ++ b)
      assert [{:create, ^a}] = Diff.rules([a], [b], MapSet.new())
    end
  end

  test "suppress_ifgroup as ip has it", %{ns: ns, socket: s} do
    :ok = Rule.add(s, table: 100, suppress_ifgroup: 5, suppress_prefixlength: 0, priority: 9)

    assert [%{"suppress_ifgroup" => "5", "suppress_prefixlen" => 0}] =
             for(%{"priority" => 9} = rule <- Netns.ip!(ns, "rule show"), do: rule)

    assert {:ok, rules} = Rule.list(s, family: :inet)
    assert %{suppress_ifgroup: 5} = Enum.find(rules, &(&1.priority == 9))
  end

  @tag :newer_iproute2
  test "dscp as ip has it, 0 included", %{ns: ns, socket: s} do
    ip = Linx.Test.NewerIproute2.path!("ip")
    :ok = Rule.add(s, dscp: 10, table: 100, priority: 9)
    :ok = Rule.add(s, dscp: 0, table: 100, priority: 8)
    :ok = Rule.add(s, table: 100, priority: 7)
    :ok = Rule.add(s, dscp: 63, table: 100, family: :inet6, priority: 6)

    shown = ns |> Netns.run!("#{ip} -N -json rule show") |> JSON.decode!()
    assert %{9 => "10", 8 => "0", 7 => nil} = Map.new(shown, &{&1["priority"], &1["dscp"]})
    {:ok, rules} = Rule.list(s)
    assert %{9 => 10, 8 => 0, 7 => nil, 6 => 63} = Map.new(rules, &{&1.priority, &1.dscp})

    assert :ok = Rule.delete(s, dscp: 0)
    assert :ok = Rule.delete(s, Enum.find(rules, &(&1.dscp == 10)))
    assert :ok = Rule.delete(s, dscp: 63, family: :inet6)
    {:ok, left} = Rule.list(s)
    assert [7] = for(rule <- left, rule.priority in 1..100, do: rule.priority)
    assert {:error, %Error{errno: :einval}} = Rule.add(s, dscp: 1, tos: 4, table: 100)
  end
end
