defmodule Mix.Tasks.Compile.LinxNative.PrecompileTest do
  use ExUnit.Case, async: true

  # The checks that bin/precompile makes of what it has built, with this machine's own build.

  @moduletag :tmp_dir

  setup do
    priv = Application.app_dir(:linx, "priv")
    %{nif: Path.join(priv, "linx_nif.so"), agent: Path.join(priv, "linx_process")}
  end

  # `commands` after the functions of bin/lib/precompile.sh.
  defp bash(commands, args) do
    script =
      "set -euo pipefail; . bin/lib/debian.sh; . bin/lib/precompile.sh; work=${1%/*}\n" <>
        commands

    System.cmd("bash", ["-c", script, "precompile" | args], stderr_to_stdout: true)
  end

  @tag :readelf
  test "a library that needs a newer glibc than the floor is refused", %{nif: nif} do
    {floor, 0} = bash(~S(floor_of "$1"), [nif])

    # musl's libraries have no symbol versions.
    if floor != "-\n" do
      assert {message, 1} = bash(~S(glibc_floor=2.0; check_nif "$1"), [nif])
      assert message =~ "needs glibc #{String.trim(floor)}, and the floor is 2.0"
      # 2.4 is older than 2.31, whichever of them a sort by text puts first.
      assert {"", 0} =
               bash(~s(floor_of\(\) { echo 2.4; }; glibc_floor=2.31\n) <> lenient(), [nif])

      assert {_, 1} = bash(~s(floor_of\(\) { echo 2.100; }; check_nif "$1"), [nif])
    end
  end

  # A native build may need libgcc_s, which an archive's may not: of that the next test is.
  defp lenient, do: ~S[readelf() { command readelf "$@" | grep -v libgcc_s; }; check_nif "$1"]

  @tag :readelf
  test "a library that needs more than the C library is refused", %{nif: nif} do
    {needed, 0} = System.cmd("readelf", ["--wide", "--dynamic", nif])
    answer = bash(~S(glibc_floor=999; check_nif "$1"), [nif])

    if needed =~ "libgcc_s" do
      assert {message, 1} = answer
      assert message =~ "needs libgcc_s.so.1, which not every system has"
    else
      assert answer == {"", 0}
    end
  end

  @tag :readelf
  test "a library without nif_init is refused", %{agent: agent} do
    assert {message, 1} = bash(~S(glibc_floor=999; check_nif "$1"), [agent])
    assert message =~ "no nif_init"
  end

  @tag :readelf
  test "an agent that is not static is refused", %{nif: nif, agent: agent} do
    assert {message, 1} = bash(~S(check_agent "$1"), [nif])
    assert message =~ "is not static"
    assert {"", 0} = bash(~S(check_agent "$1"), [agent])
  end

  # readelf's output may be longer than a pipe, and what is looked for stand in its first line.
  test "what readelf says is read to its end", %{agent: agent} do
    long = &~s(readelf\(\) { echo "#{&1}"; seq 300000; }; glibc_floor=999\n)
    assert {"", 0} = bash(long.("1 nif_init") <> ~S(check_nif "$1"), [agent])
    assert {message, 1} = bash(long.("INTERP") <> ~S(check_agent "$1"), [agent])
    assert message =~ "is not static"
  end

  test "a file that readelf cannot read passes no check", %{nif: nif, agent: agent} do
    for {part, check} <- [
          {"--version-info", "check_nif"},
          {"--dynamic", "check_nif"},
          {"--dyn-syms", "check_nif"},
          {"--program-headers", "check_agent"},
          {"--dynamic", "check_agent"}
        ] do
      # It fails for one part, and has said all that the checks look for.
      failing =
        ~s(readelf\(\) { echo "1 nif_init"; [ "$2" != "#{part}" ]; }; glibc_floor=999\n)

      file = if check == "check_nif", do: nif, else: agent
      assert {message, 1} = bash(failing <> ~s(#{check} "$1"; echo passed), [file])
      assert message =~ "readelf #{part} cannot read #{file}"
      refute message =~ "passed"
    end
  end

  test "a file for another machine is refused", %{agent: agent} do
    <<_::binary-18, machine::little-16, _::binary>> = File.read!(agent)
    assert {"", 0} = bash(~S(check_machine "$1" "$2"), [agent, "#{machine}"])
    assert {message, 1} = bash(~S(check_machine "$1" "$2"), [agent, "#{machine + 1}"])
    assert message =~ "is for another machine"
  end

  test "two archives of the same files are the same bytes", context do
    %{tmp_dir: dir, nif: nif, agent: agent} = context

    archives =
      for {name, mask, time} <- [{"a", "022", 1_000_000_000}, {"b", "077", 1_600_000_000}] do
        parts =
          for part <- [nif, agent] do
            copy = Path.join(dir, name <> Path.basename(part))
            File.cp!(part, copy)
            File.touch!(copy, time)
            copy
          end

        archive = Path.join(dir, name)
        commands = ~s(umask #{mask}; epoch=1700000000; archive "$1" "$2" "$3")
        assert {"", 0} = bash(commands, [archive | parts])
        File.read!(archive)
      end

    assert [same, same] = archives
    sum = Mix.Tasks.Compile.LinxNative.Archive.sha256(same)

    assert {:ok, %{nif: library, agent: program}} =
             Mix.Tasks.Compile.LinxNative.Archive.read(Path.join(dir, "a"), sum)

    assert library == File.read!(nif)
    assert program == File.read!(agent)
  end
end
