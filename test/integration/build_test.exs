defmodule Linx.BuildTest do
  use ExUnit.Case, async: true

  # The content of the Hex package, as the dependency of a program of its own
  # (test/fixtures/consumer).

  alias Linx.Test.Package

  @moduletag timeout: 600_000

  setup_all do
    dir = Linx.Test.Scratch.path("build")
    on_exit(fn -> File.rm_rf!(dir) end)
    linx = Path.join(dir, "linx")
    consumer = Path.join(dir, "consumer")
    Package.unpack!(linx)
    # A package for a release has archives, which are precompiled_test.exs's.
    File.rm_rf!(Path.join(linx, "precompiled"))
    {_, 0} = System.cmd("cp", ["-a", "test/fixtures/consumer", consumer])

    # The crates from the registry are built already; cargo takes them as they are.
    native = Path.expand("../linx_native", Mix.Project.build_path())
    File.mkdir_p!(Path.join(consumer, "_build"))
    {_, 0} = System.cmd("cp", ["-a", native, Path.join(consumer, "_build")])

    listed = tree(linx)
    {first, status} = mix(consumer, ["compile"])
    %{dir: dir, linx: linx, consumer: consumer, listed: listed, first: first, status: status}
  end

  # None of what says how these tests themselves were built.
  @clean for name <-
               ~w(MIX_ENV MIX_BUILD_PATH MIX_BUILD_ROOT MIX_TARGET MIX_EXS CC CARGO_BUILD_TARGET
               TARGET_ARCH TARGET_OS TARGET_ABI TARGET_CPU LINX_BUILD),
             do: {name, nil}

  defp mix(folder, args, env \\ []) do
    env = Map.merge(Map.new(@clean), Map.new([{"MIX_ENV", "prod"} | env]))
    System.cmd("mix", args, cd: folder, env: env, stderr_to_stdout: true)
  end

  defp tree(folder), do: folder |> Path.join("**") |> Path.wildcard(match_dot: true)
  defp priv(folder), do: Path.join(folder, "_build/prod/lib/linx/priv")

  describe "compiling" do
    test "builds both native parts into the built app's priv", context do
      assert context.status == 0, context.first
      assert Enum.sort(File.ls!(priv(context.consumer))) == ["linx_nif.so", "linx_process"]
    end

    test "warns of nothing and writes nothing into the package's folder", context do
      refute context.first =~ "warning"
      assert tree(context.linx) == context.listed
    end

    test "a second time builds nothing", %{consumer: consumer} do
      assert {"", 0} = mix(consumer, ["compile"])
    end

    test "a touched Rust source runs cargo and no Elixir compiler", context do
      source = Path.join(context.linx, "native/linx_nif/src/lib.rs")
      File.touch!(source, System.os_time(:second) + 2)
      {output, 0} = mix(context.consumer, ["compile"])
      assert output =~ "Compiling linx_nif (cargo"
      refute output =~ ~r/Compiling \d+ files? \(\.ex\)/
      assert {"", 0} = mix(context.consumer, ["compile"])
    end

    test "without cargo says what to install", %{consumer: consumer} do
      {output, status} = mix(consumer, ["compile"], [{"CARGO", "/nonexistent/cargo"}])
      assert status == 1
      assert output =~ "no cargo on PATH"
      assert output =~ "install Rust"
      # The archive that it would have taken without the variable.
      assert output =~ "precompiled/linx-#{Mix.Project.config()[:version]}-nif-2.17-"
      assert output =~ "package from Hex"
    end
  end

  # The variables that Nerves sets for a board.
  describe "for a target" do
    defp target(arch, abi, env \\ []),
      do: [{"TARGET_ARCH", arch}, {"TARGET_OS", "linux"}, {"TARGET_ABI", abi}] ++ env

    test "without its standard library names it", %{consumer: consumer} do
      {output, status} = mix(consumer, ["compile"], target("riscv64", "musl"))
      assert status == 1
      assert output =~ "riscv64gc-unknown-linux-musl"
      assert output =~ "standard library"
    end

    test "that Rust does not have says so", %{consumer: consumer} do
      {output, status} = mix(consumer, ["compile"], target("vax", "gnu"))
      assert status == 1
      assert output =~ "TARGET_ARCH=vax"
      assert output =~ "CARGO_BUILD_TARGET"
    end

    # A cargo that only notes what it was asked shows every triple without any of their standard
    # libraries.
    test "asks cargo for its triple, with CC as the linker", %{dir: dir, consumer: consumer} do
      cargo = Path.join(dir, "cargo")
      File.write!(cargo, "#!/bin/sh\necho \"$@\"; env; exit 1\n")
      File.chmod!(cargo, 0o755)
      asked = &elem(mix(consumer, ["compile"], [{"CARGO", cargo}, {"CC", "/cross/cc"} | &1]), 0)

      for {env, triple} <- [
            {target("aarch64", "gnu"), "aarch64-unknown-linux-gnu"},
            {target("x86_64", "musl"), "x86_64-unknown-linux-musl"},
            {target("riscv64", "gnu"), "riscv64gc-unknown-linux-gnu"},
            {target("arm", "gnueabihf", [{"TARGET_CPU", "cortex_a7"}]),
             "armv7-unknown-linux-gnueabihf"},
            {target("arm", "gnueabihf", [{"TARGET_CPU", "arm1176jzf_s"}]),
             "arm-unknown-linux-gnueabihf"},
            {target("arm", "gnueabi", [{"TARGET_CPU", "arm926ej_s"}]),
             "armv5te-unknown-linux-gnueabi"},
            {target("arm", "gnueabihf", [
               {"CARGO_BUILD_TARGET", "loongarch64-unknown-linux-gnu"}
             ]), "loongarch64-unknown-linux-gnu"}
          ] do
        output = asked.(env)
        assert output =~ "build --quiet --locked --target #{triple} "
        variable = triple |> String.upcase() |> String.replace("-", "_")
        assert output =~ "CARGO_TARGET_#{variable}_LINKER=/cross/cc\n"
      end
    end
  end

  # One release, built where it is not run: `mix release` and then a move, as a deploy does.
  describe "a release" do
    setup %{dir: dir, consumer: consumer} do
      release = Path.join(dir, "deployed")

      unless File.exists?(release) do
        {output, status} = mix(consumer, ["release", "--quiet"])
        assert status == 0, output
        File.rename!(Path.join(consumer, "_build/prod/rel/consumer"), release)
      end

      %{release: release, program: Path.join(release, "bin/consumer")}
    end

    @tag :tmp_dir
    test "boots in embedded mode, with stripped modules", %{release: release} = context do
      {output, status} = start(context, "smoke")
      assert status == 0, output

      assert String.split(output, "\n", trim: true) == [
               "mode embedded",
               "address 10.0.0.1",
               "rules 1",
               "link lo",
               "status 7",
               "priv #{release}/lib/linx-#{Mix.Project.config()[:version]}/priv"
             ]

      beam =
        Path.join(release, "lib/linx-*/ebin/Elixir.Linx.Native.beam") |> Path.wildcard() |> hd()

      assert {:ok, {Linx.Native, [{~c"Dbgi", :missing_chunk}]}} =
               :beam_lib.chunks(String.to_charlist(beam), [~c"Dbgi"], [:allow_missing_chunks])
    end

    @tag :tmp_dir
    test "evaluates without starting anything", context do
      {output, status} = release(context, ["eval", "Consumer.smoke()"], [])
      assert status == 0, output
      assert output =~ "status 7\n"
    end

    @tag :root
    @tag :nftables
    @tag :tmp_dir
    test "runs the demo", %{linx: linx} = context do
      {output, status} = start(context, Path.join(linx, "examples/checkpoint.exs"))
      assert status == 0, output
      assert output =~ "All of it holds."
      refute output =~ "FAIL"
    end

    # As on another machine: nothing of the Erlang that it was made with is there. The programs of
    # bin/setup's name their own libc by an absolute path, in the home of whoever ran it.
    @tag :root
    @tag :portable_erlang
    test "runs for another user, without the Erlang that it was made with", context do
      erlang = to_string(:code.root_dir())
      hidden = Enum.filter([erlang, Linx.Test.Unpacked.path("toolchain")], &File.dir?/1)
      File.chmod!(context.dir, 0o755)
      {_, 0} = System.cmd("chown", ["-R", "65534:65534", context.release])

      script = ~S"""
      set -e
      while [ "$1" != -- ]; do mount -t tmpfs tmpfs "$1"; shift; done
      shift
      exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
      """

      command =
        ~w(unshare --mount --propagation private -- sh -c) ++
          [script, "sh"] ++ hidden ++ ["--", context.program, "start"]

      env = [
        {"CONSUMER_RUN", "smoke"},
        {"RELEASE_DISTRIBUTION", "none"},
        {"HOME", "/"}
      ]

      [program | args] = command
      {output, status} = System.cmd(program, args, env: env, cd: "/", stderr_to_stdout: true)
      assert status == 0, output
      assert output =~ "link lo\nstatus 7\n"
    end

    defp start(context, what), do: release(context, ["start"], [{"CONSUMER_RUN", what}])

    # With the privilege there is, in a network of its own. RELEASE_TMP, since a release may lie
    # where nothing is written.
    defp release(context, args, env) do
      env = [{"RELEASE_TMP", context.tmp_dir}, {"RELEASE_DISTRIBUTION", "none"} | env]
      command = if Linx.Test.Host.root?(), do: ~w(unshare --net --), else: []
      [program | args] = command ++ [context.program | args]
      System.cmd(program, args, env: env, cd: "/", stderr_to_stdout: true)
    end
  end
end
