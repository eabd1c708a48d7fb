defmodule Linx.Package.DebianTest do
  use ExUnit.Case, async: true

  # The package as a dependency on a Debian 12 with Elixir and without a compiler.
  # bin/test-package runs this.

  alias Linx.Test.{Machine, Package}
  alias Mix.Tasks.Compile.LinxNative.{Archive, Target}

  @moduletag :package
  @moduletag timeout: 1_800_000

  @list "lib/mix/tasks/compile/linx_native/checksums.txt"
  @nobody 65_534

  setup_all do
    folder = Linx.Test.Scratch.path("debian")
    on_exit(fn -> File.rm_rf!(folder) end)
    tree = System.fetch_env!("LINX_PACKAGE_TREE")
    machine = Machine.new(tree, folder, System.fetch_env!("LINX_PACKAGE_BEAM"))

    {:ok, %{triple: triple}} = Target.current()
    name = Archive.name(triple)
    archive = "LINX_PACKAGE_ARCHIVES" |> System.fetch_env!() |> Path.join(name) |> File.read!()
    linx = Machine.srv(machine, "linx")
    Package.unpack!(linx)
    File.rm_rf!(Path.join(linx, "precompiled"))
    File.mkdir_p!(Path.join(linx, "precompiled"))
    File.write!(Path.join([linx, "precompiled", name]), archive)
    File.write!(Path.join(linx, @list), "#{Archive.sha256(archive)} #{name}\n")
    File.cp_r!("test/fixtures/consumer", Machine.srv(machine, "consumer"))

    started = System.monotonic_time(:millisecond)
    {output, status} = mix(machine, ["compile"], read_only: "linx")
    took = System.monotonic_time(:millisecond) - started
    IO.puts("\n#{name}: #{byte_size(archive)} bytes; `mix compile` took #{took} ms")

    %{
      machine: machine,
      name: name,
      archive: archive,
      compiled: output,
      status: status,
      path: Path.join([linx, "precompiled", name]),
      priv: Machine.srv(machine, "consumer/_build/prod/lib/linx/priv")
    }
  end

  defp mix(machine, args, opts \\ []) do
    {env, opts} = Keyword.pop(opts, :env, [])
    opts = [in: "consumer", env: [{"MIX_ENV", "prod"} | env]] ++ opts
    Machine.run(machine, ["mix" | args], opts)
  end

  test "is a Debian 12 that has no compiler and no Rust", %{machine: machine} do
    assert {"12." <> _, 0} = Machine.run(machine, ["cat", "/etc/debian_version"])

    for program <- ~w(cargo rustc rustup cc gcc c++ clang ld as make) do
      assert {_, status} = Machine.run(machine, ["sh", "-c", "command -v #{program}"])
      assert status != 0, "#{program} is there"
    end
  end

  test "compiles from the archive, with the dependency's folder read-only", context do
    assert context.status == 0, context.compiled
    assert context.compiled =~ "Unpacked linx_nif and linx_process (#{context.name})\n"
    refute context.compiled =~ "warning"
    refute context.compiled =~ "cargo"
    assert Enum.sort(File.ls!(context.priv)) == ["linx_nif.so", "linx_process"]
    assert {"", 0} = mix(context.machine, ["compile"], read_only: "linx")
  end

  test "runs the demo's example", %{machine: machine} do
    {output, status} = mix(machine, ["run", "../linx/examples/checkpoint.exs"])
    assert status == 0, output
    assert output =~ "All of it holds."
    refute output =~ "FAIL"
  end

  # bin/setup finds all that it wants there but for Rust and the C compiler, which the archive
  # stands for.
  test "runs bin/demo in the package's own folder", %{machine: machine} do
    {output, status} = Machine.run(machine, ["bin/demo"], in: "linx")
    assert status == 0, output
    assert output =~ "setup: no Rust"
    assert output =~ "All of it holds."
  end

  describe "an archive" do
    test "that is damaged is refused, with both sums", context do
      at = div(byte_size(context.archive), 2)
      <<front::binary-size(^at), byte, back::binary>> = context.archive
      damaged = front <> <<Bitwise.bxor(byte, 1)>> <> back
      output = refused(context, &File.write!(&1, damaged))
      assert output =~ "precompiled/#{context.name} is refused: its SHA-256 is"
      assert output =~ Archive.sha256(damaged)
      assert output =~ Archive.sha256(context.archive)
      assert output =~ "LINX_BUILD=1"
    end

    test "that is truncated is refused", context do
      truncated = binary_part(context.archive, 0, 100_000)
      output = refused(context, &File.write!(&1, truncated))
      assert output =~ "is refused: its SHA-256"
      assert output =~ Archive.sha256(truncated)
    end

    test "that is a link is refused", context do
      File.write!(Machine.srv(context.machine, "elsewhere.tar.gz"), context.archive)
      link = &File.ln_s!("/srv/elsewhere.tar.gz", &1)
      assert refused(context, link) =~ "is refused: it is a symlink"
    end

    test "that is missing leaves an error that names what would do", context do
      output = refused(context, fn _path -> :ok end)
      assert output =~ "no cargo on PATH"
      assert output =~ "precompiled/#{context.name}"
      assert output =~ "install Rust"
    end

    test "is not taken with LINX_BUILD=1", context do
      {output, 1} = mix(context.machine, ["compile"], env: [{"LINX_BUILD", "1"}])
      assert output =~ "LINX_BUILD is set, and no cargo on PATH"
    end
  end

  # The output of a compilation with `replace` in the archive's place and without what was built;
  # both are there again afterwards.
  defp refused(context, replace) do
    File.rm!(context.path)
    File.rm_rf!(context.priv)
    replace.(context.path)
    {output, status} = mix(context.machine, ["compile"])
    left = if File.dir?(context.priv), do: File.ls!(context.priv), else: []

    _ = File.rm(context.path)
    File.write!(context.path, context.archive)
    assert {_, 0} = mix(context.machine, ["compile"])

    assert status == 1, output
    assert left == []
    output
  end

  # The release is made where Elixir is, and runs on a Debian 12 that has none, for a user who is
  # not its owner.
  test "a release runs on another machine, for another user", context do
    {output, status} = mix(context.machine, ["release", "--quiet"])
    assert status == 0, output

    other = Machine.new(context.machine.tree, Path.join(context.machine.folder, "other"))
    from = Machine.srv(context.machine, "consumer/_build/prod/rel/consumer")
    File.rename!(from, Machine.srv(other, "app"))
    assert {_, status} = Machine.run(other, ["sh", "-c", "command -v erl || command -v elixir"])
    assert status != 0

    {output, status} =
      Machine.run(other, ["/srv/app/bin/consumer", "start"],
        user: @nobody,
        read_only: "app",
        env: [
          {"CONSUMER_RUN", "smoke"},
          {"RELEASE_TMP", "/tmp"},
          {"RELEASE_DISTRIBUTION", "none"},
          {"RELEASE_COOKIE", "none"}
        ]
      )

    assert status == 0, output
    assert output =~ "mode embedded\n"
    assert output =~ "link lo\nstatus 7\n"
  end
end
