defmodule Linx.Process.HeldTest do
  # Sessions that somebody holds on to: a tracer that never lets go, an agent or a workload that
  # is stopped, no descriptors left.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Test.{Inheritance, Vm}

  setup_all {Inheritance, :prepare}

  describe "a workload that a child of its own traces" do
    for init <- [false, true] do
      @tag init: init
      test "is killed all the same, init: #{init}", %{init: init} do
        argv = [Inheritance.path(), "traced", "hold"]
        {session, _pid} = running(argv: argv, stdio: :pipe, init: init)
        output_until(:stdout, "traced true\n")
        assert {:ok, {:signaled, _}} = P.stop(session, 0)
      end
    end

    test "ends when it ends" do
      {:ok, session} =
        P.spawn(argv: [Inheritance.path(), "traced"], stdio: :pipe, auto_proceed: true)

      assert P.wait(session, 30_000) == {:ok, {:exited, 3}}
      assert output(:stdout) == "traced true\n"
    end
  end

  describe "an agent that is stopped" do
    setup do
      {session, pid} = running(argv: ["/bin/sleep", "1000"], stdio: :devnull)
      {_, 0} = System.cmd("kill", ["-STOP", "#{parent(pid)}"])
      until(fn -> File.read!("/proc/#{parent(pid)}/stat") =~ ") T " end)
      %{session: session, pid: pid}
    end

    test "kills when stop asks for it", %{session: session} do
      assert {:ok, {:signaled, _}} = P.stop(session, 0)
    end

    test "does not keep a workload from the end of its session", %{session: session, pid: pid} do
      GenServer.stop(session)
      until(fn -> not alive?(pid) end)
    end
  end

  test "a terminal that is closed and opened again is heard while orphans come and go" do
    # An orphan every 20 ms, each a signal to the agent.
    script = """
    (while :; do (sleep 0.01 & ); sleep 0.02; done) </dev/null >/dev/null 2>&1 &
    tty=$(tty); exec <&- >&- 2>&-; sleep 1; echo again >$tty; exec sleep 1000
    """

    {session, _pid} = running(argv: ["/bin/sh", "-c", script], stdio: :pty)
    output_until(:pty_out, "again")
    P.stop(session, 0)
  end

  test "a VM without descriptors to spare says so, and goes on" do
    code =
      quote do
        :ok = Application.load(:linx)
        {:ok, modules} = :application.get_key(:linx, :modules)
        Enum.each(modules, &Code.ensure_loaded/1)
        spawn = fn -> Linx.Process.spawn(argv: ["/bin/sleep", "1000"], stdio: :devnull) end
        {:ok, first} = spawn.()

        {more, refused} =
          Enum.reduce_while(1..1000, {[], nil}, fn _, {more, nil} ->
            case spawn.() do
              {:ok, session} -> {:cont, {[session | more], nil}}
              refused -> {:halt, {more, refused}}
            end
          end)

        ends = for session <- more, do: Linx.Process.stop(session)
        {:ok, last} = spawn.()
        states = for session <- [first, last], do: elem(Linx.Process.info(session), 1).stage
        {refused, Enum.uniq(ends), states}
      end

    limits = ["sh", "-ec", ~s(ulimit -n 100; exec "$@"), "sh"]

    assert {{:error, %P.Error{stage: :open_port, errno: :emfile}}, [{:ok, :aborted}],
            [:ready, :ready]} = Vm.eval(limits, code)
  end
end
