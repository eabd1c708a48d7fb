defmodule Linx.Package.MuslTest do
  use ExUnit.Case, async: true

  # The archive for musl, with Debian's musl and no VM: Alpine's Erlang is not to be had here.
  # bin/test-package runs this.

  alias Linx.Test.Machine
  alias Mix.Tasks.Compile.LinxNative.{Archive, Target}

  @moduletag :package
  @moduletag timeout: 600_000

  setup_all do
    folder = Linx.Test.Scratch.path("musl")
    on_exit(fn -> File.rm_rf!(folder) end)
    machine = Machine.new(System.fetch_env!("LINX_PACKAGE_TREE"), folder)
    {:ok, %{triple: triple}} = Target.current()
    [processor | _] = String.split(triple, "-")
    name = Archive.name("#{processor}-unknown-linux-musl")
    path = Path.join(System.fetch_env!("LINX_PACKAGE_ARCHIVES"), name)
    {:ok, contents} = Archive.read(path, Archive.sha256(File.read!(path)))

    File.write!(Machine.srv(machine, "linx_nif.so"), contents.nif)
    File.write!(Machine.srv(machine, "linx_process"), contents.agent)
    File.chmod!(Machine.srv(machine, "linx_process"), 0o755)
    %{machine: machine, processor: processor, nif: Machine.srv(machine, "linx_nif.so")}
  end

  # The symbols that the library imports from a VM, by its own symbol table.
  defp wanted(library) do
    {symbols, 0} = System.cmd("readelf", ["--wide", "--dyn-syms", library])
    for [_, name] <- Regex.scan(~r/ UND (enif_\w+)/, symbols), do: name
  end

  defp build(context, program, names) do
    path = Machine.srv(context.machine, program)
    list = Enum.map_join(names, " ", &"FUNCTION(#{&1})")
    args = ["-rdynamic", "-DENIF=#{list}", "-o", path, "test/package/musl.c"]
    {output, status} = System.cmd("musl-gcc", args, stderr_to_stdout: true)
    assert status == 0, output
    # Debian's package has that of the library's C library.
    {headers, 0} = System.cmd("readelf", ["--wide", "--program-headers", path])
    assert headers =~ "/lib/ld-musl-#{context.processor}.so.1"
    "/srv/" <> program
  end

  test "the library is loaded by a program of musl and gives its entry", context do
    names = wanted(context.nif)
    assert length(names) > 20
    program = build(context, "vm", names)
    {output, status} = Machine.run(context.machine, [program, "/srv/linx_nif.so"])
    assert status == 0, output
    assert [module, "2.17", functions] = String.split(output)
    assert module == "Elixir.Linx.Native"
    assert String.to_integer(functions) > 50
  end

  # A check of the test above: it would also pass for a library that imports nothing.
  test "and by none that lacks one of the functions", context do
    [missing | names] = wanted(context.nif)
    program = build(context, "lesser-vm", names)
    assert {output, 1} = Machine.run(context.machine, [program, "/srv/linx_nif.so"])
    assert output =~ missing
  end

  test "glibc's part of the tree is no part of it", context do
    {needed, 0} = System.cmd("readelf", ["--wide", "--dynamic", "--version-info", context.nif])
    assert needed =~ "[libc.so]"
    refute needed =~ "GLIBC_"
    refute needed =~ "libgcc_s"
  end

  # A VM that closes its end at once: the agent ends, and without an error.
  test "the agent starts in a root that holds nothing else", %{machine: machine} do
    root = Path.join(machine.folder, "empty")
    File.mkdir_p!(root)
    File.cp!(Machine.srv(machine, "linx_process"), Path.join(root, "linx_process"))
    assert File.ls!(root) == ["linx_process"]
    run = ~S(exec chroot "$0" /linx_process 3</dev/null 4>/dev/null)
    assert {"", 0} = System.cmd("sh", ["-c", run, root], stderr_to_stdout: true)
  end
end
