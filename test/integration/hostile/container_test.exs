defmodule Linx.Integration.Hostile.ContainerTest do
  # Attacks of a workload on the project's processes beside it: the reaper of `init: true`, a
  # visitor of `enter/2` at its checkpoint, and that visitor's reaper. The attacks are in
  # test/support/attack.c.
  use ExUnit.Case, async: true

  alias Linx.Test.Hostile

  @moduletag :root
  @moduletag :userns
  @moduletag timeout: 600_000

  # Each way into another process, of which none may open.
  @ways ~w(cwd root fd environ mem vm_readv vm_writev getfd ptrace exe)

  setup_all do
    attacker = Hostile.attacker!()
    on_exit(fn -> File.rm!(attacker) end)
    %{attacker: attacker}
  end

  defp assert_nothing_yielded(results) do
    assert results != []
    assert Enum.filter(results, fn {_role, _attack, result} -> result =~ "YIELDED" end) == []
  end

  # Access itself is refused, whatever it would have given.
  defp assert_refused(results, roles) do
    for role <- roles, way <- @ways do
      answers = for {^role, ^way, result} <- results, do: result
      assert answers != [], "#{role} was not attacked by #{way}"

      assert Enum.all?(answers, &(&1 =~ "refused" or &1 == "empty")),
             "#{way} of the #{role}: #{inspect(answers)}"
    end
  end

  for setting <- [:userns, :identity, :docker, :all, :rootless] do
    test "#{setting}: a workload without a reaper gets nothing", %{attacker: attacker} do
      results = Hostile.run(unquote(setting), :spawned, init: false, attacker: attacker)
      assert_nothing_yielded(results)
      assert {:itself, "frame", "nothing"} in results
    end
  end

  for setting <- [:userns, :identity, :docker, :rootless] do
    test "#{setting}: the reaper lets nobody in", %{attacker: attacker} do
      results = Hostile.run(unquote(setting), :spawned, init: true, attacker: attacker)
      assert_nothing_yielded(results)
      assert_refused(results, [:reaper])
    end

    for init <- [false, true], visitor_init <- [false, true] do
      test "#{setting}: a visitor lets nobody in (init: #{init}, the visitor's: #{visitor_init})",
           %{attacker: attacker} do
        opts = [init: unquote(init), visitor_init: unquote(visitor_init), attacker: attacker]
        results = Hostile.run(unquote(setting), :visited, opts)
        assert_nothing_yielded(results)
        reaper = if unquote(visitor_init), do: [:visitor_reaper], else: []
        assert_refused(results, [:parked | reaper])
      end
    end

    test "#{setting}: nobody lets a visitor in", %{attacker: attacker} do
      opts = [init: true, visitor_init: true, attacker: attacker]
      results = Hostile.run(unquote(setting), :visiting, opts)
      assert_nothing_yielded(results)
      assert_refused(results, [:reaper, :visitor_reaper])
    end
  end

  # Whoever has CAP_SYS_PTRACE in the host's user namespace may trace anybody there: what counts
  # is that it is worth nothing.
  for scenario <- [:spawned, :visited, :visiting] do
    test "all capabilities: access to ours gives nothing (#{scenario})", %{attacker: attacker} do
      opts = [init: true, visitor_init: true, attacker: attacker]
      results = Hostile.run(:all, unquote(scenario), opts)
      assert_nothing_yielded(results)
    end
  end

  # The attack's own target is out of the reaper's reach anyway: EPERM is the filter's word, and
  # ENOENT would be the call's.
  if :erlang.system_info(:system_architecture) |> to_string() =~ "x86_64" do
    test "all capabilities: the reaper makes no system call for its " <>
           "tracer",
         %{attacker: attacker} do
      results = Hostile.run(:all, :spawned, init: true, attacker: attacker)
      assert [result] = for({:reaper, "inject", result} <- results, do: result)
      assert result == "refused 1"
    end
  end

  # Without the protections each attack succeeds, so a refusal above is theirs and not a mistake
  # of the attacker.
  for setting <- [:userns, :identity, :all] do
    test "#{setting}: a process without the protections yields to every attack",
         %{attacker: attacker} do
      results = Hostile.run(unquote(setting), :control, init: true, attacker: attacker)
      yielded = for {:control, attack, "YIELDED" <> _} <- results, do: attack

      assert Enum.sort(yielded) ==
               ~w(cwd entries environ fd getfd inject mem overwrite root vm_readv)
    end
  end
end
