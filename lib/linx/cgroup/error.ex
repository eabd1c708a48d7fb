defmodule Linx.Cgroup.Error do
  @moduledoc """
  A cgroup operation that the kernel refused.

    * `:operation` is `:create`, `:destroy`, `:read`, `:write`, `:add_process` or `:stats`. The
      setters, `freeze/1`, `thaw/1`, `kill/1` and `enable_controllers/2` write a file, and so are
      `:write`; `events/1` is `:read`.
    * `:path` is the file or directory that was meant.
    * `:errno` is the kernel's error as an atom, or `:not_cgroup2` for a directory that lies on
      another file system.
    * `:code` is the kernel's number, `nil` for an atom that is none of the kernel's.

  Match on `:operation` and `:errno`:

      case Linx.Cgroup.destroy(cg) do
        :ok -> :gone
        {:error, %Linx.Cgroup.Error{errno: :ebusy}} -> :processes_in_it
      end

  ENOENT of a limit says, more often than not, that the controller is not enabled in the parent's
  `cgroup.subtree_control`: the file is not there.
  """

  use Linx.Errno.Exception,
    subject: "cgroup",
    fields: [:path, :operation, :errno, :code]

  @type operation() :: :create | :destroy | :read | :write | :add_process | :stats

  @type t() :: %__MODULE__{
          __exception__: true,
          path: Path.t(),
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc """
  An error from an errno atom, the path and the operation; `:code` is looked up.

      iex> Linx.Cgroup.Error.from_posix(:ebusy, "/sys/fs/cgroup/x", :destroy).code
      16

  Errors: none; an atom that is no errno keeps `code: nil`. Source: errno(3).
  """
  @spec from_posix(atom(), Path.t(), operation()) :: t()
  def from_posix(errno, path, operation), do: new(errno, path: path, operation: operation)

  defp hint(%{errno: :not_cgroup2}), do: ": it is not on a cgroup2 file system"

  # A controller's files are `<controller>.<name>`; they are there when the parent enables it.
  defp hint(%{errno: :enoent, operation: operation, path: path})
       when operation in [:read, :write, :stats] and is_binary(path) do
    case path |> Path.basename() |> String.split(".") do
      ["cgroup" | _] -> ""
      [controller, _name | _] -> ": is #{controller} in the cgroup.subtree_control of its parent?"
      _other -> ""
    end
  end

  defp hint(%{errno: :eacces, operation: :add_process}) do
    ": needs write permission on this cgroup.procs and on that of the common ancestor with " <>
      "the process's cgroup"
  end

  defp hint(%{errno: :ebusy, operation: :add_process}),
    do: ": a cgroup with controllers in its cgroup.subtree_control holds no processes"

  defp hint(%{errno: :ebusy, operation: :destroy}), do: ": it holds processes or cgroups"

  defp hint(%{errno: errno, operation: operation})
       when errno in [:eacces, :eperm] and operation in [:create, :write, :destroy],
       do: ": needs the directory's owner, or CAP_DAC_OVERRIDE in the initial user namespace"

  defp hint(_error), do: ""
end
