defmodule Linx.Process.IdentityTest do
  # Groups and capabilities: nothing of the VM's comes along, and what was given up stays given
  # up.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Capabilities
  alias Linx.Process, as: P
  alias Linx.Test.{Scratch, Vm}

  @moduletag :root
  @moduletag :userns

  @map Macro.escape([{0, 100_000, 65_536}])

  # CVE-2022-24769. Broken by hand: apply/0 that leaves the inheritable set alone where there are
  # ambient capabilities: cap_chown stayed.
  test "of the VM's inheritable capabilities only those are left that were made ambient" do
    code =
      quote do
        script = "grep ^CapInh: /proc/self/status"
        opts = [argv: ["/bin/sh", "-c", script], stdio: [stdin: :devnull, stdout: :pipe]]

        for ambient <- [nil, [], [:cap_kill], [:cap_kill, :cap_chown]] do
          {:ok, s} = Linx.Process.spawn([uid: 1234] ++ opts)
          if ambient, do: :ok = Linx.Capabilities.set_ambient(s, ambient)
          :ok = Linx.Process.proceed(s)
          {:ok, {:exited, 0}} = Linx.Process.wait(s, 60_000)
          "CapInh:\t" <> set = Linx.Test.Session.output(:stdout)
          set |> String.trim() |> String.to_integer(16)
        end
      end

    # CAP_CHOWN is bit 0, CAP_KILL bit 5 (linux/capability.h).
    assert Vm.eval(["setpriv", "--inh-caps=-all,+chown,+kill"], code) == [0, 0, 0x20, 0x21]
  end

  describe "supplementary groups of the VM" do
    setup do
      file = Scratch.path("group-file")
      File.write!(file, "for group 4242")
      File.chgrp!(file, 4242)
      File.chmod!(file, 0o040)
      on_exit(fn -> File.rm(file) end)
      %{secret: file}
    end

    # The groups that a workload in a user namespace sees, and whether it can read the file.
    defp in_namespace(file, opts, maps) do
      code =
        quote do
          script = "grep ^Groups: /proc/self/status; cat #{var!(file)}"

          {:ok, s} =
            Linx.Process.spawn(
              [argv: ["/bin/sh", "-c", script], namespaces: [:user], stdio: :pipe] ++ var!(opts)
            )

          :ok = Linx.User.setup_maps(s, [uid: unquote(@map), gid: unquote(@map)] ++ var!(maps))
          :ok = Linx.Process.proceed(s)
          outcome = Linx.Process.wait(s, 60_000)
          {outcome, Linx.Test.Session.output(:stdout)}
        end

      setpriv = ["setpriv", "--groups=4242,4243"]
      Vm.eval(setpriv, code, file: file, opts: opts, maps: maps)
    end

    for {ids, i} <- Enum.with_index([[], [uid: 7], [gid: 7], [uid: 7, gid: 7], [uid: 0, gid: 0]]),
        init <- [false, true],
        maps <- [[], [setgroups: :skip]] do
      test "do not enter a user namespace (#{inspect(ids)}, init: #{init}, " <>
             "#{inspect(maps)}, #{i})",
           %{secret: file} do
        opts = [init: unquote(init)] ++ unquote(ids)
        {outcome, output} = in_namespace(file, opts, unquote(maps))
        assert {:ok, {:exited, code}} = outcome
        assert code != 0
        assert String.trim(output) == "Groups:"
      end
    end

    test "do not enter one that is joined", %{secret: file} do
      code =
        quote do
          {:ok, target} =
            Linx.Process.spawn(argv: ["/bin/sleep", "300"], namespaces: [:user], stdio: :devnull)

          map = [{0, 100_000, 65_536}]
          :ok = Linx.User.setup_maps(target, uid: map, gid: map)
          :ok = Linx.Process.proceed(target)

          for ids <- [[], [uid: 7], [gid: 7]], init <- [false, true] do
            script = "grep ^Groups: /proc/self/status; cat #{var!(file)}"
            argv = ["/bin/sh", "-c", script]

            {:ok, s} =
              Linx.Process.enter(
                target,
                [argv: argv, stdio: :pipe, init: init, auto_proceed: true] ++ ids
              )

            {:ok, {:exited, code}} = Linx.Process.wait(s, 60_000)
            {code, String.trim(Linx.Test.Session.output(:stdout))}
          end
        end

      for answer <- Vm.eval(["setpriv", "--groups=4242,4243"], code, file: file) do
        assert {code, "Groups:"} = answer
        assert code != 0
      end
    end

    test "are the VM's again afterwards, and the workload's without a namespace" do
      code =
        quote do
          for namespaces <- [[:user], []] do
            argv = ["/bin/grep", "^Groups:", "/proc/self/status"]

            {:ok, s} =
              Linx.Process.spawn(argv: argv, namespaces: namespaces, stdio: :pipe)

            {:ok, pid} = Linx.Process.host_pid(s)
            agent = Linx.Test.Session.parent(pid)
            groups = ~r/^Groups:\s*(.*?)\s*$/m |> Regex.run(File.read!("/proc/#{agent}/status"))
            :ok = Linx.Process.proceed(s)
            {:ok, {:exited, 0}} = Linx.Process.wait(s, 60_000)
            {List.last(groups), Linx.Test.Session.output(:stdout)}
          end
        end

      answers = Vm.eval(["setpriv", "--groups=4242,4243"], code)
      assert [{"4242 4243", "Groups:" <> inside}, {"4242 4243", "Groups:" <> plain}] = answers
      assert {String.trim(inside), String.trim(plain)} == {"", "4242 4243"}
    end
  end

  describe "capability sets at the checkpoint" do
    defp sets(list), do: [effective: list, permitted: list, inheritable: []]

    defp assert_refused(session, stage) do
      assert {:error, %{stage: ^stage, errno: :eperm}} = P.wait(session, 60_000)
      refute_received {:linx_process, :running}
    end

    test "what one call dropped, no later one raises" do
      for {first, second} <- [
            {[], [:cap_sys_admin]},
            {[:cap_kill], [:cap_kill, :cap_chown]},
            {[:cap_chown], [:cap_kill]}
          ] do
        {session, _pid} = parked(argv: ["/bin/true"], stdio: :devnull)
        :ok = Capabilities.set_thread_sets(session, sets(first))
        # Its death may come first, which a verb reports in its own way.
        _ = Capabilities.set_thread_sets(session, sets(second))
        _ = P.proceed(session)
        assert_refused(session, :cap_set_thread)
      end
    end

    test "nor does an effective or inheritable set" do
      for second <- [
            [effective: [:cap_kill], permitted: [], inheritable: []],
            [effective: [], permitted: [], inheritable: [:cap_kill]]
          ] do
        {session, _pid} = parked(argv: ["/bin/true"], stdio: :devnull)
        :ok = Capabilities.set_thread_sets(session, sets([]))
        _ = Capabilities.set_thread_sets(session, second)
        _ = P.proceed(session)
        assert_refused(session, :cap_set_thread)
      end
    end

    test "an ambient capability whose permitted one was dropped is dropped, too" do
      {session, _pid} = parked(argv: ["/bin/sleep", "300"], stdio: :devnull, uid: 1234)
      both = [:cap_kill, :cap_chown]

      :ok =
        Capabilities.set_thread_sets(session, effective: both, permitted: both, inheritable: both)

      :ok = Capabilities.set_ambient(session, both)
      one = [:cap_chown]

      :ok =
        Capabilities.set_thread_sets(session, effective: one, permitted: one, inheritable: one)

      :ok = P.proceed(session)
      assert_receive {:linx_process, :running}
      assert {:ok, state} = Capabilities.read(session)
      assert Enum.to_list(state.ambient) == one
      assert Enum.to_list(state.permitted) == one
    end
  end

  describe "limits on the child itself" do
    for init <- [false, true],
        limit <- [
          as: 0,
          as: 1000,
          as: 1_000_000,
          data: 0,
          data: 1000,
          stack: 0,
          nofile: 0,
          fsize: 0
        ] do
      test "#{inspect(limit)} ends the workload and not the agent (init: #{init})" do
        opts = [argv: ["/bin/true"], stdio: :devnull, rlimits: [unquote(limit)]]
        {:ok, session} = P.spawn([init: unquote(init), auto_proceed: true] ++ opts)

        case P.wait(session, 60_000) do
          {:ok, {:exited, _code}} -> :ok
          # execve(2) past the point of no return.
          {:ok, {:signaled, signal}} -> assert signal in [9, 11]
          {:error, error} -> assert error.stage in [:rlimit, :execve, :stdio], inspect(error)
        end
      end
    end
  end
end
