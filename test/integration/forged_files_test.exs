defmodule Linx.Integration.ForgedFilesTest do
  use ExUnit.Case, async: true

  # A tmpfs with plain files in the place of /proc and of /sys/fs/cgroup: nothing is believed,
  # nothing is written to. And namespace files of the wrong kind.
  #
  # Broken by hand: check_filesystem that answers Ok for every type; Kinds.of/1 that knows no
  # kind.

  alias Linx.{Capabilities, Cgroup, Mount, Sysctl, User}
  alias Linx.Test.Vm

  @moduletag :root

  defp forged do
    script = """
    mkdir -p "$FORGED"; mount -t tmpfs none "$FORGED"
    mkdir -p "$FORGED"/proc/sys/kernel "$FORGED"/proc/sys/net/ipv4 "$FORGED"/proc/self \
    "$FORGED"/cgroup/x
    for file in sys/kernel/hostname sys/kernel/ostype sys/net/ipv4/ip_forward; do
      echo forged >"$FORGED/proc/$file"
    done
    echo '1 0 0:1 / /forged rw - tmpfs none rw' >"$FORGED"/proc/self/mountinfo
    printf 'Seccomp:\\t2\\nCapInh:\\t0\\nCapPrm:\\t0\\n\
    CapEff:\\t0\\nCapBnd:\\t0\\nCapAmb:\\t0\\n' \
    >"$FORGED"/proc/self/status
    cp "$FORGED"/proc/self/status "$FORGED"/proc/self/uid_map
    echo 7 >"$FORGED"/cgroup/x/memory.max
    echo populated 1 >"$FORGED"/cgroup/x/cgroup.events
    echo 0 >"$FORGED"/cgroup/x/cgroup.kill
    mount --bind "$FORGED"/cgroup /sys/fs/cgroup
    mount --bind "$FORGED"/proc /proc
    exec "$@"
    """

    folder = Linx.Test.Scratch.path("forged")
    on_exit(fn -> File.rm_rf!(folder) end)

    ["env", "FORGED=#{folder}", "unshare", "--mount", "--uts", "--propagation", "private"] ++
      ["sh", "-ec", script, "sh"]
  end

  test "no verb believes a forged /proc or cgroup, and no loop converges on it" do
    code =
      quote do
        cg = "/sys/fs/cgroup/x"
        desired = %{"net.ipv4.ip_forward" => 1}
        {:ok, pass} = Sysctl.Reconcile.reconcile(desired)
        {:ok, groups} = Cgroup.Reconcile.reconcile(cg, %{"memory.max" => 9})

        answers = [
          Sysctl.read("kernel.hostname"),
          Sysctl.write("net.ipv4.ip_forward", 1),
          Sysctl.list("kernel"),
          Mount.list(),
          Mount.list({:path, "/proc/self/mountinfo"}),
          Capabilities.read(:self),
          Cgroup.read(cg, "memory.max"),
          Cgroup.write(cg, "memory.max", 9),
          Cgroup.events(cg),
          Cgroup.kill(cg)
        ]

        supported =
          for module <- [Sysctl, User, Cgroup, Linx.Seccomp, Capabilities],
              do: module.supported?()

        {answers, supported, pass.converged?, pass.applied, groups.converged?,
         File.read!("/proc/sys/net/ipv4/ip_forward"), File.read!(cg <> "/memory.max")}
      end

    {answers, supported, converged, applied, groups, forward, memory} = Vm.eval(forged(), code)

    for answer <- answers do
      assert {:error, reason} = answer
      told = with %{errno: errno} <- reason, do: errno
      assert {answer, told in [:exdev, :not_cgroup2]} == {answer, true}
    end

    assert supported == [false, false, false, false, false]
    assert {converged, applied, groups} == {false, [], false}
    assert {forward, memory} == {"forged\n", "7\n"}
  end

  describe "a namespace file of another kind" do
    @kinds %{net: "net", uts: "uts", ipc: "ipc", user: "user", pid: "pid"}
    @keys [
      {"kernel.hostname", "wrong", :uts},
      {"kernel.domainname", "wrong", :uts},
      {"net.ipv4.ip_forward", 1, :net},
      {"kernel.shmmni", 78, :ipc},
      {"kernel.shm_rmid_forced", 1, :ipc},
      {"kernel.msgmni", 78, :ipc},
      {"kernel.sem", [1, 2, 3, 4], :ipc},
      {"fs.mqueue.queues_max", 78, :ipc},
      {"user.max_uts_namespaces", 78, :user},
      {"kernel.ns_last_pid", 300, :pid}
    ]

    test "sysctl refuses it before anything is written" do
      code =
        quote do
          kinds = unquote(Macro.escape(@kinds))

          {:ok, session} =
            Linx.Process.spawn(argv: ["/bin/sleep", "600"], namespaces: Map.keys(kinds))

          {:ok, pid} = Linx.Process.host_pid(session)
          :ok = Linx.User.setup_maps(session, uid: [{0, 0, 1}], gid: [{0, 0, 1}])
          file = fn kind -> "/proc/#{pid}/ns/#{kinds[kind]}" end

          for {key, value, right} <- unquote(Macro.escape(@keys)), kind <- Map.keys(kinds) do
            place = {:path, file.(kind)}
            before = Sysctl.read(key)
            write = Sysctl.write(key, value, in: place)
            path = "/proc/sys/" <> String.replace(key, ".", "/")
            native = Sysctl.Native.write_in_ns(path, "77", [file.(kind)])
            read = Sysctl.read(key, in: place)
            after_all = Sysctl.read(key)
            same = key == "kernel.ns_last_pid" or before == after_all
            {key, kind, kind == right, write, native, read, same}
          end
        end

      wrapper = ["unshare", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]

      for {key, kind, right, write, native, read, same} <-
            Vm.eval(wrapper ++ ["--mount-proc"], code) do
        assert {key, kind, same} == {key, kind, true}

        if right do
          assert {key, kind, write} in [{key, kind, :ok}, {key, kind, elem({write}, 0)}]
        else
          assert {^key, ^kind, {:error, %{operation: at, errno: :einval}}} = {key, kind, write}
          assert at in [:setns, :setns_pid]

          assert {^key, ^kind, {:error, {:setns, :einval}}} = {key, kind, native}
          assert {^key, ^kind, {:error, %{operation: ^at, errno: :einval}}} = {key, kind, read}
        end
      end
    end

    test "a list leaves out what belongs to another kind, and the loop does not converge" do
      code =
        quote do
          {:ok, session} = Linx.Process.spawn(argv: ["/bin/sleep", "600"], namespaces: [:net])
          {:ok, pid} = Linx.Process.host_pid(session)
          net = {:path, "/proc/#{pid}/ns/net"}
          {:ok, kernel} = Linx.Sysctl.list("kernel", in: net)

          {:ok, all} =
            Linx.Sysctl.list("", in: net)
            |> then(&if(match?({:ok, _}, &1), do: &1, else: {:ok, []}))

          {:ok, pass} = Linx.Sysctl.Reconcile.reconcile(%{"kernel.hostname" => "x"}, %{}, in: net)
          keys = Enum.map(kernel ++ all, & &1.key)

          {"kernel.ostype" in keys, "kernel.hostname" in keys, "kernel.shmmni" in keys,
           pass.converged?, :inet.gethostname()}
        end

      {:ok, own} = :inet.gethostname()
      assert Vm.eval(["unshare", "--uts"], code) == {true, false, false, false, {:ok, own}}
    end

    test "mounts, sockets and moves refuse it" do
      {:ok, session} =
        Linx.Process.spawn(argv: ["/bin/sleep", "600"], namespaces: [:net, :uts, :mount])

      {:ok, pid} = Linx.Process.host_pid(session)
      uts = {:path, "/proc/#{pid}/ns/uts"}
      assert {:error, %{errno: :einval}} = Linx.Mount.mount("tmpfs", "/mnt", "tmpfs", in: uts)
      assert {:error, %{errno: :einval}} = Linx.Mount.umount("/mnt", in: uts)
      assert {:error, %{errno: :einval}} = Linx.Netlink.Rtnl.open(uts)
      assert {:error, %{errno: :einval}} = Linx.Netlink.Nfnl.open(uts)
      {:ok, socket} = Linx.Netlink.Rtnl.open(session)
      assert {:error, %{errno: :einval}} = Linx.Netlink.Rtnl.Link.move_to_netns(socket, "lo", uts)
      Linx.Netlink.Socket.close(socket)
      Linx.Process.stop(session, 0)
    end
  end
end
