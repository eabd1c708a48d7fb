defmodule Linx.Cgroup.Reconcile.Report do
  @moduledoc """
  What a pass of `Linx.Cgroup.Reconcile` did. The fields are those of
  `Linx.Sysctl.Reconcile.Report`, with interface files for keys; `:pending` is always `[]`, since
  every file is tried.

      #Linx.Cgroup.Reconcile.Report<converged: 2 applied>
      #Linx.Cgroup.Reconcile.Report<1 applied, 1 failed>
  """

  alias Linx.Cgroup.Reconcile

  @type t :: %__MODULE__{
          converged?: boolean(),
          applied: [Reconcile.op()],
          failed: [{Reconcile.op(), Linx.Cgroup.Error.t()}],
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
      do: "#Linx.Cgroup.Reconcile.Report<#{Linx.Reconcile.ThreeWay.summary(report)}>"
  end
end
