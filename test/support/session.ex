defmodule Linx.Test.Session do
  @moduledoc false
  # Sessions in tests: run to the end, collect output, wait with a deadline.

  import ExUnit.Assertions
  import Linx.Test.Poll, only: [patience: 0]

  alias Linx.Process, as: P

  @doc "Runs `argv` with pipes to its end: the outcome, standard output and standard error."
  def run(argv, opts \\ []) do
    {:ok, session} = P.spawn(opts ++ [argv: argv, stdio: :pipe, auto_proceed: true])
    P.stdin_close(session)
    outcome = P.wait(session, patience())
    {outcome, output(:stdout), output(:stderr)}
  end

  @doc "What has arrived of one stream, joined."
  def output(stream, parts \\ []) do
    receive do
      {:linx_process, ^stream, bytes} when is_binary(bytes) -> output(stream, [bytes | parts])
    after
      0 -> parts |> Enum.reverse() |> IO.iodata_to_binary()
    end
  end

  @doc "Output until it holds `text`."
  def output_until(stream, text, seen \\ "") do
    if String.contains?(seen, text) do
      seen
    else
      receive do
        {:linx_process, ^stream, bytes} when is_binary(bytes) ->
          output_until(stream, text, seen <> bytes)
      after
        patience() -> flunk("no #{inspect(text)} in #{inspect(seen)}")
      end
    end
  end

  @doc "A session at the checkpoint, and its pid."
  def parked(opts) do
    {:ok, session} = P.spawn(opts)
    assert_receive {:linx_process, :ready, pid}
    {session, pid}
  end

  @doc "A session whose workload executes, and its pid."
  def running(opts) do
    {session, pid} = parked(opts)
    :ok = P.proceed(session)
    assert_receive {:linx_process, :running}
    {session, pid}
  end

  @doc "As `Linx.Test.Poll.until/2`."
  defdelegate until(condition, within), to: Linx.Test.Poll

  @doc "As `Linx.Test.Poll.until/1`."
  defdelegate until(condition), to: Linx.Test.Poll

  @doc "Takes every message out of the mailbox."
  def flush do
    receive do
      _ -> flush()
    after
      0 -> :ok
    end
  end

  @doc "Whether a process runs: not absent, not a zombie."
  def alive?(pid) do
    case File.read("/proc/#{pid}/stat") do
      {:ok, stat} -> not (stat =~ ~r/\) [ZX] /)
      {:error, _reason} -> false
    end
  end

  @doc "Pids of the processes whose environment holds `entry`."
  def with_environment(entry) do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        {:ok, environment} <- [File.read("/proc/#{name}/environ")],
        entry in String.split(environment, <<0>>),
        do: String.to_integer(name)
  end

  @doc "The parent of a process."
  def parent(pid) do
    {:ok, [_state, parent | _]} = stat(pid)
    String.to_integer(parent)
  end

  @doc "The fields of `/proc/<pid>/stat` from the state on, which follow the command's name."
  def stat(pid) do
    with {:ok, text} <- File.read("/proc/#{pid}/stat") do
      [_, fields] = Regex.run(~r/.*\) (.*)/s, text)
      {:ok, String.split(fields)}
    end
  end
end
