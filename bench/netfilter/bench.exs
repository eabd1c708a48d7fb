# CPU time, user and system, of the same job done in three ways, in rounds that alternate; the
# median of each is shown, and its ratio to the floor: the same bytes sent by a program that does
# nothing else (bench/netfilter/floor.c). The VM's time includes its own threads.
Code.require_file("../long_schedule.exs", __DIR__)
LongSchedule.watch()
Code.require_file("../cpu.exs", __DIR__)
Cpu.start(Path.expand("_build/bench/netfilter_floor"))

alias Linx.Netfilter
alias Linx.Netfilter.{Chain, Encoder, Expr, Rule, Ruleset, Set, Table}
alias Linx.Netlink.{Message, Nfnl}
alias Linx.Netlink.Nfnl.Codec

defmodule Bench do
  @floor Path.expand("_build/bench/netfilter_floor")

  def ours(fun) do
    :erlang.garbage_collect()
    before = Cpu.time()
    true = fun.() |> Tuple.to_list() |> hd() == :ok
    Cpu.time() - before
  end

  def floor(kind, path), do: external([kind, path])
  def nft(args), do: external(["exec", "nft" | args])

  defp external(args) do
    {text, 0} = System.cmd(@floor, args, stderr_to_stdout: true)
    text |> String.split("\n", trim: true) |> List.last() |> String.to_integer()
  end

  def median(values), do: values |> Enum.sort() |> Enum.at(div(length(values), 2))

  # [{label, fun}], the first being the floor.
  def rows(job, rounds, contenders) do
    times = for _ <- 1..rounds, {label, fun} <- contenders, do: {label, fun.()}
    medians = for {label, _} <- contenders, do: {label, median(for({^label, t} <- times, do: t))}
    {_, floor} = hd(medians)

    IO.puts("\n| #{job} | CPU ms | x floor |\n|---|---|---|")

    for {label, t} <- medians,
        do: IO.puts("| #{label} | #{Float.round(t / 1000, 1)} | #{Float.round(t / floor, 2)} |")

    medians
  end

  # The ratio of each job's medians at two sizes. The kernel resumes a dump of rules by walking
  # its chain from the start for each 32 KiB (nf_tables_dump_rules), so the floor of a long chain
  # grows with the square.
  def growth(medians, first, second) do
    IO.puts("\n| from #{first} to #{second} rules | CPU x |\n|---|---|")

    for {job, place} <- [load: 0, pull: 1] do
      [a, b] = for n <- [first, second], do: medians[n] |> elem(place) |> Map.new()
      for label <- ["floor", "Linx"], do: growth_row("#{job}, #{label}", a[label], b[label])
    end
  end

  defp growth_row(label, a, b), do: IO.puts("| #{label} | #{Float.round(b / max(a, 1), 1)} |")

  # Time of one job on the clock, in µs: what one call makes its caller wait.
  def waits(job, contenders) do
    IO.puts("\n| #{job} | µs, least | median |\n|---|---|---|")

    for {label, times, fun} <- contenders do
      taken = for i <- 1..times, do: fun |> :timer.tc([i]) |> elem(0)
      IO.puts("| #{label} | #{Enum.min(taken)} | #{median(taken)} |")
    end
  end

  def batch_file(path, ruleset) do
    inner = Encoder.to_batch(ruleset)
    all = [Codec.batch_begin(:nftables) | inner] ++ [Codec.batch_end(:nftables)]

    File.write!(
      path,
      all
      |> Enum.with_index(1)
      |> Enum.map(fn {m, seq} ->
        Message.encode(%{m | flags: Bitwise.bor(m.flags, 1), seq: seq})
      end)
    )
  end

  def dump_file(path, type, family, attrs) do
    payload = Codec.encode_nfgenmsg(family, 0) <> Linx.Netlink.Attr.encode(attrs)

    File.write!(
      path,
      Message.encode(%Message{type: 0x0A00 + type, flags: 0x301, seq: 1, payload: payload})
    )
  end
end

rounds = System.argv() |> List.first("5") |> String.to_integer()
dir = Path.join(System.tmp_dir!(), "linx-bench-#{System.pid()}")
File.mkdir_p!(dir)
{:ok, sock} = Nfnl.open()

rules = fn n ->
  for i <- 1..n do
    address = <<10, div(i, 65_536), rem(div(i, 256), 256), rem(i, 256)>>

    Rule.build!(
      [
        Expr.payload(:ip_saddr),
        Expr.cmp(:eq, address),
        Expr.payload(:tcp_dport),
        Expr.cmp(:eq, <<rem(i, 65_000) + 1::16>>),
        Expr.counter(),
        :accept
      ],
      tag: String.to_atom("bench_#{i}")
    )
  end
end

push = fn ruleset, opts -> Bench.ours(fn -> {Netfilter.push(sock, ruleset, opts), nil} end) end
{kernel, 0} = System.cmd("uname", ["-r"])
{nft, 0} = System.cmd("nft", ["--version"])

IO.puts("kernel #{String.trim(kernel)}, #{String.trim(nft)}, #{rounds} rounds, the median")

medians =
  for n <- [1_000, 10_000, 100_000], into: %{} do
    chain = Chain.new!("input", type: :filter, hook: :input, priority: 0, rules: rules.(n))
    ruleset = Ruleset.new() |> Ruleset.add_table!(:inet, "fw") |> Ruleset.put_chain!("fw", chain)
    Bench.batch_file("#{dir}/rules", ruleset)
    :ok = Netfilter.push(sock, ruleset)
    {text, 0} = System.cmd("nft", ["list", "ruleset"])
    File.write!("#{dir}/rules.nft", "destroy table inet fw\n" <> text)
    Bench.dump_file("#{dir}/getrule", 7, :inet, [{1, "fw\0"}])

    destroy =
      if match?({_, 0}, System.cmd("nft", ["-f", "#{dir}/rules.nft"], stderr_to_stdout: true)),
        do: "destroy",
        else: "add table inet fw\ndelete"

    File.write!("#{dir}/rules.nft", "#{destroy} table inet fw\n" <> text)

    load =
      Bench.rows("load #{n} rules", rounds, [
        {"floor", fn -> Bench.floor("send", "#{dir}/rules") end},
        {"Linx", fn -> push.(ruleset, []) end},
        {"nft -f", fn -> Bench.nft(["-f", "#{dir}/rules.nft"]) end}
      ])

    :ok = Netfilter.push(sock, ruleset)

    pull =
      Bench.rows("pull #{n} rules", rounds, [
        {"floor", fn -> Bench.floor("dump", "#{dir}/getrule") end},
        {"Linx", fn -> Bench.ours(fn -> Netfilter.pull(sock, {:inet, "fw"}) end) end},
        {"nft list", fn -> Bench.nft(["list", "table", "inet", "fw"]) end},
        {"nft -j", fn -> Bench.nft(["-j", "list", "table", "inet", "fw"]) end}
      ])

    changed = fn round ->
      rule =
        Rule.build!([Expr.payload(:tcp_dport), Expr.cmp(:eq, <<round::16>>), :drop],
          tag: String.to_atom("bench_#{div(n, 2)}")
        )

      put_in(
        ruleset.tables[{:inet, "fw"}].chains["input"].rules,
        List.replace_at(chain.rules, div(n, 2) - 1, rule)
      )
    end

    counter = :counters.new(1, [])

    Bench.rows("reconcile 1 changed rule of #{n}", rounds, [
      # nft has no such thing: it would load all rules again.
      {"floor (pull)", fn -> Bench.floor("dump", "#{dir}/getrule") end},
      {"Linx",
       fn ->
         :counters.add(counter, 1, 1)
         wanted = changed.(:counters.get(counter, 1))
         Bench.ours(fn -> {Netfilter.push(sock, wanted, mode: :reconcile), nil} end)
       end}
    ])

    System.cmd("nft", ["flush", "ruleset"])
    {n, {load, pull}}
  end

Bench.growth(medians, 10_000, 100_000)

for n <- [10_000, 100_000] do
  elements = for i <- 1..n, do: {10, div(i, 65_536), rem(div(i, 256), 256), rem(i, 256)}
  set = Set.new!("s", key_type: :ipv4_addr, elements: elements)

  ruleset =
    Ruleset.new() |> Ruleset.put_table(Table.new!(:inet, "st")) |> Ruleset.add_set!("st", set)

  Bench.batch_file("#{dir}/set", ruleset)
  text = elements |> Enum.map_join(", ", &(&1 |> Tuple.to_list() |> Enum.join(".")))

  File.write!(
    "#{dir}/set.nft",
    "add table inet st\ndelete table inet st\ntable inet st {\n set s { type ipv4_addr; " <>
      "elements = { #{text} } }\n}\n"
  )

  :ok = Netfilter.push(sock, ruleset)
  Bench.dump_file("#{dir}/getset", 13, :inet, [{1, "st\0"}, {2, "s\0"}])

  Bench.rows("load a set of #{n}", rounds, [
    {"floor", fn -> Bench.floor("send", "#{dir}/set") end},
    {"Linx", fn -> push.(ruleset, []) end},
    {"nft -f", fn -> Bench.nft(["-f", "#{dir}/set.nft"]) end}
  ])

  Bench.rows("pull a set of #{n}", rounds, [
    {"floor", fn -> Bench.floor("dump", "#{dir}/getset") end},
    {"Linx", fn -> Bench.ours(fn -> Netfilter.pull(sock, {:inet, "st"}) end) end},
    {"nft list", fn -> Bench.nft(["list", "set", "inet", "st", "s"]) end},
    {"nft -j", fn -> Bench.nft(["-j", "list", "set", "inet", "st", "s"]) end}
  ])

  ref = {:inet, "st", "s"}
  address = fn i -> {11, 0, div(i, 256), rem(i, 256)} end

  Bench.waits("one element of a set of #{n}", [
    {"add_elements/4", 1_000, fn i -> :ok = Netfilter.add_elements(sock, ref, [address.(i)]) end},
    {"has_element?/3", 1_000, fn i -> true = Netfilter.has_element?(sock, ref, address.(i)) end},
    {"delete_elements/4", 1_000,
     fn i -> :ok = Netfilter.delete_elements(sock, ref, [address.(i)]) end},
    {"nft add element", 10,
     fn i ->
       one = address.(i) |> Tuple.to_list() |> Enum.join(".")
       {_, 0} = System.cmd("nft", ["add", "element", "inet", "st", "s", "{ #{one} }"])
     end}
  ])

  System.cmd("nft", ["flush", "ruleset"])
end

File.rm_rf!(dir)
