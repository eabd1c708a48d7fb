defmodule Linx.Tty.SigwinchHandler do
  @moduledoc false
  # A handler on OTP's signal server (kernel(6), erl_signal_server) that tells one process that
  # the VM's terminal has another size, and that the VM was continued after a stop (its settings
  # may be another's by then). Installed as {__MODULE__, reference}, beside OTP's own handler and
  # any other attach's.

  @behaviour :gen_event

  @impl true
  def init(pid) when is_pid(pid), do: {:ok, pid}

  @impl true
  def handle_event(signal, pid) when signal in [:sigwinch, :sigcont] do
    send(pid, {:linx_tty, signal})
    {:ok, pid}
  end

  def handle_event(_signal, pid), do: {:ok, pid}

  @impl true
  def handle_call(_request, pid), do: {:ok, :ok, pid}
end
