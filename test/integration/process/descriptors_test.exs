defmodule Linx.Integration.Process.DescriptorsTest do
  use ExUnit.Case, async: true

  # A VM that has 300 files open, as a shell hands them down to it.

  test "of a VM with 300 open descriptors the workload gets 0 to 2, and no signal blocked " <>
         "or ignored" do
    code = ~S"""
    300 = "/proc/self/fd" |> File.ls!() |> Enum.count(&(String.to_integer(&1) in 100..399))

    run = fn argv ->
      stdio = [stdin: :devnull, stdout: :pipe, stderr: :pipe]
      {:ok, session} = Linx.Process.spawn(argv: argv, stdio: stdio)
      :ok = Linx.Process.proceed(session)
      {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
      receive do {:linx_process, :stdout, text} -> IO.write(text) end
    end

    run.(["/bin/ls", "-l", "/proc/self/fd"])
    run.(["/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])
    """

    script = "for i in $(seq 100 399); do eval \"exec $i</etc/hostname\"; done; exec \"$@\""
    elixir = System.find_executable("elixir")
    args = ["-c", script, "bash", elixir, "-pa", Application.app_dir(:linx, "ebin"), "-e", code]
    {output, 0} = System.cmd("bash", args, stderr_to_stdout: true)

    # ls holds the directory that it lists.
    descriptors = Regex.scan(~r/ (\d+) -> (\S+)/, output, capture: :all_but_first)
    assert [["0", _], ["1", _], ["2", _], ["3", "/proc/" <> _]] = descriptors
    assert output =~ ~r/SigBlk:\s+0{16}\n/
    assert output =~ ~r/SigIgn:\s+0{16}\n/
  end
end
