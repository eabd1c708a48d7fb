defmodule Linx.Test.Probe do
  @moduledoc false
  # test/support/probe.c, compiled for this machine: a static program that makes the calls it is
  # told to.

  @source Path.join(__DIR__, "probe.c")

  @doc "Compiles the probe into `folder` and returns its path."
  @spec build!(Path.t()) :: Path.t()
  def build!(folder) do
    probe = Path.join(folder, "probe")

    flags =
      ~w(-O1 -Wall -Werror -static -nostdlib -fno-stack-protector -fno-pie -no-pie) ++
        ["-o", probe, @source]

    {"", 0} = System.cmd("cc", flags, stderr_to_stdout: true)
    probe
  end

  @doc """
  Runs the probe's `calls` in a session with `filters` and `opts`: the lines it printed, and how
  it ended.
  """
  @spec run(Path.t(), [String.t()], [Linx.Seccomp.Filter.t()], keyword()) ::
          {[String.t()], term()}
  def run(probe, calls, filters, opts \\ []) do
    {:ok, session} =
      Linx.Process.spawn(
        [argv: [probe | calls], stdio: [stdin: :devnull, stdout: :pipe, stderr: :devnull]] ++ opts
      )

    for filter <- filters, do: :ok = Linx.Seccomp.install(session, filter)
    :ok = Linx.Process.proceed(session)
    {output, ended} = collect("")
    Linx.Process.stop(session)
    {String.split(output, "\n", trim: true), ended}
  end

  defp collect(output) do
    receive do
      {:linx_process, :stdout, bytes} -> collect(output <> bytes)
      {:linx_process, :exited, code} -> {output, {:exited, code}}
      {:linx_process, :signaled, signal} -> {output, {:signaled, signal}}
      {:linx_process, :error, errno, stage} -> {output, {:error, errno, stage}}
      {:linx_process, event} when event in [:running] -> collect(output)
      {:linx_process, :ready, _pid} -> collect(output)
    after
      60_000 -> raise "the probe did not end; it printed #{inspect(output)}"
    end
  end
end
