defmodule Linx.Integration.NetnsTest do
  # Held namespaces, and OTP's sockets in them. Names are in netns_names_test.exs, in a mount
  # namespace of their own.
  use ExUnit.Case, async: true

  alias Linx.{Netns, Sysctl}
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Route}
  alias Linx.Process, as: Session
  alias Linx.Test.Poll

  @moduletag :root
  @moduletag :netns

  defp lab do
    {:ok, netns} = Netns.new()
    {:ok, socket} = Rtnl.open(netns)
    on_exit(fn -> Socket.close(socket) end)
    {netns, socket}
  end

  defp ip(netns, args) do
    # The VM's descriptor has the VM's number in another process's view of it.
    path = String.replace(Netns.path(netns), "self", System.pid())
    {output, 0} = System.cmd("nsenter", ["--net=" <> path, "ip" | args], stderr_to_stdout: true)
    output
  end

  test "a new one has a loopback that is down, and nobody in it" do
    {netns, socket} = lab()
    assert {:ok, [%{name: "lo", flags: flags}]} = Link.list(socket)
    assert Bitwise.band(flags, 1) == 0
    assert {:ok, []} = Address.list(socket)
    assert Netns.pids(netns) == {:ok, []}
    assert Netns.pid_of(netns) == {:ok, nil}
    assert Netns.inode(netns) != Netns.inode(:host)
  end

  describe "OTP's sockets" do
    setup do
      {netns, socket} = lab()
      :ok = Link.set_up(socket, "lo")
      %{netns: netns, path: Netns.path(netns), rtnl: socket}
    end

    test "of gen_tcp meet each other there, and nobody else", %{path: path} do
      for backend <- [[], [inet_backend: :socket]] do
        opts = backend ++ [netns: path, ip: {127, 0, 0, 1}, active: false]
        {:ok, listener} = :gen_tcp.listen(0, opts)
        {:ok, port} = :inet.port(listener)

        assert {:ok, client} =
                 :gen_tcp.connect({127, 0, 0, 1}, port, backend ++ [netns: path, active: false])

        {:ok, server} = :gen_tcp.accept(listener, 60_000)
        :ok = :gen_tcp.send(client, "hello")
        assert {:ok, ~c"hello"} = :gen_tcp.recv(server, 5, 60_000)
        assert {:error, :econnrefused} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
        for socket <- [client, server, listener], do: :gen_tcp.close(socket)
      end
    end

    test "of gen_udp and socket are there too", %{path: path, rtnl: rtnl} do
      :ok = Address.add(rtnl, "lo", "203.0.113.7", 32)
      {:ok, udp} = :gen_udp.open(0, [:binary, netns: path, ip: {203, 0, 113, 7}, active: false])
      {:ok, port} = :inet.port(udp)
      {:ok, socket} = :socket.open(:inet, :dgram, :udp, %{netns: path})
      to = %{family: :inet, addr: {203, 0, 113, 7}, port: port}
      :ok = :socket.sendto(socket, "hello", to)
      assert {:ok, {{203, 0, 113, 7}, _, "hello"}} = :gen_udp.recv(udp, 0, 60_000)
      # The address is nobody's in the VM's own namespace.
      assert {:error, :eaddrnotavail} = :gen_udp.open(0, ip: {203, 0, 113, 7})
      :socket.close(socket)
      :gen_udp.close(udp)
    end

    test "leave the VM's threads where they were", %{path: path} do
      for _ <- 1..20 do
        {:ok, socket} = :gen_udp.open(0, netns: path)
        :gen_udp.close(socket)
      end

      own = File.read_link!("/proc/self/ns/net")

      for task <- File.ls!("/proc/self/task"),
          {:ok, link} <- [File.read_link("/proc/self/task/#{task}/ns/net")],
          do: assert(link == own)
    end
  end

  describe "wherever a namespace is named" do
    test "rtnetlink, nfnetlink, sysctl, monitors and links take it" do
      {a, rtnl} = lab()
      {b, there} = lab()
      {:ok, monitor} = Rtnl.Monitor.subscribe(self(), netns: b)

      :ok = Link.create_veth(rtnl, "a0", "b0")
      :ok = Link.move_to_netns(rtnl, "b0", b)
      assert_receive {:linx_rtnl, :event, %{op: :new_link, resource: %Link{name: "b0"}}}
      assert {:ok, %{name: "b0"}} = Link.get(there, "b0")
      Rtnl.Monitor.stop(monitor)

      :ok = Sysctl.write("net.ipv4.ip_default_ttl", 77, in: a)
      assert Sysctl.read("net.ipv4.ip_default_ttl", in: a) == {:ok, "77"}
      assert Sysctl.read("net.ipv4.ip_default_ttl", in: b) == {:ok, "64"}
      assert ip(a, ["link"]) =~ "a0@if"

      {:ok, knobs} = Sysctl.list("net.ipv4.conf", in: b)
      assert Enum.any?(knobs, &(&1.key == "net.ipv4.conf.b0.forwarding"))

      assert {:error, %Sysctl.Error{errno: :einval}} = Sysctl.read("kernel.hostname", in: a)
      assert {:error, %Linx.Mount.Error{errno: :einval}} = Linx.Mount.umount("/x", in: a)

      {:ok, nfnl} = Nfnl.open(a)
      Socket.close(nfnl)
    end

    test "a router between two hosts forwards what OTP's sockets send" do
      {router, r} = lab()
      :ok = Sysctl.write("net.ipv4.ip_forward", 1, in: router)

      [{left, "10.0.1.2"}, {right, "10.0.2.2"}] =
        for n <- 1..2 do
          {host, h} = lab()
          :ok = Link.create_veth(r, "r#{n}", "h#{n}")
          :ok = Link.move_to_netns(r, "h#{n}", host)
          :ok = Address.add(r, "r#{n}", "10.0.#{n}.1", 24)
          :ok = Address.add(h, "h#{n}", "10.0.#{n}.2", 24)
          :ok = Link.set_up(r, "r#{n}")
          :ok = Link.set_up(h, "h#{n}")
          :ok = Route.add_default(h, "10.0.#{n}.1")
          {host, "10.0.#{n}.2"}
        end

      {:ok, listener} = :gen_tcp.listen(0, netns: Netns.path(right), active: false)
      {:ok, port} = :inet.port(listener)

      {:ok, client} =
        :gen_tcp.connect({10, 0, 2, 2}, port, [netns: Netns.path(left), active: false], 60_000)

      {:ok, server} = :gen_tcp.accept(listener, 60_000)
      assert {:ok, {{10, 0, 1, 2}, _port}} = :inet.peername(server)
      for socket <- [client, server, listener], do: :gen_tcp.close(socket)
    end
  end

  describe "a process that joins it" do
    test "is in it, beside new namespaces of other kinds" do
      {netns, rtnl} = lab()
      :ok = Link.create_veth(rtnl, "a0", "b0")

      {:ok, result} =
        Session.run(
          argv: ["/bin/ls", "/sys/class/net"],
          namespaces: [:mount],
          join: {netns, [:net]}
        )

      assert result.outcome == {:exited, 0}
      opts = [argv: ["/bin/sleep", "1000"], namespaces: [:pid], join: {netns, [:net]}]
      {:ok, session} = Session.spawn(opts)
      {:ok, pid} = Session.host_pid(session)
      assert Netns.pids(netns) == {:ok, [pid]}
      assert {:ok, inode} = Netns.inode(netns)
      assert File.read_link!("/proc/#{pid}/ns/net") == "net:[#{inode}]"
      assert File.read_link!("/proc/#{pid}/ns/pid") != File.read_link!("/proc/self/ns/pid")

      # It stays there when the value is closed.
      :ok = Netns.close(netns)
      :ok = Session.proceed(session)
      assert Netns.inode({:pid, pid}) == {:ok, inode}
      {:ok, _} = Session.stop(session, 0)
    end

    test "sees its links and not the machine's" do
      {netns, rtnl} = lab()
      :ok = Link.create_veth(rtnl, "a0", "b0")

      {:ok, result} =
        Session.run(
          argv: [System.find_executable("ip"), "-o", "link"],
          join: {netns, [:net]}
        )

      names = for [_, name] <- Regex.scan(~r/^\d+: ([^@:]+)/m, result.stdout), do: name
      assert Enum.sort(names) == ["a0", "b0", "lo"]
    end

    test "is refused where the namespace is closed" do
      {netns, _} = lab()
      :ok = Netns.close(netns)
      opts = [argv: ["/bin/true"], join: {netns, [:net]}]
      assert Session.spawn(opts) == {:error, {:bad_join, netns}}
      assert Session.run(opts) == {:error, {:bad_join, netns}}
    end

    test "joins nothing where the descriptor's number is another's by now" do
      {netns, _} = lab()
      {:ok, {number, inode}} = Linx.Netns.Native.number(netns.handle)
      vm = String.to_integer(System.pid())

      for join <- [{vm, number, inode + 1}, {vm, 1_000_000, inode}, {vm, 0, inode}] do
        {:ok, options} = Session.Options.parse(:spawn, argv: ["/bin/true"], linger: false)
        request = Map.put(options.request, :join, join)
        {:ok, session} = GenServer.start(Session, {:spawn, {:spawn, request}, options})
        assert_receive {:linx_process, :error, errno, :open_ns_net}
        assert errno in [2, 9, 22]
        Process.exit(session, :kill)
      end
    end
  end

  describe "the owner" do
    test "holds it while nothing refers to it" do
      test = self()

      owner =
        spawn(fn ->
          {:ok, netns} = Netns.new()
          send(test, {:path, Netns.path(netns), Netns.inode(netns)})

          receive do
            :collect -> :erlang.garbage_collect()
          end

          send(test, :collected)
          receive do: (:stop -> :ok)
        end)

      assert_receive {:path, path, {:ok, inode}}
      :erlang.garbage_collect()
      send(owner, :collect)
      assert_receive :collected
      assert %{inode: ^inode} = File.stat!(path)
      send(owner, :stop)
      Poll.until(fn -> not match?({:ok, %{inode: ^inode}}, File.stat(path)) end)
    end

    test "takes it along when it is killed, whoever else has the value" do
      owner = spawn(fn -> receive do: (:never -> :ok) end)
      {:ok, netns} = Netns.new(owner: owner)
      {:ok, inode} = Netns.inode(netns)
      {:ok, mine} = Netns.open(netns)
      Process.exit(owner, :kill)
      Poll.until(fn -> match?({:error, %{errno: :ebadf}}, Netns.inode(netns)) end)
      assert Netns.inode(mine) == {:ok, inode}
      assert Netns.close(netns) == :ok
    end

    test "a socket in it outlives it" do
      {netns, socket} = lab()
      :ok = Netns.close(netns)
      assert {:ok, [%{name: "lo"}]} = Link.list(socket)
    end
  end

  @tag :strace
  test "no descriptor of a namespace is closed on a scheduler" do
    trace = Linx.Test.Scratch.path("trace")

    script = ~S"""
    gone = fn netns ->
      path = "/proc/self/fd/#{netns.number}"
      Linx.Test.Poll.holds?(fn -> File.read_link(path) == {:error, :enoent} end)
    end

    for _ <- 1..3 do
      test = self()

      owner =
        spawn(fn ->
          {:ok, netns} = Linx.Netns.new()
          {:ok, []} = Linx.Netns.pids(netns)
          send(test, netns)
          receive do: (:stop -> :ok)
        end)

      netns = receive do: (netns -> netns)
      send(owner, :stop)
      true = gone.(netns)
    end

    {:ok, netns} = Linx.Netns.new()
    :ok = Linx.Netns.close(netns)
    """

    ebin = Application.app_dir(:linx, "ebin")
    strace = ~w(-f -Y -y -q -e trace=close -o #{trace})
    args = strace ++ [System.find_executable("elixir"), "-pa", ebin, "-e", script]
    {output, status} = System.cmd("strace", args, stderr_to_stdout: true)
    assert status == 0, output
    closes = for line <- File.stream!(trace), line =~ "<net:[", do: line
    File.rm!(trace)
    assert length(closes) >= 4
    assert for(line <- closes, line =~ ~r/<(\d+_scheduler|erts_sched_)/, do: line) == []
    assert Enum.any?(closes, &(&1 =~ "linx-release"))
  end

  describe "processes in it" do
    test "are those that ip netns pids would list" do
      {:ok, session} = Session.spawn(argv: ["/bin/sleep", "1000"], namespaces: [:net])
      {:ok, pid} = Session.host_pid(session)
      {:ok, netns} = Netns.open(session)
      assert Netns.pids(netns) == {:ok, [pid]}
      assert Netns.pids(session) == {:ok, [pid]}
      assert Netns.pid_of({:pid, pid}) == {:ok, pid}

      # As lsns(8) has it.
      {line, 0} = System.cmd("lsns", ["-n", "-t", "net", "-o", "NS", "-p", "#{pid}"])
      assert {:ok, String.to_integer(String.trim(line))} == Netns.inode(netns)

      {:ok, :aborted} = Session.stop(session)
      Poll.until(fn -> Netns.pids(netns) == {:ok, []} end)
      assert {:error, gone} = Netns.open(session)
      assert gone == :no_process
    end
  end

  describe "ids" do
    test "are those of ip netns list-id" do
      {home, _} = lab()
      {other, _} = lab()
      {third, _} = lab()
      assert Netns.ids(in: home) == {:ok, []}
      assert Netns.id(other, in: home) == {:ok, nil}
      assert Netns.set_id(other, 7, in: home) == {:ok, 7}
      assert Netns.id(other, in: home) == {:ok, 7}
      assert {:ok, auto} = Netns.set_id(third, :auto, in: home)
      assert Netns.ids(in: home) == {:ok, Enum.sort([7, auto])}

      listed = ~r/nsid (\d+)/ |> Regex.scan(ip(home, ["netns", "list-id"]))
      assert Enum.sort(for [_, id] <- listed, do: String.to_integer(id)) == Enum.sort([7, auto])

      assert {:error, %Linx.Netlink.Error{errno: :eexist}} = Netns.set_id(other, 8, in: home)
      {fourth, _} = lab()
      assert {:error, %Linx.Netlink.Error{errno: taken}} = Netns.set_id(fourth, 7, in: home)
      assert taken in [:eexist, :enospc]
      # Nobody's number in the other namespace.
      assert Netns.id(home, in: other) == {:ok, nil}
    end

    test "name a link's far end" do
      {home, rtnl} = lab()
      {other, _} = lab()
      {:ok, id} = Netns.set_id(other, 12, in: home)
      :ok = Link.create_veth(rtnl, "a0", "b0")
      :ok = Link.move_to_netns(rtnl, "b0", other)
      assert {:ok, %{link_netnsid: ^id}} = Link.get(rtnl, "a0")
    end
  end
end
