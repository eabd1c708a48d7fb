defmodule Linx.Netfilter.KernelDescriptorsTest do
  # The count of descriptors is the VM's, so nothing else may run.
  use ExUnit.Case, async: false

  import Linx.Test.Firewall, only: [ruleset: 1]

  alias Linx.Netfilter
  alias Linx.Netlink.{Nfnl, Socket}
  alias Linx.Test.{Firewall, Workload}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do
    Firewall.namespace()
  end

  defp opened(pid) do
    {:ok, socket} = Nfnl.open({:pid, pid})
    socket
  end

  test "sockets that own nothing, or were closed, are not kept", %{pid: pid, sock: sock} do
    descriptors = fn -> length(File.ls!("/proc/self/fd")) end
    before = descriptors.()

    held = fn ->
      self() |> Process.info(:dictionary) |> elem(1) |> List.keyfind({Socket, :held}, 0)
    end

    for n <- 1..100 do
      socket = opened(pid)
      {:ok, _} = Netfilter.create_table(socket, "t#{n}")
      Socket.close(socket)
    end

    assert {_key, [_last]} = held.()
    for _ <- 1..100, do: :ok = Netfilter.push(opened(pid), ruleset([]))
    assert {_key, [_last]} = held.()
    # Other tests of this VM have some as well.
    Workload.eventually(fn -> :erlang.garbage_collect() && descriptors.() < before + 60 end)
    assert {:ok, _} = Netfilter.pull(sock)
  end
end
