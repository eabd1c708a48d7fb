defmodule Linx.Test.Terminal do
  @moduledoc false
  # A person at a terminal: a program on a terminal of its own (a Linx.Process session with stdio:
  # :pty), typed at and looked at by the test process. One at a time for each test process,
  # because output comes to the session's owner.

  import ExUnit.Assertions

  alias Linx.Process, as: Session

  @patience 60_000

  @doc """
  Starts `argv` on a terminal of `rows: 24, cols: 80`. Killed at the test's end, or with the
  calling process if that is not the test's (`linked: true`).
  """
  @spec start([String.t()], keyword()) :: pid()
  def start(argv, opts \\ []) do
    {:ok, session} = Session.spawn([argv: argv, stdio: :pty] ++ Keyword.take(opts, [:env, :cwd]))
    if !opts[:linked], do: ExUnit.Callbacks.on_exit(fn -> stop(session) end)
    Process.put(__MODULE__, "")
    :ok = Session.pty_set_winsize(session, {opts[:rows] || 24, opts[:cols] || 80, 0, 0})
    :ok = Session.proceed(session)
    session
  end

  # The session is linked to the test process and may be gone with it.
  defp stop(session) do
    Session.signal(session, 9)
  catch
    :exit, _ -> :ok
  end

  @doc "An iex with this library loaded, ready at its prompt."
  @spec iex(keyword()) :: pid()
  def iex(opts \\ []) do
    ebin = Application.app_dir(:linx, "ebin")
    home = opts[:home] || System.tmp_dir!()
    env = [{"HOME", home}, {"TERM", "xterm"} | opts[:env] || []]

    session =
      start([System.find_executable("iex"), "-pa", ebin] ++ (opts[:args] || []),
        env: env(env),
        rows: opts[:rows],
        cols: opts[:cols]
      )

    expect(~r/iex\([^\n]*> /)
    # One expression a prompt; no colours, no line editing of long lines.
    run(session, "IEx.configure(colors: [enabled: false], default_prompt: \"ready>\")")
    session
  end

  @doc "The environment of this VM with `changes`, as `spawn/1` takes it."
  @spec env([{String.t(), String.t()}]) :: [String.t()]
  def env(changes) do
    System.get_env()
    |> Map.merge(Map.new(changes))
    |> Enum.map(fn {name, value} -> "#{name}=#{value}" end)
  end

  @spec type(pid(), iodata()) :: :ok
  def type(session, keys), do: :ok = Session.pty_write(session, keys)

  @doc """
  Types an expression at iex's prompt and waits for the next prompt. Gives the text of `inspect/1`
  of its value.
  """
  @spec run(pid(), String.t()) :: String.t()
  def run(session, code) do
    # The marks are not in what is typed, which the terminal shows as well, more than once.
    type(session, "(#{code}) |> then(&IO.puts([60, \"1>\", inspect(&1), 60, \"2>\"]))\r")
    expect("<1>")
    value = expect("<2>")
    expect(~r/:ok\r\n.*> /s)
    value
  end

  @doc """
  Waits until the screen shows `what`; what came before it, which is then forgotten with it.
  """
  @spec expect(String.t() | Regex.t(), timeout()) :: String.t()
  def expect(what, patience \\ @patience),
    do: look(what, 0, System.monotonic_time(:millisecond) + patience)

  # `from`: bytes before it have been searched, which megabytes of output are once each.
  defp look(what, from, deadline) do
    seen = Process.get(__MODULE__)

    case find(seen, from, what) do
      {at, length} ->
        Process.put(
          __MODULE__,
          binary_part(seen, at + length, byte_size(seen) - at - length)
        )

        binary_part(seen, 0, at)

      nil ->
        receive do
          {:linx_process, :pty_out, bytes} ->
            Process.put(__MODULE__, seen <> bytes)
            look(what, searched(seen, what), deadline)

          {:linx_process, event, detail} when event in [:exited, :signaled] ->
            flunk(
              "the program #{event} (#{detail}) before #{inspect(what)}; seen: #{inspect(seen)}"
            )
        after
          max(deadline - System.monotonic_time(:millisecond), 0) ->
            flunk("no #{inspect(what)}; seen: #{inspect(seen, limit: :infinity)}")
        end
    end
  end

  defp searched(_seen, %Regex{}), do: 0
  defp searched(seen, what), do: max(byte_size(seen) - byte_size(what) + 1, 0)

  defp find(seen, 0, %Regex{} = what) do
    case Regex.run(what, seen, return: :index) do
      [found | _] -> found
      nil -> nil
    end
  end

  defp find(seen, from, what) do
    case :binary.match(seen, what, scope: {from, byte_size(seen) - from}) do
      :nomatch -> nil
      found -> found
    end
  end

  @doc """
  Presses keys until it is seen: for what a shell may miss while it is between two commands.
  """
  @spec until((-> term()), String.t(), non_neg_integer()) :: String.t()
  def until(press, what, tries \\ 100) do
    press.()

    try do
      expect(what, 200)
    rescue
      error in ExUnit.AssertionError ->
        if tries > 0, do: until(press, what, tries - 1), else: reraise(error, __STACKTRACE__)
    end
  end

  @doc "Waits until `condition` holds."
  @spec poll((-> boolean())) :: :ok
  def poll(condition) do
    unless Linx.Test.Poll.holds?(condition, @patience),
      do: flunk("it did not come to pass; seen: #{inspect(Process.get(__MODULE__))}")

    :ok
  end

  @doc "The terminal's settings, as stty(1) prints them. A word with a minus is off."
  @spec settings(pid()) :: [String.t()]
  def settings(session) do
    {:ok, pid} = Session.host_pid(session)
    {text, 0} = System.cmd("stty", ["-a", "-F", "/proc/#{pid}/fd/0"])
    ~r/-?(?:isig|icanon|echo|opost|ixon|icrnl|iexten)\b/ |> Regex.scan(text) |> Enum.concat()
  end

  @doc "Asserts that `what` is not on the screen."
  @spec refute_seen(String.t()) :: :ok
  def refute_seen(what) do
    refute Process.get(__MODULE__) =~ what
    :ok
  end
end
