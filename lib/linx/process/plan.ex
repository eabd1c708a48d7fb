defmodule Linx.Process.Plan do
  @moduledoc false
  # The options of run/1 and stream/1: their own three, and those of spawn/1 with pipes where the
  # caller names nothing.

  alias Linx.Process.Options

  @own [:input, :timeout, :max_output]

  @type t() :: %__MODULE__{
          options: Options.t(),
          feed: :stdin | :pty | nil,
          input: binary(),
          timeout: timeout(),
          max_output: non_neg_integer() | :infinity
        }

  @enforce_keys [:options]
  defstruct [:options, :feed, input: "", timeout: :infinity, max_output: :infinity]

  @doc "Checks `opts`; `{:error, reason}` names the first that is wrong, as spawn/1 does."
  @spec parse(keyword()) :: {:ok, t()} | {:error, term()}
  def parse(opts) do
    with true <- Keyword.keyword?(opts) || {:error, {:bad_options, opts}},
         {own, opts} = Keyword.split(opts, @own),
         {:ok, input} <- input(own[:input]),
         {:ok, timeout} <- limit(:timeout, Keyword.get(own, :timeout, :infinity), 0xFFFFFFFF),
         {:ok, most} <- limit(:max_output, Keyword.get(own, :max_output, :infinity), :infinity),
         :ok <- no_session(opts),
         {:ok, options} <- Options.parse(:spawn, opts |> stdio(input) |> session(), @own),
         {:ok, feed} <- feed(options, input) do
      {:ok,
       %__MODULE__{
         options: options,
         feed: feed,
         input: input || "",
         timeout: timeout,
         max_output: most
       }}
    end
  end

  defp input(nil), do: {:ok, nil}

  defp input(iodata) do
    {:ok, IO.iodata_to_binary(iodata)}
  rescue
    ArgumentError -> {:error, {:bad_input, iodata}}
  end

  defp limit(_key, :infinity, _most), do: {:ok, :infinity}

  # Atoms are above all integers.
  defp limit(_key, value, most) when is_integer(value) and value >= 0 and value <= most,
    do: {:ok, value}

  defp limit(key, value, _most), do: {:error, {:"bad_#{key}", value}}

  # The reader owns the session and goes past the checkpoint.
  defp no_session(opts) do
    cond do
      Keyword.has_key?(opts, :owner) -> {:error, {:bad_option, :owner}}
      Keyword.has_key?(opts, :linger) -> {:error, {:bad_option, :linger}}
      # An enumeration comes later, and from another process than the files' owner.
      Keyword.has_key?(opts, :fds) -> {:error, {:bad_option, :fds}}
      Keyword.has_key?(opts, :listen_fds) -> {:error, {:bad_option, :listen_fds}}
      opts[:auto_proceed] == false -> {:error, {:bad_auto_proceed, false}}
      true -> :ok
    end
  end

  defp session(opts), do: Keyword.put(opts, :auto_proceed, true)

  defp stdio(opts, input) do
    default = [
      stdin: if(input == nil, do: :devnull, else: :pipe),
      stdout: :pipe,
      stderr: :pipe
    ]

    case opts[:stdio] do
      nil -> if opts[:pty] == nil, do: Keyword.put(opts, :stdio, default), else: opts
      given -> if Keyword.keyword?(given), do: merge(opts, default, given), else: opts
    end
  end

  defp merge(opts, default, given),
    do: Keyword.put(opts, :stdio, Keyword.merge(default, Enum.uniq_by(given, &elem(&1, 0))))

  # A standard input without a writer is closed at once: the workload reads end of file.
  defp feed(%{stdin?: true}, _input), do: {:ok, :stdin}
  defp feed(%{pty?: true}, nil), do: {:ok, nil}
  defp feed(%{pty?: true}, _input), do: {:ok, :pty}
  defp feed(_options, nil), do: {:ok, nil}
  defp feed(_options, _input), do: {:error, {:bad_input, :no_pipe}}
end
