defmodule Linx.Doctor do
  @moduledoc """
  What this machine can do of what Linx offers, and what to do about the rest.

  `mix linx.doctor` prints it; `report/0` gives it as data, for a health page or a test that decides what to run.

  Everything that changes something is tried in namespaces of a throw-away child that is parked and then dropped: the
  machine's own links, tables and mounts are not touched. Nothing is sent over a network.
  """

  alias Linx.Doctor.{Agent, Finding, Machine, Network}

  @doc """
  The findings, area by area, in the order in which they are printed. Never raises for want of a privilege, a feature or a
  part of Linx itself: that is a finding. Takes about a second. When it returns, nothing of what was tried is left, and
  no message of it came to the caller.

      for %{status: :missing} = finding <- Linx.Doctor.report(), do: {finding.area, finding.item, finding.advice}
  """
  @spec report() :: [Finding.t()]
  def report do
    # In a process of its own, which the sessions' messages go to.
    {pid, ref} =
      spawn_monitor(fn ->
        exit({:findings, Machine.findings() ++ Agent.findings() ++ Network.findings()})
      end)

    receive do
      {:DOWN, ^ref, :process, ^pid, {:findings, findings}} -> findings
      {:DOWN, ^ref, :process, ^pid, reason} -> exit(reason)
    end
  end
end
