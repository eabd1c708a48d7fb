defmodule Linx.Seccomp.Builder do
  @moduledoc """
  A filter in a pipeline: collects rules, then hands them to `Linx.Seccomp.from_rules/1`, which
  finds the mistakes.

      {:ok, filter} =
        (Linx.Seccomp.builder()
         |> Linx.Seccomp.Builder.allow(:read)
         |> Linx.Seccomp.Builder.allow_if(:socket, [{0, :eq, 1}])
         |> Linx.Seccomp.Builder.deny(:ptrace, errno: :eperm)
         |> Linx.Seccomp.Builder.build(default: :kill_process))

  Source: seccomp(2).
  """

  alias Linx.Seccomp
  alias Linx.Seccomp.Filter

  @typedoc "The rules so far, the last one first."
  @type t :: %__MODULE__{rules: [Filter.rule()]}

  defstruct rules: []

  @doc "No rules. `Linx.Seccomp.builder/0` is the same."
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "Allows a system call."
  @spec allow(t(), atom()) :: t()
  def allow(%__MODULE__{} = builder, syscall), do: add(builder, {:allow, syscall})

  @doc """
  Allows a system call when all of `conditions` hold for its arguments.

  A condition is `{argument, operator, value}`, or `{argument, :masked_eq, mask, value}`; see
  `t:Linx.Seccomp.Filter.condition/0`. Several rules for one call are tried in the order given.
  When none of them holds, a rule without conditions behind them decides, or else the default.

      # Sockets of AF_UNIX only. The kernel takes an int there and ignores the upper half.
      Builder.allow_if(builder, :socket, [{0, :masked_eq, 0xFFFFFFFF, 1}])
  """
  @spec allow_if(t(), atom(), [Filter.condition()]) :: t()
  def allow_if(%__MODULE__{} = builder, syscall, conditions),
    do: add(builder, {:allow, syscall, conditions})

  @doc """
  Denies a system call.

    * `:errno` - what the caller gets, by name or number. Default `:eperm`.
    * `:action` - another action (`t:Linx.Seccomp.Filter.action/0`), which wins over `:errno`.
  """
  @spec deny(t(), atom(), keyword()) :: t()
  def deny(%__MODULE__{} = builder, syscall, opts \\ []),
    do: add(builder, {denial(opts), syscall})

  @doc """
  Denies a system call when all of `conditions` hold for its arguments. Options as for `deny/3`,
  conditions as for `allow_if/3`.
  """
  @spec deny_if(t(), atom(), [Filter.condition()], keyword()) :: t()
  def deny_if(%__MODULE__{} = builder, syscall, conditions, opts \\ []),
    do: add(builder, {denial(opts), syscall, conditions})

  @doc """
  Compiles the rules.

  `:default` is what all other calls get; `:kill_process` if not given. Errors are those of
  `Linx.Seccomp.from_rules/1`.
  """
  @spec build(t(), keyword()) :: {:ok, Filter.t()} | {:error, term()}
  def build(%__MODULE__{rules: rules}, opts \\ []) do
    [default: default] = Keyword.validate!(opts, default: :kill_process)
    Seccomp.from_rules({Enum.reverse(rules), default})
  end

  defp add(builder, rule), do: %{builder | rules: [rule | builder.rules]}

  defp denial(opts) do
    opts = Keyword.validate!(opts, [:action, errno: :eperm])
    Keyword.get(opts, :action, {:errno, opts[:errno]})
  end
end
