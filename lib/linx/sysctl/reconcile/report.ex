defmodule Linx.Sysctl.Reconcile.Report do
  @moduledoc """
  What a pass of `Linx.Sysctl.Reconcile` did.

    * `:converged?` - whether nothing is left to do: no op failed.
    * `:applied` - the ops that were carried out, in order.
    * `:failed` - `{op, error}` for those that were not.
    * `:pending` - ops that were not tried. Always `[]` here, where no key depends on another; the
      reports of all subsystems have the same fields.
    * `:last_applied` - to give to the next pass.
    * `:contested` - in the reports of a loop (`Linx.Reconcile`), the ops that something undoes
      again and again.

  `inspect/1` counts:

      #Linx.Sysctl.Reconcile.Report<converged: 3 applied>
      #Linx.Sysctl.Reconcile.Report<2 applied, 1 failed>
  """

  alias Linx.Sysctl.Reconcile

  @type t :: %__MODULE__{
          converged?: boolean(),
          applied: [Reconcile.op()],
          failed: [{Reconcile.op(), Linx.Sysctl.failure() | {:bad_value, term()}}],
          pending: [Reconcile.op()],
          contested: [Reconcile.op()],
          last_applied: Reconcile.last_applied()
        }

  defstruct converged?: true,
            applied: [],
            failed: [],
            pending: [],
            last_applied: %{},
            contested: []

  defimpl Inspect do
    def inspect(report, _opts),
      do: "#Linx.Sysctl.Reconcile.Report<#{Linx.Reconcile.ThreeWay.summary(report)}>"
  end
end
