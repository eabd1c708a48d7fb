defmodule Mix.Tasks.Compile.LinxNative.TargetTest do
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.LinxNative.Target

  # An executable of two program headers, PT_PHDR and PT_INTERP, as elf(5) lays it out; the
  # interpreter lies where no first page reaches, as patchelf may put it.
  @far 70_000

  defp elf64(machine, interpreter) do
    ident = <<0x7F, "ELF", 2, 1, 1, 0::72>>

    header =
      <<ident::binary, 3::little-16, machine::little-16, 1::little-32, 0::64, 64::little-64,
        0::64, 0::little-32, 64::little-16, 56::little-16, 2::little-16, 0::48>>

    phdr = <<6::little-32, 4::little-32, 0::384>>
    put(header <> phdr <> interp64(interpreter), interpreter)
  end

  defp interp64(nil), do: <<1::little-32, 0::416>>

  defp interp64(path) do
    <<3::little-32, 4::little-32, @far::little-64, 0::128, byte_size(path) + 1::little-64,
      0::128>>
  end

  defp elf32(machine, flags, interpreter) do
    ident = <<0x7F, "ELF", 1, 1, 1, 0::72>>

    header =
      <<ident::binary, 3::little-16, machine::little-16, 1::little-32, 0::32, 52::little-32,
        0::32, flags::little-32, 52::little-16, 32::little-16, 1::little-16, 0::48>>

    size = byte_size(interpreter) + 1
    phdr = <<3::little-32, @far::little-32, 0::64, size::little-32, 0::96>>
    put(header <> phdr, interpreter)
  end

  defp put(front, nil), do: front

  defp put(front, path),
    do: front <> :binary.copy(<<0>>, @far - byte_size(front)) <> path <> <<0>>

  defp host(binary, machine \\ "", name \\ "beam.smp") do
    Target.host(
      fn
        at, _length when at >= byte_size(binary) -> ""
        at, length -> binary_part(binary, at, min(length, byte_size(binary) - at))
      end,
      machine,
      name
    )
  end

  test "the fixture has the sizes of elf(5)" do
    assert byte_size(elf64(62, nil)) == 64 + 2 * 56
    assert byte_size(elf32(40, 0, "x")) == @far + 2
  end

  test "processor and C library are those of the VM's executable" do
    for {machine, processor} <- [{62, "x86_64"}, {183, "aarch64"}, {243, "riscv64gc"}] do
      assert host(elf64(machine, "/lib64/ld-linux-x86-64.so.2")) ==
               {:ok, "#{processor}-unknown-linux-gnu"}

      assert host(elf64(machine, "/somewhere/lib/ld-musl-x86_64.so.1")) ==
               {:ok, "#{processor}-unknown-linux-musl"}

      assert host(elf64(machine, nil)) == {:ok, "#{processor}-unknown-linux-musl"}
    end
  end

  # ld.so(8): `ld-linux-x86-64.so.2 --library-path ... beam.smp`, as a release of bin/setup's
  # Elixir starts. A dynamic linker has no interpreter.
  test "a VM that its dynamic linker was told to start has the linker's C library" do
    for {name, libc} <- [
          {"ld-linux-x86-64.so.2", "gnu"},
          {"ld-musl-x86_64.so.1", "musl"},
          {"libc.so", "musl"},
          {"beam.smp", "musl"}
        ] do
      assert host(elf64(62, nil), "", name) == {:ok, "x86_64-unknown-linux-#{libc}"}
    end

    # One that names its interpreter may be called anything.
    assert {:ok, "x86_64-unknown-linux-gnu"} =
             host(elf64(62, "/lib64/ld-linux-x86-64.so.2"), "", "ld-musl-x86_64.so.1")
  end

  @tag :tmp_dir
  test "the name is that of what a link leads to", %{tmp_dir: folder} do
    linker = Path.join(folder, "ld-linux-aarch64.so.1")
    link = Path.join(folder, "exe")
    File.write!(linker, elf64(183, nil))
    File.ln_s!(linker, link)

    if Enum.all?(~w(CARGO_BUILD_TARGET TARGET_ARCH TARGET_OS), &(Target.present(&1) == nil)) do
      assert {:ok, %Target{triple: "aarch64-unknown-linux-gnu"}} = Target.current(link)
      assert {:ok, %Target{triple: "aarch64-unknown-linux-gnu"}} = Target.current(linker)
    else
      # bin/cross names one, which counts.
      assert {:ok, %Target{cross?: true}} = Target.current(link)
    end
  end

  test "a library is for the processor that its ELF header names" do
    aarch64 = elf64(183, nil)
    armv7 = elf32(40, 0x05000400, "x")

    assert Target.runs?(aarch64, "aarch64-unknown-linux-gnu")
    assert Target.runs?(aarch64, "aarch64-unknown-linux-musl")
    assert Target.runs?(armv7, "armv7-unknown-linux-gnueabihf")
    assert Target.runs?(elf64(243, nil), "riscv64gc-unknown-linux-gnu")

    for triple <- ~w(x86_64-unknown-linux-gnu armv7-unknown-linux-gnueabihf),
        do: refute(Target.runs?(aarch64, triple))

    refute Target.runs?(elf32(183, 0, "x"), "aarch64-unknown-linux-gnu")

    for bytes <- ["", "library", binary_part(aarch64, 0, 19), "#!/bin/sh\n" <> aarch64],
        do: refute(Target.runs?(bytes, "aarch64-unknown-linux-gnu"))

    # No archive of the package is for it.
    assert Target.runs?(aarch64, "loongarch64-unknown-linux-gnu")
  end

  test "of arm the float ABI is the executable's, the level the machine's" do
    for {flags, machine, triple} <- [
          {0x05000400, "armv7l", "armv7-unknown-linux-gnueabihf"},
          {0x05000400, "armv8l", "armv7-unknown-linux-gnueabihf"},
          {0x05000400, "aarch64", "armv7-unknown-linux-gnueabihf"},
          {0x05000400, "armv6l", "arm-unknown-linux-gnueabihf"},
          {0x05000200, "armv7l", "armv7-unknown-linux-gnueabi"},
          {0x05000200, "armv5tejl", "armv5te-unknown-linux-gnueabi"}
        ] do
      assert host(elf32(40, flags, "/lib/ld-linux-armhf.so.3"), machine) == {:ok, triple}
    end

    assert host(elf32(40, 0x05000400, "/lib/ld-musl-armhf.so.1"), "armv7l") ==
             {:ok, "armv7-unknown-linux-musleabihf"}
  end

  test "x32, another processor and another C library are named by none" do
    assert host(elf32(62, 0, "/libx32/ld-linux-x32.so.2")) == :error
    assert :error = host(elf64(22, "/lib/ld64.so.1"))
    assert :error = host(elf64(62, "/lib/ld-uClibc.so.0"))
  end

  # Linx builds from source there, for the host that cargo itself names.
  @tag :tmp_dir
  test "a VM of such a processor, or none in view, is no reason not to build", context do
    folder = context.tmp_dir
    vm = Path.join(folder, "beam.smp")
    File.write!(vm, elf64(22, "/lib/ld64.so.1"))
    unknown = {:ok, %Target{triple: "unknown", cross?: false}}
    names = ~w(CARGO_BUILD_TARGET TARGET_ARCH TARGET_OS)

    if Enum.all?(names, &(Target.present(&1) == nil)) do
      assert Target.current(vm) == unknown
      assert Target.current(Path.join(folder, "none")) == unknown
      assert {:ok, %Target{triple: triple, cross?: false}} = Target.current()
      assert triple =~ "-unknown-linux-"
    else
      # bin/cross names one, which counts.
      assert {:ok, %Target{cross?: true}} = Target.current(vm)
    end
  end

  test "a part of an executable, at any length, is an answer" do
    whole = elf64(62, "/lib64/ld-linux-x86-64.so.2")

    for length <- Enum.concat(0..300, [@far - 1, @far, @far + 3]) do
      case host(binary_part(whole, 0, length)) do
        {:ok, triple} -> assert is_binary(triple)
        :error -> :ok
      end
    end

    assert :error = host("#!/bin/sh\n")
  end

  # e_phnum of a forged header is 65535, and its segments' lengths are as large as their fields.
  test "a forged header is read within bounds" do
    <<front::binary-56, _::16, rest::binary>> = elf64(62, "/lib64/ld-linux-x86-64.so.2")
    assert {:ok, _} = host(front <> <<0xFFFF::16>> <> rest)

    huge = <<3::little-32, 0::32, 0::64, 0::128, 0xFFFFFFFFFFFFFFFF::64, 0::128>>
    <<head::binary-64, _::binary-56, tail::binary>> = elf64(62, nil)
    assert :error = host(head <> huge <> tail)
  end
end
