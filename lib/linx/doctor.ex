defmodule Linx.Doctor do
  @moduledoc """
  What this machine can do of what Linx offers, and what to do about the rest.

  `mix linx.doctor` prints it, and `print/0` where there is no mix; `report/0` gives it as data,
  for a health page or a test that decides what to run.

  Everything that changes something is tried in namespaces of a throw-away child that is parked
  and then dropped: the machine's own links, tables and mounts are not touched. Nothing is sent
  over a network.
  """

  alias Linx.Doctor.{Agent, Finding, KernelConfig, Machine, Network}

  @doc """
  The findings, area by area, in the order in which they are printed. Never raises for want of a
  privilege, a feature or a part of Linx itself: that is a finding. Takes about a second. When it
  returns, nothing of what was tried is left, and no message of it came to the caller.

      for %{status: :missing} = finding <- Linx.Doctor.report(),
          do: {finding.area, finding.item, finding.advice}
  """
  @spec report() :: [Finding.t()]
  def report do
    # In a process of its own, which the sessions' messages go to.
    {pid, ref} =
      spawn_monitor(fn ->
        areas = [Machine, Agent, Network, KernelConfig]
        exit({:findings, Enum.flat_map(areas, & &1.findings())})
      end)

    receive do
      {:DOWN, ^ref, :process, ^pid, {:findings, findings}} -> findings
      {:DOWN, ^ref, :process, ^pid, reason} -> exit(reason)
    end
  end

  @doc """
  Prints the findings as a table, and what to do about each gap, as `mix linx.doctor` does: for a
  release, which has no mix.

      bin/my_app eval "Linx.Doctor.print()"

  `device` is an IO device.
  """
  @spec print(IO.device()) :: :ok
  def print(device \\ :stdio) do
    findings = report()
    width = findings |> Enum.map(&String.length(&1.item)) |> Enum.max()

    for area <- findings |> Enum.map(& &1.area) |> Enum.uniq() do
      IO.puts(device, "\n#{area}")
      for %{area: ^area} = finding <- findings, do: print(device, finding, width)
    end

    missing = Enum.count(findings, &(&1.status == :missing))
    IO.puts(device, "\n#{length(findings) - missing} of #{length(findings)} are there.")
  end

  defp print(device, finding, width) do
    mark = if finding.status == :ok, do: "ok", else: "--"
    IO.puts(device, "  #{mark}  #{String.pad_trailing(finding.item, width)}  #{finding.detail}")

    if finding.advice,
      do: IO.puts(device, "      #{String.duplicate(" ", width)}  #{finding.advice}")
  end
end
