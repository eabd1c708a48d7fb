defmodule Linx.Seccomp.Compiler do
  @moduledoc false
  # Rules to a program: every mistake is found here, then numbers cross to Rust
  # (native/linx_wire/src/seccomp).

  alias Linx.{Errno, Native}
  alias Linx.Seccomp.{Error, Filter, Syscalls}

  import Bitwise

  # linux/audit.h: what seccomp_data.arch holds.
  @audit_archs %{
    x86_64: 0xC000003E,
    aarch64: 0xC00000B7,
    arm: 0x40000028,
    riscv64: 0xC00000F3
  }

  # Those whose argument registers have 32 bits (linux/audit.h: no __AUDIT_ARCH_64BIT).
  @narrow [:arm]

  # linux/seccomp.h, SECCOMP_RET_*.
  @kill_process 0x80000000
  @kill_thread 0x00000000
  @trap 0x00030000
  @errno 0x00050000
  @log 0x7FFC0000
  @allow 0x7FFF0000

  @actions %{
    allow: @allow,
    kill_process: @kill_process,
    kill_thread: @kill_thread,
    trap: @trap,
    log: @log
  }

  # MAX_ERRNO: the kernel cuts a larger one down to it without a word.
  @max_errno 4095

  # The order that the native side counts in.
  @operators %{eq: 0, ne: 1, lt: 2, le: 3, gt: 4, ge: 5}
  @masked_eq 6

  # BPF_MAXINSNS: no program of more rules or conditions would fit, and no more may cross to Rust.
  @max_rules 4096

  @type arch :: :x86_64 | :aarch64 | :arm | :riscv64

  @doc "The architectures there are tables for, with linux/audit.h's numbers."
  @spec audit_archs() :: %{arch() => non_neg_integer()}
  def audit_archs, do: @audit_archs

  @doc "The architecture of a GNU triple, or `:unsupported`."
  @spec arch(String.t()) :: arch() | :unsupported
  def arch(triple) do
    cond do
      # x32 has x86_64's name and other numbers.
      String.ends_with?(triple, "x32") -> :unsupported
      String.starts_with?(triple, "x86_64-") -> :x86_64
      String.starts_with?(triple, "aarch64-") -> :aarch64
      # Neither armeb, which is big-endian, nor the old ABI, whose calls have other numbers.
      triple =~ ~r/^arm(v[5-8][a-z]*(?<!b))?-.*eabi(hf)?$/ -> :arm
      String.starts_with?(triple, "riscv64-") -> :riscv64
      true -> :unsupported
    end
  end

  @doc "The kernel's return values, without data."
  @spec actions() :: %{atom() => non_neg_integer()}
  def actions, do: Map.put(@actions, :errno, @errno)

  @doc "Compiles `rules` with `default` for one architecture."
  @spec compile(atom(), term(), term()) :: {:ok, Filter.t()} | {:error, term()}
  def compile(arch, rules, default) do
    with {:ok, audit} <- audit(arch),
         {:ok, default_number} <- action(default),
         {:ok, rules} <- rules(rules),
         {:ok, numbers} <- numbers(rules, arch),
         :ok <- distinct(rules),
         {:ok, bpf} <- program(audit, default_number, numbers) do
      {:ok, %Filter{arch: arch, bpf: bpf, rules: {rules, default}}}
    end
  end

  defp audit(arch) do
    case @audit_archs do
      %{^arch => audit} -> {:ok, audit}
      _ -> {:error, {:unsupported_arch, arch}}
    end
  end

  @doc "The kernel's return value of an action."
  @spec action(term()) :: {:ok, non_neg_integer()} | {:error, {:bad_action, term()}}
  def action(name) when is_map_key(@actions, name), do: {:ok, @actions[name]}
  def action({:errno, n}) when is_integer(n) and n in 0..@max_errno, do: {:ok, @errno ||| n}

  def action({:errno, name} = action) when is_atom(name) do
    case Errno.code(name) do
      nil -> {:error, {:bad_action, action}}
      code -> {:ok, @errno ||| code}
    end
  end

  def action(other), do: {:error, {:bad_action, other}}

  # An empty list of conditions is no condition.
  defp rules(rules) when is_list(rules) do
    if List.improper?(rules), do: {:error, {:bad_rule, rules}}, else: each_rule(rules)
  end

  defp rules(other), do: {:error, {:bad_rule, other}}

  defp each_rule(rules) do
    each(rules, fn
      {_action, name} = rule when is_atom(name) -> {:ok, rule}
      {action, name, []} when is_atom(name) -> {:ok, {action, name}}
      {_action, name, [_ | _] = list} = rule when is_atom(name) -> proper(rule, list)
      other -> {:error, {:bad_rule, other}}
    end)
  end

  defp proper(rule, conditions) do
    if List.improper?(conditions), do: {:error, {:bad_rule, rule}}, else: {:ok, rule}
  end

  defp numbers(rules, arch) do
    each(rules, fn rule ->
      with {:ok, action} <- action(elem(rule, 0)),
           {:ok, number} <- number(elem(rule, 1), arch),
           {:ok, conditions} <- conditions(rule, arch) do
        {:ok, {number, action, conditions}}
      end
    end)
  end

  defp number(name, arch) do
    case Syscalls.to_number(name, arch) do
      :unknown -> {:error, {:unknown_syscall, name}}
      number -> {:ok, number}
    end
  end

  defp conditions({_action, _name}, _arch), do: {:ok, []}

  defp conditions({_action, _name, conditions}, arch) do
    bits = if arch in @narrow, do: 32, else: 64
    each(conditions, &condition(&1, bits))
  end

  defguardp is_arg(arg) when arg in 0..5

  # A negative value must be one of the argument's width; a positive one may be any of 64 bits,
  # and is then above every argument of 32.
  defguardp is_value(value, bits)
            when is_integer(value) and value >= -(1 <<< (bits - 1)) and value < 1 <<< 64

  defp condition({arg, operator, value}, bits)
       when is_arg(arg) and is_map_key(@operators, operator) and is_value(value, bits),
       do: {:ok, {arg, @operators[operator], 0, unsigned(value, bits)}}

  # Bits of the value outside the mask would make a comparison that never holds: a mistake,
  # always. A negative value has only sign bits there.
  defp condition({arg, :masked_eq, mask, value} = condition, bits)
       when is_arg(arg) and is_value(mask, bits) and is_value(value, bits) do
    {mask, all} = {unsigned(mask, bits), unsigned(value, bits)}
    outside = all &&& bnot(mask)
    sign = if value < 0, do: unsigned(-1, bits) &&& bnot(mask), else: 0

    if outside == sign,
      do: {:ok, {arg, @masked_eq, mask, all &&& mask}},
      else: {:error, {:bad_condition, condition}}
  end

  defp condition(other, _bits), do: {:error, {:bad_condition, other}}

  defp unsigned(value, bits) when value < 0, do: value + (1 <<< bits)
  defp unsigned(value, _bits), do: value

  # Several rules for one call are several conditions, tried in order, and at last perhaps one
  # without. A rule that can never be reached is a mistake.
  defp distinct(rules) do
    rules
    |> Enum.reduce_while(MapSet.new(), fn rule, seen ->
      name = elem(rule, 1)
      this = if tuple_size(rule) == 3, do: {name, elem(rule, 2)}, else: {name, :always}

      if {name, :always} in seen or this in seen,
        do: {:halt, {:error, {:duplicate_rule, name}}},
        else: {:cont, MapSet.put(seen, this)}
    end)
    |> case do
      {:error, _} = error -> error
      _ -> :ok
    end
  end

  defp program(audit, default, rules) do
    count = Enum.sum_by(rules, fn {_, _, conditions} -> 1 + length(conditions) end)

    with true <- count <= @max_rules,
         {:ok, bpf} <- Native.seccomp_compile(audit, default, rules) do
      {:ok, bpf}
    else
      _too_long -> {:error, Error.from_posix(:e2big, :build)}
    end
  end

  # Maps until the first error.
  defp each(list, fun) do
    list
    |> Enum.reduce_while([], fn item, done ->
      case fun.(item) do
        {:ok, value} -> {:cont, [value | done]}
        {:error, _} = error -> {:halt, error}
      end
    end)
    |> case do
      {:error, _} = error -> error
      done -> {:ok, Enum.reverse(done)}
    end
  end
end
