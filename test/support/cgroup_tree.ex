defmodule Linx.Test.CgroupTree do
  @moduledoc false
  # Cgroups that a test made: emptied and removed, whatever is still in them.

  import Linx.Test.Workload, only: [eventually: 1]

  alias Linx.Cgroup

  @doc "Kills what is in `cg` and below, and removes it all."
  @spec remove!(String.t()) :: :ok
  def remove!(cg) do
    if File.dir?(cg) do
      :ok = Cgroup.kill(cg)
      eventually(fn -> match?({:ok, %{populated: false}}, Cgroup.events(cg)) end)

      cg
      |> File.ls!()
      |> Enum.map(&Path.join(cg, &1))
      |> Enum.filter(&File.dir?/1)
      |> Enum.each(&remove!/1)

      # The last process may still be on its way out.
      eventually(fn -> Cgroup.destroy(cg) == :ok end)
    end

    :ok
  end

  @doc "The clock ticks that a process has used in user code."
  @spec cpu_ticks(pos_integer()) :: non_neg_integer()
  def cpu_ticks(pid) do
    # Field 14 of proc_pid_stat(5).
    {:ok, fields} = Linx.Test.Session.stat(pid)
    fields |> Enum.at(11) |> String.to_integer()
  end
end
