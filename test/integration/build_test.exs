defmodule Linx.BuildTest do
  use ExUnit.Case, async: false

  # What the Hex package holds, compiled in a copy of its own.

  @moduletag timeout: 600_000

  setup_all do
    dir = Path.join(System.tmp_dir!(), "linx-build-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(dir) end)
    File.mkdir_p!(dir)

    for entry <- Mix.Project.config()[:package][:files] do
      assert File.exists?(entry), "package/0 lists #{entry}, which is not there"
      {_, 0} = System.cmd("cp", ["-a", entry, dir])
    end

    # The crates from the registry are built already; cargo takes them as they are.
    File.mkdir_p!(Path.join(dir, "_build"))
    {_, 0} = System.cmd("cp", ["-a", "_build/linx_native", Path.join(dir, "_build")])
    {first, status} = mix(dir, ["compile"])
    %{dir: dir, first: first, status: status}
  end

  defp mix(dir, args) do
    env = for name <- ~w(MIX_ENV MIX_BUILD_PATH MIX_TARGET MIX_EXS), do: {name, nil}
    System.cmd("mix", args, cd: dir, env: [{"MIX_ENV", "prod"} | tl(env)], stderr_to_stdout: true)
  end

  test "a first compile builds both native parts into the built app's priv", context do
    assert context.status == 0, context.first
    priv = Path.join(context.dir, "_build/prod/lib/linx/priv")
    assert Enum.sort(File.ls!(priv)) == ["linx_nif.so", "linx_process"]
    refute File.exists?(Path.join(context.dir, "priv"))
  end

  test "a second compile builds nothing", %{dir: dir} do
    assert {"", 0} = mix(dir, ["compile"])
  end

  test "a touched Rust source runs cargo and no Elixir compiler", %{dir: dir} do
    source = Path.join(dir, "native/linx_nif/src/lib.rs")
    File.touch!(source, System.os_time(:second) + 2)
    {output, 0} = mix(dir, ["compile"])
    assert output =~ "Compiling linx_nif (cargo"
    refute output =~ ~r/Compiling \d+ files? \(\.ex\)/
    assert {"", 0} = mix(dir, ["compile"])
  end

  test "without cargo the error says what to install", %{dir: dir} do
    env = [{"MIX_ENV", "prod"}, {"CARGO", "/nonexistent/cargo"}]
    {output, status} = System.cmd("mix", ["compile"], cd: dir, env: env, stderr_to_stdout: true)
    assert status == 1
    assert output =~ "no cargo on PATH"
    assert output =~ "install Rust"
  end

  test "a target without its standard library is named", %{dir: dir} do
    env = [
      {"MIX_ENV", "prod"},
      {"TARGET_ARCH", "riscv64"},
      {"TARGET_OS", "linux"},
      {"TARGET_ABI", "musl"}
    ]

    {output, status} = System.cmd("mix", ["compile"], cd: dir, env: env, stderr_to_stdout: true)
    assert status == 1
    assert output =~ "riscv64gc-unknown-linux-musl"
    assert output =~ "standard library"
  end
end
