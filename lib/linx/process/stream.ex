defmodule Linx.Process.Stream do
  @moduledoc false
  # stream/1: a session for each enumeration, owned by a reader that hands out output when it is
  # asked for it.

  alias Linx.Process.{Plan, Reader}

  @spec stream(keyword()) :: Enumerable.t()
  def stream(opts) do
    # Wrong options are found here; those that are read again at each enumeration are the caller's
    # own.
    _ = plan!(opts)
    Stream.resource(fn -> opts |> plan!() |> Reader.serve() end, &next/1, &stop/1)
  end

  defp plan!(opts) do
    case Plan.parse(opts) do
      {:ok, plan} -> plan
      {:error, reason} -> raise ArgumentError, "Linx.Process.stream/1: #{inspect(reason)}"
    end
  end

  defp next({:over, reader}), do: {:halt, reader}

  defp next(reader) do
    case Reader.next(reader) do
      {:chunks, chunks} -> {chunks, reader}
      {:ended, {:ok, outcome}} -> {[{:exit, outcome}], {:over, reader}}
      {:ended, {:error, error}} when is_exception(error) -> raise error
      {:ended, {:error, reason}} -> raise "the session is gone: #{inspect(reason)}"
    end
  end

  defp stop({:over, reader}), do: Reader.stop(reader)
  defp stop(reader), do: Reader.stop(reader)
end
