defmodule Linx.Sysctl.Reconcile.Source do
  @moduledoc """
  Sysctls for the loop of `Linx.Reconcile`.

  The scope is the `:in` of `Linx.Sysctl`: `:self`, `{:pid, n}`, `{:path, path}` or a session. The
  options are those of `Linx.Sysctl.Reconcile.reconcile/3`. The kernel gives no notice of a
  changed sysctl, so the loop goes by its timer.

      {Linx.Reconcile,
       source: Linx.Sysctl.Reconcile.Source,
       scope: :self,
       desired: %{"net.ipv4.ip_forward" => 1},
       reconcile_opts: [revert_on_release: true]}
  """

  @behaviour Linx.Reconcile.Source

  alias Linx.Sysctl.Reconcile

  @impl true
  def reconcile(scope, desired, last_applied, opts) when is_map(desired),
    do: Reconcile.reconcile(desired, last_applied, Keyword.put(opts, :in, scope))

  # The loop's last description is to be corrected, not to be died of.
  def reconcile(_scope, desired, _last_applied, _opts) do
    {:error, %ArgumentError{message: "not a map of sysctls: #{inspect(desired)}"}}
  end

  @impl true
  def subscribe(_scope, _owner), do: :unsupported

  @doc """
  The values of `opts[:keys]` in `scope`, by key; keys that cannot be read are left out.
  """
  @impl true
  def observe(scope, opts), do: {:ok, Reconcile.observe(Keyword.get(opts, :keys, []), in: scope)}
end
