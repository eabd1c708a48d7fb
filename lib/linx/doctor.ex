defmodule Linx.Doctor do
  @moduledoc """
  What this machine can do of what Linx offers, and what to do about the rest.

  `mix linx.doctor` prints it; `report/0` gives it as data, for a health page or a test that decides what to run.

  Everything that changes something is tried in namespaces of a throw-away child that is parked and then dropped: the
  machine's own links, tables and mounts are not touched. Nothing is sent over a network.
  """

  alias Linx.Doctor.{Finding, Machine, Network}

  @doc """
  The findings, area by area, in the order in which they are printed. Never raises for want of a privilege or a feature:
  that is a finding. Takes about a second.

      for %{status: :missing} = finding <- Linx.Doctor.report(), do: {finding.area, finding.item, finding.advice}
  """
  @spec report() :: [Finding.t()]
  def report do
    Machine.findings() ++ Network.findings()
  end
end
