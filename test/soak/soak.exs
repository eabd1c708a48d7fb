# Everything at random, with faults, for SOAK_MINUTES; then what is left is counted. Run by
# bin/soak.
#
# A scenario may meet any documented error, since another one may be killing its workload or
# closing its socket at that moment. What it may not do is raise, hang, or leave something behind.

for file <- ~w(log account ends processes networks machine),
    do: Code.require_file("#{file}.exs", __DIR__)

defmodule Soak do
  alias Linx.{Cgroup, Mount}
  alias Soak.{Account, Log, Machine, Networks, Processes}

  @workers 4

  # Seconds of work each.
  @seldom [:starved_vm]

  def main do
    minutes = System.fetch_env!("SOAK_MINUTES") |> String.to_integer()

    seed =
      System.get_env("SOAK_SEED")
      |> then(&if &1, do: String.to_integer(&1), else: System.os_time())

    Log.start()
    tag = "LINX_SOAK=#{System.pid()}"
    places = prepare()

    # Through everything a few times, so that code is loaded and atoms are made before the first
    # count.
    for n <- 1..6, {name, _} = scenario <- scenarios(), n == 1 or name not in @seldom do
      attempt(scenario, tag, places)
    end

    # Processes that outlive a killed agent end by themselves after some seconds.
    Account.quiet(tag, 100)
    # Counting makes atoms of its own the first time.
    Account.take(tag, places)
    before = Account.take(tag, places)

    IO.puts("soak: #{minutes} minutes, #{@workers} workers, seed #{seed}")
    deadline = System.monotonic_time(:second) + minutes * 60

    results =
      1..@workers
      |> Enum.map(fn n ->
        Task.async(fn -> work(:rand.seed(:exsss, {seed, n, 0}), deadline, tag, places, %{}) end)
      end)
      |> Task.await_many(:infinity)

    counts =
      Enum.reduce(results, %{}, &Map.merge(&1, &2, fn _, {a, b}, {c, d} -> {a + c, b ++ d} end))

    for {name, {n, _}} <- Enum.sort(counts),
        do: IO.puts("  #{String.pad_trailing(to_string(name), 16)} #{n}")

    failures = for {name, {_, failures}} <- counts, failure <- failures, do: {name, failure}
    failures = failures ++ for(crash <- Log.crashes(), do: {:log, crash})
    for {name, failure} <- Enum.take(failures, 20), do: IO.puts("FAILED #{name}: #{failure}")

    Account.settle()
    clean? = Account.report(before, Account.wait_for(before, tag, places, 100))
    clean_up(places)
    if failures != [] or not clean?, do: System.halt(1)
    IO.puts("soak: clean")
  end

  defp work(_rand, deadline, tag, places, counts) do
    if System.monotonic_time(:second) >= deadline do
      counts
    else
      {name, _} = scenario = pick()
      failures = attempt(scenario, tag, places)

      counts =
        Map.update(counts, name, {1, failures}, fn {n, all} -> {n + 1, failures ++ all} end)

      work(nil, deadline, tag, places, counts)
    end
  end

  # In a process of its own, so that links, mailboxes and sockets end with it.
  defp attempt({name, run}, tag, places) do
    {pid, monitor} = spawn_monitor(fn -> run.(tag, places) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} when reason in [:normal, :killed, :shutdown] -> []
      {:DOWN, ^monitor, :process, ^pid, reason} -> [Exception.format_exit(reason)]
    after
      # A machine that is out of memory stands still for a minute; what hangs does so for ever.
      300_000 ->
        stack = Elixir.Process.info(pid, :current_stacktrace)
        Elixir.Process.exit(pid, :kill)
        ["#{name} hangs: #{inspect(stack)}"]
    end
  end

  defp prepare do
    base = Path.join(System.tmp_dir!(), "linx-soak-#{System.pid()}")
    full = Path.join(base, "full")
    cgroups = Path.join(base, "cgroup")
    Enum.each([full, cgroups], &File.mkdir_p!/1)
    :ok = Mount.mount("tmpfs", full, "tmpfs", data: "size=4k")
    :ok = Mount.mount("none", cgroups, "cgroup2")
    :ok = Cgroup.create(Path.join(cgroups, "linx-soak-#{System.pid()}")) |> elem(0)

    %{
      base: base,
      full: full,
      cgroup: Path.join(cgroups, "linx-soak-#{System.pid()}"),
      cgroups: cgroups
    }
  end

  defp clean_up(places) do
    Cgroup.destroy(places.cgroup)
    Mount.umount(places.full)
    Mount.umount(places.cgroups)
    File.rm_rf!(places.base)
  end

  defp pick do
    {name, _} = scenario = Enum.random(scenarios())
    if name in @seldom and :rand.uniform(20) > 1, do: pick(), else: scenario
  end

  defp scenarios, do: Processes.scenarios() ++ Networks.scenarios() ++ Machine.scenarios()
end

Soak.main()
