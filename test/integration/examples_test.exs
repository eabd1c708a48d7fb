defmodule Linx.ExamplesTest do
  use ExUnit.Case, async: false

  # The programs in examples/, as their comments say to run them: in a network namespace of their own.

  @moduletag :root
  @moduletag timeout: 600_000

  # With what these tests were built with: a plain `mix test` does not put MIX_ENV into the environment.
  defp unshared(command) do
    env = [{"MIX_ENV", to_string(Mix.env())}]
    System.cmd("unshare", ["--net" | command], env: env, stderr_to_stdout: true)
  end

  @tag :nftables
  test "checkpoint: every line holds" do
    {output, status} =
      unshared(~w(mix run --no-compile --no-start examples/checkpoint.exs))

    assert status == 0, output
    assert output =~ "All of it holds."
    refute output =~ "FAIL"
  end

  test "fleet: three nodes converge, heal and report" do
    {output, status} =
      unshared(
        ["elixir", "--erl", "-start_epmd false -erl_epmd_port 4370", "-S"] ++
          ~w(mix run --no-compile --no-start examples/fleet.exs)
      )

    assert status == 0, output
    assert output =~ "north@10.55.0.11 has healed"
    assert output =~ "the workload's end was reported here"
  end
end
