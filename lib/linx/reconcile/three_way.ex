defmodule Linx.Reconcile.ThreeWay do
  @moduledoc false
  # The comparison that the reconcilers of independent knobs share: a map of desired values, one
  # of observed values, and one of installed values. The third distinguishes a knob that this
  # reconciler set and that is no longer desired from one that somebody else set.

  @type key :: String.t()
  @type value :: term()
  @type ownership :: %{applied: value(), original: binary() | nil}
  @type owned :: %{optional(key()) => ownership()}
  @type op :: {:set, key(), value()} | {:revert, key(), binary()} | {:release, key()}

  @doc """
  The ops that make `observed` agree with `desired`: the sets, then the releases, each by key.

  `same?` says of a key whether an observed text is a desired value.
  """
  @spec ops(
          %{optional(key()) => binary()},
          %{optional(key()) => value()},
          owned(),
          boolean(),
          (key(), binary(), value() -> boolean())
        ) :: [op()]
  def ops(observed, desired, owned, revert?, same?) do
    sets =
      for {key, value} <- Enum.sort(desired), not converged?(observed, key, value, same?) do
        {:set, key, value}
      end

    releases =
      for {key, ownership} <- Enum.sort(owned), not is_map_key(desired, key) do
        if revert? and ownership.original != nil,
          do: {:revert, key, ownership.original},
          else: {:release, key}
      end

    sets ++ releases
  end

  defp converged?(observed, key, value, same?) do
    case observed do
      %{^key => text} -> same?.(key, text, value)
      _ -> false
    end
  end

  @doc """
  Tries every op: the fields of a report. `write` is given a key and a value; a release writes
  nothing.
  """
  @spec apply([op()], map(), owned(), (key(), value() -> :ok | {:error, term()})) :: keyword()
  def apply(ops, observed, owned, write) do
    {applied, failed, owned} =
      Enum.reduce(ops, {[], [], owned}, fn op, {applied, failed, owned} ->
        case carry_out(op, write) do
          :ok -> {[op | applied], failed, own(owned, op, observed)}
          {:error, reason} -> {applied, [{op, reason} | failed], owned}
        end
      end)

    [
      converged?: failed == [],
      applied: Enum.reverse(applied),
      failed: Enum.reverse(failed),
      pending: [],
      last_applied: owned
    ]
  end

  defp carry_out({:set, key, value}, write), do: write.(key, value)
  defp carry_out({:revert, key, original}, write), do: write.(key, original)
  defp carry_out({:release, _key}, _write), do: :ok

  # The original is what was there before our first write, however many follow.
  defp own(owned, {:set, key, value}, observed) do
    Map.update(
      owned,
      key,
      %{applied: value, original: Map.get(observed, key)},
      &%{&1 | applied: value}
    )
  end

  defp own(owned, released, _observed), do: Map.delete(owned, elem(released, 1))

  @doc "What a report's Inspect says between the angle brackets."
  @spec summary(map()) :: String.t()
  def summary(report) do
    applied = "#{length(report.applied)} applied"

    if report.converged? do
      "converged: " <> applied
    else
      "#{applied}, #{length(report.failed)} failed#{pending(report.pending)}"
    end
  end

  defp pending([]), do: ""
  defp pending(ops), do: ", #{length(ops)} pending"
end
