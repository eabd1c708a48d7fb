defmodule Linx.Test.Refused do
  @moduledoc false
  # Sessions whose agent meets a system call that answers an errno, of five kinds, and what such a
  # session came to.

  import Linx.Test.Session, only: [alive?: 1, parent: 1, stat: 1]

  alias Linx.{Mount, User}
  alias Linx.Process, as: P
  alias Linx.Process.{AgentImage, Options}
  alias Linx.Test.{Poll, Scratch}

  @kinds [:plain, :init, :ids, :pivoted, :enter]

  # Until a session that meets a refusal must have come to something.
  @patience 20_000

  def kinds, do: @kinds

  @doc "Builds test/support/refuse.c: what refuses a call, and the workload."
  @spec build!() :: Path.t()
  def build! do
    folder = Scratch.path("refused")
    File.mkdir_p!(folder)
    program = Path.join(folder, "refuse")

    flags = ~w(-O1 -Wall -static -nostdlib -fno-stack-protector -fno-pie -no-pie)
    source = Path.join(__DIR__, "refuse.c")
    {"", 0} = System.cmd("cc", flags ++ ["-o", program, source], stderr_to_stdout: true)
    program
  end

  @doc "A script that becomes the agent behind `command`, to be given as the image."
  @spec image!(Path.t(), String.t()) :: Path.t()
  def image!(program, command) do
    path = program <> "-#{System.unique_integer([:positive])}"
    File.write!(path, "#!/bin/sh\nexec #{command} #{AgentImage.path()} \"$@\"\n")
    File.chmod!(path, 0o755)
    path
  end

  @doc """
  Runs a session of `kind` with `image`: `{:ok, snapshot}` for one that went to its end, what of
  it was seen from outside while it ran; or `{:error, error}`. With it what went wrong beside
  that: processes that are left, and processors that were kept busy.
  """
  @spec run(atom(), Path.t(), Path.t()) :: {{:ok, map()} | {:error, term()}, [term()]}
  def run(kind, program, image) do
    task =
      Task.async(fn ->
        Process.flag(:trap_exit, true)
        {target, opts} = prepare(kind, program)
        answer = session(kind, program, image, target, opts)
        if target, do: P.stop(target, 0)
        answer
      end)

    Task.await(task, 120_000)
  end

  # The target of `enter`, which meets no refusal.
  defp prepare(:enter, program) do
    {:ok, target} =
      P.spawn(
        argv: [program, "stub"],
        namespaces: [:pid, :uts, :ipc, :net],
        stdio: [stdin: :pipe, stdout: :devnull],
        owner: spawn(fn -> Process.sleep(:infinity) end),
        auto_proceed: true
      )

    {target, []}
  end

  defp prepare(:init, _program), do: {nil, [init: true, namespaces: [:pid]]}
  defp prepare(:ids, _program), do: {nil, [uid: 1234, gid: 4321, umask: 0o077]}
  defp prepare(:pivoted, _program), do: {nil, [namespaces: [:user, :mount, :pid]]}
  defp prepare(:plain, _program), do: {nil, []}

  defp session(kind, program, image, target, opts) do
    rootfs = if kind == :pivoted, do: rootfs!(program)
    argv = if rootfs, do: ["/stub", "stub"], else: [program, "stub"]
    opts = [argv: argv, env: ["A=1"], stdio: :pipe] ++ opts
    mode = if target, do: :enter, else: :spawn
    {:ok, options} = Options.parse(mode, opts)
    options = Map.put(options, :image, image)

    request =
      if target do
        {:ok, pid} = P.host_pid(target)
        {:enter, pid, options.request}
      else
        {:spawn, options.request}
      end

    {:ok, session} = GenServer.start_link(P, {mode, request, options})
    agent = agent(session)
    before = System.monotonic_time(:millisecond)
    answer = follow(session, rootfs)
    took = System.monotonic_time(:millisecond) - before
    ticks = if agent, do: ticks(agent), else: 0
    pid = with {:ok, pid} <- P.host_pid(session), do: pid, else: (_ -> nil)
    if Process.alive?(session), do: GenServer.stop(session)

    left =
      for pid <- [agent, pid],
          pid != nil,
          not Poll.holds?(fn -> not alive?(pid) end, 5_000),
          do: pid

    if rootfs, do: File.rm_rf!(rootfs)
    # A hundred to a second. Who waits uses none.
    busy =
      if took > 1_000 and ticks * 10 > took / 4, do: [{:busy, ticks, :ticks, took, :ms}], else: []

    {answer, for(pid <- left, do: {:left, pid}) ++ busy}
  end

  defp agent(session) do
    with %{port: port} when port != nil <- :sys.get_state(session),
         {:os_pid, pid} <- Port.info(port, :os_pid),
         do: pid,
         else: (_ -> nil)
  catch
    :exit, _ -> nil
  end

  # Processor time that the agent and its children used so far, in ticks.
  defp ticks(pid) do
    case stat(pid) do
      {:ok, fields} -> fields |> Enum.slice(11, 4) |> Enum.map(&String.to_integer/1) |> Enum.sum()
      {:error, _} -> 0
    end
  end

  defp follow(session, rootfs) do
    with :ok <- await(session, :ready),
         :ok <- set_up(session, rootfs),
         :ok <- P.proceed(session),
         :ok <- await(session, :running),
         :ok <- await(session, :up) do
      seen = snapshot(session)
      :ok = P.stdin_close(session)
      with {:ok, {:exited, 0}} <- P.wait(session, @patience), do: {:ok, seen}
    else
      # Its end says more.
      _ ->
        case P.wait(session, @patience) do
          {:error, :timeout} -> {:error, :hangs}
          {:error, error} -> {:error, error}
          {:ok, outcome} -> {:error, outcome}
        end
    end
  end

  defp await(session, what) do
    receive do
      {:linx_process, :ready, _pid} when what == :ready -> :ok
      {:linx_process, :running} when what == :running -> :ok
      {:linx_process, :stdout, "up\n"} when what == :up -> :ok
      {:linx_process, :error, _errno, _stage} -> :ended
      {:linx_process, kind, _} when kind in [:exited, :signaled] -> :ended
      {:linx_process, :aborted} -> :ended
      {:EXIT, ^session, _} -> :ended
    after
      @patience -> :late
    end
  end

  defp set_up(_session, nil), do: :ok

  defp set_up(session, rootfs) do
    map = [{0, 100_000, 65_536}]

    with :ok <- User.setup_maps(session, uid: map, gid: map),
         :ok <- Mount.bind(rootfs, rootfs, in: session),
         :ok <- Mount.mount("proc", Path.join(rootfs, "proc"), "proc", in: session),
         :ok <- Mount.pivot_root(rootfs, Path.join(rootfs, ".old"), in: session),
         do: Mount.umount("/.old", in: session, flags: [:detach])
  end

  defp rootfs!(program) do
    folder = Scratch.path("rootfs")
    for dir <- ~w(proc .old), do: File.mkdir_p!(Path.join(folder, dir))
    File.cp!(program, Path.join(folder, "stub"))
    File.chmod!(folder, 0o755)
    folder
  end

  @status ~w(Umask Uid Gid Groups SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb)

  # The state that the workload was promised, as the host sees it. Seccomp and NoNewPrivs are left
  # out: the filter that refuses shows there.
  defp snapshot(session) do
    {:ok, %{host_pid: pid, reaper_pid: reaper}} = P.info(session)

    %{
      status: status(pid),
      descriptors: pid |> descriptors() |> Enum.sort(),
      directory: directory(pid),
      environment: File.read!("/proc/#{pid}/environ"),
      leads_a_session?: session_id(pid) == pid,
      namespaces: for(kind <- ~w(user mnt pid uts ipc net), own?(pid, kind), do: kind),
      # Signals that it waits for are shown unblocked meanwhile.
      reaper:
        reaper &&
          {reaper |> status() |> Map.delete("SigBlk"), descriptors(reaper), directory(reaper),
           parent(pid) == reaper}
    }
  end

  defp status(pid) do
    for line <- File.stream!("/proc/#{pid}/status"),
        [key, value] <- [String.split(line, ":", parts: 2)],
        key in @status,
        into: %{},
        do: {key, String.trim(value)}
  end

  defp descriptors(pid), do: File.ls!("/proc/#{pid}/fd")

  defp directory(pid) do
    root = File.read_link!("/proc/#{pid}/root")
    {if(root == "/", do: "/", else: :another), File.read_link!("/proc/#{pid}/cwd") |> below(root)}
  end

  defp below(path, "/"), do: path
  defp below(path, root), do: if(String.starts_with?(path, root), do: :inside, else: path)

  defp session_id(pid) do
    {:ok, fields} = stat(pid)
    fields |> Enum.at(3) |> String.to_integer()
  end

  defp own?(pid, kind),
    do: File.read_link!("/proc/#{pid}/ns/#{kind}") != File.read_link!("/proc/self/ns/#{kind}")
end
