# Our filters beside libseccomp's, default and optimised. Run by bench/seccomp/run.
#
# Three kinds of call, since the kernel (5.11 and newer) remembers which numbers a filter always
# allows, and then does not run it at all:
#
#   allowed    a listed call: never runs the program
#   argument   a listed call, allowed only if its first argument is 0: runs it
#   refused    calls that are not listed, the mean over many of them: runs it
#
# Ours has the ten instructions in front with which Linx installs it. Nanoseconds are CPU time,
# the best of sixty passes.

defmodule Bench do
  alias Linx.Seccomp
  alias Linx.Seccomp.Syscalls

  @arch Seccomp.arch()
  # The calls that the measuring process itself needs.
  @needed ~w(getppid write exit_group clock_gettime)
  # libseccomp of Debian 12 knows no newer ones, nor these two, which the kernel exempts from
  # filters: they are no calls but breakpoints of its own, and kill whoever makes them.
  @newest 440
  @unknown ~w(uprobe uretprobe)

  def run(peer, folder) do
    names = names()
    {version, 0} = System.cmd(peer, ["version"])
    IO.puts("libseccomp #{String.trim(version)}, #{kernel()}, BPF JIT #{jit()}\n")
    head(["rules", "filter", "insns", "compile us", "allowed ns", "argument ns", "refused ns"])

    bare = measure(peer, "-", [number("getppid")])
    refuse = write(folder, "refuse", refuse_all())
    row(["-", "none", "0", "", bare, "", ""])

    row([
      "-",
      "refuses all but 4",
      div(File.stat!(refuse).size, 8),
      "",
      "",
      "",
      measure(peer, refuse, refused(names))
    ])

    for count <- [10, 100, 300] do
      {listed, others} = Enum.split(names, count)
      unlisted = others |> refused() |> Enum.take(40)

      for {label, build} <- [
            {"Linx", &ours/4},
            {"libseccomp", &peers(1, &1, &2, &3, &4)},
            {"libseccomp, optimised", &peers(2, &1, &2, &3, &4)}
          ] do
        {plain, ns} = build.(peer, folder, listed, false)
        {argument, _} = build.(peer, folder, listed, true)

        row([
          count,
          label,
          div(File.stat!(plain).size, 8),
          Float.round(ns / 1000, 1),
          measure(peer, plain, [number("getppid")]),
          measure(peer, argument, [number("getppid")]),
          measure(peer, plain, unlisted)
        ])
      end
    end
  end

  # Scattered over the table the same way each time; the needed ones first.
  defp names do
    :rand.seed(:exsss, {1, 2, 3})

    others =
      for name <- @arch |> Syscalls.all() |> Enum.sort(),
          Syscalls.to_number(name, @arch) < @newest,
          Atom.to_string(name) not in (@needed ++ @unknown),
          do: Atom.to_string(name)

    @needed ++ Enum.shuffle(others)
  end

  defp refused(names), do: names |> Enum.reject(&(&1 in @needed)) |> Enum.map(&number/1)

  defp ours(_peer, folder, [first | rest], argument?) do
    first = String.to_existing_atom(first)
    rest = for name <- rest, do: {:allow, String.to_existing_atom(name)}
    rule = if argument?, do: {:allow, first, [{0, :eq, 0}]}, else: {:allow, first}
    rules = {[rule | rest], {:errno, :eperm}}

    times =
      for _ <- 1..200 do
        start = System.monotonic_time(:nanosecond)
        {:ok, _} = Seccomp.from_rules(rules)
        System.monotonic_time(:nanosecond) - start
      end

    {:ok, filter} = Seccomp.from_rules(rules)
    {write(folder, "ours", prefix() <> filter.bpf), Enum.min(times)}
  end

  defp peers(level, peer, folder, names, argument?) do
    file = Path.join(folder, "peer#{System.unique_integer([:positive])}")

    {ns, 0} =
      System.cmd(peer, ["build", "#{level}", file, if(argument?, do: "1", else: "0") | names])

    {file, String.to_integer(String.trim(ns))}
  end

  defp measure(peer, file, numbers) do
    rounds = div(50_000, length(numbers))
    {ns, 0} = System.cmd(peer, ["measure", file, "#{rounds}" | Enum.map(numbers, &"#{&1}")])
    String.trim(ns)
  end

  # linx_wire::seccomp::exec_prefix: three of these run for a call that is neither.
  defp prefix do
    insns([
      {0x20, 0, 0, 0},
      {0x15, 1, 0, number("execveat")},
      {0x15, 0, 7, number("seccomp")},
      {0x20, 0, 0, 4},
      {0x15, 0, 5, Linx.Seccomp.Compiler.audit_archs()[@arch]},
      {0x20, 0, 0, 56},
      {0x15, 0, 3, 0x12345678},
      {0x20, 0, 0, 60},
      {0x15, 0, 1, 0x9ABCDEF0},
      {0x06, 0, 0, 0x7FFF0000}
    ])
  end

  # The least that a filter can cost and still let the measuring process end.
  defp refuse_all do
    needed = Enum.map(@needed, &number/1)

    checks =
      for {nr, index} <- Enum.with_index(needed), do: {0x15, length(needed) - index, 0, nr}

    insns([{0x20, 0, 0, 0}] ++ checks ++ [{0x06, 0, 0, 0x00050001}, {0x06, 0, 0, 0x7FFF0000}])
  end

  defp insns(list),
    do: for({code, jt, jf, k} <- list, into: "", do: <<code::native-16, jt, jf, k::native-32>>)

  defp number(name), do: name |> String.to_existing_atom() |> Syscalls.to_number(@arch)

  defp write(folder, name, bytes) do
    file = Path.join(folder, "#{name}#{System.unique_integer([:positive])}")
    File.write!(file, bytes)
    file
  end

  defp kernel, do: "Linux " <> String.trim(File.read!("/proc/sys/kernel/osrelease"))

  defp jit do
    case File.read("/proc/sys/net/core/bpf_jit_enable") do
      {:ok, "0" <> _} -> "off"
      {:ok, _} -> "on"
      _ -> "unknown"
    end
  end

  defp head(titles) do
    row(titles)
    row(Enum.map(titles, fn _ -> "---" end))
  end

  defp row(cells), do: IO.puts("| #{Enum.join(cells, " | ")} |")
end

[peer, folder] = System.argv()
Bench.run(peer, folder)
