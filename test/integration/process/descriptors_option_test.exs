defmodule Linx.Process.DescriptorsOptionTest do
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P

  # One line each: a descriptor's number and what it is.
  @list "for f in /proc/self/fd/*; do n=${f##*/}; t=$(readlink $f) && echo $n $t; done"

  @accept """
  import os, select, socket
  assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
  count = int(os.environ["LISTEN_FDS"])
  print(count, os.environ["LISTEN_FDNAMES"], flush=True)
  listener = socket.socket(fileno=3)
  select.select([listener], [], [])
  peer, _ = listener.accept()
  peer.sendall(b"hello\\n")
  """

  defp listeners do
    {:ok, port} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}])

    {:ok, inet} =
      :gen_tcp.listen(0, [{:inet_backend, :socket}, :binary, {:ip, {127, 0, 0, 1}}])

    {:ok, socket} = :socket.open(:inet, :stream)
    :ok = :socket.bind(socket, %{family: :inet, addr: {127, 0, 0, 1}, port: 0})
    :ok = :socket.listen(socket)
    [port: port, inet: inet, socket: socket]
  end

  defp port_of({:"$socket", _} = socket) do
    {:ok, %{port: port}} = :socket.sockname(socket)
    port
  end

  defp port_of(socket) do
    {:ok, port} = :inet.port(socket)
    port
  end

  defp numbers(list),
    do: for(line <- String.split(list, "\n", trim: true), do: hd(String.split(line)))

  describe "listen_fds" do
    test "socket activation by python, of every kind of socket, plain and with a reaper" do
      for {_kind, listener} <- listeners(), opts <- [[], [init: true]] do
        {:ok, session} =
          P.spawn(
            [
              argv: [System.find_executable("python3"), "-c", @accept],
              env: {:clean, ["LISTEN_PID=1", "LISTEN_FDS=9"]},
              listen_fds: [{"web", listener}],
              stdio: :pipe,
              auto_proceed: true
            ] ++ opts
          )

        assert output_until(:stdout, "1 web\n")

        {:ok, client} =
          :gen_tcp.connect({127, 0, 0, 1}, port_of(listener), [:binary, active: false])

        assert :gen_tcp.recv(client, 6, 60_000) == {:ok, "hello\n"}
        assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
        flush()
      end
    end

    test "LISTEN_PID is the workload's own pid" do
      {:ok, listener} = :gen_tcp.listen(0, [])
      script = "echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES"

      kinds =
        if Linx.Test.Host.root?(),
          do: [[namespaces: [:pid]], [namespaces: [:pid], init: true]],
          else: []

      for opts <- [[] | kinds] do
        {{:ok, {:exited, 0}}, out, ""} =
          run(["/bin/sh", "-c", script], [listen_fds: [listener, {"b", listener}]] ++ opts)

        assert [own, own, "2", "unknown:b"] = String.split(out)
      end
    end
  end

  test "no LISTEN_* of the given environment stays" do
    {:ok, listener} = :gen_tcp.listen(0, [])
    env = ["A=1", "LISTEN_PID=1", "LISTEN_FDS=9", "LISTEN_FDNAMES=x"]
    script = "grep -z -c ^LISTEN_ /proc/$$/environ; grep -z -c ^A= /proc/$$/environ"

    assert {{:ok, {:exited, 0}}, "3\n1\n", ""} =
             run(["/bin/sh", "-c", script], env: {:clean, env}, listen_fds: [listener])
  end

  describe "fds" do
    @tag :tmp_dir
    test "the numbers that were asked for, in any order, and no other", %{tmp_dir: dir} do
      path = Path.join(dir, "file")
      {:ok, file} = :file.open(path, [:raw, :write, :binary])
      {:ok, udp} = :gen_udp.open(0)
      {:ok, other} = :gen_udp.open(0, inet_backend: :socket)

      for opts <- [[], [init: true], [rlimits: [nofile: 64]]] do
        {{:ok, {:exited, 0}}, out, ""} =
          run(
            ["/bin/sh", "-c", "echo text >&5; #{@list}"],
            [fds: [{5, file}, {3, udp}, {4, other}, {9, udp}]] ++ opts
          )

        # 0 to 2 are pipes; the shell has one for its glob or the substitution, which ends before.
        assert ["0", "1", "2", "3", "4", "5", "9"] -- numbers(out) == []
        rest = numbers(out) -- ["0", "1", "2", "3", "4", "5", "9"]
        for number <- rest, do: refute(out =~ ~r/^#{number} .*(socket|#{Path.basename(path)})/m)
        assert out =~ "5 #{Path.expand(path)}\n"
        assert out =~ ~r/^3 socket:/m
      end

      assert File.read!(path) == "text\ntext\ntext\n"
      # They are the VM's still.
      assert :ok = :file.write(file, "more")
      assert {:ok, _} = :inet.port(udp)
    end

    test "closed in the VM once spawn has returned; the workload has it, the agent not" do
      {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      port = port_of(listener)
      {session, _pid} = running(argv: ["/bin/cat"], stdio: :pipe, fds: [{7, listener}])
      :ok = :gen_tcp.close(listener)
      assert {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
      :gen_tcp.close(client)
      P.stop(session, 0)

      assert until(fn ->
               :gen_tcp.connect({127, 0, 0, 1}, port, [], 1_000) == {:error, :econnrefused}
             end)
    end

    test "a parked session that is aborted leaves nothing open" do
      {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      port = port_of(listener)
      {:ok, number} = :inet.getfd(listener)
      {:ok, open} = File.read_link("/proc/self/fd/#{number}")
      {session, _pid} = parked(argv: ["/bin/true"], stdio: :devnull, fds: [{7, listener}])
      P.abort(session)
      assert {:ok, :aborted} = P.wait(session, 60_000)

      {:ok, failed} = P.spawn(argv: ["/nonexistent"], auto_proceed: true, fds: [{7, listener}])
      assert {:error, %{stage: :execve}} = P.wait(failed, 60_000)
      links = for each <- File.ls!("/proc/self/fd"), do: File.read_link("/proc/self/fd/#{each}")
      assert Enum.count(links, &(&1 == {:ok, open})) == 1
      :ok = :gen_tcp.close(listener)

      assert until(fn ->
               :gen_tcp.connect({127, 0, 0, 1}, port, [], 1_000) == {:error, :econnrefused}
             end)
    end

    test "a number that the limit forbids is the kernel's refusal" do
      {:ok, udp} = :gen_udp.open(0)
      limit = ~r/Max open files +(\d+)/
      [_, soft] = Regex.run(limit, File.read!("/proc/self/limits"))

      if String.to_integer(soft) <= 65_535 do
        {:ok, session} = P.spawn(argv: ["/bin/true"], fds: [{String.to_integer(soft), udp}])
        assert {:error, %{stage: :fds}} = P.wait(session, 60_000)
      end
    end

    # Broken by hand: source/1 without its clause for files that give lists.
    @tag :tmp_dir
    test "a raw file with and without :binary", %{tmp_dir: dir} do
      path = Path.join(dir, "raw")
      File.write!(path, "raw")

      for modes <- [[:read, :raw], [:read, :raw, :binary], [:read, :raw, :read_ahead]] do
        {:ok, file} = :file.open(path, modes)
        argv = ["/bin/sh", "-c", "cat <&7"]

        {:ok, session} =
          P.spawn(argv: argv, fds: [{7, file}], stdio: :pipe, auto_proceed: true)

        assert P.wait(session, 60_000) == {:ok, {:exited, 0}}
        assert output(:stdout) == "raw"
        :ok = :file.close(file)
      end

      {:ok, delayed} = :file.open(path, [:write, :raw, :delayed_write])
      bad = [{7, delayed}]
      assert P.spawn(argv: ["/bin/true"], fds: bad) == {:error, {:bad_fds, bad}}
    end

    test "refused before anything starts" do
      {:ok, udp} = :gen_udp.open(0)
      {:ok, closed} = :gen_udp.open(0)
      :gen_udp.close(closed)
      port = Port.open({:spawn, "cat"}, [])

      lists = [[{2, udp}], [{3, closed}], [{3, port}], [{3, 3}], [{3, udp}, {3, udp}], []]

      for bad <- lists ++ [udp] do
        assert P.spawn(argv: ["/bin/true"], fds: bad) == {:error, {:bad_fds, bad}}
      end

      for bad <- [[{"a:b", udp}], [{"", udp}], [closed], [udp | udp]] do
        assert P.spawn(argv: ["/bin/true"], listen_fds: bad) == {:error, {:bad_listen_fds, bad}}
      end

      assert P.spawn(argv: ["/bin/true"], fds: [{3, udp}], listen_fds: [udp]) ==
               {:error, {:bad_fds, {:taken, [3]}}}

      assert {:error, {:bad_option, :fds}} = P.run(argv: ["/bin/true"], fds: [{3, udp}])
      Port.close(port)
    end
  end

  describe "the channel" do
    test "the VM gives nothing to a process that is not the agent" do
      name = "linx-test-" <> Base.encode16(:crypto.strong_rand_bytes(8))
      {:ok, listener} = :socket.open(:local, :stream)
      :ok = :socket.bind(listener, %{family: :local, path: <<0, name::binary>>})
      :ok = :socket.listen(listener)
      {:ok, udp} = :gen_udp.open(0)
      {:ok, source} = Linx.Process.Descriptors.source(udp)

      # This VM listens, not the process that is named.
      own = String.to_integer(System.pid())
      assert Linx.Process.Descriptors.send([source], name, own + 1) == {:error, 1}
      {:ok, peer} = :socket.accept(listener, 60_000)
      assert :socket.recv(peer, 0, 60_000) == {:error, :closed}

      # One that closes meanwhile is not sent either.
      :gen_udp.close(udp)
      assert Linx.Process.Descriptors.send([source], name, own) == {:error, 9}
      {:ok, peer} = :socket.accept(listener, 60_000)
      assert :socket.recv(peer, 0, 60_000) == {:error, :closed}
    end
  end
end
