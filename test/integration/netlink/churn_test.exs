defmodule Linx.Netlink.ChurnTest do
  use ExUnit.Case, async: false

  # Reads while the objects change, a socket that many processes share, and the VM after many
  # requests.

  @moduletag :root
  @moduletag :netns
  @moduletag timeout: :infinity

  alias Linx.Netlink.{Error, Request, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Route}
  alias Linx.Test.Netns

  setup do
    ns = Netns.start()
    %{ns: ns, socket: Netns.open(ns)}
  end

  describe "dumps while another process makes and removes links" do
    test "are whole or say that they are not", %{ns: ns, socket: socket} do
      dump_under_churn(ns, socket, 100)
    end

    @tag :slow
    test "are whole or say that they are not, a thousand times", %{ns: ns, socket: socket} do
      dump_under_churn(ns, socket, 1_000)
    end

    # 60 links that stay, so that a dump needs several datagrams, and two processes that churn.
    defp dump_under_churn(ns, socket, dumps) do
      stable = for n <- 1..30, end_ <- ["a", "b"], do: "s#{n}#{end_}"
      for n <- 1..30, do: :ok = Link.create_veth(socket, "s#{n}a", "s#{n}b")

      churners =
        for n <- 1..2 do
          spawn_link(fn ->
            {:ok, own} = Rtnl.open(Netns.target(ns))
            churn(own, "c#{n}")
          end)
        end

      results =
        for _ <- 1..dumps do
          case Link.list(socket) do
            {:ok, links} ->
              names = Enum.map(links, & &1.name)
              assert stable -- names == []
              assert names == Enum.uniq(names)
              :whole

            {:error, %Error{errno: :eintr, partial: partial}} ->
              assert is_list(partial)
              :interrupted
          end
        end

      for pid <- churners do
        Process.unlink(pid)
        Process.exit(pid, :kill)
      end

      assert Enum.count(results, &(&1 == :whole)) > 0

      if dumps >= 1_000,
        do: IO.puts("link dumps under churn: #{inspect(Enum.frequencies(results))}")
    end

    defp churn(socket, name) do
      _ = Link.create_bridge(socket, name)
      _ = Link.delete(socket, name)
      churn(socket, name)
    end

    test "a dump that is interrupted each time is an error with what was read", %{
      ns: ns,
      socket: socket
    } do
      # Interrupted dumps are frequent here, so the retry is exercised.
      for n <- 1..30, do: :ok = Link.create_veth(socket, "s#{n}a", "s#{n}b")
      # Another program, which needs none of the threads that our dumps are made by.
      churn = "while :; do ip link add c0 type bridge; ip link del c0; done & cat; kill $!"

      port =
        Port.open({:spawn_executable, System.find_executable("nsenter")}, [
          :binary,
          args: ["--target", "#{ns.pid}", "--net", "sh", "-c", churn]
        ])

      seq = Socket.next_seq(socket)

      # How many dumps it takes until a change falls into one depends on who has the processors.
      interrupted =
        Netns.eventually(
          fn ->
            Enum.any?(1..500, fn _ ->
              bytes = Linx.Netlink.Message.append(<<>>, 18, 0x305, seq, <<0::128>>)
              {:ok, _, [], interrupted?} = Socket.exchange(socket, bytes, {seq, seq})
              interrupted?
            end)
          end,
          200_000
        )

      Port.close(port)
      assert interrupted
    end
  end

  test "fifty processes on one socket never read each other's answers", %{socket: socket} do
    :ok = Link.set_up(socket, "lo")
    for n <- 1..50, do: :ok = Address.add(socket, "lo", "10.0.0.#{n}", 32)

    1..50
    |> Task.async_stream(
      fn n ->
        for round <- 1..40 do
          case rem(n + round, 4) do
            0 ->
              {:ok, route} = Route.get(socket, "10.0.0.#{n}")
              assert Kernel.to_string(route.dst) == "10.0.0.#{n}"

            1 ->
              {:ok, addresses} = Address.list(socket, family: :inet)
              assert length(addresses) == 51

            2 ->
              assert {:error, %Error{errno: :enodev, message: text}} = Link.get(socket, "no#{n}")
              assert text == "no such interface \"no#{n}\""

            3 ->
              name = "d#{n}"
              assert :ok = Route.add(socket, "20.0.#{n}.0", 24, nil, oif: 1)

              assert {:error, %Error{errno: :eexist}} =
                       Route.add(socket, "20.0.#{n}.0", 24, nil, oif: 1)

              assert :ok = Route.delete(socket, "20.0.#{n}.0", 24, nil)
              assert {:error, %Error{errno: :enodev}} = Link.get(socket, name)
          end
        end
      end,
      max_concurrency: 50,
      timeout: 300_000
    )
    |> Enum.each(fn result -> assert {:ok, _} = result end)
  end

  test "sockets in namespaces that end while they are used", %{} do
    for _ <- 1..10 do
      other = Netns.start()
      {:ok, socket} = Rtnl.open(Netns.target(other))
      task = Task.async(fn -> for(_ <- 1..200, do: Link.list(socket)) end)
      Netns.stop(other)
      assert Enum.all?(Task.await(task, 60_000), &match?({:ok, [_]}, &1))
      Socket.close(socket)
    end
  end

  test "many requests leave no descriptor, process or memory behind", %{ns: ns} do
    many_requests(ns, 20_000)
  end

  @tag :slow
  test "a million requests leave no descriptor, process or memory behind", %{ns: ns} do
    many_requests(ns, 1_000_000)
  end

  defp many_requests(ns, count) do
    warm(ns)
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    before = {descriptors(), length(Process.list())}
    memory = :erlang.memory(:total)
    resident = resident()
    {:ok, socket} = Rtnl.open(Netns.target(ns))

    for n <- 1..count do
      case rem(n, 500) do
        0 ->
          {:ok, own} = Rtnl.open(Netns.target(ns))
          {:ok, _} = Link.list(own)
          if rem(n, 1000) == 0, do: Socket.close(own)

        r when rem(r, 2) == 0 ->
          {:error, _} = Link.get(socket, "nope")

        _ ->
          {:ok, _} = Link.get(socket, "lo")
      end
    end

    Socket.close(socket)
    assert Netns.eventually(fn -> {descriptors(), length(Process.list())} <= before end)

    assert Netns.eventually(fn ->
             Enum.each(Process.list(), &:erlang.garbage_collect/1)
             :erlang.memory(:total) - memory < 5_000_000
           end)

    assert resident() - resident < 50_000_000
  end

  defp warm(ns) do
    {:ok, socket} = Rtnl.open(Netns.target(ns))
    for _ <- 1..100, do: Link.list(socket)
    {:error, _} = Link.get(socket, "nope")
    Socket.close(socket)
  end

  defp descriptors do
    {:ok, names} = File.ls("/proc/self/fd")
    length(names)
  end

  defp resident do
    "/proc/self/statm"
    |> File.read!()
    |> String.split()
    |> Enum.at(1)
    |> String.to_integer()
    |> Kernel.*(4096)
  end

  test "no native call holds a scheduler for 5 ms", %{socket: socket} do
    :ok = Link.set_up(socket, "lo")
    {:ok, lo} = Link.get(socket, "lo")

    # The VM asks a clock: on a busy machine a call counts as long when the scheduler's thread had
    # to wait for a processor. A call that is long of itself is so each time.
    assert Enum.any?(1..20, fn _ -> held(socket, lo) == [] end)
  end

  # The VM's reports of NIF calls that held a scheduler while routes are added, read and deleted.
  defp held(socket, lo) do
    collector = spawn_link(fn -> collect([]) end)
    :erlang.system_monitor(collector, [{:long_schedule, 5}])

    routes = for n <- 0..4999, do: {"20.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, oif: lo.index}
    {:ok, _} = Route.add_many(socket, routes)
    for _ <- 1..20, do: {:ok, [_ | _]} = Route.list(socket)
    {:ok, _} = Route.delete_many(socket, routes)
    {:ok, [_ | _]} = Request.talk(socket, 18, 0x300, <<0::128>>)

    :erlang.system_monitor(:undefined)
    send(collector, {:events, self()})
    assert_receive {:events, events}

    for {:monitor, _pid, :long_schedule, info} <- events,
        key <- [:in, :out],
        match?({Linx.Native, _, _}, info[key]),
        do: info
  end

  defp collect(events) do
    receive do
      {:events, to} -> send(to, {:events, events})
      event -> collect([event | events])
    end
  end
end
