# Sessions beside the least that the kernel's own work costs, and beside other programs. Run by
# bench/process/run.
#
# Every round measures each row once, one after the other, so that a busy machine is busy for all
# of them; a row's time is the median over all its starts. Ratios are to posix_spawn where no
# namespace is made, and to a bare parked clone3 with the same five where five are.

defmodule Bench do
  alias Linx.Process, as: P

  # linux/sched.h: mnt, pid, uts, ipc; with net.
  @four 0x2C020000
  @five 0x6C020000
  @starts 10

  def run(floor, rounds) do
    rows = [
      {"posix_spawn (floor)", :plain, fn -> floor(floor, ["posix_spawn", "#{@starts}"]) end},
      {"bare parked clone3", :plain, fn -> floor(floor, ["clone3", "#{@starts}", "0"]) end},
      {"System.cmd", :plain, fn -> times(fn -> System.cmd("/bin/true", []) end) end},
      {"Linx.Process", :plain, fn -> times(fn -> session([]) end) end},
      {"bare parked clone3, 4 namespaces", :five,
       fn -> floor(floor, ["clone3", "#{@starts}", "#{@four}"]) end},
      {"Linx.Process, 4 namespaces", :five,
       fn -> times(fn -> session(~w(mount pid uts ipc)a) end) end},
      {"bare parked clone3, 5 namespaces (floor)", :five,
       fn -> floor(floor, ["clone3", "#{@starts}", "#{@five}"]) end},
      {"Linx.Process, 5 namespaces", :five,
       fn -> times(fn -> session(~w(mount pid uts ipc net)a) end) end},
      command("unshare -nmpui -f", :five, ~w(unshare -n -m -p -u -i -f /bin/true)),
      command(
        "bwrap --unshare-all --ro-bind / /",
        :five,
        ~w(bwrap --unshare-all --ro-bind / / /bin/true)
      )
    ]

    rows = Enum.reject(rows, &is_nil/1)

    samples =
      for _ <- 1..rounds, {name, _kind, measure} <- rows, sample <- measure.(), do: {name, sample}

    times = Enum.group_by(samples, &elem(&1, 0), &elem(&1, 1))
    medians = Map.new(times, fn {name, samples} -> {name, median(samples)} end)
    bests = Map.new(times, fn {name, samples} -> {name, Enum.min(samples)} end)
    floors = %{plain: "posix_spawn (floor)", five: "bare parked clone3, 5 namespaces (floor)"}

    IO.puts("#{kernel()}, #{rounds} rounds of #{@starts} starts\n")
    head(["start of /bin/true to its end", "median us", "x floor", "best us", "best x floor"])

    for {name, kind, _measure} <- rows do
      columns =
        for values <- [medians, bests],
            column <- [round(values[name]), ratio(values[name] / values[floors[kind]])],
            do: column

      line([name | columns])
    end

    IO.puts("")
    pty(floor, rounds)
    IO.puts("")
    memory(100)
  end

  defp command(name, kind, [program | args]) do
    case System.find_executable(program) do
      nil -> nil
      path -> {name, kind, fn -> times(fn -> {_, 0} = System.cmd(path, args) end) end}
    end
  end

  defp floor(program, args) do
    {out, 0} = System.cmd(program, args)
    for line <- String.split(out), do: line |> Float.parse() |> elem(0)
  end

  # The rest of a session, which lives until it is told to go, is not part of the time.
  defp times(start) do
    for _ <- 1..@starts do
      {time, result} = :timer.tc(start)
      if is_pid(result), do: GenServer.stop(result)
      time * 1.0
    end
  end

  defp session(namespaces) do
    {:ok, session} = P.spawn(argv: ["/bin/true"], namespaces: namespaces, auto_proceed: true)
    {:ok, {:exited, 0}} = P.wait(session)
    flush()
    session
  end

  # -- output ------------------------------------------------------------------------------------

  @megabytes 64

  # Whose turn is first changes from round to round, and what is compared are the rates of one
  # round: the kernel carries a terminal's bytes by a worker of its own, so a rate depends on what
  # else runs, and on how fast an idle processor wakes.
  defp pty(program, rounds) do
    rows = [
      {"plain read loop on a terminal", fn -> hd(floor(program, ["pty", "#{@megabytes}"])) end},
      {"the same, handed on to another process",
       fn -> hd(floor(program, ["relay", "#{@megabytes}"])) end},
      {"Linx.Process, pty", fn -> stream(stdio: :pty) end},
      {"Linx.Process, pipe", fn -> stream(stdio: [stdout: :pipe]) end}
    ]

    Enum.each(rows, fn {_name, measure} -> measure.() end)

    results =
      for round <- 1..max(rounds, 5) do
        order = if rem(round, 2) == 0, do: rows, else: Enum.reverse(rows)
        Map.new(order, fn {name, measure} -> {name, measure.()} end)
      end

    {plain, _measure} = hd(rows)

    head([
      "output to the owner, #{@megabytes} MB",
      "median MB/s",
      "x plain",
      "best MB/s",
      "best x plain"
    ])

    best = fn name -> results |> Enum.map(& &1[name]) |> Enum.max() end

    for {name, _measure} <- rows do
      rate = results |> Enum.map(& &1[name]) |> median()
      times = results |> Enum.map(&(&1[name] / &1[plain])) |> median()

      line([
        name,
        round(rate),
        ratio(times),
        round(best.(name)),
        ratio(best.(name) / best.(plain))
      ])
    end
  end

  defp stream(opts) do
    argv = ["/bin/dd", "if=/dev/zero", "bs=65536", "count=#{@megabytes * 16}", "status=none"]
    {:ok, session} = P.spawn(opts ++ [argv: argv])
    before = System.monotonic_time(:microsecond)
    :ok = P.proceed(session)
    total = count(0)
    time = System.monotonic_time(:microsecond) - before
    ^total = @megabytes * 1024 * 1024
    GenServer.stop(session)
    @megabytes * 1_000_000 / time
  end

  defp count(total) do
    receive do
      {:linx_process, stream, bytes} when stream in [:pty_out, :stdout] ->
        count(total + byte_size(bytes))

      {:linx_process, :exited, 0} ->
        total
    end
  end

  # -- memory ------------------------------------------------------------------------------------

  defp memory(sessions) do
    parked = for _ <- 1..sessions, do: elem(P.spawn(argv: ["/bin/true"], stdio: :devnull), 1)

    {agents, children} =
      parked
      |> Enum.map(fn session ->
        {:ok, pid} = P.host_pid(session)
        {pss(parent(pid)), pss(pid)}
      end)
      |> Enum.unzip()

    head(["#{sessions} parked sessions, PSS of each", "median KB"])
    line(["agent", round(median(agents))])
    line(["child", round(median(children))])
    line(["session", round(median(agents) + median(children))])
    Enum.each(parked, &GenServer.stop/1)
  end

  defp pss(pid) do
    [_, kilobytes] = Regex.run(~r/^Pss: +(\d+) kB$/m, File.read!("/proc/#{pid}/smaps_rollup"))
    String.to_integer(kilobytes)
  end

  defp parent(pid) do
    [_, rest] = Regex.run(~r/.*\) (.*)/s, File.read!("/proc/#{pid}/stat"))
    rest |> String.split(" ") |> Enum.at(1)
  end

  # -- print -------------------------------------------------------------------------------------

  defp flush do
    receive do
      _ -> flush()
    after
      0 -> :ok
    end
  end

  defp median(samples) do
    sorted = Enum.sort(samples)
    Enum.at(sorted, div(length(sorted), 2))
  end

  defp ratio(value), do: :erlang.float_to_binary(value, decimals: 2)
  defp kernel, do: "Linux " <> String.trim(File.read!("/proc/sys/kernel/osrelease"))

  defp head(titles) do
    line(titles)
    line(Enum.map(titles, fn _ -> "---" end))
  end

  defp line(cells), do: IO.puts("| #{Enum.join(cells, " | ")} |")
end

[floor | rest] = System.argv()

rounds =
  case rest do
    [] -> 20
    [rounds] -> String.to_integer(rounds)
  end

Bench.run(Path.expand(floor), rounds)
