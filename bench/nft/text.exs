# CPU time, user and system, of a text to the kernel: `Linx.NFT.parse_file/1` and
# `Linx.Netfilter.push/2`, `Linx.NFT.stream/1` and push, and `nft -f` of each nft(8) that is
# there, in rounds that alternate; the median of each, and its ratio to the faster nft. The same
# of the time that passes, and beside it the VM's memory above the start, at its highest.
Code.require_file("../long_schedule.exs", __DIR__)
LongSchedule.watch()
Code.require_file("../cpu.exs", __DIR__)
Cpu.start(Path.expand("_build/bench/netfilter_floor"))

alias Linx.{Netfilter, NFT}
alias Linx.Netlink.Nfnl

defmodule TextBench do
  @floor Path.expand("_build/bench/netfilter_floor")

  def ours(fun) do
    :erlang.garbage_collect()
    start = :erlang.memory(:total)
    me = self()
    watcher = spawn_link(fn -> watch(start, me) end)
    before = Cpu.time()
    {wall, _} = :timer.tc(fn -> in_process(fun) end)
    cpu = Cpu.time() - before
    send(watcher, :stop)
    receive do: ({:peak, peak} -> {cpu, wall, peak - start})
  end

  # In a process of its own, whose heap is gone afterwards.
  defp in_process(fun) do
    {pid, ref} = spawn_monitor(fn -> :ok = fun.() end)
    receive do: ({:DOWN, ^ref, :process, ^pid, reason} -> :normal = reason)
  end

  defp watch(peak, owner) do
    peak = max(peak, :erlang.memory(:total))

    receive do
      :stop -> send(owner, {:peak, peak})
    after
      5 -> watch(peak, owner)
    end
  end

  def nft(nft, path) do
    {wall, {text, 0}} =
      :timer.tc(fn -> System.cmd(@floor, ["exec", nft, "-f", path], stderr_to_stdout: true) end)

    {text |> String.split("\n", trim: true) |> List.last() |> String.to_integer(), wall, 0}
  end

  def median(values), do: values |> Enum.sort() |> Enum.at(div(length(values), 2))

  def ip(n),
    do:
      "#{div(n, 16_777_216)}.#{rem(div(n, 65_536), 256)}.#{rem(div(n, 256), 256)}.#{rem(n, 256)}"

  def text(:rules, n) do
    rules =
      Enum.map(1..n, fn i ->
        case rem(i, 4) do
          0 ->
            "    ip saddr 10.#{rem(i, 250)}.0.0/16 tcp dport #{rem(i, 60_000) + 1} counter " <>
              "accept\n"

          1 ->
            "    tcp dport #{rem(i, 60_000) + 1} ct state new,established accept\n"

          2 ->
            "    iifname \"eth#{rem(i, 9)}\" udp sport 1024-65535 drop\n"

          3 ->
            "    meta mark #{i} ip daddr 192.168.#{rem(i, 250)}.1 log prefix \"r#{i} \" drop\n"
        end
      end)

    ["  chain c {\n", rules, "  }\n"]
  end

  def text(:intervals, n) do
    elements =
      Enum.map(1..n, fn i ->
        first = 0x0A000000 + i * 512

        case rem(i, 3) do
          0 -> "#{ip(first)}/24,\n"
          1 -> "#{ip(first)}-#{ip(first + 77)},\n"
          2 -> "#{ip(first)},\n"
        end
      end)

    [
      "  set s {\n    type ipv4_addr\n    flags interval\n    elements = {\n",
      elements,
      "    }\n  }\n"
    ]
  end

  def text(:concatenations, n) do
    elements =
      Enum.map(1..n, fn i ->
        "#{ip(0x0A000000 + i)} . #{rem(i, 60_000) + 1} : 192.168.#{rem(i, 250)}.1,\n"
      end)

    [
      "  map m {\n    type ipv4_addr . inet_service : ipv4_addr\n    elements = {\n",
      elements,
      "    }\n  }\n"
    ]
  end

  def table(body),
    do: ["add table inet bench\ndelete table inet bench\ntable inet bench {\n", body, "}\n"]
end

[rounds, sizes] =
  case System.argv() do
    [] -> [3, [10_000, 100_000]]
    [rounds] -> [String.to_integer(rounds), [10_000, 100_000]]
    [rounds | sizes] -> [String.to_integer(rounds), Enum.map(sizes, &String.to_integer/1)]
  end

newer =
  Path.join(System.get_env("XDG_CACHE_HOME", Path.expand("~/.cache")), "linx/nft/usr/sbin/nft")

nfts = for path <- [System.find_executable("nft"), newer], path && File.exists?(path), do: path
path = Path.join(System.tmp_dir!(), "linx-text-bench-#{System.pid()}.nft")
{:ok, sock} = Nfnl.open()
{kernel, 0} = System.cmd("uname", ["-r"])
IO.puts("kernel #{String.trim(kernel)}, #{rounds} rounds, the median\n")

IO.puts(
  "| text to kernel | contender | CPU ms | x nft | wall ms | x nft | memory MB " <>
    "|\n|---|---|---|---|---|---|---|"
)

# The first of everything loads its modules.
File.write!(path, TextBench.table(TextBench.text(:rules, 100)))
{:ok, warm} = NFT.parse_file(path)
:ok = Netfilter.push(sock, warm)
:ok = Netfilter.push(sock, NFT.stream(path))

for job <- [:rules, :intervals, :concatenations],
    n <- sizes,
    job != :rules or n < 1_000_000 do
  File.write!(path, TextBench.table(TextBench.text(job, n)))

  contenders =
    for nft <- nfts do
      {version, 0} = System.cmd(nft, ["--version"])

      {version |> String.split() |> Enum.take(2) |> Enum.join(" "),
       fn -> TextBench.nft(nft, path) end}
    end ++
      [
        {"parse_file, push",
         fn ->
           TextBench.ours(fn ->
             {:ok, ruleset} = NFT.parse_file(path)
             Netfilter.push(sock, ruleset)
           end)
         end},
        {"stream, push",
         fn -> TextBench.ours(fn -> Netfilter.push(sock, NFT.stream(path)) end) end}
      ]

  times = for _ <- 1..rounds, {label, fun} <- contenders, do: {label, fun.()}

  medians =
    for {label, _} <- contenders do
      mine = for {^label, time} <- times, do: time
      {label, for(i <- 0..2, do: TextBench.median(Enum.map(mine, &elem(&1, i))))}
    end

  [best_cpu, best_wall | _] =
    medians
    |> Enum.take(length(nfts))
    |> Enum.map(&elem(&1, 1))
    |> Enum.zip_with(&Enum.min/1)

  for {label, [cpu, wall, memory]} <- medians do
    IO.puts(
      "| #{job} #{n} | #{label} | #{div(cpu, 1000)} | #{Float.round(cpu / best_cpu, 2)} | " <>
        "#{div(wall, 1000)} | #{Float.round(wall / best_wall, 2)} | #{div(memory, 1_000_000)} |"
    )
  end

  # The pull of the same text: the ratio of two sizes shows whether it is linear.
  if job == :rules do
    {cpu, wall, memory} =
      TextBench.ours(fn ->
        {:ok, _} = Netfilter.pull(sock, {:inet, "bench"})
        :ok
      end)

    IO.puts(
      "| #{job} #{n} | pull | #{div(cpu, 1000)} | | #{div(wall, 1000)} | | " <>
        "#{div(memory, 1_000_000)} |"
    )
  end
end

File.rm(path)
