defmodule Linx.Test.Workload do
  @moduledoc false
  # Sessions of Linx.Process for tests. They are linked to the test's process and end with it.

  alias Linx.Process, as: Session

  @doc "A parked child in fresh `namespaces`, and its pid."
  @spec parked([atom()], keyword()) :: {pid(), pos_integer()}
  def parked(namespaces, opts \\ []) do
    opts = Keyword.merge([argv: ["/bin/sleep", "1000"], namespaces: namespaces], opts)
    {:ok, session} = Session.spawn(opts)

    receive do
      {:linx_process, :ready, pid} -> {session, pid}
      {:linx_process, :error, errno, stage} -> raise "no child: errno #{errno} at #{stage}"
    end
  end

  @doc """
  Lets the workload run, and gives all that it wrote to its standard output and how it ended.
  """
  @spec run(pid()) :: {binary(), term()}
  def run(session) do
    :ok = Session.proceed(session)
    {:ok, outcome} = Session.wait(session)
    {output(""), outcome}
  end

  defp output(text) do
    receive do
      {:linx_process, :stdout, bytes} -> output(text <> bytes)
    after
      0 -> text
    end
  end

  @doc "A file below the root of process `pid`, as seen from outside."
  @spec inside(pos_integer(), String.t()) :: String.t()
  def inside(pid, path), do: "/proc/#{pid}/root" <> path

  @doc "Runs a command of the machine's in the namespaces of `pid` that nsenter's `flags` name."
  @spec nsenter(pos_integer(), [String.t()], [String.t()]) :: String.t()
  def nsenter(pid, flags, command) do
    {output, 0} =
      System.cmd("nsenter", ["--target", "#{pid}"] ++ flags ++ command, stderr_to_stdout: true)

    output
  end

  @doc "As `Linx.Test.Poll.until/2`."
  defdelegate eventually(check, within \\ 30_000), to: Linx.Test.Poll, as: :until
end
