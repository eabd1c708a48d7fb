defmodule Linx.Netlink.Rtnl.Reconcile.Report do
  @moduledoc """
  What a pass of `Linx.Netlink.Rtnl.Reconcile` did.

    * `converged?` - nothing failed and nothing is left to do;
    * `applied` - the operations (`t:Linx.Netlink.Rtnl.Diff.op/0`) that were carried out, in order;
    * `failed` - `[{operation, error}]`, the one that ended the pass, if one did;
    * `pending` - those after it, which were not tried;
    * `last_applied` - what is ours now, to be given to the next pass: `%{addresses: MapSet}` of
      `Linx.Netlink.Rtnl.Diff.address_key/1`. Routes know by their protocol whose they are.
    * `contested` - in the reports of a loop (`Linx.Reconcile`), the operations that something undoes again and again.
  """

  alias Linx.Netlink.Rtnl.Diff

  @type t :: %__MODULE__{
          converged?: boolean(),
          applied: [Diff.op()],
          failed: [{Diff.op(), term()}],
          pending: [Diff.op()],
          contested: [Diff.op()],
          last_applied: %{optional(:addresses) => MapSet.t()}
        }

  defstruct converged?: true,
            applied: [],
            failed: [],
            pending: [],
            last_applied: %{},
            contested: []

  defimpl Inspect do
    def inspect(%{converged?: true} = report, _opts),
      do: "#Linx.Netlink.Rtnl.Reconcile.Report<converged: #{length(report.applied)} applied>"

    def inspect(report, _opts) do
      "#Linx.Netlink.Rtnl.Reconcile.Report<#{length(report.applied)} applied, " <>
        "#{length(report.failed)} failed, #{length(report.pending)} pending>"
    end
  end
end
