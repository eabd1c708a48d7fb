defmodule Linx.Integration.JobLimitsTest do
  # An agent that does one job in other namespaces, with few descriptors to spare: the kernel
  # drops the descriptors of namespaces that have no number there, and the job must not be done
  # without them.
  #
  # Seen failing with a duplicate of the job's socket: with a limit of 3 the agent ended without
  # an answer. The Rust test beside `receive_job` holds the check of MSG_CTRUNC.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Pool.Native, as: Pool
  alias Linx.Process, as: P
  alias Linx.Process.AgentImage
  alias Linx.Test.Scratch

  @moduletag :root

  @emfile 24

  test "is done in the target's namespaces or not at all" do
    {target, _pid} = running(argv: ["/bin/sleep", "1000"], namespaces: [:pid], stdio: :devnull)
    {:ok, place} = Linx.Target.resolve(target)
    {:ok, places} = Linx.Sysctl.Native.places(place, "kernel/ns_last_pid")
    folder = Scratch.path("job-limits")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    limits = [0, 3, 4, 5, 6, 7, 8, 64]

    # Another process writes the file: a child of another test would inherit the descriptor for a
    # moment, and a file that is open for writing is ETXTBSY.
    write = ~S(printf '#!/bin/sh\nexec %s "$@"\n' "$1" >"$0" && chmod +x "$0")

    images =
      for limit <- limits do
        image = Path.join(folder, "agent-#{limit}")
        command = "prlimit --nofile=#{limit} #{AgentImage.path()}"
        {"", 0} = System.cmd("sh", ["-c", write, image, command])
        {limit, image}
      end

    answers =
      for {limit, image} <- images, into: %{} do
        {limit, Pool.await(Linx.Native.sysctl_read(image, places, ["kernel/ns_last_pid"]))}
      end

    # The one process of the target's namespace, and those of the jobs before.
    theirs? = fn text -> text |> String.trim() |> String.to_integer() <= length(limits) + 1 end

    for {limit, answer} <- answers do
      assert match?({:error, {_stage, _errno}}, answer) or theirs?.(elem(answer, 1)),
             "limit #{limit}: #{inspect(answer)}"
    end

    assert answers[0] == {:error, {:pipe, @emfile}}
    assert answers[3] == {:error, {:pipe, @emfile}}
    assert {:ok, _text} = answers[64]
    P.stop(target, 0)
  end
end
