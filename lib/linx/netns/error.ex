defmodule Linx.Netns.Error do
  @moduledoc """
  A verb of `Linx.Netns` that the kernel refused.

    * `:operation` - the verb: `:new`, `:open`, `:create`, `:delete`, `:list`, `:pids`, `:inode`.
    * `:stage` - the step that failed. Of a name: `:mkdir` (the directory), `:lock` (flock(2) of
      it), `:share` (making it a shared mount), `:create` (the file; `errno: :eexist` is a name
      that is taken), `:open_tree` and `:move_mount` (the mount of the namespace on it),
      `:umount`, `:unlink`. Of a namespace: `:unshare` (making it), `:open` (its file or
      descriptor), `:setns` (a file that is no network namespace), `:thread` (a thread to make it
      on). `:list` and `:read` are a directory that could not be read.
    * `:path` - the file or directory that was meant; nil where there is none.
    * `:errno`, `:code` - the kernel's error as an atom, and its number.

  Match on `:operation` and `:errno`; the text of `message/1` is for people, and names the
  capability that is missing.

  Source: errno(3), ip-netns(8).
  """

  use Linx.Errno.Exception,
    subject: "netns",
    fields: [:operation, :stage, :path, :errno, :code]

  @type t() :: %__MODULE__{
          __exception__: true,
          operation: atom(),
          stage: atom(),
          path: String.t() | nil,
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc false
  @spec new(atom(), {atom(), atom() | pos_integer()}, String.t() | nil) :: t()
  def new(operation, {stage, errno}, path),
    do: new(errno, operation: operation, stage: stage, path: path)

  defp step(error), do: "netns #{error.operation}: #{stage(error.stage)}"

  defp stage(:share), do: "making the directory a shared mount"
  defp stage(:create), do: "making the file"
  defp stage(:lock), do: "flock"
  defp stage(stage), do: to_string(stage)

  defp hint(%{errno: :eperm, stage: :unshare}),
    do: ": needs CAP_SYS_ADMIN in the VM's user namespace"

  defp hint(%{errno: :eperm, stage: stage})
       when stage in [:share, :open_tree, :move_mount, :umount],
       do: ": needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace"

  defp hint(%{errno: errno, stage: stage})
       when errno in [:eacces, :eperm] and stage in [:mkdir, :create, :unlink],
       do: ": needs write permission for the directory, or CAP_DAC_OVERRIDE"

  defp hint(%{errno: errno, stage: :open})
       when errno in [:eacces, :eperm],
       do: ": needs CAP_SYS_PTRACE in the user namespace of that process, or its uid"

  defp hint(%{errno: :eexist, stage: :create}), do: ": the name is taken"
  defp hint(%{errno: :enoent, stage: :mkdir}), do: ": the folder above it is not there"
  defp hint(%{errno: :enospc, stage: :unshare}), do: ": user.max_net_namespaces is reached"

  defp hint(%{errno: :einval, operation: :delete}),
    do: ": it is neither a namespace nor the empty file of an interrupted creation"

  defp hint(%{errno: :einval, stage: stage}) when stage in [:open, :setns],
    do: ": it is no network namespace"

  defp hint(%{errno: :ebadf, stage: :open}), do: ": the namespace is closed"

  defp hint(%{errno: :esrch, operation: operation, stage: :open}) when operation in [:new, :open],
    do: ": the process, or the owner, has ended"

  defp hint(_error), do: ""
end
