defmodule Linx.Process.SecretsTest do
  # Secrets that the agent, the parked child and an init could leak: the VM's environment is in
  # the memory of all three until the workload's exec, and the agent's descriptors lead to the VM.
  use ExUnit.Case, async: true

  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :tmp_dir

  # The environments of the agent and of the child, parked, and of the init that stays.
  defp environments(options) do
    code =
      quote do
        import Linx.Test.Session, only: [parent: 1, until: 1]

        {:ok, session} =
          Linx.Process.spawn(
            [argv: ["/bin/sleep", "1000"], stdio: :devnull, init: true] ++ var!(options)
          )

        {:ok, pid} = Linx.Process.host_pid(session)
        read = fn pid -> File.read!("/proc/#{pid}/environ") end
        parked = [read.(parent(pid)), read.(pid)]
        :ok = Linx.Process.proceed(session)
        until(fn -> match?({:ok, %{stage: :running}}, Linx.Process.info(session)) end)
        {:ok, info} = Linx.Process.info(session)
        parked ++ [read.(info.reaper_pid)]
      end

    command = ["env", "RELEASE_COOKIE=lemon", "TOKEN=plum"]
    Vm.eval(command, code, options: options)
  end

  test "the cluster's secret is in none of them" do
    for environment <- environments([]) do
      refute environment =~ "lemon"
      assert environment =~ "TOKEN=plum"
    end
  end

  test "for a workload with an environment of its own nothing of the VM's is" do
    for env <- [["A=1"], {:clean, ["A=1"]}],
        environment <- environments(env: env),
        do: assert(String.trim(environment, <<0>>) == "")
  end

  test "the agent is nobody's to look into; the child is its VM's" do
    code =
      quote do
        {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], stdio: :devnull)
        {:ok, pid} = Linx.Process.host_pid(session)
        agent = Linx.Test.Session.parent(pid)

        for pid <- [agent, pid] do
          uid = File.stat!("/proc/#{pid}/environ").uid
          {uid, for(name <- ["environ", "mem"], do: elem(File.open("/proc/#{pid}/#{name}"), 0))}
        end
      end

    assert [{0, [:error, :error]}, {1000, [:ok, :ok]}] = Vm.eval(Vm.ordinary_user(), code)
  end

  test "an agent that is made to dump core leaves none", %{tmp_dir: dir} do
    code =
      quote do
        {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], stdio: :devnull)
        {:ok, pid} = Linx.Process.host_pid(session)
        {_, 0} = System.cmd("kill", ["-SEGV", "#{Linx.Test.Session.parent(pid)}"])
        {Linx.Process.wait(session), File.ls!()}
      end

    limits = ["sh", "-ec", ~s(ulimit -c unlimited; cd "$0"; exec "$@"), dir]
    assert {{:error, %{stage: :agent_died, code: 139}}, []} = Vm.eval(limits, code)
  end
end
