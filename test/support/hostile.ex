defmodule Linx.Test.Hostile do
  @moduledoc false
  # A container whose workload is test/support/attack.c, and what it gets out of the processes of
  # ours that stand in it. It runs in a VM of its own, whose environment holds a token and whose
  # files lie outside the container's root.
  #
  # Settings: `:userns`, root of a user namespace; `:identity`, the same whose ids are those
  # outside; `:docker`, root without one and with the capabilities that Docker gives; `:all`, root
  # with every capability; `:rootless`, the container of an ordinary user.

  alias Linx.{Capabilities, Mount, User}
  alias Linx.Process, as: P
  alias Linx.Test.{Scratch, Vm}

  @token "plum-and-lemon-of-the-vm"
  @secret "linx-secret of a file outside"

  # The frame that attack.c sends, which has to arrive unchanged.
  @frame <<131, 104, 3, 119, 6, "status", 119, 6, "exited", 97, 42, 0>>

  # docs.docker.com names them as granted by default.
  @docker ~w(cap_chown cap_dac_override cap_fsetid cap_fowner cap_mknod cap_net_raw cap_setgid
             cap_setuid cap_setfcap cap_setpcap cap_net_bind_service cap_sys_chroot cap_kill
             cap_audit_write)a

  @type result() :: {role :: atom(), attack :: String.t(), result :: String.t()}

  @doc "The attacker, compiled for this machine as a static program."
  @spec attacker!() :: Path.t()
  def attacker! do
    path = Scratch.path("attack")
    source = Path.join(__DIR__, "attack.c")
    {"", 0} = System.cmd("cc", ~w(-O1 -Wall -static -o #{path} #{source}), stderr_to_stdout: true)
    path
  end

  @doc "Runs `scenario` of this module in the VM that `setting` needs."
  @spec run(atom(), atom(), keyword()) :: [result()]
  def run(setting, scenario, opts) do
    user = if setting == :rootless, do: Vm.ordinary_user(), else: []
    # The VM has a token in its environment and a key in its session keyring.
    wrapper = user ++ [opts[:attacker], "key", "env", "LINX_TOKEN=#{@token}"]
    opts = [setting: setting] ++ opts

    code =
      quote do
        apply(Linx.Test.Hostile, var!(scenario), [var!(opts)])
      end

    Vm.eval(wrapper, code, scenario: scenario, opts: opts)
  end

  # -- scenarios: each gives what the attacker got -----------------------------------------------

  @doc "The container's own processes of ours: its reaper where it has one."
  def spawned(opts) do
    in_container(opts, fn container ->
      [reaper: reaper_inside(container.session)] |> attack(container)
    end)
  end

  @doc "A visitor at its checkpoint and, with `init: true`, its reaper, seen from the container."
  def visited(opts) do
    in_container(opts, fn container ->
      visitor = visitor(container, opts)
      roles = [parked: parked_inside(visitor), visitor_reaper: reaper_inside(visitor)]
      parked = attack(roles, container)
      :ok = P.proceed(visitor)
      await(:visitor, :running)
      running = attack([visitor_reaper: reaper_inside(visitor)], container)
      {:ok, _} = P.stop(visitor, 0)
      parked ++ running ++ overwrite(container, roles)
    end)
  end

  @doc "The visitor attacks what it finds: the container's reaper and its own."
  def visiting(opts) do
    in_container(opts, fn container ->
      visitor = visitor(container, opts)
      :ok = P.proceed(visitor)
      await(:visitor, :running)
      roles = [reaper: reaper_inside(container.session), visitor_reaper: reaper_inside(visitor)]
      attack(roles, %{container | session: visitor, from: :visitor})
    end)
  end

  @doc """
  A process of the host's that entered without any of the protections: what every attack is there
  to get.
  """
  def control(opts) do
    in_container(opts, fn container ->
      {:ok, pid} = P.host_pid(container.session)
      user = if opts[:setting] in [:userns, :identity, :rootless], do: ["--user"], else: []

      # A copy that its user may write, at work in a directory outside, with a descriptor of that
      # and one of a pipe.
      victim = Path.join(container.folder, "busybox")
      script = "exec '#{victim}' sleep 600 7</ 8>&1 | cat >/dev/null"

      port =
        Port.open({:spawn_executable, System.find_executable("nsenter")}, [
          :exit_status,
          args: ["--target", "#{pid}", "--pid"] ++ user ++ ["sh", "-c", script]
        ])

      host_pid = await_victim(victim)
      pid_inside = List.last(ns_pids(host_pid))
      found = attack([control: pid_inside], container)
      {_, 0} = System.cmd("kill", ["-9", "#{host_pid}"])

      receive do
        {^port, {:exit_status, _status}} -> :ok
      end

      found ++ overwrite(container, control: pid_inside)
    end)
  end

  # -- the container -----------------------------------------------------------------------------

  defp in_container(opts, fun) do
    folder = Scratch.path("hostile")
    rootfs = Path.join(folder, "rootfs")
    for dir <- ~w(bin proc tmp dev .old), do: File.mkdir_p!(Path.join(rootfs, dir))
    File.cp!(opts[:attacker], Path.join(rootfs, "bin/attack"))
    File.cp!(System.find_executable("busybox"), Path.join(folder, "busybox"))
    File.chmod!(Path.join(folder, "busybox"), 0o777)
    File.write!(Path.join(folder, "secret"), @secret)
    # Whoever gets here by way of a process of ours may do what it likes.
    File.chmod!(folder, 0o777)
    container = start(folder, rootfs, opts)

    try do
      fun.(container)
    after
      P.stop(container.session, 0)
      File.rm_rf!(folder)
    end
  end

  defp start(folder, rootfs, opts) do
    owner = self()
    relay = spawn_link(fn -> relay(owner, :container) end)
    setting = opts[:setting]
    user = if setting in [:userns, :identity, :rootless], do: [:user], else: []

    {:ok, session} =
      P.spawn(
        argv: ["/bin/attack"],
        namespaces: user ++ [:pid, :mount, :uts, :ipc, :net],
        env: {:clean, []},
        stdio: :pipe,
        owner: relay,
        init: opts[:init]
      )

    maps(session, setting)
    :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)
    :ok = Mount.bind(rootfs, rootfs, in: session)
    :ok = Mount.mount("proc", Path.join(rootfs, "proc"), "proc", in: session)
    :ok = Mount.pivot_root(rootfs, Path.join(rootfs, ".old"), in: session)
    :ok = Mount.umount("/.old", in: session, flags: [:detach])
    if setting == :docker, do: :ok = Capabilities.drop_bounding(session, not_dockers())
    :ok = P.proceed(session)

    # A visitor may be there first, and a reaper gives up what it has before its workload runs,
    # not before a visitor does.
    await(:container, :running)
    container = %{session: session, folder: folder, from: :container}
    hello(container)
    container
  end

  defp maps(session, :userns) do
    map = [{0, 100_000, 65_536}]
    :ok = User.setup_maps(session, uid: map, gid: map)
  end

  defp maps(session, :identity) do
    map = [{0, 0, 65_536}]
    :ok = User.setup_maps(session, uid: map, gid: map)
  end

  defp maps(session, :rootless) do
    map = [{0, 1000, 1}]
    :ok = User.setup_maps(session, uid: map, gid: map)
  end

  defp maps(_session, _setting), do: :ok

  defp not_dockers, do: Enum.to_list(Capabilities.Constants.all()) -- @docker

  defp visitor(container, opts) do
    owner = self()
    relay = spawn_link(fn -> relay(owner, :visitor) end)

    {:ok, visitor} =
      P.enter(container.session,
        argv: ["/bin/attack"],
        env: {:clean, []},
        stdio: :pipe,
        owner: relay,
        init: opts[:visitor_init] || false
      )

    await(:visitor, :ready)
    if opts[:setting] == :docker, do: :ok = Capabilities.drop_bounding(visitor, not_dockers())
    visitor
  end

  # The events of each session under its own name.
  defp relay(owner, name) do
    receive do
      {:linx_process, :ready, _pid} -> send(owner, {name, :ready})
      {:linx_process, :running} -> send(owner, {name, :running})
      {:linx_process, :stdout, bytes} -> send(owner, {name, bytes})
      {:linx_process, kind, code} -> send(owner, {name, {:ended, kind, code}})
      {:linx_process, :error, errno, stage} -> send(owner, {name, {:ended, :error, errno, stage}})
    end

    relay(owner, name)
  end

  defp await(from, event) do
    receive do
      {^from, ^event} -> :ok
      {^from, ended} when elem(ended, 0) == :ended -> raise "ended as #{inspect(ended)}"
    after
      60_000 -> raise "no #{event} of the #{from}"
    end
  end

  # -- the attack --------------------------------------------------------------------------------

  defp hello(%{session: session, folder: folder}) do
    told = ["path ", Path.join(folder, "secret"), "\ntoken ", String.reverse(@token), "\n"]
    :ok = P.stdin_write(session, IO.iodata_to_binary(told))
  end

  defp attack(roles, container) do
    roles = Enum.reject(roles, fn {_role, pid} -> pid == nil end)
    if container.from == :visitor, do: hello(container)
    numbers = Enum.map_join(roles, " ", fn {_role, pid} -> "#{pid}" end)
    round(container, if(numbers == "", do: "go 0", else: "go #{numbers}"), roles)
  end

  @doc "Writes to the programs that were held in the last round."
  def overwrite(container, roles), do: round(container, "overwrite", roles)

  defp round(container, command, roles) do
    :ok = P.stdin_write(container.session, command <> "\n")
    by_pid = Map.new(roles, fn {role, pid} -> {pid, role} end)

    for line <- lines(container.from, ""),
        line not in ["up", "done"],
        not String.contains?(line, @frame) do
      [pid, attack, result] = String.split(line, " ", parts: 3)
      {Map.get(by_pid, String.to_integer(pid), :itself), attack, result}
    end
  end

  defp lines(from, seen) do
    if String.ends_with?(seen, "done\n") do
      String.split(seen, "\n", trim: true)
    else
      receive do
        {^from, bytes} when is_binary(bytes) ->
          lines(from, seen <> bytes)

        {^from, ended} when elem(ended, 0) == :ended ->
          raise("ended as #{inspect(ended)}: #{seen}")
      after
        60_000 -> raise("no end of a round: #{seen}")
      end
    end
  end

  # -- who is who --------------------------------------------------------------------------------

  defp reaper_inside(session) do
    {:ok, info} = P.info(session)
    with pid when pid != nil <- Map.get(info, :reaper_pid), do: List.last(ns_pids(pid))
  end

  defp parked_inside(session) do
    {:ok, pid} = P.host_pid(session)
    List.last(ns_pids(pid))
  end

  defp ns_pids(pid) do
    [_, numbers] = Regex.run(~r/^NSpid:\s*(.*)$/m, File.read!("/proc/#{pid}/status"))
    numbers |> String.split() |> Enum.map(&String.to_integer/1)
  end

  defp await_victim(victim) do
    Linx.Test.Poll.until(fn -> victim_pid(victim) != nil end)
    victim_pid(victim)
  end

  defp victim_pid(victim) do
    Enum.find_value(File.ls!("/proc"), fn name ->
      with true <- name =~ ~r/^\d+$/,
           {:ok, ^victim} <- File.read_link("/proc/#{name}/exe"),
           do: String.to_integer(name),
           else: (_ -> nil)
    end)
  end
end
