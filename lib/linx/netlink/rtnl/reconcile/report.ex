defmodule Linx.Netlink.Rtnl.Reconcile.Report do
  @moduledoc """
  What a pass of `Linx.Netlink.Rtnl.Reconcile` did.

    * `converged?` - every desired object is there, as desired and usable, and nothing of ours is
      there beside them: `failed` and `pending` are empty;
    * `applied` - the operations (`t:Linx.Netlink.Rtnl.Diff.op/0`) that were carried out, in
      order; with those that put back what went along with a deleted address;
    * `failed` - `[{operation, error}]`: with `on_error: :halt` the one that ended the pass, if
      one did, with `on_error: :continue` all. An entry on a link that is not there is
      `{{:create, entry}, {:no_link, name}}`, as it was written. An address that failed the check
      for duplicates is `{{:update, address}, :dadfailed}`. What an operation took away and could
      not put back when it failed comes behind it;
    * `pending` - operations that were not tried, and desired objects that are there and wait for
      something else: an IPv6 address until the check for duplicates is over, a route whose link
      is down or without a carrier; a link of which the kernel keeps an option otherwise than it
      was sent;
    * `last_applied` - what is ours now, to be given to the next pass. `addresses` is a `MapSet`
      of `Linx.Netlink.Rtnl.Diff.address_key/1`, `routes` one of the keys of IPv6 routes, `links`
      one of `{name, kind}`; `clocks` tells when lifetimes were set, `unkept` which options of
      links the kernel keeps otherwise than they were sent. Other routes and rules tell
      by their protocol whose they are.
    * `contested` - in the reports of a loop (`Linx.Reconcile`), the operations that something
      undoes again and again;
    * `lost` - other programs' addresses and routes that went along with a deletion and could not
      be put back.
  """

  alias Linx.Netlink.Rtnl.Diff

  @type t :: %__MODULE__{
          converged?: boolean(),
          applied: [Diff.op()],
          failed: [{Diff.op(), term()}],
          pending: [Diff.op()],
          contested: [Diff.op()],
          lost: [struct()],
          last_applied: %{optional(atom()) => term()}
        }

  defstruct converged?: true,
            applied: [],
            failed: [],
            pending: [],
            last_applied: %{},
            contested: [],
            lost: []

  defimpl Inspect do
    def inspect(%{converged?: true} = report, _opts),
      do: "#Linx.Netlink.Rtnl.Reconcile.Report<converged: #{length(report.applied)} applied>"

    def inspect(report, _opts) do
      "#Linx.Netlink.Rtnl.Reconcile.Report<#{length(report.applied)} applied, " <>
        "#{length(report.failed)} failed, #{length(report.pending)} pending>"
    end
  end
end
