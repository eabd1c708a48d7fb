defmodule Linx.Tty.Program do
  @moduledoc false
  # Erlang expressions with their bindings, to be evaluated on the node of the process that they
  # are about. That node need not have this library: the expressions travel as data, and a
  # function that they make is made there.

  @timeout 5_000

  @type t :: {forms :: [tuple()], bindings :: %{atom() => term()}}

  @doc """
  The forms of an Erlang text; for module attributes, so that an error of syntax is one of
  compilation.
  """
  @spec parse!(charlist()) :: [tuple()]
  def parse!(text) do
    {:ok, tokens, _} = :erl_scan.string(text)
    {:ok, forms} = :erl_parse.parse_exprs(tokens)
    forms
  end

  @doc "The value of `program`, evaluated on the node of `pid`; `:none` when it fails there."
  @spec run(pid(), t()) :: term()
  def run(pid, program) when node(pid) == node(), do: evaluate(program)

  def run(pid, {forms, bindings}) do
    {:value, value, _} =
      :erpc.call(node(pid), :erl_eval, :exprs, [forms, bindings], 2 * @timeout)

    value
  catch
    _, _ -> :none
  end

  defp evaluate({forms, bindings}) do
    {:value, value, _} = :erl_eval.exprs(forms, bindings)
    value
  catch
    _, _ -> :none
  end
end
