defmodule Linx.Seccomp.SyscallsTest do
  use ExUnit.Case, async: true

  alias Linx.Seccomp
  alias Linx.Seccomp.Syscalls

  # An independent source: what a C program for this machine is compiled with. CC names the compiler of a cross build.
  test "every call of this machine's headers is in the table, with its number" do
    compiler = System.get_env("CC", "cc")

    {output, 0} =
      System.shell("echo '#include <asm/unistd.h>' | #{compiler} -E -dM -",
        stderr_to_stdout: true
      )

    defined =
      for [_, name, number] <- Regex.scan(~r/^#define __NR_(\w+) (\d+)$/m, output) do
        {name, String.to_integer(number)}
      end

    # asm-generic/unistd.h, which aarch64 takes: where an architecture's own numbers begin, and one more than the last.
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
    assert Syscalls.from_number(0, :riscv64) == :unknown
    assert Syscalls.to_number(:open, :aarch64) == :unknown
    assert Syscalls.to_number(:read, :unsupported) == :unknown
    assert Syscalls.all(:unsupported) == MapSet.new()
  end

  # Numbers from 424 on are the same for all architectures (include/uapi/asm-generic/unistd.h).
  test "newer calls have one number" do
    for name <- Syscalls.all(:aarch64),
        number = Syscalls.to_number(name, :aarch64),
        number >= 424 do
      assert Syscalls.to_number(name, :x86_64) == number
    end
  end
end
