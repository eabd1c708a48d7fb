defmodule Linx.Doctor.Probe do
  @moduledoc false
  # Each trial is made in, or on, a child that is parked and dropped.

  alias Linx.Process, as: Session

  @doc "Calls `fun` with the pid of a parked child that never runs, and ends it."
  @spec with_child(keyword(), (pos_integer() -> result)) :: result | {:error, term()}
        when result: term()
  def with_child(opts, fun) do
    with_session(opts, fn session ->
      # One that did not come so far has ended, and stop/1 tells of what.
      case Session.host_pid(session) do
        {:ok, pid} -> fun.(pid)
        {:error, _} -> Session.stop(session)
      end
    end)
  end

  @doc "Whether a child with `opts` comes as far as the checkpoint."
  @spec parks(keyword()) :: :ok | {:error, String.t()}
  def parks(opts) do
    case with_session(opts, &Session.stop/1) do
      {:ok, :aborted} -> :ok
      {:ok, other} -> {:error, text(other)}
      {:error, error} -> {:error, text(error)}
    end
  end

  @doc "A reason as a line of text."
  @spec text(term()) :: String.t()
  def text(error) when is_exception(error), do: Exception.message(error)
  def text(other), do: inspect(other)

  defp with_session(opts, fun) do
    with {:ok, session} <- Session.spawn([argv: ["/proc/self/exe"]] ++ opts) do
      ref = Process.monitor(session)

      try do
        fun.(session)
      after
        # A session stays for questions after its child has ended.
        Session.stop(session)
        Process.unlink(session)
        Process.exit(session, :shutdown)

        receive do
          {:DOWN, ^ref, :process, ^session, _} -> :ok
        end
      end
    end
  end
end
