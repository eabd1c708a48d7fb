defmodule Linx.Netfilter.Dependencies.Segment do
  @moduledoc false
  # A rule cut where nft's statements end: some loads, then the one expression that uses them. A
  # dependency stands before the loads of its statement, not between them.

  alias Linx.Netfilter.Expr

  @doc false
  @spec split([Expr.t()]) :: [[Expr.t()]]
  def split(exprs), do: split(exprs, [], [])

  defp split([], [], done), do: Enum.reverse(done)
  defp split([], open, done), do: Enum.reverse([Enum.reverse(open) | done])

  defp split([expr | rest], open, done) do
    if load?(expr),
      do: split(rest, [expr | open], done),
      else: split(rest, [], [Enum.reverse([expr | open]) | done])
  end

  # A load: an expression that only writes a register. A verdict goes to register 0.
  defp load?(%Expr{data: %{sreg: _, dreg: 0}}), do: false
  defp load?(%Expr{name: :__anon_set, data: %{data_type: _, dreg: dreg}}), do: dreg != 0
  defp load?(%Expr{name: :__anon_set}), do: false
  defp load?(%Expr{name: :lookup, data: %{dreg: dreg}}), do: dreg != 0
  defp load?(%Expr{name: :immediate, data: %{dreg: dreg}}), do: dreg != 0
  defp load?(%Expr{name: :inner}), do: true
  defp load?(%Expr{data: %{dreg: _}}), do: true
  defp load?(_expr), do: false
end
