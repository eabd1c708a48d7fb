defmodule Linx.Process.Options.Descriptors do
  @moduledoc false
  # The options :fds and :listen_fds: sockets and files of OTP, and the numbers that they get in
  # the workload.

  alias Linx.Process.Descriptors

  # The agent's descriptors::MAX, and what a process may number at most without raising
  # RLIMIT_NOFILE far.
  @max 128
  @max_number 65_535

  # sd_listen_fds(3): descriptors from 3 on; names of at most 255 characters, without a colon,
  # "unknown" if they have none.
  @first_listener 3
  @unnamed "unknown"

  @doc "The options that `parse/2` takes."
  @spec keys() :: [atom()]
  def keys, do: [:fds, :listen_fds]

  @doc "The numbers with their sources, and of listeners their names too; or `:error`."
  @spec parse(atom(), term()) :: {:ok, [tuple()]} | :error
  def parse(:fds, [_ | _] = pairs) do
    with true <- not List.improper?(pairs) and length(pairs) <= @max,
         parsed = Enum.map(pairs, &pair/1),
         false <- :error in parsed,
         true <- parsed |> Enum.map(&elem(&1, 0)) |> distinct?() do
      {:ok, parsed}
    else
      _ -> :error
    end
  end

  def parse(:listen_fds, [_ | _] = listeners) do
    with true <- not List.improper?(listeners) and length(listeners) <= @max,
         parsed = listeners |> Enum.with_index(@first_listener) |> Enum.map(&listener/1),
         false <- :error in parsed do
      {:ok, parsed}
    else
      _ -> :error
    end
  end

  def parse(_key, _value), do: :error

  @doc """
  Adds the numbers and the socket's name to `request`, and returns the sources in the order of the
  numbers.

  `{:error, reason}` where a number is given twice, or there are too many.
  """
  @spec finish(map(), map()) :: {:ok, map(), Descriptors.t() | nil} | {:error, term()}
  def finish(request, parsed) do
    fds = Map.get(parsed, :fds, [])
    listeners = Map.get(parsed, :listen_fds, [])
    all = fds ++ Enum.map(listeners, fn {number, source, _name} -> {number, source} end)
    {numbers, sources} = Enum.unzip(all)

    cond do
      all == [] -> {:ok, request, nil}
      length(all) > @max -> {:error, {:bad_fds, :too_many}}
      not distinct?(numbers) -> {:error, {:bad_fds, {:taken, numbers -- Enum.uniq(numbers)}}}
      true -> {:ok, add(request, numbers, listeners), sources}
    end
  end

  defp add(request, numbers, listeners) do
    name = :crypto.strong_rand_bytes(16)
    vm = List.to_integer(:os.getpid())
    request = Map.put(request, :fds, {"linx-" <> Base.encode16(name), vm, numbers})
    names = Enum.map_join(listeners, ":", &elem(&1, 2))
    if listeners == [], do: request, else: Map.put(request, :listen, {length(listeners), names})
  end

  defp pair({number, source}) when is_integer(number) and number in 3..@max_number do
    case Descriptors.source(source) do
      {:ok, source} -> {number, source}
      :error -> :error
    end
  end

  defp pair(_other), do: :error

  defp listener({{name, source}, number}) when is_binary(name) do
    with true <- byte_size(name) in 1..255 and name =~ ~r/\A[ -9;-~]+\z/,
         {:ok, source} <- Descriptors.source(source) do
      {number, source, name}
    else
      _ -> :error
    end
  end

  defp listener({source, number}), do: listener({{@unnamed, source}, number})

  defp distinct?(list), do: Enum.uniq(list) == list
end
