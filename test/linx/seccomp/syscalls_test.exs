defmodule Linx.Seccomp.SyscallsTest do
  use ExUnit.Case, async: true

  alias Linx.Seccomp
  alias Linx.Seccomp.Syscalls

  # An independent source: what a C program for this machine is compiled with. CC names the
  # compiler of a cross build.
  test "every call of this machine's headers is in the table, with its number" do
    compiler = System.get_env("CC", "cc")

    {output, 0} =
      System.shell("echo '#include <asm/unistd.h>' | #{compiler} -E -dM -",
        stderr_to_stdout: true
      )

    # arm's are written as a sum with a base of 0.
    number = ~r/^#define __NR_(\w+) (?:\(__NR_SYSCALL_BASE ?\+ ?)?(\d+)\)?$/m

    defined =
      for [_, name, number] <- Regex.scan(number, output), name != "SYSCALL_BASE" do
        {name, String.to_integer(number)}
      end

    # asm-generic/unistd.h, which aarch64 takes: where an architecture's own numbers begin, and
    # one more than the last.
    defined =
      for {name, _} = call <- defined, name not in ~w(arch_specific_syscall syscalls), do: call

    # 297 on aarch64, in Linux 6.1.
    assert length(defined) > 250

    table =
      Map.new(
        Syscalls.all(Seccomp.arch()),
        &{Atom.to_string(&1), Syscalls.to_number(&1, Seccomp.arch())}
      )

    assert for({name, number} <- defined, table[name] != number, do: name) == []
  end

  test "numbers that have no name, names that have no number, architectures that have no table" do
    assert Syscalls.from_number(-1, :x86_64) == :unknown
    assert Syscalls.from_number(0x40000000, :x86_64) == :unknown
    assert Syscalls.from_number(0, :loongarch64) == :unknown
    assert Syscalls.to_number(:open, :aarch64) == :unknown
    assert Syscalls.to_number(:read, :unsupported) == :unknown
    assert Syscalls.all(:unsupported) == MapSet.new()
  end

  # Numbers from 424 on are the same for all architectures (include/uapi/asm-generic/unistd.h).
  test "newer calls have one number" do
    for arch <- [:aarch64, :arm, :riscv64],
        name <- Syscalls.all(arch),
        number = Syscalls.to_number(name, arch),
        number in 424..0xEFFFF do
      assert {name, Syscalls.to_number(name, :x86_64)} == {name, number}
    end
  end

  # arch/arm/include/uapi/asm/unistd.h, "ARM private".
  test "arm's own calls have numbers" do
    own = [breakpoint: 0xF0001, cacheflush: 0xF0002, set_tls: 0xF0005, get_tls: 0xF0006]
    assert for({name, _} <- own, do: {name, Syscalls.to_number(name, :arm)}) == own
  end

  test "no number has two names" do
    for arch <- [:x86_64, :aarch64, :arm, :riscv64], name <- Syscalls.all(arch) do
      assert Syscalls.from_number(Syscalls.to_number(name, arch), arch) == name
    end
  end

  # riscv64 takes asm-generic/unistd.h as aarch64 does, without renameat(2), which is older than
  # the architecture.
  test "riscv64 has aarch64's numbers, and two of its own" do
    calls = fn arch -> Map.new(Syscalls.all(arch), &{&1, Syscalls.to_number(&1, arch)}) end
    {riscv64, aarch64} = {calls.(:riscv64), calls.(:aarch64)}

    assert Map.drop(riscv64, Map.keys(aarch64)) == %{riscv_hwprobe: 258, riscv_flush_icache: 259}
    assert Map.take(riscv64, Map.keys(aarch64)) == Map.delete(aarch64, :renameat)
  end
end
