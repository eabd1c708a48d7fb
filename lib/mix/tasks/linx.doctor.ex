defmodule Mix.Tasks.Linx.Doctor do
  @shortdoc "Prints what this machine can do of what Linx offers"

  @moduledoc """
  Prints what this machine can do of what Linx offers, as a table, and what to do about each gap.

      mix linx.doctor

  Run it as the user that will run the program. It tries things out in namespaces of a throw-away child and leaves the
  machine as it was. `Linx.Doctor.report/0` gives the same as data.
  """

  use Mix.Task

  @requirements ["app.config"]

  @impl true
  def run(_args) do
    findings = Linx.Doctor.report()
    width = findings |> Enum.map(&String.length(&1.item)) |> Enum.max()

    for area <- findings |> Enum.map(& &1.area) |> Enum.uniq() do
      Mix.shell().info("\n#{area}")
      for %{area: ^area} = finding <- findings, do: print(finding, width)
    end

    missing = Enum.count(findings, &(&1.status == :missing))
    Mix.shell().info("\n#{length(findings) - missing} of #{length(findings)} are there.")
  end

  defp print(finding, width) do
    mark = if finding.status == :ok, do: "ok", else: "--"
    Mix.shell().info("  #{mark}  #{String.pad_trailing(finding.item, width)}  #{finding.detail}")

    if finding.advice,
      do: Mix.shell().info("      #{String.duplicate(" ", width)}  #{finding.advice}")
  end
end
