defmodule Linx.Seccomp do
  @moduledoc """
  Seccomp filters: which system calls a workload may make.

  A filter is a small program in the kernel that looks at every system call a thread is about to
  make: its number, its architecture, the values of its arguments, not the memory they point to.
  It answers whether the call is made, fails with an errno, or ends the thread. A filter cannot be
  taken off again. Another one can be put on top, and the strictest answer of all of them counts,
  so filters only ever tighten.

      {:ok, session} = Linx.Process.spawn(argv: ["/usr/sbin/nginx"], no_new_privs: true)
      receive do {:linx_process, :ready, _pid} -> :ok end

      {:ok, filter} =
        Linx.Seccomp.allow_list(
          ~w(read write openat close fstat brk mmap munmap mprotect accept4 bind listen socket
             setsockopt rt_sigaction rt_sigprocmask rt_sigreturn exit_group)a
        )

      :ok = Linx.Seccomp.install(session, filter)
      :ok = Linx.Process.proceed(session)

  A process sets a filter on itself, so installing happens in the parked child, between `:ready`
  and `Linx.Process.proceed/1`. The list needs no `execve` for that: Linx starts the workload with
  one call that the filter recognises by a random number, which is gone once the workload runs.
  Its own `execve` is then judged by the list.

  What does a program need? That is a question for `strace -c`, or for a run under
  `default: :log`; this module has no opinion, and no profiles.

  ## What every filter does besides

    * A call made for another architecture (`int 0x80` on x86_64) kills the process: its number
      means something else.
    * So does a call of x32, x86_64's other ABI, whose numbers differ by a bit. Where the default
      denies, x32 calls get the default instead. Without this a deny list would stop nobody who
      sets that bit.

  ## Rules

  `{action, syscall}`, or `{action, syscall, conditions}` to look at arguments as well
  (`t:Linx.Seccomp.Filter.rule/0`). Names are the kernel's, for each architecture the whole table.
  They differ: `:open` exists on x86_64 and arm, and not on aarch64 and riscv64, where it is
  `:openat` only. A name that the architecture lacks is an error and never ignored.

  `:arm` is the 32-bit EABI. Its table has the calls that are arm's alone, too (`:set_tls`, which
  each thread makes at its start, `:cacheflush`). Arguments have 32 bits there
  (`t:Linx.Seccomp.Filter.condition/0`), and so has the random number above: a program that may
  not `execve` and lives on after each refusal finds it after some 2 000 million attempts. Deny
  with `:kill_process` on such a machine.

  Sources: seccomp(2); Documentation/userspace-api/seccomp_filter.rst.
  """

  alias Linx.Seccomp.{Builder, Compiler, Disassembler, Filter}
  alias Linx.Terms

  @typedoc "An architecture that filters can be built for, or `:unsupported`."
  @type arch :: :x86_64 | :aarch64 | :arm | :riscv64 | :unsupported

  @doc """
  Whether the running kernel has seccomp filters: `/proc/self/status` has a line for them.

  True of every kernel since Linux 3.5 that was not built without. Source: proc(5).
  """
  @spec supported?() :: boolean()
  def supported? do
    case Linx.KernelFile.read("/proc/self/status") do
      {:ok, status} -> String.contains?(status, "\nSeccomp:")
      {:error, _} -> false
    end
  end

  @doc """
  The architecture of this machine, which filters are built for.

  Asked of the VM once, then remembered.
  """
  @spec arch() :: arch()
  def arch do
    case :persistent_term.get({__MODULE__, :arch}, nil) do
      nil ->
        arch = Compiler.arch(List.to_string(:erlang.system_info(:system_architecture)))
        :persistent_term.put({__MODULE__, :arch}, arch)
        arch

      arch ->
        arch
    end
  end

  @doc """
  A filter that allows the listed system calls and gives all others the default action.

  `:default` is `:kill_process` if not given. Errors are those of `from_rules/1`;
  `{:bad_rule, term}` also for `syscalls` that are no enumerable.

      iex> {:ok, filter} =
      ...>   Linx.Seccomp.allow_list([:read, :write, :exit_group], default: {:errno, :enosys})
      iex> Linx.Seccomp.to_rules(filter)
      {:ok, {[{:allow, :read}, {:allow, :write}, {:allow, :exit_group}], {:errno, :enosys}}}
  """
  @spec allow_list(Enumerable.t(), keyword()) :: {:ok, Filter.t()} | {:error, term()}
  def allow_list(syscalls, opts \\ []) do
    [default: default] = Keyword.validate!(opts, default: :kill_process)
    listed(:allow, syscalls, default)
  end

  @doc """
  A filter that denies the listed system calls and gives all others the default action.

    * `:deny_action` - what the listed calls get; `{:errno, :eperm}` if not given.
    * `:default` - what the others get; `:allow` if not given.

  Errors are those of `allow_list/2`.

      iex> {:ok, filter} = Linx.Seccomp.deny_list([:ptrace], deny_action: :kill_process)
      iex> Linx.Seccomp.to_rules(filter)
      {:ok, {[{:kill_process, :ptrace}], :allow}}
  """
  @spec deny_list(Enumerable.t(), keyword()) :: {:ok, Filter.t()} | {:error, term()}
  def deny_list(syscalls, opts \\ []) do
    opts = Keyword.validate!(opts, default: :allow, deny_action: {:errno, :eperm})

    # The action is checked first, as an empty list has no rule that would be refused for it.
    with {:ok, _} <- Compiler.action(opts[:deny_action]),
         do: listed(opts[:deny_action], syscalls, opts[:default])
  end

  defp listed(action, syscalls, default) do
    if Terms.enumerable?(syscalls),
      do: from_rules({Enum.map(syscalls, &{action, &1}), default}),
      else: {:error, {:bad_rule, syscalls}}
  end

  @doc "An empty `Linx.Seccomp.Builder`."
  @spec builder() :: Builder.t()
  def builder, do: Builder.new()

  @doc """
  A filter from `{rules, default_action}`: for whoever translates a policy from elsewhere.

  Each rule is `{action, syscall}` or `{action, syscall, conditions}`. One call may have several
  rules as long as each can be reached: those with conditions are tried in order, one without
  conditions comes last. The filter is for this machine's architecture.

  ## Errors

    * `{:unsupported_arch, arch}` - there is no table for this machine.
    * `{:bad_rule, term}` - not a rule.
    * `{:bad_action, term}` - of a rule or the default; also an errno that does not exist.
    * `{:unknown_syscall, name}` - this architecture has no such call.
    * `{:bad_condition, term}` - not a condition, or one whose value has bits outside its mask.
    * `{:duplicate_rule, name}` - a rule for this call that an earlier one makes unreachable.
    * `%Linx.Seccomp.Error{operation: :build, errno: :e2big}` - more than the kernel takes in one
      filter. The whole table of system calls is far from that; thousands of conditions are not.

        iex> Linx.Seccomp.from_rules({[{:allow, :raed}], :kill_process})
        {:error, {:unknown_syscall, :raed}}
  """
  @spec from_rules({[Filter.rule()], Filter.action()}) :: {:ok, Filter.t()} | {:error, term()}
  def from_rules({rules, default}), do: Compiler.compile(arch(), rules, default)
  def from_rules(other), do: {:error, {:bad_rule, other}}

  @doc """
  The `{rules, default_action}` that a filter was built from; `{:error, :no_rules}` if it came as
  bytes.

      iex> {:ok, filter} = Linx.Seccomp.allow_list([:read])
      iex> Linx.Seccomp.to_rules(filter)
      {:ok, {[{:allow, :read}], :kill_process}}
  """
  @spec to_rules(Filter.t()) :: {:ok, {[Filter.rule()], Filter.action()}} | {:error, :no_rules}
  def to_rules(%Filter{rules: nil}), do: {:error, :no_rules}
  def to_rules(%Filter{rules: rules}), do: {:ok, rules}

  @doc """
  A filter's program as text, an instruction a line: its place, what it does, and where a
  comparison goes on, first if it holds, then if not. Numbers are named where what they are
  compared with is known.

      {:ok, filter} = Linx.Seccomp.allow_list([:read, :write])
      IO.puts(Linx.Seccomp.disassemble(filter))

         0  ld arch
         1  jeq x86_64, 2, 4
         2  ld nr
         3  jge 2 (open), 4, 5
         4  ret kill_process
         5  ret allow

  Takes a filter, or the bytes of a program of any origin. What is not an instruction of such a
  program is shown in numbers. Raises `ArgumentError` for bytes that are not whole instructions.
  """
  @spec disassemble(Filter.t() | binary()) :: String.t()
  def disassemble(%Filter{arch: arch, bpf: bpf}), do: Disassembler.text(bpf, arch)
  def disassemble(bpf) when is_binary(bpf), do: Disassembler.text(bpf, arch())

  @doc """
  Puts a filter on the child of a parked session.

  May be called several times: every filter counts, and the strictest answer wins. `no_new_privs`
  is turned on with the first one, since the kernel asks for it of a process without privileges;
  `no_new_privs: true` in `Linx.Process.spawn/1` says so openly. The filters take effect just
  before the workload starts.

  Returns `{:error, :not_ready}` before the session has parked, `{:error, :running}` after
  `proceed/1`, and `{:error, :no_process}` when it has ended. A refusal by the kernel comes later,
  to the session's owner: `{:linx_process, :error, errno, :seccomp_install}` or
  `{:linx_process, :error, errno, :seccomp_no_new_privs}`. So does EINVAL (22) for bytes that are
  no program of 1 to 4086 instructions.

  Raises `ArgumentError` for a filter of another architecture.

  Source: seccomp(2), `SECCOMP_SET_MODE_FILTER`.
  """
  @spec install(Linx.Process.t(), Filter.t()) ::
          :ok | {:error, :not_ready | :running | :no_process}
  def install(session, %Filter{arch: arch, bpf: bpf}) do
    if arch != arch() do
      raise ArgumentError, "a filter for #{arch} cannot be installed on #{arch()}"
    end

    Linx.Process.command(session, {:seccomp, bpf})
  end
end
