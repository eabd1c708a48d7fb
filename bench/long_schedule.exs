# The VM's reports of schedulers that one process or port held for 5 ms or more
# (erlang:system_monitor/2).
#
#     Code.require_file("../long_schedule.exs", __DIR__)
#     LongSchedule.watch()
#
# With LINX_BENCH_MONITOR=FILE every report is a line of FILE; without it nothing is watched.
# `elixir bench/long_schedule.exs FILE` sums a file up, and fails if a function of Linx.Native is
# in it: that module holds every NIF that Linx has.
#
# A report names where the process was when it was scheduled in and out. The compiler, the
# collector and a machine with more to do than it has processors make reports too.

defmodule LongSchedule do
  @milliseconds 5

  def watch do
    with file when is_binary(file) <- System.get_env("LINX_BENCH_MONITOR") do
      watcher = spawn(fn -> loop(File.open!(file, [:append])) end)
      :erlang.system_monitor(watcher, [{:long_schedule, @milliseconds}])
    end
  end

  defp loop(file) do
    receive do
      {:monitor, _pid_or_port, :long_schedule, info} ->
        IO.puts(file, "#{place(info[:in])}\t#{place(info[:out])}\t#{info[:timeout]}")
        loop(file)
    end
  end

  defp place({module, function, arity}), do: Exception.format_mfa(module, function, arity)
  defp place(_port_or_nothing), do: "-"

  def sum_up(file) do
    reports =
      for line <- File.stream!(file) do
        [scheduled_in, scheduled_out, time] = line |> String.trim() |> String.split("\t")
        {scheduled_in, scheduled_out, String.to_integer(time)}
      end

    ours = for {a, b, _} = report <- reports, "Linx.Native." <> _ <- [a, b], do: report

    for {{a, b}, times} <- Enum.group_by(reports, &{elem(&1, 0), elem(&1, 1)}, &elem(&1, 2)) do
      IO.puts("  #{length(times)} times, at most #{Enum.max(times)} ms: in #{a}, out #{b}")
    end

    IO.puts("long_schedule: #{length(reports)} reports, #{length(ours)} that name a Linx NIF")
    if ours != [], do: System.halt(1)
  end
end

with [file] <- System.argv(), true <- Path.basename(file) == "long_schedule" do
  LongSchedule.sum_up(file)
end
