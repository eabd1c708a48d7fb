defmodule Linx.Tty.Guard do
  @moduledoc false
  # The table of the terminals that have an attach, so that each has one at a time: a claim is one
  # entry, made and dropped without a question to anybody. Named; it runs while there is an entry.
  # The changes to a terminal are those of the Linx.Tty.Hold that claims it, one process a
  # terminal.

  use GenServer

  @doc """
  Claims the terminal `key` for the calling process, until the process drops it or ends. `:busy`
  if another process has it.
  """
  @spec claim(term()) :: {:ok, guard :: pid()} | {:error, :busy}
  def claim(key), do: claim(key, 5)

  # The guard ends with the last claim, which may be now.
  defp claim(key, tries) do
    guard =
      case GenServer.start(__MODULE__, nil, name: __MODULE__) do
        {:ok, guard} -> guard
        {:error, {:already_started, guard}} -> guard
      end

    case GenServer.call(guard, {:claim, key, self()}, :infinity) do
      :ok -> {:ok, guard}
      error -> error
    end
  catch
    :exit, {reason, {GenServer, :call, _}} when reason in [:noproc, :normal] and tries > 0 ->
      claim(key, tries - 1)
  end

  @doc "Drops the calling process's claim on `key`."
  @spec drop(pid(), term()) :: :ok
  def drop(guard, key) do
    GenServer.call(guard, {:drop, key, self()}, :infinity)
  catch
    :exit, _ -> :ok
  end

  @impl true
  def init(nil), do: {:ok, %{}}

  @impl true
  def handle_call({:claim, key, holder}, _from, claims) do
    case claims do
      %{^key => _} -> {:reply, {:error, :busy}, claims}
      _ -> {:reply, :ok, Map.put(claims, key, {holder, Process.monitor(holder)})}
    end
  end

  def handle_call({:drop, key, holder}, _from, claims) do
    case Map.pop(claims, key) do
      {{^holder, ref}, rest} ->
        Process.demonitor(ref, [:flush])
        left(rest, {:reply, :ok, rest}, {:stop, :normal, :ok, rest})

      _ ->
        {:reply, :ok, claims}
    end
  end

  @impl true
  def handle_info({:DOWN, ref, _, _, _}, claims) do
    rest = Map.reject(claims, fn {_key, {_holder, monitor}} -> monitor == ref end)
    left(rest, {:noreply, rest}, {:stop, :normal, rest})
  end

  defp left(rest, on, _over) when rest != %{}, do: on

  # The name is free before the last holder is answered.
  defp left(_rest, _on, over) do
    Process.unregister(__MODULE__)
    over
  end
end
