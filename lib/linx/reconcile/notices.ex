defmodule Linx.Reconcile.Notices do
  @moduledoc false
  # The process that a monitor sends its notices to, in the place of the loop: it tells the loop
  # of one, and drops the others as they come until the loop has taken that. So a pass that hangs
  # does not let the loop's mailbox grow.

  @doc "Starts the process for the calling loop. It ends with the loop."
  @spec start() :: pid()
  def start do
    loop = self()
    spawn_link(fn -> idle(loop, Process.monitor(loop)) end)
  end

  @doc """
  The loop has taken the notice, whose message is `{Linx.Reconcile.Notices, pid}`: the next one is
  told again.
  """
  @spec taken(pid()) :: :ok
  def taken(pid) do
    send(pid, {__MODULE__, :taken})
    :ok
  end

  @doc "Ends the process; the caller is its loop."
  @spec stop(pid()) :: :ok
  def stop(pid) do
    send(pid, {__MODULE__, :stop})
    :ok
  end

  defp idle(loop, ref) do
    receive do
      {:DOWN, ^ref, :process, ^loop, _reason} ->
        :ok

      {__MODULE__, :stop} ->
        :ok

      {__MODULE__, :taken} ->
        idle(loop, ref)

      _notice ->
        send(loop, {__MODULE__, self()})
        told(loop, ref)
    end
  end

  defp told(loop, ref) do
    receive do
      {:DOWN, ^ref, :process, ^loop, _reason} -> :ok
      {__MODULE__, :taken} -> idle(loop, ref)
      _notice -> told(loop, ref)
    end
  end
end
