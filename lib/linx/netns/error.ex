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

  alias Linx.Errno

  @type t() :: %__MODULE__{
          __exception__: true,
          operation: atom(),
          stage: atom(),
          path: String.t() | nil,
          errno: atom(),
          code: pos_integer() | nil
        }

  defexception [:operation, :stage, :path, :errno, :code]

  @doc false
  @spec new(atom(), {atom(), atom() | pos_integer()}, String.t() | nil) :: t()
  def new(operation, {stage, errno}, path) do
    {errno, code} = Errno.pair(errno)
    %__MODULE__{operation: operation, stage: stage, path: path, errno: errno, code: code}
  end

  @impl true
  def message(%__MODULE__{} = error) do
    "netns #{error.operation}: #{step(error.stage)} failed#{place(error.path)}: " <>
      "#{Errno.text(error.errno, error.code)}#{hint(error)}"
  end

  defp step(:share), do: "making the directory a shared mount"
  defp step(:create), do: "making the file"
  defp step(:lock), do: "flock"
  defp step(stage), do: to_string(stage)

  defp place(nil), do: ""
  defp place(path), do: " on #{path}"

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
