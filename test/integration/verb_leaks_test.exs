defmodule Linx.Integration.VerbLeaksTest do
  # Each verb over and over, where it succeeds and where it fails: the VM holds afterwards what it
  # held before. Then all of them at once, with callers that are killed in the midst of a call.
  # The counts are the VM's, so nothing else may run.
  use ExUnit.Case, async: false

  import Linx.Test.Workload

  alias Linx.{Capabilities, Cgroup, Mount, Seccomp, Sysctl, User}
  alias Linx.Process, as: Session

  @moduletag :root
  @moduletag :cgroup2
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @absent 99_999_999

  setup %{tmp_dir: folder} do
    {host, host_pid} = parked([:mount, :net, :uts, :ipc])
    {guest, guest_pid} = parked([:user, :mount, :pid, :net])
    {gone, _} = parked([])
    {:ok, _} = Session.stop(gone)
    :ok = User.setup_maps(guest, uid: [{0, 0, 1}], gid: [{0, 0, 1}])

    for session <- [host, guest],
        do: :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)

    # A cgroup2 of the test's own view: its namespace is the child's.
    :ok = Mount.mount("cgroup2", folder, "cgroup2", in: host)
    cg = Path.join(inside(host_pid, folder), "linx-leaks-#{System.pid()}")
    {:ok, ^cg} = Cgroup.create(cg)
    on_exit(fn -> Cgroup.destroy(cg) end)

    %{
      host: host,
      host_pid: host_pid,
      guest: guest,
      guest_pid: guest_pid,
      gone: gone,
      cg: cg
    }
  end

  # `{name, share of the calls, calls}`; each of the calls is one that is answered as said.
  defp verbs(context) do
    %{host: host, host_pid: pid, guest: guest, guest_pid: guest_pid, gone: gone, cg: cg} = context
    tmpfs = &Mount.mount("tmpfs", &1, "tmpfs", &2)

    [
      {"mounts", 1,
       ok: fn -> tmpfs.("/mnt", in: host) end,
       ok: fn -> Mount.remount("/mnt", flags: [:bind, :ro], in: {:pid, pid}) end,
       ok: fn -> Mount.umount("/mnt", in: {:path, "/proc/#{pid}/ns/mnt"}) end},
      {"mounts that are refused", 1,
       error: fn -> tmpfs.("/no/such/place", in: host) end,
       error: fn -> tmpfs.("/no/such/place", create: true) end,
       error: fn -> tmpfs.("/no/such/place", create: true, in: host) end,
       error: fn -> tmpfs.("/mnt", root: "/no/such", in: guest) end,
       error: fn -> tmpfs.("/mnt", in: gone) end,
       error: fn -> tmpfs.("/mnt", in: {:pid, @absent}) end,
       error: fn -> tmpfs.("/mnt", in: {:path, "/etc/passwd"}) end,
       error: fn -> Mount.umount("/no/such", in: host) end,
       error: fn -> Mount.umount("/no/such", []) end,
       error: fn -> Mount.pivot_root("/", "/", in: host) end,
       error: fn -> Mount.pivot_root("/no", "/no") end,
       error: fn -> Mount.list({:path, "/no/such"}) end},
      {"mounts by the agent", 20,
       ok: fn -> Mount.mount("proc", "/mnt", "proc", in: guest) end,
       ok: fn -> Mount.umount("/mnt", in: guest) end,
       error: fn -> Mount.mount("proc", "/no/such", "proc", in: guest) end},
      {"lists", 2, ok: fn -> Mount.list(host) end, ok: fn -> Mount.list({:pid, guest_pid}) end},
      {"maps", 1,
       error: fn -> User.set_uid_map(guest, [{0, 0, 1}]) end,
       error: fn -> User.set_gid_map(@absent, [{0, 0, 1}]) end,
       ok: fn -> User.read_uid_map(guest_pid) end,
       error: fn -> User.read_uid_map(gone) end},
      {"sysctls", 1,
       ok: fn -> Sysctl.read("kernel.ostype") end,
       error: fn -> Sysctl.read("no.such.knob") end,
       ok: fn -> Sysctl.read("net.ipv4.ip_forward", in: host) end,
       ok: fn -> Sysctl.write("net.ipv4.ip_forward", 1, in: host) end,
       error: fn -> Sysctl.write("net.ipv4.ip_forward", "x", in: host) end,
       error: fn -> Sysctl.read("no.such.knob", in: host) end,
       error: fn -> Sysctl.read("kernel.ostype", in: {:pid, @absent}) end},
      {"sysctls by the agent", 20,
       ok: fn -> Sysctl.read("user.max_user_namespaces", in: guest) end,
       error: fn -> Sysctl.read("user.no_such", in: guest) end},
      {"sysctl lists", 20,
       ok: fn -> Sysctl.list("net.ipv4.conf", in: host) end,
       ok: fn -> Sysctl.list("net.ipv4.conf") end},
      {"cgroups", 1,
       ok: fn -> Cgroup.create(cg <> "/x") end,
       ok: fn -> Cgroup.stats(cg <> "/x") end,
       ok: fn -> Cgroup.freeze(cg <> "/x") end,
       ok: fn -> Cgroup.thaw(cg <> "/x") end,
       ok: fn -> Cgroup.events(cg <> "/x") end,
       error: fn -> Cgroup.write(cg <> "/x", "no.such", 1) end,
       error: fn -> Cgroup.add_process(cg <> "/x", gone) end,
       ok: fn -> Cgroup.destroy(cg <> "/x") end,
       error: fn -> Cgroup.destroy(cg <> "/x") end},
      {"capabilities", 1,
       ok: fn -> Capabilities.read(:self) end,
       ok: fn -> Capabilities.read(host) end,
       error: fn -> Capabilities.read(@absent) end,
       error: fn -> Capabilities.drop_bounding(gone, [:cap_chown]) end},
      {"filters", 1,
       ok: fn -> Seccomp.allow_list([:read, :write, :exit_group]) end,
       error: fn -> Seccomp.deny_list([:no_such_call]) end,
       error: fn -> Seccomp.from_rules({[], :no_such_action}) end}
    ]
  end

  defp held do
    # Terms that nobody holds any more keep what they stand for until they are collected.
    Enum.each(Process.list(), &:erlang.garbage_collect/1)

    %{
      descriptors: length(File.ls!("/proc/self/fd")),
      threads: length(File.ls!("/proc/self/task")),
      processes: length(Process.list()),
      ports: length(Port.list()),
      atoms: :erlang.system_info(:atom_count),
      tables: length(:ets.all()),
      children: length(String.split(File.read!("/proc/self/task/#{System.pid()}/children"))),
      messages: Process.info(self(), :message_queue_len)
    }
  end

  defp resident,
    do: File.read!("/proc/self/statm") |> String.split() |> Enum.at(1) |> String.to_integer()

  # LINX_SLOW asks for the full count.
  defp calls, do: if(Linx.Test.Host.slow?(), do: 10_000, else: 200)

  test "a verb that was called over and over leaves nothing", context do
    for {name, share, calls} <- verbs(context) do
      once = fn ->
        for {answer, call} <- calls, do: assert({name, answer} == {name, kind(call.())})
      end

      # The first calls load modules, which stay.
      for _ <- 1..10, do: once.()
      before = held()
      pages = resident()
      for _ <- 1..max(10, div(calls(), share)), do: once.()
      assert {name, held()} == {name, before}
      # 64 MiB: what the collector has not given back yet.
      assert {name, resident() - pages < 16_384} == {name, true}
    end
  end

  defp endlessly(calls) do
    Enum.random(calls).()
    endlessly(calls)
  end

  defp kind(:ok), do: :ok
  defp kind({kind, _}), do: kind

  test "fifty callers at once, killed in the midst of it, leave nothing", context do
    %{host: host, host_pid: pid} = context
    calls = for {_, _, calls} <- verbs(context), {_, call} <- calls, do: call
    for call <- calls, do: call.()
    {:ok, ours} = Mount.list()
    before = held()

    for _ <- 1..5 do
      callers =
        for _ <- 1..50, do: spawn_monitor(fn -> endlessly(calls) end)

      # Far enough for all to be at it.
      for {caller, _} <- callers,
          do: eventually(fn -> elem(Process.info(caller, :reductions), 1) > 20_000 end)

      for {caller, _} <- callers, do: Process.exit(caller, :kill)
      for {caller, ref} <- callers, do: assert_receive({:DOWN, ^ref, _, ^caller, :killed})
    end

    eventually(fn -> held() == before end)
    assert Mount.list() == {:ok, ours}

    # No thread has stayed in another namespace.
    namespaces =
      for task <- File.ls!("/proc/self/task"),
          file <- ~w(mnt net uts ipc user cgroup),
          uniq: true do
        File.read_link!("/proc/self/task/#{task}/ns/#{file}")
      end

    assert length(namespaces) == 6
    for at <- [host, {:pid, pid}], do: assert({:ok, _} = Mount.list(at))
  end
end
