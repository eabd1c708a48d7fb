defmodule Linx.Integration.Process.ImageTest do
  use ExUnit.Case, async: true

  # The file that the agent runs from: nobody in a container can write to it, whatever the machine
  # forbids, and it is the agent's own, whatever lies in /proc.
  #
  # Broken by hand: Image::new without its seals, set_read_only that returns at once, Image::path
  # without its comparison, image::protect that returns at once. Each made the test that names it
  # fail.

  import Linx.Test.Foreign, only: [no_proc: 0]

  alias Linx.Process, as: P
  alias Linx.Test.{Scratch, Vm}

  @moduletag :root
  @moduletag timeout: 300_000

  setup do
    folder = Scratch.path("image")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    %{folder: folder}
  end

  # A copy in the place of the agent's file, for this VM alone: what an attack overwrites is the
  # copy.
  defp with_copy(folder, script) do
    agent = Application.app_dir(:linx, "priv/linx_process")
    copy = Path.join(folder, "agent")
    File.cp!(agent, copy)

    script = """
    mount --bind '#{copy}' '#{agent}'
    #{script}
    exec "$@"
    """

    ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"] ++
      ["sh", "-ec", script, "sh"]
  end

  # Root of a container holds the image of a process of ours in there, and writes to it when that
  # has ended.
  defp attack do
    quote do
      script = """
      mount -t proc proc /proc
      echo ready
      while read n; do
        exec 3</proc/$n/exe && echo held
        read go
        if (printf overwritten >/proc/self/fd/3) 2>/dev/null; then echo wrote; else echo \
      refused; fi
        exec 3<&-
      done
      """

      # Not a session: its agent would run the image all the while, and a file that runs is not
      # written to (ETXTBSY).
      args = ~w(--pid --mount --fork --kill-child --propagation private sh -c) ++ [script]
      options = [:binary, :stderr_to_stdout, args: args]
      pod = Port.open({:spawn_executable, System.find_executable("unshare")}, options)
      {:os_pid, outer} = Port.info(pod, :os_pid)

      child_of = fn pid ->
        case File.read("/proc/#{pid}/task/#{pid}/children") do
          {:ok, text} when text != "" -> text |> String.split() |> hd() |> String.to_integer()
          _ -> nil
        end
      end

      answer = fn ->
        receive do
          {^pod, {:data, text}} -> text
        after
          60_000 -> raise "the pod does not answer"
        end
      end

      "ready\n" = answer.()
      pod_pid = child_of.(outer)

      # The process that `visit` starts has another number inside the namespace.
      attack = fn visit ->
        {number, leave} = visit.()
        true = Port.command(pod, "#{number}\n")
        "held\n" = answer.()
        leave.()
        true = Port.command(pod, "go\n")
        answer.()
      end

      enter = fn ->
        {:ok, visitor} = P.enter(pod_pid, argv: ["/bin/true"])
        {:ok, %{child_pid: number}} = P.info(visitor)

        ours? = fn name -> File.read("/proc/#{name}/comm") == {:ok, "linx_process\n"} end

        leave = fn ->
          P.stop(visitor, 0)
          Linx.Test.Poll.until(fn -> not Enum.any?(File.ls!("/proc"), ours?) end)
        end

        {number, leave}
      end

      entered = attack.(enter)
      # Nothing else runs the image: what refused it is not that it was busy.

      # The control: a program of the same user that runs from a plain file in there.
      plain = Path.join(var!(folder), "sleep")
      File.cp!("/bin/sleep", plain)

      run = fn ->
        args = ["-t", "#{pod_pid}", "-p", "-m", plain, "600"]
        port = Port.open({:spawn_executable, System.find_executable("nsenter")}, args: args)
        {:os_pid, nsenter} = Port.info(port, :os_pid)

        find = fn ->
          child = child_of.(nsenter)
          if child && File.read_link("/proc/#{child}/exe") == {:ok, plain}, do: child
        end

        Linx.Test.Poll.until(find)
        child = find.()
        status = File.read!("/proc/#{child}/status")
        [_, number] = Regex.run(~r/^NSpid:.*\t(\d+)$/m, status)

        {number,
         fn ->
           System.cmd("kill", ["-9", "#{child}"])

           Linx.Test.Poll.until(fn -> not File.exists?("/proc/#{child}") end)
         end}
      end

      control = attack.(run)
      Port.close(pod)
      protection = Linx.Process.AgentImage.protection()
      agent = :linx |> :code.priv_dir() |> Path.join("linx_process") |> File.read!()
      {:ok, again} = P.spawn(argv: ["/bin/true"], auto_proceed: true)
      {protection, entered, control, :erlang.md5(agent), P.wait(again, 60_000)}
    end
  end

  for {noexec, protection} <- [{0, :sealed}, {1, :sealed}, {2, :read_only}] do
    test "a container's root cannot write to it, vm.memfd_noexec being #{noexec}", %{
      folder: folder
    } do
      wrapper = with_copy(folder, "echo #{unquote(noexec)} >/proc/sys/vm/memfd_noexec")
      answer = Vm.eval(wrapper, attack(), folder: folder)
      agent = Application.app_dir(:linx, "priv/linx_process") |> File.read!() |> :erlang.md5()

      assert answer ==
               {{:ok, unquote(protection)}, "refused\n", "wrote\n", agent, {:ok, {:exited, 0}}}
    end
  end

  # Another VM whose calls are refused, and what it prints.
  defp under(refused, code) do
    {:ok, filter} = Linx.Seccomp.deny_list(refused)

    paths =
      for folder <- [Application.app_dir(:linx), :code.lib_dir(:ex_unit)],
          path = Path.join(folder, "ebin"),
          argument <- ["-pa", to_string(path)],
          do: argument

    argv = [System.find_executable("elixir")] ++ paths ++ ["-e", code]
    stdio = [stdin: :devnull, stdout: :pipe, stderr: :inherit]
    {:ok, session} = Linx.Process.spawn(argv: argv, stdio: stdio)
    :ok = Linx.Seccomp.install(session, filter)
    :ok = Linx.Process.proceed(session)
    outcome = Linx.Process.wait(session, 120_000)
    {outcome, Linx.Test.Session.output(:stdout)}
  end

  @sessions ~S"""
  alias Linx.Process, as: P
  options = [argv: ["/bin/true"], stdio: :devnull, auto_proceed: true]
  {:ok, target} = P.spawn(argv: ["/bin/sleep", "600"], namespaces: [:uts], stdio: :devnull)
  :ok = P.proceed(target)
  report = fn
    {:ok, session} ->
      case P.wait(session, 60_000) do
        {:error, error} -> {error.stage, error.errno}
        outcome -> outcome
      end
    other -> other
  end
  lines = for f <- Linx.Doctor.Agent.findings(), f.status == :missing, do: f.item
  IO.puts(Enum.join(lines, ","))
  IO.inspect({
    Linx.Process.AgentImage.protection(),
    report.(P.spawn(options)),
    report.(P.enter(target, options)),
    report.(P.spawn([init: true] ++ options)),
    report.(P.spawn([init: true, uid: 1234, gid: 1234] ++ options))
  }, width: 1000)
  P.stop(target, 0)
  """

  test "without memfd_create it is a read-only mount" do
    {outcome, output} = under([:memfd_create], @sessions)
    assert outcome == {:ok, {:exited, 0}}
    done = "{:ok, {:exited, 0}}"
    assert output == "memfd_create\n{{:ok, :read_only}, #{done}, #{done}, #{done}, #{done}}\n"
  end

  test "without that either, enter and a root's init are refused with the reason" do
    {outcome, output} = under([:memfd_create, :open_tree], @sessions)
    assert outcome == {:ok, {:exited, 0}}
    done = "{:ok, {:exited, 0}}"

    assert output ==
             "agent image,memfd_create\n{{:error, {:create, 1}}, #{done}, {:image, :eperm}, " <>
               "{:image, :eperm}, #{done}}\n"
  end

  test "without a /proc the agent seals itself" do
    code =
      quote do
        # Another procfs, which shows the same processes.
        {_, 0} = System.cmd("mount", ["-t", "proc", "proc", "/mnt"])
        {:ok, session} = Linx.Process.spawn(argv: ["/bin/sleep", "600"])
        {:ok, pid} = Linx.Process.host_pid(session)
        exe = File.read_link!("/mnt/#{pid}/exe")
        Linx.Process.stop(session, 0)
        {to_string(Linx.Process.AgentImage.path()), exe}
      end

    assert {path, "/memfd:linx_process (deleted)"} = Vm.eval(no_proc(), code)
    assert path == Application.app_dir(:linx, "priv/linx_process")
  end

  test "process 1 of the /proc in view holds something else at the image's number", %{
    folder: folder
  } do
    marker = Path.join(folder, "ran")
    script = Path.join(folder, "script")
    File.write!(script, "#!/bin/sh\ntouch #{marker}\n")
    File.chmod!(script, 0o755)

    outer = """
    for fd in $(seq 8 59); do eval "exec $fd<#{script}"; done
    ( for fd in $(seq 8 59); do eval "exec $fd<&-"; done
      exec unshare --pid --fork --kill-child "$@" )
    """

    wrapper =
      ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] ++
        ["bash", "-ec", outer, "sh"]

    code =
      quote do
        {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], auto_proceed: true)

        {System.pid(), Linx.Process.wait(session, 60_000),
         to_string(Linx.Process.AgentImage.path())}
      end

    assert {"1", {:ok, {:exited, 0}}, "/proc/" <> path} = Vm.eval(wrapper, code)
    refute String.starts_with?(path, "1/")
    refute File.exists?(marker)
  end
end
