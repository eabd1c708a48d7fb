defmodule Linx.Integration.SysctlTest do
  use ExUnit.Case, async: true

  import Linx.Test.Workload

  alias Linx.{Mount, Sysctl}
  alias Linx.Sysctl.{Entry, Error, Native}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :tmp_dir

  describe "in other namespaces" do
    test "a value is written there and not here, by session, pid and path" do
      {session, pid} = parked([:net, :uts])
      {:ok, here} = Sysctl.read("kernel.hostname")
      {:ok, forward} = Sysctl.read("net.ipv4.ip_forward")

      for {target, name} <- [
            {session, "one"},
            {{:pid, pid}, "two"},
            {{:path, "/proc/#{pid}/ns/uts"}, "three"}
          ] do
        assert :ok = Sysctl.write("kernel.hostname", name, in: target)
        assert Sysctl.read("kernel.hostname", in: target) == {:ok, name}
      end

      assert :ok = Sysctl.write("net.ipv4.tcp_rmem", [4096, 262_144, 1_048_576], in: session)

      assert Sysctl.read_ints("net.ipv4.tcp_rmem", in: session) ==
               {:ok, [4096, 262_144, 1_048_576]}

      assert :ok = Sysctl.write("net.ipv4.ip_forward", 1, in: {:path, "/proc/#{pid}/ns/net"})
      assert Sysctl.read_int("net.ipv4.ip_forward", in: session) == {:ok, 1}

      assert Sysctl.read("kernel.hostname") == {:ok, here}
      assert Sysctl.read("net.ipv4.ip_forward") == {:ok, forward}
    end

    test "IPC limits belong to the IPC namespace" do
      {session, _pid} = parked([:ipc])
      {:ok, here} = Sysctl.read_int("kernel.msgmax")
      assert :ok = Sysctl.write("kernel.msgmax", here + 1, in: session)
      assert Sysctl.read_int("kernel.msgmax", in: session) == {:ok, here + 1}
      assert Sysctl.read_int("kernel.msgmax") == {:ok, here}
    end

    test "user.* belongs to the user namespace, which no thread of ours can join" do
      {session, pid} = parked([:user, :net])
      {:ok, here} = Sysctl.read_int("user.max_net_namespaces")
      other = if here == 77, do: 78, else: 77

      assert :ok = Sysctl.write("user.max_net_namespaces", other, in: session)
      assert Sysctl.read_int("user.max_net_namespaces", in: {:pid, pid}) == {:ok, other}
      assert {:ok, entries} = Sysctl.list("user", in: session)
      assert Enum.member?(entries, %Entry{key: "user.max_net_namespaces", value: "#{other}"})
      assert Sysctl.read_int("user.max_net_namespaces") == {:ok, here}

      path = {:path, "/proc/#{pid}/ns/user"}
      assert Sysctl.read_int("user.max_net_namespaces", in: path) == {:ok, other}
    end

    test "a knob of the whole machine is the same from everywhere" do
      {session, _pid} = parked([:net, :uts, :ipc, :user])
      assert Sysctl.read("kernel.ostype", in: session) == {:ok, "Linux"}
      assert Sysctl.read("kernel.pid_max", in: session) == Sysctl.read("kernel.pid_max")
    end

    test "the whole tree is listed as it is there" do
      {session, pid} = parked([:net, :uts])
      :ok = Sysctl.write("kernel.hostname", "listed", in: session)

      for target <- [session, {:pid, pid}] do
        {:ok, entries} = Sysctl.list(in: target)
        keys = Enum.map(entries, & &1.key)
        assert length(keys) > 500
        assert keys == Enum.sort(keys)
        assert %Entry{key: "kernel.hostname", value: "listed"} in entries
        # lo is the one interface there.
        assert Enum.any?(keys, &String.starts_with?(&1, "net.ipv4.conf.lo."))
        refute Enum.any?(keys, &String.starts_with?(&1, "net.ipv4.conf.eth0."))
      end

      assert {:ok, [%Entry{key: "kernel.hostname", value: "listed"}]} =
               Sysctl.list("kernel.hostname", in: session)

      assert Sysctl.list("net.ipv4.route.flush", in: session) == {:ok, []}

      assert {:error, %Error{operation: :list, errno: :enotdir}} =
               Sysctl.list("kernel.hostname.x", in: session)
    end

    test "a list of here and of our own pid agree" do
      {:ok, here} = Sysctl.list("net.ipv4")
      {:ok, there} = Sysctl.list("net.ipv4", in: {:pid, String.to_integer(System.pid())})
      assert lasting(here) == lasting(there)
      assert length(lasting(here)) > 50
    end

    # Interfaces come and go.
    defp lasting(entries), do: for(e <- entries, not (e.key =~ ~r/\.(conf|neigh)\./), do: e.key)

    test "whatever a list gives, read takes, and means the same knob" do
      {session, pid} = parked([:net, :uts])
      # Whatever a name may have that dots cannot express, and names whose readings meet.
      names = [
        "a+b@c",
        "d~1",
        "e[0]",
        "f..g",
        ".h",
        "eth0",
        "eth0.10",
        "i#j=k",
        "l.m.n.o.p.q.r.",
        "-x",
        "ü"
      ]

      for {name, n} <- Enum.with_index(names) do
        nsenter(pid, ["--net"], [
          "ip",
          "link",
          "add",
          "name",
          "p#{n}",
          "type",
          "veth",
          "peer",
          "q#{n}"
        ])

        nsenter(pid, ["--net"], ["ip", "link", "set", "dev", "p#{n}", "name", name])
        path = ["net", "ipv4", "conf", name, "tag"]
        assert :ok = Sysctl.write(path, n, in: session)
        assert Sysctl.read_int(path, in: session) == {:ok, n}
      end

      {:ok, entries} = Sysctl.list("net.ipv4.conf", in: session)
      tags = for e <- entries, List.last(segments(e.key)) == "tag", do: {e.key, e.value}
      found = for {key, value} <- tags, value != "0", do: {name(key), value}
      wanted = for {name, n} <- Enum.with_index(names), n > 0, do: {name, "#{n}"}
      assert Enum.sort(found) == Enum.sort(wanted)

      for at <- [[in: session], [in: {:pid, pid}], []] do
        {:ok, entries} = Sysctl.list(at)
        assert length(entries) > 500

        # The value of an entry that changes by itself may differ, but the entry is there.
        for %Entry{key: key} = entry <- entries do
          assert {key, {:ok, value}} = {key, Sysctl.read(key, at)}
          assert value == entry.value or not is_list(key)
          assert inspect(entry) =~ "Sysctl.Entry<"
        end
      end

      assert {:ok, [_ | _] = below} = Sysctl.list(["net", "ipv4", "conf", "f..g"], in: session)
      assert Enum.all?(below, &match?(["net", "ipv4", "conf", "f..g", _], &1.key))
      assert inspect(hd(below)) =~ ~s(<["net", "ipv4", "conf", "f..g", )

      key = ["net", "ipv4", "conf", "a+b@c", "forwarding"]
      :ok = Sysctl.write(key, 0, in: session)
      {:ok, report} = Linx.Sysctl.Reconcile.reconcile(%{key => 1}, %{}, in: session)
      assert report.applied == [{:set, key, 1}]
      assert Sysctl.read(key, in: session) == {:ok, "1"}

      {:ok, report} =
        Linx.Sysctl.Reconcile.reconcile(%{}, report.last_applied,
          in: session,
          revert_on_release: true
        )

      assert report.applied == [{:revert, key, "0"}]
      assert Sysctl.read(key, in: session) == {:ok, "0"}
    end

    defp segments(key) when is_list(key), do: key
    defp segments(key), do: String.split(key, ".")

    defp name(["net", "ipv4", "conf", name, "tag"]), do: name

    defp name("net.ipv4.conf." <> rest), do: String.replace_suffix(rest, ".tag", "")

    test "a list that is no path is refused, and one that leads nowhere is told" do
      for bad <- [
            [""],
            ["net", ".."],
            ["."],
            ["net/ipv4"],
            ["net", :ipv4],
            ["a\0"],
            ["net" | "x"]
          ] do
        assert Sysctl.read(bad) == {:error, {:bad_key, bad}}
        assert Sysctl.write(bad, 1) == {:error, {:bad_key, bad}}
        assert Sysctl.list(bad, []) == {:error, {:bad_key, bad}}
      end

      assert Sysctl.read([]) == {:error, {:bad_key, []}}
      absent = ["kernel", "no such"]

      assert {:error, %Error{key: ^absent, path: "/proc/sys/kernel/no such", errno: :enoent}} =
               Sysctl.read(absent)

      assert Sysctl.read(["kernel", "ostype"]) == {:ok, "Linux"}
    end

    test "an interface with dots in its name is found" do
      {session, pid} = parked([:net])
      nsenter(pid, ["--net"], ~w(ip link add name eth0.10 type veth peer name b.c.d))

      for interface <- ["eth0.10", "b.c.d"] do
        key = "net.ipv4.conf.#{interface}.forwarding"
        assert :ok = Sysctl.write(key, 1, in: session)
        assert Sysctl.read_int(key, in: session) == {:ok, 1}
        assert {:ok, [%Entry{key: ^key, value: "1"}]} = Sysctl.list(key, in: session)
        prefix = "net.ipv4.conf.#{interface}"
        assert {:ok, [_ | _] = entries} = Sysctl.list(prefix, in: session)
        assert Enum.all?(entries, &String.starts_with?(&1.key, prefix <> "."))

        for entry <- entries do
          assert Sysctl.read(entry.key, in: session) == {:ok, entry.value}
        end
      end

      assert Sysctl.read("net.ipv4.conf.eth0.11.forwarding", in: session) ==
               {:error,
                %Error{
                  key: "net.ipv4.conf.eth0.11.forwarding",
                  path: "/proc/sys/net/ipv4/conf/eth0/11/forwarding",
                  operation: :read,
                  errno: :enoent,
                  code: 2
                }}
    end

    test "a false /proc in there is not what is read or written", %{tmp_dir: folder} do
      {session, pid} = parked([:mount, :net, :uts])
      :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)
      false_proc = Path.join(folder, "sys/kernel")
      File.mkdir_p!(false_proc)
      File.write!(Path.join(false_proc, "hostname"), "false")
      :ok = Mount.bind(folder, "/proc", in: session)
      assert File.read!(inside(pid, "/proc/sys/kernel/hostname")) == "false"

      assert :ok = Sysctl.write("kernel.hostname", "true-name", in: session)
      assert Sysctl.read("kernel.hostname", in: session) == {:ok, "true-name"}
      assert File.read!(Path.join(false_proc, "hostname")) == "false"
      assert nsenter(pid, ["--uts"], ["hostname"]) == "true-name\n"
    end

    test "what the kernel refuses comes with its step" do
      {session, _pid} = parked([:net, :uts])

      assert Sysctl.write("net.ipv4.ip_default_ttl", 999, in: session) ==
               {:error,
                %Error{
                  key: "net.ipv4.ip_default_ttl",
                  path: "/proc/sys/net/ipv4/ip_default_ttl",
                  operation: :write,
                  errno: :einval,
                  code: 22
                }}

      assert {:error, %Error{operation: :write, errno: :enoent}} =
               Sysctl.write("net.no_such", 1, in: session)

      assert {:error, %Error{operation: :list, errno: :enoent}} = Sysctl.list("no", in: session)

      path = "/proc/sys/kernel/ostype"

      assert {:error, %Error{operation: :setns, errno: :einval, path: ^path}} =
               Sysctl.read("kernel.ostype", in: {:path, "/etc/passwd"})
    end
  end

  describe "here" do
    test "a knob that is not there is enoent for a writer too" do
      assert {:error, %Error{operation: :write, errno: :enoent, code: 2}} =
               Sysctl.write("kernel.no_such_knob", 1)
    end

    test "write, read and empty a text, in namespaces of a VM's own" do
      code =
        quote do
          {
            Linx.Sysctl.write("kernel.hostname", "ct0"),
            Linx.Sysctl.read("kernel.hostname"),
            Linx.Sysctl.write("kernel.domainname", "x"),
            Linx.Sysctl.write("kernel.domainname", ""),
            Linx.Sysctl.read("kernel.domainname"),
            Linx.Sysctl.write("net.ipv4.ip_forward", 1),
            Linx.Sysctl.read_int("net.ipv4.ip_forward"),
            Linx.Sysctl.write("net.ipv4.ip_default_ttl", 999)
          }
        end

      assert {:ok, {:ok, "ct0"}, :ok, :ok, {:ok, ""}, :ok, {:ok, 1},
              {:error, %Error{operation: :write, errno: :einval}}} =
               Vm.eval(["unshare", "--uts", "--net"], code)
    end

    @tag :userns
    test "a VM without capabilities reaches into its own child's namespaces" do
      code =
        quote do
          {session, _pid} = Linx.Test.Workload.parked([:user, :net, :uts])

          {
            Linx.Sysctl.write("net.ipv4.ip_forward", 1, in: session),
            Linx.Sysctl.read_int("net.ipv4.ip_forward", in: session),
            Linx.Sysctl.read("kernel.ostype", in: session),
            match?({:ok, [_ | _]}, Linx.Sysctl.list("net", in: session)),
            Linx.Sysctl.read("kernel.ostype", in: {:pid, 1})
          }
        end

      assert {:ok, {:ok, 1}, {:ok, "Linux"}, true, {:error, %Error{operation: :open_ns}}} =
               Vm.eval(["setpriv", "--bounding-set=-all", "--inh-caps=-all"], code)
    end
  end

  describe "by path" do
    test "reads, writes and lists" do
      {_session, pid} = parked([:uts])
      files = ["/proc/#{pid}/ns/uts"]
      assert :ok = Native.write_in_ns("/proc/sys/kernel/hostname", "native", files)
      assert {:ok, "native\n"} = Native.read_in_ns("/proc/sys/kernel/hostname", files)
      assert {:ok, list} = Native.list_in_ns("/proc/sys/kernel", files)
      assert {"/proc/sys/kernel/hostname", "native\n"} in list
      assert {:error, {:list, :enotdir}} = Native.list_in_ns("/proc/sys/kernel/ostype", files)
      assert {:error, {:list, :enoent}} = Native.list_in_ns("/proc/sys/none", files)
    end

    test "nothing outside /proc/sys is reached" do
      for path <- ["/etc/passwd", "/proc/version", "/proc/sys/../version", "/proc"] do
        assert {:error, {:read, errno}} = Native.read_in_ns(path, [])
        assert errno in [:einval, :exdev]
        assert {:error, {:write, _}} = Native.write_in_ns(path, "x", [])
      end

      assert {:error, {:read, :enoent}} = Native.read_in_ns("/proc/sysx", [])
      assert {:error, {:list, :enoent}} = Native.list_in_ns("/no/such", [])
    end
  end
end
