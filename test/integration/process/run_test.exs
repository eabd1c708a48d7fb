defmodule Linx.Process.RunTest do
  use ExUnit.Case, async: true

  import Linx.Test.Session, only: [alive?: 1, until: 1, with_environment: 1]

  alias Linx.Process, as: P
  alias Linx.Process.Error

  @moduletag timeout: 300_000

  defp sh(script, opts \\ []), do: P.run([argv: ["/bin/sh", "-c", script]] ++ opts)

  defp mailbox, do: Process.info(self(), :messages)

  describe "run" do
    test "ends a session past a limit by a request that the session knows" do
      log =
        ExUnit.CaptureLog.capture_log(fn ->
          assert {:error, %Error{stage: :timeout}} = sh("sleep 10", timeout: 50)
          assert {:error, %Error{stage: :max_output}} = sh("yes", max_output: 10)
        end)

      refute log =~ "FunctionClauseError"
    end

    test "collects what System.cmd collects, over random sizes and ends" do
      for _ <- 1..40 do
        {out, err, code} =
          {:rand.uniform(300_000), :rand.uniform(300_000), :rand.uniform(256) - 1}

        bytes = :rand.bytes(:rand.uniform(100_000) - 1)

        script =
          "head -c #{out} /dev/zero; head -c #{err} /dev/zero | tr '\\0' e >&2; exit #{code}"

        assert {expected, ^code} = System.cmd("/bin/sh", ["-c", "exec 2>/dev/null; " <> script])
        assert {:ok, run} = sh(script)
        assert run.outcome == {:exited, code}
        assert run.stdout == expected
        assert run.stderr == String.duplicate("e", err)

        assert {:ok, %{stdout: ^bytes, outcome: {:exited, 0}}} =
                 P.run(argv: ["/bin/cat"], input: bytes)
      end
    end

    test "ten megabytes each way at once" do
      bytes = :rand.bytes(10 * 1024 * 1024)
      assert {:ok, run} = sh("tee /dev/stderr", input: bytes)
      assert run.outcome == {:exited, 0}
      assert run.stdout == bytes
      assert run.stderr == bytes
    end

    test "input above the limit of a session's own queue" do
      bytes = :binary.copy("0123456789abcdef", 5 * 1024 * 1024)
      assert {:ok, run} = P.run(argv: ["/usr/bin/wc", "-c"], input: [bytes, "x"])
      assert String.trim(run.stdout) == "#{byte_size(bytes) + 1}"
    end

    test "a workload that closes its input early, or never reads it" do
      bytes = :binary.copy("x", 5 * 1024 * 1024)

      assert {:ok, %{stdout: "xxx", outcome: {:exited, 0}}} =
               P.run(argv: ["/usr/bin/head", "-c3"], input: bytes)

      assert {:ok, %{stdout: "done\n"}} = sh("exec <&-; echo done", input: bytes)
      assert {:ok, %{stdout: "done\n"}} = sh("echo done", input: bytes)
    end

    test "without input there is nothing to read" do
      assert {:ok, %{stdout: "", outcome: {:exited, 0}}} = P.run(argv: ["/bin/cat"])
      assert {:ok, %{stdout: "", outcome: {:exited, 0}}} = P.run(argv: ["/bin/cat"], input: "")
      assert {:ok, %{stdout: ""}} = P.run(argv: ["/bin/cat"], stdio: :pipe)
    end

    test "a daemon that keeps the pipes does not delay the answer" do
      mark = "LINX_RUN=#{System.unique_integer([:positive])}"

      {time, {:ok, run}} =
        :timer.tc(fn -> sh("setsid sleep 100 & echo over", env: {:clean, [mark]}) end)

      assert run.stdout == "over\n"
      assert run.outcome == {:exited, 0}
      assert time < 60_000_000
      assert with_environment(mark) == []
    end

    test "ends by a signal, streams of one's own, a terminal, rusage" do
      assert {:ok, %{outcome: {:signaled, 9}}} = sh("kill -9 $$")

      assert {:ok, %{stdout: "", stderr: "e\n"}} =
               sh("echo o; echo e >&2", stdio: [stdout: :devnull])

      assert {:ok, %{stdout: "a\r\n", stderr: ""}} = sh("echo a", stdio: :pty)
      assert {:ok, %{stdout: typed}} = sh("read x; echo got $x", stdio: :pty, input: "word\n")
      assert typed =~ "got word"
      assert {:ok, %{rusage: %{max_rss: rss}}} = sh("true")
      assert rss > 0
    end

    test "a workload that does not run is an error" do
      assert {:error, %Error{stage: :execve, errno: :enoent}} = P.run(argv: ["/nope"])
    end

    test "past its time the tree is ended, and what was read is in the error" do
      mark = "LINX_RUN=#{System.unique_integer([:positive])}"

      assert {:error, %Error{stage: :timeout, errno: :etimedout} = error} =
               sh("echo begun; setsid sleep 100 & trap '' TERM; sleep 101",
                 timeout: 1_000,
                 env: {:clean, [mark]}
               )

      assert error.output.stdout == "begun\n"
      assert {:signaled, _signal} = error.output.outcome
      assert with_environment(mark) == []
      assert Exception.message(error) =~ "timeout"
    end

    test "past its output the tree is ended, at the byte" do
      for most <- [0, 1, 4_095, 100_000] do
        assert {:error, %Error{stage: :max_output, output: output}} =
                 P.run(argv: ["/usr/bin/yes"], max_output: most)

        assert output.stdout == binary_part(String.duplicate("y\n", 50_001), 0, most)
      end

      assert {:error, %Error{stage: :max_output, output: output}} =
               sh("yes & yes >&2", max_output: 50_000)

      assert byte_size(output.stdout) + byte_size(output.stderr) == 50_000
      assert {:ok, %{stdout: "four"}} = sh("printf four", max_output: 4)
    end

    test "wrong options are refused before anything runs" do
      for {opts, reason} <- [
            {[], :argv_required},
            {[argv: ["/bin/true"], owner: self()], {:bad_option, :owner}},
            {[argv: ["/bin/true"], linger: true], {:bad_option, :linger}},
            {[argv: ["/bin/true"], auto_proceed: false], {:bad_auto_proceed, false}},
            {[argv: ["/bin/true"], timeout: -1], {:bad_timeout, -1}},
            {[argv: ["/bin/true"], timeout: 1.5], {:bad_timeout, 1.5}},
            {[argv: ["/bin/true"], timeout: nil], {:bad_timeout, nil}},
            {[argv: ["/bin/true"], max_output: :all], {:bad_max_output, :all}},
            {[argv: ["/bin/true"], input: :none], {:bad_input, :none}},
            {[argv: ["/bin/true"], input: [300]], {:bad_input, [300]}},
            {[argv: ["/bin/true"], input: "x", stdio: :devnull], {:bad_input, :no_pipe}},
            {[argv: ["/bin/true"], stdio: [stdin: :typo]],
             {:bad_stdio, [stdin: :typo, stdout: :pipe, stderr: :pipe]}},
            {[:argv], {:bad_options, [:argv]}}
          ] do
        assert {:error, given} = P.run(opts)

        case {given, reason} do
          {{:bad_stdio, a}, {:bad_stdio, b}} -> assert Enum.sort(a) == Enum.sort(b)
          both -> assert elem(both, 0) == elem(both, 1)
        end

        assert_raise ArgumentError, fn -> P.stream(opts) end
      end
    end

    test "nothing is left in the mailbox, and nothing in it is touched" do
      Process.flag(:trap_exit, true)
      mine = for n <- 1..50, do: {:linx_process, :stdout, n}
      for message <- mine, do: send(self(), message)
      assert {:ok, _} = sh("echo a; echo b >&2")
      assert {:error, _} = P.run(argv: ["/nope"])
      assert {:error, _} = sh("sleep 10", timeout: 10)
      assert {:error, _} = P.run(argv: ["/usr/bin/yes"], max_output: 10)
      assert [{:stdout, _}] = Enum.take(P.stream(argv: ["/usr/bin/yes"]), 1)
      assert [_, {:exit, _}] = Enum.to_list(P.stream(argv: ["/bin/echo"]))
      # A late answer would come now.
      receive do
        {ref, late} when is_reference(ref) -> flunk("a late answer: #{inspect(late)}")
      after
        200 -> :ok
      end

      assert mailbox() == {:messages, mine}
      assert {:links, links} = Process.info(self(), :links)
      assert Enum.filter(links, &(is_pid(&1) and linx?(&1))) == []
    end

    defp linx?(pid) do
      case Process.info(pid, :dictionary) do
        {:dictionary, dictionary} -> dictionary[:"$initial_call"] == {P, :init, 1}
        nil -> false
      end
    end

    test "half a million other messages cost it nothing" do
      for n <- 1..500_000, do: send(self(), {:other, n})
      times = for _ <- 1..20, do: elem(:timer.tc(fn -> {:ok, _} = sh("echo out") end), 0)
      # Looking through the mailbox once takes longer than that.
      assert Enum.min(times) < 50_000
      assert [{:stdout, "out\n"}, {:exit, _}] = Enum.to_list(P.stream(argv: ["/bin/echo", "out"]))
      assert {:message_queue_len, 500_000} = Process.info(self(), :message_queue_len)
    end

    test "a caller that is killed takes the workload with it" do
      for start <- [&P.run/1, &Enum.to_list(P.stream(&1))], stdio <- [:pipe, :pty] do
        mark = "LINX_RUN=#{System.unique_integer([:positive])}"
        script = "setsid sleep 100 & exec sleep 101"

        caller =
          spawn(fn ->
            start.(argv: ["/bin/sh", "-c", script], env: {:clean, [mark]}, stdio: stdio)
          end)

        until(fn -> length(with_environment(mark)) == 2 end)
        Process.exit(caller, :kill)
        until(fn -> with_environment(mark) == [] end)
      end
    end

    test "a session that somebody kills is an answer, not a crash" do
      mark = "LINX_RUN=#{System.unique_integer([:positive])}"
      task = Task.async(fn -> P.run(argv: ["/bin/sleep", "100"], env: {:clean, [mark]}) end)
      until(fn -> with_environment(mark) != [] end)
      sessions = fn -> for pid <- Process.list(), linx?(pid), env(pid, mark), do: pid end
      until(fn -> length(sessions.()) == 1 end)
      [session] = sessions.()
      Process.exit(session, :kill)
      assert Task.await(task, 60_000) == {:error, :no_process}
      until(fn -> with_environment(mark) == [] end)
    end

    defp env(session, mark) do
      with {:ok, pid} <- P.host_pid(session),
           {:ok, environment} <- File.read("/proc/#{pid}/environ"),
           do: environment =~ mark,
           else: (_ -> false)
    end
  end

  @tag :root
  test "run and stream join the namespaces of a session" do
    {:ok, target} =
      P.spawn(
        argv: ["/bin/sleep", "100"],
        namespaces: [:uts],
        hostname: "beside",
        stdio: :devnull,
        auto_proceed: true
      )

    opts = [argv: ["/bin/hostname"], namespaces: [:ipc], join: {target, [:uts]}]
    assert {:ok, %{outcome: {:exited, 0}, stdout: "beside\n"}} = P.run(opts)
    assert Enum.to_list(P.stream(opts)) == [stdout: "beside\n", exit: {:exited, 0}]
    assert {:ok, _} = P.stop(target, 0)
    assert P.run(opts) == {:error, :no_process}
  end

  describe "stream" do
    test "gives all output in order, and the end last" do
      script = "head -c 3000000 /dev/zero; head -c 100000 /dev/zero >&2; exit 4"
      elements = Enum.to_list(P.stream(argv: ["/bin/sh", "-c", script]))
      assert List.last(elements) == {:exit, {:exited, 4}}
      assert size(elements, :stdout) == 3_000_000
      assert size(elements, :stderr) == 100_000

      assert [pty: "a\r\n", exit: {:exited, 0}] =
               Enum.to_list(P.stream(argv: ["/bin/echo", "a"], stdio: :pty))

      bytes = :rand.bytes(2_000_000)
      back = for {:stdout, part} <- P.stream(argv: ["/bin/cat"], input: bytes), into: "", do: part
      assert back == bytes
    end

    defp size(elements, stream),
      do: Enum.sum(for {^stream, bytes} <- elements, do: byte_size(bytes))

    test "halting, an exception and a suspended consumer's death end the tree" do
      for halt <- [
            &Enum.take(&1, 1),
            fn stream -> catch_error(Enum.each(stream, fn _ -> raise "no" end)) end,
            fn stream -> catch_throw(Enum.each(stream, fn _ -> throw(:no) end)) end,
            &Enum.zip(&1, [1])
          ] do
        mark = "LINX_RUN=#{System.unique_integer([:positive])}"
        script = "setsid sleep 100 & exec yes"
        halt.(P.stream(argv: ["/bin/sh", "-c", script], env: {:clean, [mark]}))
        assert with_environment(mark) == []
      end
    end

    test "a slow consumer stops the workload, not the VM" do
      test = self()

      consumer =
        spawn_link(fn ->
          P.stream(argv: ["/bin/sh", "-c", "echo $$; exec yes"])
          |> Enum.each(fn {:stdout, bytes} ->
            send(test, {:consumed, bytes})
            receive do: (:more -> :ok)
          end)
        end)

      assert_receive {:consumed, first}, 60_000
      {pid, _} = Integer.parse(first)
      sleeping = fn -> File.read!("/proc/#{pid}/wchan") =~ "pipe" end
      until(sleeping)
      {:monitored_by, watchers} = Process.info(consumer, :monitored_by)
      [reader] = for watcher <- watchers, is_pid(watcher), watcher != test, do: watcher
      {:messages, messages} = Process.info(reader, :messages)
      unread = for {:linx_process, :stdout, bytes} <- messages, do: byte_size(bytes)
      assert Enum.sum(unread) < 4 * 1024 * 1024
      Process.unlink(consumer)
      Process.exit(consumer, :kill)
      until(fn -> not alive?(pid) end)
    end

    test "what cannot be started and what passes a limit raises, behind the output" do
      assert_raise Error, fn -> Enum.to_list(P.stream(argv: ["/nope"])) end
      {:ok, seen} = Agent.start_link(fn -> [] end)
      keep = fn element -> Agent.update(seen, &[element | &1]) end

      error =
        assert_raise Error, fn ->
          P.stream(argv: ["/bin/sh", "-c", "echo a; sleep 100"], timeout: 1_000)
          |> Enum.each(keep)
        end

      assert error.stage == :timeout
      assert Agent.get(seen, & &1) == [stdout: "a\n"]

      error =
        assert_raise Error, fn ->
          P.stream(argv: ["/usr/bin/yes"], max_output: 1_001) |> Enum.each(keep)
        end

      assert error.stage == :max_output
      assert Agent.get(seen, &size(&1, :stdout)) == 1_001 + 2
    end

    test "each enumeration is a session of its own" do
      stream = P.stream(argv: ["/bin/sh", "-c", "echo $$"])
      [first, second] = for _ <- 1..2, do: stream |> Enum.take(1) |> Keyword.fetch!(:stdout)
      assert first != second
    end
  end
end
