defmodule Linx.Process.Signals do
  @moduledoc false
  # Signals by name: asm-generic/signal.h, which every architecture but mips, alpha, sparc and
  # parisc has.

  @names ~w(hup int quit ill trap abrt bus fpe kill usr1 segv usr2 pipe alrm term stkflt chld cont
            stop tstp ttin ttou urg xcpu xfsz vtalrm prof winch io pwr sys)a
         |> Enum.with_index(1)
         |> Map.new()

  # _NSIG.
  @last 64

  @doc "The number of a signal that is given by number or name."
  @spec number(term()) :: {:ok, pos_integer()} | {:error, {:bad_signal, term()}}
  def number(signal) when is_integer(signal) and signal in 1..@last, do: {:ok, signal}

  def number(name) when is_map_key(@names, name), do: {:ok, Map.fetch!(@names, name)}
  def number(other), do: {:error, {:bad_signal, other}}
end
