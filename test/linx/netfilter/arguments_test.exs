defmodule Linx.Netfilter.ArgumentsTest do
  use ExUnit.Case, async: true

  @moduletag :nfnetlink

  # A closed socket answers everything that reaches it with EBADF: what is refused otherwise never
  # got there.

  alias Linx.Netfilter
  alias Linx.Netfilter.{Error, Log, Monitor, Ruleset}
  alias Linx.Netlink.{Nfnl, Socket}

  setup do
    {:ok, socket} = Nfnl.open()
    :ok = Socket.close(socket)
    %{socket: socket, ruleset: Ruleset.add_table!(Ruleset.new(), :inet, "t")}
  end

  test "options that are none are answers and reach no kernel", %{
    socket: socket,
    ruleset: ruleset
  } do
    for {result, reason} <- [
          {Netfilter.push(socket, ruleset, mode: :merge), {:bad_option, {:mode, :merge}}},
          {Netfilter.push(socket, ruleset, modes: :replace), {:bad_option, {:modes, :replace}}},
          {Netfilter.push(socket, ruleset, :replace), {:bad_options, :replace}},
          {Netfilter.pull(socket, table: "t"), {:bad_option, {:table, "t"}}},
          {Netfilter.pull(socket, elements: nil), {:bad_option, {:elements, nil}}},
          {Netfilter.pull(socket, subscribe_first: :monitor),
           {:bad_option, {:subscribe_first, :monitor}}},
          {Netfilter.pull(socket, {:inet, "t"}, %{}), {:bad_options, %{}}},
          {Netfilter.pull(socket, {:inet6, "t"}), {:bad_table, {:bad_family, :inet6}}},
          {Netfilter.pull(socket, {:inet, :t}), {:bad_table, {:bad_name, :t}}},
          {Netfilter.create_table(socket, "t", flags: [:dormant]),
           {:bad_option, {:flags, [:dormant]}}},
          {Netfilter.create_table(socket, "t", persist: :yes), {:bad_option, {:persist, :yes}}},
          {Netfilter.create_table(socket, "t", family: :ipv4),
           {:bad_table, {:bad_family, :ipv4}}},
          {Netfilter.create_table(socket, "t", :inet), {:bad_options, :inet}}
        ] do
      assert {:error, ^reason} = result
    end

    assert {:error, %Error{errno: :ebadf}} = Netfilter.push(socket, ruleset, mode: :replace)
    assert {:error, %Error{errno: :ebadf}} = Netfilter.pull(socket, elements: false)
    assert {:error, %Error{errno: :ebadf}} = Netfilter.create_table(socket, "t", persist: true)
  end

  test "a listener's namespace that is none raises in the caller" do
    for netns <- [:blue, {:pid, 0}, {:path, ""}, nil] do
      assert_raise ArgumentError, fn -> Monitor.start_link(owner: self(), netns: netns) end
      assert_raise ArgumentError, fn -> Log.start_link(owner: self(), group: 1, netns: netns) end
    end
  end

  test "a listener that cannot start does not take its caller with it" do
    absent = {:path, "/proc/self/ns/absent"}
    refute Process.info(self(), :trap_exit) == {:trap_exit, true}

    assert {:error, %Error{errno: :enoent, operation: :subscribe}} =
             Monitor.start_link(owner: self(), netns: absent)

    assert {:error, %Error{errno: :enoent, operation: :log_listen}} =
             Log.start_link(owner: self(), group: 1, netns: absent)
  end
end
