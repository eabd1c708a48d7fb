defmodule Linx.Process.Status do
  @moduledoc false
  # A session in the reports of OTP and in :sys.get_status/1: one line that names id and argv. The
  # state holds frames of the agent and input of the workload, and a message may be either:
  # neither is shown.

  alias Linx.Process.{Error, Lifecycle}

  @keys [:state, :message, :reason, :log]

  @enforce_keys [:subject]
  defstruct [:subject, :stage, :result, :host_pid]

  @spec format(map()) :: map()
  def format(status) do
    status |> Map.take(@keys) |> Map.keys() |> Enum.reduce(status, &update/2)
  end

  defp update(:state, status), do: Map.update!(status, :state, &state/1)
  defp update(:message, status), do: Map.update!(status, :message, &message/1)
  defp update(:reason, status), do: Map.update!(status, :reason, &reason/1)
  # Events of :sys.trace/2 are messages.
  defp update(:log, status), do: Map.put(status, :log, [])

  defp state(%{life: %Lifecycle{} = life}),
    do: struct!(__MODULE__, Map.take(life, [:subject, :stage, :result, :host_pid]))

  defp state(_other), do: :starting

  defp message({port, {:data, frame}}) when is_port(port), do: {:frame, byte_size(frame)}
  defp message({:feed, _reader, kind, bytes}), do: {:feed, kind, byte_size(bytes)}
  defp message({:"$gen_call", _from, request}), do: {:call, verb(request)}
  defp message({:EXIT, _pid, _reason} = message), do: message
  defp message(message) when is_atom(message), do: message
  defp message(message) when is_tuple(message), do: {:message, verb(message)}
  defp message(_message), do: :message

  defp verb(request) when is_tuple(request) and is_atom(elem(request, 0)), do: elem(request, 0)
  defp verb(request) when is_atom(request), do: request
  defp verb(_request), do: :other

  # The ends of sessions, and of OTP. Any other is a fault: the term that no clause took may be
  # the state, and so may the arguments in a trace.
  defp reason(reason) when is_atom(reason), do: reason
  defp reason({end_, _} = reason) when end_ in [:exited, :signaled, :shutdown], do: reason
  defp reason({:error, %Error{}} = reason), do: reason

  defp reason({reason, [{_, _, _, _} | _] = trace}),
    do: {kind(reason), Enum.map(trace, &entry/1)}

  defp reason(reason), do: kind(reason)

  defp kind(%{__exception__: true} = exception), do: exception.__struct__

  defp kind(reason) when is_tuple(reason) and is_atom(elem(reason, 0)),
    do: {elem(reason, 0), :hidden}

  defp kind(reason) when is_atom(reason), do: reason
  defp kind(_reason), do: :hidden

  defp entry({module, function, arguments, place}) when is_list(arguments),
    do: {module, function, length(arguments), place}

  defp entry(entry), do: entry

  defimpl Inspect do
    def inspect(status, _opts) do
      subject = Kernel.inspect(status.subject)
      pid = if status.host_pid, do: " host=#{status.host_pid}"
      String.trim_trailing(subject, ">") <> " #{ended(status)}#{pid}>"
    end

    defp ended(%{result: nil, stage: stage}), do: Kernel.inspect(stage)
    defp ended(%{result: {:error, error}}), do: Exception.message(error)
    defp ended(%{result: result}), do: Kernel.inspect(result)
  end
end
