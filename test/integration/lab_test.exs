defmodule Linx.Integration.LabTest do
  # The test module of docs/cookbook/lab.md, run as a suite of its own. Linx.DocsTest runs the
  # page's other blocks.
  use ExUnit.Case, async: true

  alias Linx.Test.{DocExamples, Scratch}

  @moduletag :root
  @moduletag :netns

  defp suite(wrapper) do
    blocks = DocExamples.blocks("docs/cookbook/lab.md")
    [helpers] = for %{code: "defmodule Lab " <> _ = code} <- blocks, do: code
    [module] = for %{code: "defmodule RetryTest " <> _ = code} <- blocks, do: code
    script = Scratch.path("lab.exs")
    File.write!(script, ["ExUnit.start()\n", helpers, "\n", module])
    ebin = Application.app_dir(:linx, "ebin")
    [command | args] = wrapper ++ [System.find_executable("elixir"), "-pa", ebin, script]

    try do
      System.cmd(command, args, stderr_to_stdout: true)
    after
      File.rm!(script)
    end
  end

  test "the page's test case passes, and leaves no link behind" do
    {output, status} = suite([System.find_executable("env")])
    assert status == 0, output
    assert output =~ ~r/3 (tests|passed)/
    {links, 0} = System.cmd("ip", ["-o", "link"])
    refute links =~ "peer0"
  end

  @tag :userns
  test "it passes without root in a user namespace" do
    {output, status} = suite(~w(unshare --user --map-root-user --net))
    assert status == 0, output
    assert output =~ ~r/3 (tests|passed)/
  end
end
