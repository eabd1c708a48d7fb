defmodule Linx.Cgroup.Reconcile.Source do
  @moduledoc """
  The limits of a cgroup for the loop of `Linx.Reconcile`.

  The scope is the cgroup's path; the options are those of `Linx.Cgroup.Reconcile.reconcile/4`.
  The kernel gives no notice of a changed limit, so the loop goes by its timer. A loop may be
  started before its cgroup exists: the writes fail until somebody makes it. Limits that
  `reconcile/4` would raise for are a pass's `{:error, exception}`.

      {Linx.Reconcile,
       source: Linx.Cgroup.Reconcile.Source,
       scope: "/sys/fs/cgroup/myorg/web-42",
       desired: %{"pids.max" => 100}}
  """

  @behaviour Linx.Reconcile.Source

  alias Linx.Cgroup.Reconcile

  @impl true
  def reconcile(scope, desired, last_applied, opts) do
    # The loop's last description is to be corrected, not to be died of.
    with :ok <- Reconcile.check(desired),
         do: Reconcile.reconcile(scope, desired, last_applied, opts)
  end

  @impl true
  def subscribe(_scope, _owner), do: :unsupported

  @doc """
  The texts of `opts[:files]` in `scope`, by file; files that cannot be read are left out.
  """
  @impl true
  def observe(scope, opts), do: {:ok, Reconcile.observe(scope, Keyword.get(opts, :files, []))}
end
