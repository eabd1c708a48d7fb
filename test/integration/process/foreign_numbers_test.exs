defmodule Linx.Integration.Process.ForeignNumbersTest do
  use ExUnit.Case, async: true

  # A VM whose /proc shows another pid namespace, or is not there. The number of a session's
  # workload is then that of somebody else in there, or nobody's. Each verb and enter/2 reach the
  # session's namespaces, or give an error.
  #
  # Broken by hand: Pin::open with "/proc/<pid>" of the number that it was given,
  # Namespace::other_of answering None where the comparison fails: the tests below fail, the
  # strangers being written to.

  import Linx.Test.Foreign

  alias Linx.Test.Vm

  @moduletag :root
  @moduletag timeout: 300_000

  @done ~w(uid_map deny_setgroups gid_map hostname forward shm userns mount remount umount)a
  @namespaces [:user, :mount, :net, :uts, :ipc]

  defp stranger(flags) do
    pid = stranger!(flags)
    on_exit(fn -> System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true) end)
    pid
  end

  defp run(wrapper, number, code), do: Vm.eval(wrapper, code, number: number)

  # A session at the number, running, and all verbs in its namespaces.
  defp verbs_at(number, kind) do
    run(
      outer_proc(),
      number,
      quote do
        import Linx.Test.Foreign
        argv = ["/bin/sleep", "600"]

        session =
          parked_at!(var!(number), argv: argv, namespaces: unquote(@namespaces), stdio: :devnull)

        place = if unquote(kind) == :session, do: session, else: {:pid, var!(number)}
        process = if unquote(kind) == :session, do: session, else: var!(number)
        answers = answers(verbs(place, process))
        :ok = Linx.Process.proceed(session)
        entered = entered(process, ["/bin/hostname"])
        Linx.Process.stop(session, 0)
        {answers, entered}
      end
    )
  end

  defp check({answers, entered}) do
    for {name, answer} <- answers do
      case name do
        name when name in @done -> assert {name, answer} == {name, :ok}
        :read_uid_map -> assert {:ok, [%{inside: 0, outside: 0, length: 1}]} = answer
        :read_hostname -> assert answer == {:ok, "inner"}
        :last_pid -> assert {:ok, _} = answer
        :list -> assert answer > 10
        :proc -> assert answer == :ok or match?({:error, _}, answer)
        :mounts -> assert answer > 0
        :capabilities -> assert answer == :ok
        :link -> assert answer == :ok
        :links -> assert answer == ["in0", "in1", "lo"]
        :table -> assert answer == :ok
      end
    end

    assert entered == {{:ok, {:exited, 0}}, "inner\n"}
  end

  for kind <- [:session, :pid] do
    test "a #{kind} that has a stranger's number in there: the stranger is not touched" do
      pid = stranger(~w(--user --mount --net --uts --ipc))
      before = traces(pid)
      check(verbs_at(pid, unquote(kind)))
      assert traces(pid) == before
    end
  end

  test "that has the number of a process in the VM's own namespaces" do
    pid = stranger(~w(--uts))
    {hostname, 0} = System.cmd("hostname", [])
    check(verbs_at(pid, :session))
    assert System.cmd("hostname", []) == {hostname, 0}
  end

  test "that has nobody's number" do
    {output, 0} = System.cmd("sh", ["-c", "exec sleep 0 & echo $!; wait"])
    check(output |> String.trim() |> String.to_integer() |> verbs_at(:session))
  end

  @tag :kernel_threads
  test "that has a kernel thread's number",
    do: check(verbs_at(Enum.max(Linx.Test.Host.kernel_threads()), :session))

  test "without a /proc enter goes where the session is, and verbs go there or say why not" do
    {entered, answers, hostname} =
      run(
        no_proc("hostname outer"),
        0,
        quote do
          import Linx.Test.Foreign
          _ = var!(number)
          shell = "hostname inner; echo ready; exec sleep 600"
          stdio = [stdin: :devnull, stdout: :pipe, stderr: :devnull]

          {:ok, session} =
            Linx.Process.spawn(
              argv: ["/bin/sh", "-c", shell],
              namespaces: [:uts, :net, :ipc, :mount],
              stdio: stdio,
              auto_proceed: true
            )

          Linx.Test.Session.output_until(:stdout, "ready\n")
          {:ok, pid} = Linx.Process.host_pid(session)
          entered = for target <- [session, pid], do: entered(target, ["/bin/hostname"])
          answers = answers(verbs(session, session))
          Linx.Process.stop(session, 0)
          {entered, answers, :inet.gethostname()}
        end
      )

    assert hostname == {:ok, ~c"outer"}

    for answer <- entered, do: assert(answer == {{:ok, {:exited, 0}}, "inner\n"})

    for {name, answer} <- answers do
      case name do
        :links ->
          assert "in0" in answer

        name when name in [:link, :table] ->
          assert {name, answer} == {name, :ok}

        name ->
          assert {^name, {:error, reason}} = {name, answer}
          assert {name, match?(%{errno: :exdev}, reason) or reason == :exdev} == {name, true}
      end
    end
  end

  test "a /proc of another pid namespace, in which the VM is not, is an error and nobody's " <>
         "else" do
    # The VM sees the /proc of a namespace below: none of its processes is in there.
    wrapper = [
      "unshare",
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-ec",
      """
      mkdir -p /tmp/linx-below; mount -t tmpfs none /tmp/linx-below; mkdir /tmp/linx-below/proc
      unshare --pid --fork sh -ec 'mount -t proc proc /tmp/linx-below/proc'
      mount --move /tmp/linx-below/proc /proc 2>/dev/null || mount --bind /tmp/linx-below/proc \
      /proc
      exec "$@"
      """,
      "sh"
    ]

    {read, self, entered} =
      run(
        wrapper,
        0,
        quote do
          import Linx.Test.Foreign
          _ = var!(number)
          {:ok, session} = Linx.Process.spawn(argv: ["/bin/sleep", "600"], namespaces: [:uts])
          read = Linx.Capabilities.read(session)
          :ok = Linx.Process.proceed(session)
          entered = entered(session, ["/bin/echo", "in"])
          Linx.Process.stop(session, 0)
          {read, Linx.Capabilities.read(:self), entered}
        end
      )

    assert {:error, %{errno: :exdev}} = read
    assert {:error, %{errno: :exdev}} = self
    assert entered == {{:ok, {:exited, 0}}, "in\n"}
  end
end
