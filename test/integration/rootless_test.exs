defmodule Linx.Integration.RootlessTest do
  # The checkpoint of a VM that belongs to an ordinary user, its child having a user namespace of
  # its own.
  use ExUnit.Case, async: true

  alias Linx.Netlink.{Nfnl, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Route}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :userns
  @moduletag :tmp_dir

  test "maps, host name, sysctls, mounts and a root of its own", %{tmp_dir: folder} do
    rootfs = Path.join(folder, "rootfs")
    Enum.each(~w(bin proc old tmp), &File.mkdir_p!(Path.join(rootfs, &1)))
    File.cp!(System.find_executable("busybox"), Path.join(rootfs, "bin/busybox"))

    code =
      quote do
        script = "/bin/busybox id -u; /bin/busybox hostname; /bin/busybox ls /; echo $$"

        {session, pid} =
          Linx.Test.Workload.parked([:user, :mount, :pid, :uts, :net, :ipc],
            argv: ["/bin/busybox", "sh", "-c", script],
            stdio: [stdout: :pipe]
          )

        new = var!(rootfs)

        steps = [
          maps: Linx.User.setup_maps(session, uid: [{0, 1000, 1}], gid: [{0, 1000, 1}]),
          hostname: Linx.Sysctl.write("kernel.hostname", "rootless", in: session),
          forward: Linx.Sysctl.write("net.ipv4.ip_forward", 1, in: {:pid, pid}),
          namespaces: Linx.Sysctl.write("user.max_net_namespaces", 0, in: session),
          private: Linx.Mount.mount("", "/", "", flags: [:slave, :rec], in: session),
          bind: Linx.Mount.bind(new, new, flags: [:rec], in: session),
          proc: Linx.Mount.mount("proc", "/proc", "proc", root: new, in: session),
          tmpfs: Linx.Mount.mount("tmpfs", "/tmp", "tmpfs", root: new, in: session),
          pivot: Linx.Mount.pivot_root(new, new <> "/old", in: session),
          umount: Linx.Mount.umount("/old", flags: [:detach], in: session)
        ]

        own = {
          Linx.Sysctl.write("kernel.hostname", "not-mine"),
          Linx.Mount.mount("tmpfs", new, "tmpfs"),
          Linx.Sysctl.read_int("user.max_net_namespaces", in: session)
        }

        {steps, own, Linx.Test.Workload.run(session)}
      end

    {steps, own, run} = Vm.eval(Vm.ordinary_user(), code, rootfs: rootfs)
    assert Enum.reject(steps, &match?({_, :ok}, &1)) == []
    assert {{:error, %{errno: :eacces}}, {:error, %{errno: :eperm}}, {:ok, 0}} = own
    assert run == {"0\nrootless\nbin\nold\nproc\ntmp\n1\n", {:exited, 0}}
  end

  test "maps are what an ordinary user may write, and no more" do
    code =
      quote do
        {session, _} = Linx.Test.Workload.parked([:user])

        {
          Linx.User.set_gid_map(session, [{0, 1000, 1}]),
          Linx.User.set_uid_map(session, [{0, 0, 1}]),
          Linx.User.set_uid_map(session, [{0, 1000, 2}]),
          Linx.User.deny_setgroups(session),
          Linx.User.set_uid_map(session, [{0, 1000, 1}]),
          Linx.User.set_gid_map(session, [{0, 1000, 1}]),
          Linx.User.set_uid_map(1, [{0, 1000, 1}])
        }
      end

    eperm = fn operation ->
      &match?({:error, %Linx.User.Error{errno: :eperm, operation: ^operation}}, &1)
    end

    answers = Vm.eval(Vm.ordinary_user(), code)
    assert {early_gid, root, two, :ok, :ok, :ok, {:error, %Linx.User.Error{}}} = answers
    assert eperm.(:set_gid_map).(early_gid)
    assert eperm.(:set_uid_map).(root)
    assert eperm.(:set_uid_map).(two)
  end

  test "links, addresses, routes and a firewall of its own child's network", _context do
    code =
      quote do
        {session, pid} = Linx.Test.Workload.parked([:user, :net])
        before = length(File.ls!("/proc/self/fd"))

        made =
          for target <- [session, {:pid, pid}] do
            {:ok, net} = Rtnl.open(target)
            up = [Link.set_up(net, "lo"), Link.create_bridge(net, "br0"), Link.set_up(net, "br0")]
            address = Address.add(net, "br0", "192.0.2.1", 24)
            route = Route.add_default(net, "192.0.2.254")
            {:ok, links} = Link.list(net)
            gone = Link.delete(net, "br0")
            :ok = Socket.close(net)
            {up, address, route, Enum.map(links, & &1.name), gone}
          end

        {:ok, nfnl} = Nfnl.open(session)

        {:ok, ruleset} =
          Linx.NFT.parse("table inet t { chain c { type filter hook input priority 0; } }")

        pushed = Linx.Netfilter.push(nfnl, ruleset)
        :ok = Socket.close(nfnl)
        Linx.Test.Workload.eventually(fn -> length(File.ls!("/proc/self/fd")) <= before end)

        {:ok, _} = Linx.Process.stop(session)
        ended = Rtnl.open(session)
        {:error, host} = Rtnl.open({:pid, 1})
        {made, pushed, ended, {host.stage, host.errno}}
      end

    assert {made, pushed, ended, host} = Vm.eval(Vm.ordinary_user(), code)
    one = {[:ok, :ok, :ok], :ok, :ok, ["lo", "br0"], :ok}
    assert made == [one, one]
    assert pushed == :ok
    assert ended == {:error, :no_process}
    assert host in [{:open, :eacces}, {:setns, :eperm}]
  end
end
