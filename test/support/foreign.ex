defmodule Linx.Test.Foreign do
  @moduledoc false
  # A VM whose /proc is not that of its pid namespace, or is not there, and sessions in it whose
  # numbers are those of other processes in the /proc in view.

  alias Linx.{Capabilities, Mount, NFT, Netfilter, Sysctl, User}
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}
  alias Linx.Process, as: Session

  @doc """
  The command that starts a VM in a pid namespace of its own which sees the /proc of its parent's.
  """
  def outer_proc, do: ["unshare", "--pid", "--fork", "--kill-child"]

  @doc """
  The command that starts a VM with a tmpfs in the place of /proc, in which `script` is run first.
  """
  def no_proc(script \\ ":") do
    script = "mount -t tmpfs none /proc; #{script}; exec \"$@\""
    ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-ec", script, "sh"]
  end

  @doc """
  A parked session whose workload has `number` in the VM's pid namespace, where ns_last_pid says
  what comes next.
  """
  def parked_at!(number, opts, attempts \\ 300)
  def parked_at!(number, _opts, 0), do: raise("no session got the number #{number}")

  def parked_at!(number, opts, attempts) do
    # The agent comes first, then its child.
    File.write!("/proc/sys/kernel/ns_last_pid", "#{number - 2}")
    {:ok, session} = Session.spawn(opts)

    case Session.host_pid(session) do
      {:ok, ^number} ->
        session

      _ ->
        Session.stop(session, 0)
        parked_at!(number, opts, attempts - 1)
    end
  end

  @doc """
  The names of the verbs of `verbs/2`, each with what it gave; what raised gives
  `{:raised, text}`.
  """
  def answers(verbs) do
    for {name, verb} <- verbs do
      {name,
       try do
         verb.()
       rescue
         error -> {:raised, Exception.message(error)}
       end}
    end
  end

  @doc "Verbs that read or write in the namespaces of `place`, which `process` is, too."
  def verbs(place, process) do
    [
      uid_map: fn -> User.set_uid_map(process, [{0, 0, 1}]) end,
      deny_setgroups: fn -> User.deny_setgroups(process) end,
      gid_map: fn -> User.set_gid_map(process, [{0, 0, 1}]) end,
      read_uid_map: fn -> User.read_uid_map(process) end,
      hostname: fn -> Sysctl.write("kernel.hostname", "inner", in: place) end,
      read_hostname: fn -> Sysctl.read("kernel.hostname", in: place) end,
      forward: fn -> Sysctl.write("net.ipv4.ip_forward", 1, in: place) end,
      shm: fn -> Sysctl.write("kernel.shmmni", 77, in: place) end,
      userns: fn -> Sysctl.write("user.max_uts_namespaces", 77, in: place) end,
      last_pid: fn -> Sysctl.read("kernel.ns_last_pid", in: place) end,
      list: fn -> with {:ok, list} <- Sysctl.list("kernel", in: place), do: length(list) end,
      mount: fn -> Mount.mount("tmpfs", "/mnt", "tmpfs", data: "size=7M", in: place) end,
      proc: fn -> Mount.mount("proc", "/mnt", "proc", in: place) end,
      remount: fn -> Mount.remount("/mnt", flags: [:ro], in: place) end,
      umount: fn -> Mount.umount("/mnt", in: place) end,
      mounts: fn -> with {:ok, list} <- Mount.list(process_target(process)), do: length(list) end,
      capabilities: fn -> with {:ok, _} <- Capabilities.read(process), do: :ok end,
      link: fn -> with_socket(Rtnl.open(place), &Rtnl.Link.create_veth(&1, "in0", "in1")) end,
      links: fn -> with_socket(Rtnl.open(place), &names/1) end,
      table: fn ->
        {:ok, ruleset} = NFT.parse("table inet inner { }")
        with_socket(Nfnl.open(place), &Netfilter.push(&1, ruleset))
      end
    ]
  end

  defp process_target(pid) when is_integer(pid), do: {:pid, pid}
  defp process_target(session), do: session

  defp names(socket) do
    with {:ok, links} <- Rtnl.Link.list(socket), do: links |> Enum.map(& &1.name) |> Enum.sort()
  end

  defp with_socket({:ok, socket}, work) do
    work.(socket)
  after
    Socket.close(socket)
  end

  defp with_socket(error, _work), do: error

  @doc "Runs `argv` in the namespaces of `target`: how it ended and what it printed."
  def entered(target, argv, opts \\ []) do
    stdio = [stdin: :devnull, stdout: :pipe, stderr: :devnull]

    with {:ok, session} <-
           Session.enter(target, [argv: argv, stdio: stdio, auto_proceed: true] ++ opts) do
      outcome = Session.wait(session, 60_000)
      {outcome, Linx.Test.Session.output(:stdout)}
    end
  end

  @doc """
  A process of the machine's in fresh namespaces of `flags` (unshare(1)), which ends with the
  caller: its pid.
  """
  def stranger!(flags) do
    port =
      Port.open({:spawn_executable, System.find_executable("unshare")}, [
        :binary,
        args: flags ++ ["sh", "-c", "echo ready; exec cat"]
      ])

    receive do
      {^port, {:data, "ready\n"}} -> :ok
    after
      60_000 -> raise "the stranger does not start"
    end

    {:os_pid, pid} = Port.info(port, :os_pid)
    pid
  end

  @doc """
  What `verbs/2` would have changed in the namespaces of process `pid`, looked at from outside.
  """
  def traces(pid) do
    enter = fn command ->
      {output, 0} =
        System.cmd("nsenter", ["-t", "#{pid}", "-u", "-n", "-i"] ++ command,
          stderr_to_stdout: true
        )

      String.trim(output)
    end

    %{
      uid_map: File.read!("/proc/#{pid}/uid_map"),
      gid_map: File.read!("/proc/#{pid}/gid_map"),
      setgroups: File.read!("/proc/#{pid}/setgroups"),
      mounts: File.read!("/proc/#{pid}/mountinfo"),
      hostname: enter.(["hostname"]),
      forward: enter.(["cat", "/proc/sys/net/ipv4/ip_forward"]),
      shm: enter.(["cat", "/proc/sys/kernel/shmmni"]),
      links: enter.(["ip", "-o", "link", "show"]),
      tables: enter.(["nft", "list", "ruleset"])
    }
  end
end
