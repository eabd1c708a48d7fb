defmodule Mix.Tasks.Linx.Doctor do
  @shortdoc "Prints what this machine can do of what Linx offers"

  @moduledoc """
  Prints what this machine can do of what Linx offers, as a table, and what to do about each gap.

      mix linx.doctor

  Run it as the user that will run the program. It tries things out in namespaces of a throw-away
  child and leaves the machine as it was. `Linx.Doctor.report/0` gives the same as data.
  """

  use Mix.Task

  @requirements ["app.config"]

  @impl true
  def run(_args), do: Linx.Doctor.print()
end
