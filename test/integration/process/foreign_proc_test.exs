defmodule Linx.Integration.Process.ForeignProcTest do
  use ExUnit.Case, async: true

  # A VM in a pid namespace whose /proc is still its parent's: the numbers in there are not those
  # that fork returns.

  @moduletag :root

  test "exec is told from death, and only a session's own descendants are killed" do
    code = ~S"""
    bystander = Port.open({:spawn_executable, "/bin/sleep"}, args: ["600"])
    {:os_pid, bystander} = Port.info(bystander, :os_pid)

    outcomes =
      for _ <- 1..40 do
        argv = ["/bin/sh", "-c", "setsid sleep 600 & exit 7"]
        {:ok, session} = Linx.Process.spawn(argv: argv, stdio: :devnull)
        :ok = Linx.Process.proceed(session)
        Linx.Process.wait(session, 60_000)
      end

    IO.inspect(Enum.frequencies(outcomes))
    {_, status} = System.cmd("kill", ["-0", "#{bystander}"])
    IO.puts("bystander: #{status}")
    """

    ebin = Application.app_dir(:linx, "ebin")
    command = ["--pid", "--fork", "--kill-child", "elixir", "-pa", ebin, "-e", code]
    {output, status} = System.cmd("unshare", command, stderr_to_stdout: true)
    assert status == 0, output
    assert output =~ "%{{:ok, {:exited, 7}} => 40}"
    assert output =~ "bystander: 0"
  end
end
