defmodule Linx.Seccomp.Error do
  @moduledoc """
  A seccomp operation that failed with an errno.

  Most mistakes in a rule list are answered with a tagged tuple that names the culprit (see
  `Linx.Seccomp.from_rules/1`). What remains is

    * `operation: :build, errno: :e2big`: the filter would be longer than the 4096 instructions
      that the kernel takes;
    * `operation: :install` and `operation: :set_no_new_privs`: a refusal by the kernel. Those
      reach the session's owner as `{:linx_process, :error, errno, :seccomp_install |
      :seccomp_no_new_privs}`; the struct is there for callers who want one shape for all errors.

  `code` is the errno's number, or `nil` for an atom that is not an errno.
  """

  use Linx.Errno.Exception, subject: "seccomp", fields: [:operation, :errno, :code]

  @type operation :: :build | :install | :set_no_new_privs

  @type t :: %__MODULE__{
          __exception__: true,
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc "The error of an errno atom. `code` is `nil` if there is no such errno."
  @spec from_posix(atom(), operation()) :: t()
  def from_posix(errno, operation) when is_atom(errno), do: new(errno, operation: operation)
end
