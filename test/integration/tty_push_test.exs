defmodule Linx.Integration.TtyPushTest do
  # A workload that types into every terminal that it can reach (TIOCSTI) while a person at an iex
  # looks on. What reached the person's shell would be obeyed there.
  use ExUnit.Case, async: true

  import Linx.Test.Terminal

  alias Linx.Test.Inheritance

  @moduletag :tty
  @moduletag timeout: 600_000

  setup_all {Inheritance, :prepare}

  defp typed, do: ~S|"Process.put(:typed, :by_the_workload)\n"|

  # A workload that begins when a line is typed, so that it is alive at the attach.
  @told ~S|"/bin/sh", "-c", "read go; exec \"$0\" \"$@\"", |

  defp spawned(t, options, told \\ "") do
    argv = ~s([#{told}#{inspect(Inheritance.path())}, "push", #{typed()}])
    assert run(t, "{:ok, s} = Linx.Process.spawn(argv: #{argv}, #{options}); :ok") == ":ok"
  end

  for mode <- [:controlling, :group_leader] do
    test "#{mode}: with a terminal of its own it reaches that one only" do
      t = iex()
      spawned(t, "stdio: :pty", @told)
      assert run(t, "Linx.Process.proceed(s)") == ":ok"
      type(t, "r = Linx.Tty.attach(#{unquote(inspect(mode))}, s, [])\r")
      poll(fn -> "-isig" in settings(t) end)
      type(t, "\r")
      expect(~r/push own \d+\r\n/)
      expect("{:ok, {:exited, 0}}\r\n")
      assert run(t, "Process.get(:typed)") == "nil"
      assert run(t, "r") == "{:ok, {:exited, 0}}"
    end
  end

  @tag :userns
  test "that inherits the person's terminal it is refused, unless it has the host's " <>
         "CAP_SYS_ADMIN" do
    t = iex()
    spawned(t, "namespaces: [:user]")
    type(t, "Linx.Process.proceed(s); r = Linx.Process.wait(s)\r")

    # EPERM: the terminal is not that of its session; EIO: the kernel has the call no more
    # (dev.tty.legacy_tiocsti).
    for fd <- ~w(stdin stdout stderr), do: expect(~r/push #{fd} [15]\r?\n/)
    expect("{:ok, {:exited, 0}}")
    assert run(t, "Process.get(:typed)") == "nil"
  end
end
