defmodule Linx.Seccomp.Filter do
  @moduledoc """
  A compiled filter: what the building functions of `Linx.Seccomp` return and
  `Linx.Seccomp.install/2` takes.

    * `:arch` - whose system calls it judges. It can be installed on no other architecture.
    * `:bpf` - the program: `struct sock_filter` records of 8 bytes in native byte order, as the
      kernel wants them.
    * `:rules` - `{rules, default_action}` from which it was compiled, or `nil` for a program that
      came from elsewhere.
    * `:summary` - a text about it, for people. Linx leaves it `nil`.

  Program, rules and architecture must agree, so do not build one by hand.

  The program is kilobytes long; `inspect/1` shows its size instead, and
  `Linx.Seccomp.disassemble/1` its text:

      #Linx.Seccomp.Filter<x86_64 2 syscalls, 8 BPF insns>
  """

  @typedoc """
  What happens to a call.

    * `:allow`
    * `:log` - allowed, and written to the audit log.
    * `{:errno, errno}` - not made; the caller gets this error. An errno by name, or a number from
      0 to 4095.
    * `:trap` - not made; the thread gets a SIGSYS that it may catch.
    * `:kill_thread`, `:kill_process` - not made; the thread, or all of them, die as if of a
      SIGSYS.
  """
  @type action ::
          :allow
          | :kill_process
          | :kill_thread
          | :trap
          | :log
          | {:errno, atom() | non_neg_integer()}

  @typedoc """
  A comparison of one of the call's arguments, 0 to 5, with a 64-bit value; a negative one stands
  for its two's complement. `{arg, :masked_eq, mask, value}` compares the bits under the mask.

  Arguments are compared as unsigned 64-bit numbers. Where the call takes an `int`, the kernel
  ignores the upper half, and the caller may put anything there: compare such an argument under
  the mask `0xFFFFFFFF`.

  On `:arm` an argument has 32 bits. A negative value is then a two's complement of 32 bits, down
  to `-0x80000000`; a positive value beyond 32 bits is above every argument. An argument of 64
  bits, such as a file offset, takes two arguments there, the first of which has an even index
  (syscall(2), "Architecture-specific requirements").
  """
  @type condition ::
          {0..5, :eq | :ne | :lt | :le | :gt | :ge, integer()}
          | {0..5, :masked_eq, mask :: integer(), integer()}

  @typedoc "An action for a call, always or when all the conditions hold."
  @type rule :: {action(), atom()} | {action(), atom(), [condition(), ...]}

  @type t :: %__MODULE__{
          arch: atom(),
          bpf: binary(),
          rules: {[rule()], action()} | nil,
          summary: String.t() | nil
        }

  @enforce_keys [:arch, :bpf]
  defstruct [:arch, :bpf, :rules, :summary]

  defimpl Inspect do
    # struct sock_filter.
    @insn_size 8

    def inspect(%{arch: arch, bpf: bpf, rules: rules}, _opts) do
      "#Linx.Seccomp.Filter<#{arch} #{syscalls(rules)}#{div(byte_size(bpf), @insn_size)} " <>
        "BPF insns>"
    end

    defp syscalls(nil), do: ""

    defp syscalls({rules, _default}),
      do: "#{rules |> Enum.uniq_by(&elem(&1, 1)) |> length()} syscalls, "
  end
end
