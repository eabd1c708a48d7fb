defmodule Linx.Capabilities.Error do
  @moduledoc """
  A process's capability sets could not be read.

    * `:operation` is `:read`;
    * `:path` is the status file below `/proc/<pid>`;
    * `:errno` is the kernel's error as an atom, or `:bad_status` where the file lacks a set;
    * `:code` is the kernel's number, `nil` for `:bad_status`.

  Match on `:errno`:

      case Linx.Capabilities.read(pid) do
        {:ok, state} -> state.effective
        {:error, %Linx.Capabilities.Error{errno: :enoent}} -> :gone
      end

  What goes wrong in the child, on its way to the workload, comes as an event of its session
  instead: `{:linx_process, :error, errno, :cap_drop_bounding}` and its like.
  """

  use Linx.Errno.Exception,
    subject: "capabilities",
    fields: [:path, :operation, :errno, :code]

  @type operation() :: :read

  @type t() :: %__MODULE__{
          __exception__: true,
          path: Path.t(),
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc """
  An error from an errno atom, the path and the operation; `:code` is looked up.

      iex> Linx.Capabilities.Error.from_posix(:enoent, "/proc/1/status", :read).code
      2

  Errors: none; an atom that is no errno keeps `code: nil`. Source: errno(3).
  """
  @spec from_posix(atom(), Path.t(), operation()) :: t()
  def from_posix(errno, path, operation), do: new(errno, path: path, operation: operation)
end
