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

  # The functions of `files`, then `commands`, whose first argument is `folder`. Those of a script
  # that begins work when it is sourced are given by their names.
  defp bash(files, commands, folder) do
    functions =
      for file <- files do
        case file do
          {script, name} -> function(script, name)
          file -> ". bin/lib/#{file}"
        end
      end

    script = Enum.join(["set -euo pipefail" | functions] ++ [commands], "\n")
    System.cmd("bash", ["-c", script, "test", folder], cd: @root, stderr_to_stdout: true)
  end

  defp function(script, name) do
    [_, rest] = @root |> Path.join(script) |> File.read!() |> String.split("\n#{name}() {\n")
    [body | _] = String.split(rest, "\n}\n")
    "#{name}() {\n#{body}\n}"
  end

  # In the place of apt and dpkg: a package that cannot be unpacked, as on a full disk.
  @unpack """
  open_testing() { apt_state=$cache/apt; apt_options=(); }
  apt-get() { touch a.deb; }
  dpkg() { mkdir -p "$3/usr/lib/erlang" "$3/usr/sbin"; return 1; }
  find_patchelf() { patchelf=(false); }
  """

  @tag :tmp_dir
  test "a package that cannot be unpacked leaves no folder in its place", %{tmp_dir: folder} do
    for {file, command, prefix} <- [
          {"beam.sh", ~S(attempted unpack_beam "$cache/beam"; echo "status $status"), "beam"},
          {{"bin/setup", "unpack_nft"},
           "nft_packages=(nftables); can_unpack() { true; }\n" <>
             function("bin/setup", "setup_nft") <> "\nsetup_nft", "nft"},
          {{"bin/test-package", "prepare_beam"},
           ~s(. bin/lib/beam.sh; cannot\(\) { echo "cannot $*"; }; prepare_beam),
           "toolchain-package"}
        ] do
      {output, 0} = bash(["debian.sh", file], "cache=$1\n#{@unpack}#{command}", folder)
      assert output =~ ~r/status 1|no newer nft could be unpacked|cannot Elixir/
      refute File.exists?(Path.join(folder, prefix)), output
    end
  end

  @tag :tmp_dir
  test "bin/setup finds a package's archive by uname(1)'s processor", %{tmp_dir: folder} do
    File.mkdir!(Path.join(folder, "precompiled"))

    there? = fn machine ->
      commands = "root=$1; uname() { echo #{machine}; }; archive_is_there && echo there"
      match?({"there\n", 0}, bash([{"bin/setup", "archive_is_there"}], commands, folder))
    end

    for {machine, triple} <- [
          {"x86_64", "x86_64-unknown-linux-gnu"},
          {"aarch64", "aarch64-unknown-linux-musl"},
          {"armv7l", "armv7-unknown-linux-gnueabihf"},
          {"riscv64", "riscv64gc-unknown-linux-gnu"}
        ] do
      refute there?.(machine)
      File.touch!(Path.join(folder, "precompiled/linx-0.1.0-nif-2.17-#{triple}.tar.gz"))
      assert there?.(machine), machine
    end

    refute there?.("armv6l")
  end

  @tag :tmp_dir
  test "bin/test-machine unpacks a kernel that more follows in its file", %{tmp_dir: folder} do
    kernel = :crypto.strong_rand_bytes(300_000)
    packed = :zlib.gzip(kernel)

    head =
      <<"MZ", 0::16, "zimg", 64::little-32, byte_size(packed)::little-32, 0::64, "gzip", 0::32>>

    rest = :binary.copy("sections", 200_000)
    image = [head, :binary.copy(<<0>>, 64 - byte_size(head)), packed, rest]
    File.write!(Path.join(folder, "vmlinuz"), image)
    commands = ~S(take_kernel "$1" "$1/kernel")
    assert {"", 0} = bash(["debian.sh", {"bin/test-machine", "take_kernel"}], commands, folder)
    assert File.read!(Path.join(folder, "kernel")) == kernel
  end

  # In the place of Erlang's programs and of a libc: an ELF file, and a linker that ends with
  # `status`.
  @tag :tmp_dir
  test "releases keep the programs as unpacked, if these do not start otherwise", context do
    folder = context.tmp_dir
    erlang = Path.join(folder, "usr/lib/erlang")
    bin = Path.join(erlang, "erts-1/bin")
    linker = Path.join(folder, "usr/lib/triplet/ld-linux.so")
    program = "\x7FELF, which nothing executes"

    for path <- [Path.join(erlang, "bin"), bin, Path.dirname(linker)], do: File.mkdir_p!(path)
    for name <- ~w(erlexec beam.smp), do: File.write!(Path.join(bin, name), program)

    for path <- [Path.join(erlang, "bin/erl"), Path.join(bin, "erl")],
        do: File.write!(path, ~S(BINDIR="$ROOTDIR/erts-1/bin") <> "\n")

    # Bash writes the linker: a child of another test would inherit the VM's descriptor for a
    # moment, and a file that is open for writing cannot be executed.
    run = fn status ->
      bash(
        ["debian.sh", "beam.sh"],
        """
        own_libc() { triplet=triplet loader=ld-linux.so patchelf=(true); }
        printf '#!/bin/sh\\nexit #{status}\\n' >"$1/usr/lib/triplet/ld-linux.so"
        chmod 755 "$1/usr/lib/triplet/ld-linux.so"
        portable_erts "$1"
        """,
        folder
      )
    end

    assert {"test: the VM does not start" <> _, 1} = run.(1)
    for name <- ~w(erlexec beam.smp), do: assert(File.read!(Path.join(bin, name)) == program)
    refute File.exists?(Path.join(folder, "portable"))

    assert {"", 0} = run.(0)

    for name <- ~w(erlexec beam.smp) do
      assert "#!/bin/sh\n" <> _ = File.read!(Path.join(bin, name))
      assert File.read!(Path.join(bin, "libc/#{name}")) == program
      assert File.read!(Path.join(erlang, "erts-1/here/#{name}")) == program
    end

    assert File.read!(Path.join(bin, "erl")) == ~S(BINDIR="$ROOTDIR/erts-1/here") <> "\n"
    assert Enum.sort(File.ls!(Path.dirname(bin))) == ["bin", "here"]
    # Done once: nothing is started again.
    assert {"", 0} = run.(1)
  end
end
