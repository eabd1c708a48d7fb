defmodule Linx.ScriptsTest do
  # The scripts of bin/. Whoever asks one for its usage does not want an hour of work to begin.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  defp scripts do
    for path <- Path.wildcard(Path.join(@root, "bin/*")),
        File.regular?(path),
        Path.extname(path) == "",
        do: path
  end

  # With nothing on PATH but what the usage takes, a script that begins its work fails at once.
  @tag :tmp_dir
  test "each prints the comment at its head for -h and --help, and does " <>
         "nothing",
       %{tmp_dir: path} do
    for tool <- ~w(bash sed dirname cat),
        do: File.ln_s!(System.find_executable(tool), Path.join(path, tool))

    assert length(scripts()) > 10

    for script <- scripts(), option <- ["-h", "--help"] do
      ["#!/usr/bin/env bash", "# " <> first | _] = script |> File.read!() |> String.split("\n")

      {text, status} =
        System.cmd("bash", [script, option], env: [{"PATH", path}], stderr_to_stdout: true)

      assert {script, option, status, hd(String.split(text, "\n"))} == {script, option, 0, first}
      refute text =~ "command not found"
    end
  end
end
