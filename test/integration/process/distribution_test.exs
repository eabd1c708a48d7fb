defmodule Linx.Process.DistributionTest do
  use ExUnit.Case, async: true

  alias Linx.Test.Distribution

  @other ~S"""
  IO.puts("there")
  Process.sleep(:infinity)
  """

  @code ~S"""
  [other] = System.argv()
  other = String.to_atom(other)
  true = Node.connect(other)
  argv = ["/bin/sh", "-c", "head -c 4000000 /dev/zero; exit 6"]

  for {stdio, n} <- [{[stdout: :pipe], 1}, {:pty, 2}] do
    owner = Node.spawn(other, Linx.Test.Distribution, :own, [self()])
    options = [argv: argv, stdio: stdio, owner: owner, auto_proceed: true]
    {:ok, session} = Linx.Process.spawn(options)
    {output, 6, ^other} =
      receive do
        {:owned, output, code, node} -> {output, code, node}
      after
        60_000 -> :late
      end
    true = output == :binary.copy(<<0>>, 4_000_000)
    {:ok, {:exited, 6}} = Linx.Process.wait(session)
    # The verbs work from there too.
    {:ok, %{stage: :exited}} = :erpc.call(other, Linx.Process, :info, [session])
    IO.puts("#{n} fine")
  end

  # Handed over and back.
  owner = Node.spawn(other, Linx.Test.Distribution, :own, [self()])
  {:ok, session} = Linx.Process.spawn(argv: ["/bin/cat"], stdio: :pipe)
  :ok = Linx.Process.set_owner(session, owner)
  :ok = :erpc.call(other, Linx.Process, :proceed, [session])
  :ok = :erpc.call(other, Linx.Process, :stdin_write, [session, "over"])
  :ok = :erpc.call(other, Linx.Process, :stdin_close, [session])
  receive do {:owned, "over", 0, ^other} -> IO.puts("3 fine") after 60_000 -> exit(:late) end
  """

  test "owners on another node get their events" do
    elixir = System.find_executable("elixir")
    paths = ["-pa", Application.app_dir(:linx, "ebin")]
    [theirs, ours] = for _ <- 1..2, do: Distribution.free_port()
    args = Distribution.arguments(theirs) ++ paths ++ ["-e", @other]
    options = [:binary, :stderr_to_stdout, :exit_status, args: args]
    port = Port.open({:spawn_executable, elixir}, options)
    assert_receive {^port, {:data, "there\n"}}
    args = Distribution.arguments(ours) ++ paths ++ ["-e", @code, "linx-#{theirs}@127.0.0.1"]
    assert {"1 fine\n2 fine\n3 fine\n", 0} = System.cmd(elixir, args, stderr_to_stdout: true)
    {:os_pid, pid} = Port.info(port, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
    assert_receive {^port, {:exit_status, 137}}
  end
end
