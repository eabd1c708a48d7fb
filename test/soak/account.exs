defmodule Soak.Account do
  # A count of everything that could be left behind.
  alias Linx.Netfilter
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}

  def settle do
    for pid <- Elixir.Process.list(), do: :erlang.garbage_collect(pid)
    Elixir.Process.sleep(200)
  end

  def quiet(tag, tries) do
    settle()
    if workloads(tag) > 0 and tries > 0, do: quiet(tag, tries - 1)
  end

  def take(tag, places) do
    {:ok, rtnl} = Rtnl.open()
    {:ok, links} = Rtnl.Link.list(rtnl)
    :ok = Socket.close(rtnl)
    {:ok, nfnl} = Nfnl.open()
    {:ok, ruleset} = Netfilter.pull(nfnl)
    :ok = Socket.close(nfnl)

    states = states()

    %{
      descriptors: length(File.ls!("/proc/self/fd")),
      threads: length(File.ls!("/proc/self/task")),
      processes: length(Elixir.Process.list()),
      ports: length(Port.list()),
      atoms: :erlang.system_info(:atom_count),
      memory_mb: div(:erlang.memory(:total), 1_048_576),
      rss_mb: rss(),
      workloads: workloads(tag),
      agents: Enum.count(states, &match?({"linx_process", _}, &1)),
      os_processes: length(states),
      zombies: Enum.count(states, &match?({_, "Z"}, &1)),
      namespaces: namespaces(),
      mounts: "/proc/self/mountinfo" |> File.stream!() |> Enum.count(),
      links: Enum.map(links, & &1.name),
      tables: Netfilter.Ruleset.tables(ruleset) |> length(),
      cgroups: places.cgroup |> File.ls!() |> Enum.count(&File.dir?(Path.join(places.cgroup, &1)))
    }
  end

  defp rss do
    [_, kb] = Regex.run(~r/^VmRSS:\s+(\d+) kB/m, File.read!("/proc/self/status"))
    div(String.to_integer(kb), 1024)
  end

  defp workloads(tag) do
    Enum.count(Path.wildcard("/proc/[0-9]*/environ"), fn path ->
      match?({:ok, environ} when is_binary(environ), File.read(path)) and
        File.read(path) |> elem(1) |> to_string() |> String.contains?(tag)
    end)
  end

  # All processes that this pid namespace has: bin/soak makes one for the run.
  defp states do
    for path <- Path.wildcard("/proc/[0-9]*/stat"),
        {:ok, stat} <- [File.read(path)],
        [_, name, state] <- [Regex.run(~r/\((.*)\) (.)/s, stat)],
        do: {name, state}
  end

  # A namespace or cgroup of a workload that nobody is in any more is gone.
  defp namespaces do
    for path <- Path.wildcard("/proc/[0-9]*/ns/*"),
        {:ok, link} <- [File.read_link(path)],
        uniq: true do
      link
    end
    |> length()
  end

  # Growth that is no leak: allocators keep memory, and a module or two may be loaded late.
  @slack %{atoms: 50, memory_mb: 8, rss_mb: 64}

  def wait_for(before, tag, places, tries) do
    now = take(tag, places)

    if tries == 0 or Enum.all?(before, fn {key, value} -> same?(key, value, now[key]) end) do
      now
    else
      settle()
      wait_for(before, tag, places, tries - 1)
    end
  end

  defp same?(key, before, now) when is_map_key(@slack, key), do: now <= before + @slack[key]

  defp same?(key, before, now)
       when key in [:descriptors, :threads, :processes, :os_processes, :namespaces],
       do: now <= before

  defp same?(_key, before, now), do: now == before

  def report(before, left) do
    IO.puts("\n  #{String.pad_trailing("", 14)}#{String.pad_trailing("before", 12)}after")

    for {key, value} <- Enum.sort(before) do
      ok? = same?(key, value, left[key])
      mark = if ok?, do: "", else: "   LEFT OVER"

      IO.puts(
        "  #{String.pad_trailing(to_string(key), 14)}" <>
          "#{String.pad_trailing(inspect(value), 12)}#{inspect(left[key])}#{mark}"
      )

      ok?
    end
    |> Enum.all?()
  end
end
