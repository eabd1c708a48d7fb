defmodule Linx.Process.ValuesTest do
  use ExUnit.Case, async: true

  doctest Linx.Process.Error

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info, Protocol}

  test "errors from the agent's numbers" do
    assert Error.from_agent(9_999, :clone) == %Error{stage: :clone, errno: :unknown, code: 9_999}

    assert Error.from_agent(137, :agent_died) == %Error{
             stage: :agent_died,
             errno: :unknown,
             code: 137
           }

    assert Exception.message(Error.from_agent(2, :execve)) == "execve: enoent (2)"
    assert Exception.message(Error.from_agent(137, :agent_died)) =~ "status 137"
  end

  test "infos inspect as one line" do
    for {fields, text} <- [
          {[mode: :spawn, stage: :starting], "#Linx.Process.Info<spawn :starting>"},
          {[mode: :spawn, stage: :running, host_pid: 5, pty?: true],
           "#Linx.Process.Info<spawn :running host=5 pty>"},
          {[mode: :enter, stage: :exited, host_pid: 5, result: {:exited, 0}],
           "#Linx.Process.Info<enter :exited(0) host=5>"},
          {[mode: :spawn, stage: :signaled, host_pid: 5, result: {:signaled, 9}],
           "#Linx.Process.Info<spawn :signaled(9) host=5>"},
          {[mode: :spawn, stage: :aborted, host_pid: 5, result: :aborted],
           "#Linx.Process.Info<spawn :aborted host=5>"},
          {[mode: :spawn, stage: :errored, result: {:error, Error.from_agent(2, :execve)}],
           "#Linx.Process.Info<spawn :errored(execve/2)>"}
        ] do
      assert inspect(struct!(Info, fields)) == text
    end
  end

  test "every stage that the agent names is one that is known here" do
    # Its names are atoms once it is loaded.
    Code.ensure_loaded!(Protocol)
    source = File.read!(Path.expand("../../../c_src_replacement/src/stage.rs", __DIR__))
    names = Regex.scan(~r/=> "(\w+)",/, source, capture: :all_but_first) |> List.flatten()
    assert length(names) > 30

    for name <- names do
      frame = Protocol.encode({:status, :error, 1, String.to_existing_atom(name)})
      assert {:ok, {:ended, {:error, 1, stage}, nil}} = Protocol.decode(frame)
      assert to_string(stage) == name
    end
  end

  test "output is what its term says, and not copied out of its frame" do
    for stream <- [:pty, :stdout, :stderr], size <- [0, 1, 64, 65, 65_511] do
      bytes = :rand.bytes(size)
      frame = Protocol.encode({:out, stream, bytes})
      assert {:ok, {:out, ^stream, ^bytes} = event} = Protocol.decode(frame)
      assert :erlang.binary_to_term(frame) == event

      if size > 64 do
        {:ok, {:out, _stream, taken}} = Protocol.decode(frame)
        assert :binary.referenced_byte_size(taken) == byte_size(frame)
      end
    end

    assert Protocol.decode(Protocol.encode({:out, :other, "x"})) == :malformed
    assert Protocol.decode(Protocol.encode({:out, :pty, "xyz"}) <> "x") == :malformed
    assert Protocol.decode(Protocol.encode({:out, :pty, :pty})) == :malformed
  end

  test "child specifications" do
    spec = P.child_spec(argv: ["/bin/true"])
    assert %{id: P, restart: :permanent, shutdown: 5_000} = spec
    assert {P, :spawn, [[linger: false, argv: ["/bin/true"]]]} = spec.start

    spec =
      P.child_spec(argv: ["/bin/true"], id: :web, restart: :transient, shutdown: 1, linger: true)

    assert %{id: :web, restart: :transient, shutdown: 1} = spec
    assert {P, :spawn, [[id: :web, argv: ["/bin/true"], linger: true]]} = spec.start
  end

  # Seen failing as FunctionClauseError, which names none of them.
  test "times beyond what a timer takes are refused in the caller, by name" do
    for time <- [0x100000000, -1, 1.5, :never, "5"] do
      assert_raise ArgumentError, ~r/timeout is .*#{inspect(time)}/, fn ->
        P.wait(self(), time)
      end

      assert_raise ArgumentError, ~r/grace is .*#{inspect(time)}/, fn -> P.stop(self(), time) end
    end
  end

  # Seen failing with the whole list in the error, and as FunctionClauseError.
  test "a wrong argument of a verb is named, and nothing else" do
    me = self()

    for {answer, reason} <- [
          {P.signal(me, 15, to: :nobody), {:bad_option, {:to, :nobody}}},
          {P.signal(me, 15, to: :tree, ot: 1), {:bad_option, {:ot, 1}}},
          {P.signal(me, 15, :tree), {:bad_options, :tree}},
          {P.signal(me, :nosuch), {:bad_signal, :nosuch}},
          {P.stop(me, 0, signal: :nosuch), {:bad_signal, :nosuch}},
          {P.stop(me, 0, signal: 15, grace: 1), {:bad_option, {:grace, 1}}},
          {P.stop(me, 0, 15), {:bad_options, 15}},
          {P.tee(me, :name), {:bad_listener, :name}},
          {P.untee(me, :name), {:bad_listener, :name}},
          {P.set_owner(me, nil), {:bad_owner, nil}},
          {P.set_owner(me, "owner"), {:bad_owner, "owner"}},
          {P.set_owner(me, true), {:bad_owner, true}}
        ],
        do: assert(answer == {:error, reason})
  end

  test "verbs of a session that is gone" do
    {gone, ref} = spawn_monitor(fn -> :ok end)
    assert_receive {:DOWN, ^ref, _, _, _}

    for answer <- [
          P.proceed(gone),
          P.abort(gone),
          P.signal(gone, 9),
          P.wait(gone),
          P.info(gone),
          P.host_pid(gone),
          P.set_owner(gone, self()),
          P.pty_master(gone),
          P.pty_write(gone, "x"),
          P.pty_set_winsize(gone, {1, 1, 1, 1}),
          P.stdin_write(gone, "x"),
          P.stdin_close(gone),
          P.stop(gone),
          P.command(gone, {:set_ambient, 0}),
          P.pin(gone),
          P.enter(gone, argv: ["/bin/true"])
        ] do
      assert answer == {:error, :no_process}
    end
  end
end
