defmodule Linx.PrecompiledTest do
  use ExUnit.Case, async: true

  # The Hex package with an archive for this machine, made of this machine's own build: the Mix
  # compiler takes it on a PATH that has neither cargo nor a C compiler, and takes no other.
  # Elixir's part is compiled once, so that each further compile is native's.

  alias Linx.Test.Package
  alias Mix.Tasks.Compile.LinxNative.{Archive, Target}

  @moduletag timeout: 600_000

  @list "lib/mix/tasks/compile/linx_native/checksums.txt"

  # EI_CLASS and e_machine of elf(5).
  @armv7 {1, 40}
  @riscv64 {2, 243}

  # All that the VM's own start scripts and these tests call.
  @tools ~w(mix elixir erl sh bash cp env uname dirname basename readlink realpath sed cat expr
            tr grep rm mkdir ls)
  @unset ~w(MIX_BUILD_PATH MIX_BUILD_ROOT MIX_TARGET MIX_EXS CC CARGO CARGO_BUILD_TARGET RUSTFLAGS
    TARGET_ARCH TARGET_OS TARGET_ABI TARGET_CPU LINX_BUILD)

  setup_all do
    dir = Linx.Test.Scratch.path("precompiled")
    on_exit(fn -> File.rm_rf!(dir) end)
    linx = Path.join(dir, "linx")
    Package.unpack!(linx)
    File.rm_rf!(Path.join(linx, "precompiled"))

    bin = Path.join(dir, "bin")
    File.mkdir_p!(bin)

    for tool <- @tools,
        path = System.find_executable(tool),
        do: File.ln_s!(path, Path.join(bin, tool))

    {:ok, %{triple: triple}} = Target.current()
    priv = Application.app_dir(:linx, "priv")

    parts =
      for part <- ~w(linx_nif.so linx_process),
          do: {"priv/#{part}", File.read!(Path.join(priv, part))}

    archive = archive(dir, parts)

    context = %{
      dir: dir,
      linx: linx,
      bin: bin,
      name: Archive.name(triple),
      triple: triple,
      archive: archive,
      parts: parts,
      build: Path.join(dir, "base")
    }

    File.mkdir_p!(Path.join(linx, "precompiled"))
    ship(context, archive)
    {_output, 0} = compile(context)
    context
  end

  # Each test has a build of its own in which the native parts are missing.
  setup %{dir: dir, linx: linx} do
    build = Path.join(dir, "build")
    File.rm_rf!(build)
    File.mkdir_p!(Path.join(build, "lib"))
    {_, 0} = System.cmd("cp", ["-a", Path.join(dir, "base/lib/linx"), Path.join(build, "lib")])
    File.rm_rf!(Path.join(build, "lib/linx/priv"))
    File.rm_rf!(Path.join(build, "lib/linx/.mix/compile.linx_native"))
    File.rm_rf!(Path.join(linx, "precompiled"))
    File.mkdir_p!(Path.join(linx, "precompiled"))
    %{build: build, priv: Path.join(build, "lib/linx/priv")}
  end

  defp archive(dir, parts) do
    path = Path.join(dir, "made.tar.gz")
    files = for {name, content} <- parts, do: {to_charlist(name), content}
    :ok = :erl_tar.create(path, files, [:compressed])
    File.read!(path)
  end

  # The parts with the ELF header of another processor.
  defp forge(parts, {class, machine}) do
    for {name, elf} <- parts do
      <<magic::binary-4, _class, ident::binary-13, _machine::16, rest::binary>> = elf
      {name, <<magic::binary, class, ident::binary, machine::little-16, rest::binary>>}
    end
  end

  defp ship(context, archive, opts \\ []) do
    name = opts[:name] || context.name
    File.write!(Path.join([context.linx, "precompiled", name]), archive)
    listed = Keyword.get(opts, :listed, Archive.sha256(archive))
    list(context, if(listed, do: "#{listed} #{name}\n", else: ""))
  end

  defp list(context, text),
    do: File.write!(Path.join(context.linx, @list), "# a comment\n" <> text)

  defp mix(context, args, extra \\ []) do
    env =
      @unset
      |> Map.new(&{&1, nil})
      |> Map.merge(%{"MIX_ENV" => "test", "MIX_BUILD_PATH" => context.build})
      |> Map.merge(%{"PATH" => context.bin, "CARGO_HOME" => nil})
      |> Map.merge(Map.new(extra))

    System.cmd(Path.join(context.bin, "mix"), args,
      cd: context.linx,
      env: env,
      stderr_to_stdout: true
    )
  end

  defp compile(context, extra \\ []), do: mix(context, ["compile"], extra)

  defp refused(context, extra \\ []) do
    {output, status} = compile(context, extra)
    assert status == 1, output
    refute File.exists?(context.priv) and File.ls!(context.priv) != []
    output
  end

  test "the PATH has no compiler", %{bin: bin} do
    for program <- ~w(cargo rustc cc gcc clang ld),
        do: refute(File.exists?(Path.join(bin, program)))
  end

  describe "an archive that matches" do
    test "is unpacked, says so in one line, and runs a session", context do
      ship(context, context.archive)
      assert {output, 0} = compile(context)
      assert output == "Unpacked linx_nif and linx_process (#{context.name})\n"

      for {"priv/" <> part, content} <- context.parts do
        path = Path.join(context.priv, part)
        assert File.read!(path) == content
        assert Bitwise.band(File.stat!(path).mode, 0o777) == 0o755
      end

      assert Enum.sort(File.ls!(context.priv)) == ["linx_nif.so", "linx_process"]
      assert {"", 0} = compile(context)

      program = ~S|
        {:ok, %{outcome: {:exited, 7}, stdout: "it runs"}} =
          Linx.Process.run(argv: ["/bin/sh", "-c", "printf 'it runs'; exit 7"])
        IO.puts("held")|

      assert {"held\n", 0} = mix(context, ["run", "--no-start", "-e", program])
    end

    test "is unpacked by one of two that compile at once", context do
      ship(context, context.archive)
      compiles = for _ <- 1..2, do: Task.async(fn -> compile(context) end)
      answers = Task.await_many(compiles, :infinity)
      assert Enum.map(answers, &elem(&1, 1)) == [0, 0], inspect(answers)
      assert Enum.sort(File.ls!(context.priv)) == ["linx_nif.so", "linx_process"]

      for {"priv/" <> part, content} <- context.parts,
          do: assert(File.read!(Path.join(context.priv, part)) == content)
    end

    test "is unpacked anew with --force, whatever became of it", context do
      ship(context, context.archive)
      assert {_, 0} = compile(context)
      agent = Path.join(context.priv, "linx_process")
      File.write!(agent, "damaged")
      assert {"", 0} = compile(context)
      # The argument that `mix compile --force` gives each compiler, without the others.
      program = ~S|{:ok, []} = Mix.Tasks.Compile.LinxNative.run(["--force"])|
      assert {output, 0} = mix(context, ["run", "--no-start", "-e", program])
      assert output =~ "Unpacked linx_nif and linx_process"
      assert {"priv/linx_process", File.read!(agent)} in context.parts
    end

    test "whose place cannot be written leaves nothing behind, and says which", context do
      ship(context, context.archive)
      agent = Path.join(context.priv, "linx_process")
      File.mkdir_p!(Path.join(agent, "in-the-way"))
      before = File.ls!(Path.join(context.build, "lib/linx/.mix"))
      assert {output, 1} = compile(context)
      assert output =~ "cannot write" and output =~ "priv/linx_process: "
      assert File.ls!(Path.join(context.build, "lib/linx/.mix")) -- before == []
      assert Enum.sort(File.ls!(context.priv)) == ["linx_nif.so", "linx_process"]
      File.rm_rf!(agent)
      assert {_, 0} = compile(context)
    end

    test "that is replaced by a damaged one is noticed", context do
      ship(context, context.archive)
      assert {_, 0} = compile(context)
      ship(context, context.archive <> "x", listed: Archive.sha256(context.archive))
      assert {output, 1} = compile(context)
      assert output =~ "is refused"
    end
  end

  describe "an archive is refused, and nothing is built instead," do
    test "that is damaged", context do
      size = byte_size(context.archive) - 1000
      <<front::binary-size(^size), byte, back::binary>> = context.archive
      damaged = front <> <<Bitwise.bxor(byte, 1)>> <> back
      ship(context, damaged, listed: Archive.sha256(context.archive))
      output = refused(context)
      assert output =~ "precompiled/#{context.name} is refused"
      assert output =~ Archive.sha256(damaged)
      assert output =~ Archive.sha256(context.archive)
      assert output =~ "LINX_BUILD=1"
      refute output =~ "(cargo,"
    end

    test "that is truncated", context do
      truncated = binary_part(context.archive, 0, 5000)
      ship(context, truncated, listed: Archive.sha256(context.archive))
      assert refused(context) =~ Archive.sha256(truncated)
      ship(context, truncated)
      assert refused(context) =~ "no whole gzip file"
    end

    test "that is in no list", context do
      ship(context, context.archive, listed: nil)
      assert refused(context) =~ "is not in #{@list}"
    end

    test "that holds other names", context do
      [nif, {_, agent}] = context.parts
      escaping = archive(context.dir, [nif, {"../linx_process", agent}])
      ship(context, escaping)
      assert refused(context) =~ "is refused"
      refute File.exists?(Path.join(context.linx, "linx_process"))
    end

    test "that is for another processor", context do
      [nif, agent] = context.parts

      for {parts, named} <- [
            {forge([nif, agent], @riscv64), "nif, agent"},
            {[nif | forge([agent], @armv7)], "agent"}
          ] do
        ship(context, archive(context.dir, parts))
        output = refused(context)
        assert output =~ "not for #{context.triple}'s processor: #{named}\n"
        refute output =~ "(cargo,"
      end
    end

    test "with a cargo on PATH too", context do
      cargo = Path.join(context.dir, "cargo")
      File.write!(cargo, "#!/bin/sh\necho cargo was called; exit 1\n")
      File.chmod!(cargo, 0o755)
      ship(context, "damaged", listed: Archive.sha256(context.archive))
      refute refused(context, [{"CARGO", cargo}]) =~ "cargo was called"
      assert refused(context, [{"CARGO", cargo}, {"LINX_BUILD", "1"}]) =~ "does not say its host"
    end
  end

  describe "without cargo" do
    test "and without an archive both remedies are named", context do
      list(context, "")
      output = refused(context)
      assert output =~ "no cargo on PATH"
      assert output =~ "Target: #{context.triple}."
      assert output =~ "precompiled/#{context.name}"
      assert output =~ "package from Hex"
      assert output =~ "install Rust"
    end

    test "an archive for another target is none", context do
      other = Archive.name("riscv64gc-unknown-linux-gnu")
      ship(context, context.archive, name: other)
      assert refused(context) =~ "precompiled/#{context.name}"
    end

    test "LINX_BUILD=1 says that it takes cargo, LINX_BUILD=0 is no wish", context do
      ship(context, context.archive)
      output = refused(context, [{"LINX_BUILD", "1"}])
      assert output =~ "LINX_BUILD is set"
      assert output =~ "no cargo on PATH"
      assert {_, 0} = compile(context, [{"LINX_BUILD", "0"}])
    end
  end

  describe "for a board" do
    test "its archive is taken by what Nerves sets", context do
      name = Archive.name("armv7-unknown-linux-gnueabihf")
      ship(context, archive(context.dir, forge(context.parts, @armv7)), name: name)

      board = [
        {"TARGET_ARCH", "arm"},
        {"TARGET_OS", "linux"},
        {"TARGET_ABI", "gnueabihf"},
        {"TARGET_CPU", "cortex_a7"}
      ]

      assert {output, 0} = compile(context, board)
      assert output =~ "(#{name})"
      # The same build for the host is stale.
      assert {output, 1} = compile(context)
      assert output =~ "Target: #{context.triple}."
    end
  end

  describe "mix linx.verify" do
    setup context do
      rebuilt = Path.join(context.dir, "rebuilt")
      File.rm_rf!(rebuilt)
      File.mkdir_p!(rebuilt)
      ship(context, context.archive)
      # The compiler takes it; the task is run with what it built.
      assert {_, 0} = compile(context)
      %{rebuilt: rebuilt}
    end

    defp verify(context), do: mix(context, ["linx.verify", "--rebuilt", context.rebuilt])

    test "compares what the archives hold", context do
      # Packed again: the archive differs, and what it holds does not.
      again = archive(context.dir, Enum.reverse(context.parts))
      refute again == context.archive
      File.write!(Path.join(context.rebuilt, context.name), again)
      assert {output, 0} = verify(context)
      assert output =~ "#{context.name}  agent  same"
      assert output =~ "All files are the same."
    end

    test "names the file that differs", context do
      [nif, {name, agent}] = context.parts
      again = archive(context.dir, [nif, {name, agent <> "x"}])
      File.write!(Path.join(context.rebuilt, context.name), again)
      assert {output, 1} = verify(context)
      assert output =~ "#{context.name}  nif  same"
      assert output =~ "#{context.name}  agent  differs"
      assert output =~ "1 of 2 files differ"
    end

    # Building takes minutes and Rust. Here a script in the place of bin/precompile says what it
    # was asked, and gives what was built before.
    test "builds by bin/precompile, without being told of a folder", context do
      script = Path.join(context.linx, "bin/precompile")
      kept = File.read!(script)
      File.write!(Path.join(context.rebuilt, context.name), context.archive)

      try do
        File.write!(script, ~s(mkdir -p "$1" && cp #{context.rebuilt}/*.gz "$1" && echo "for $2"))
        assert {output, 0} = mix(context, ["linx.verify", context.triple])
        assert output =~ "for #{context.triple}\n"
        assert output =~ "All files are the same."
        File.write!(script, "exit 3")
        assert {output, 1} = mix(context, ["linx.verify", context.triple])
        assert output =~ "bin/precompile ended with 3"
      after
        File.write!(script, kept)
      end
    end

    test "has an error for an archive that was not made again", context do
      assert {output, 1} = verify(context)
      assert output =~ "no such file"
    end
  end
end
