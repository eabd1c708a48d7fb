defmodule Linx.Mount.Error do
  @moduledoc """
  A mount operation that the kernel refused, or that did not come so far.

    * `:operation` says which step failed. The call itself: `:mount`, `:umount`, `:pivot_root`;
      for attributes `:mount_setattr`, and for a bind mount that has them from the start
      `:open_tree` and `:move_mount` beside it. ENOSYS there is a kernel before 5.12, or a seccomp
      filter of the VM's. On the way into another namespace: `:open_ns` (its file could not be
      opened), `:thread`, `:unshare` and `:setns` (no thread could be started, freed of the shared
      working directory, moved in). Before the call: `:create` (the empty file that `create: true`
      asks for) and `:chdir` (the new root of a `pivot_root`). A `proc` mounted in another pid
      namespace needs a process of its own, and adds `:open_pidns`, `:setns_pid`, `:pipe` and
      `:fork`. `:compare_ns`: whether a namespace is the VM's own cannot be found out; `:image`:
      the agent has no image that nobody there can write to.
    * `:path` is the target of the operation, or the namespace's file if the way there failed.
    * `:errno` is the kernel's error as an atom, `:unknown` for a number that Linx has no name
      for.
    * `:code` is the kernel's number, `nil` for an atom that is none of the kernel's.
    * `:detail` names the source in words where that may be the path that the kernel meant;
      otherwise nil.

  Match on `:operation` and `:errno`; the text of `message/1` is for people.

      case Linx.Mount.umount("/mnt/data") do
        :ok -> :unmounted
        {:error, %Linx.Mount.Error{errno: :ebusy}} -> :in_use
        {:error, %Linx.Mount.Error{errno: :einval}} -> :not_a_mount_point
      end
  """

  @derive {Inspect, optional: [:detail]}
  use Linx.Errno.Exception,
    subject: "mount",
    fields: [:path, :operation, :errno, :code, :detail]

  @typedoc "The step that failed."
  @type operation() ::
          :mount
          | :umount
          | :pivot_root
          | :open_tree
          | :mount_setattr
          | :move_mount
          | :open_ns
          | :unshare
          | :setns
          | :compare_ns
          | :image
          | :chdir
          | :thread
          | :create
          | :open_pidns
          | :setns_pid
          | :pipe
          | :fork

  @type t() :: %__MODULE__{
          __exception__: true,
          path: Path.t(),
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil,
          detail: String.t() | nil
        }

  @doc """
  An error from an errno atom, the path and the step; `:code` is looked up.

      iex> Linx.Mount.Error.from_posix(:ebusy, "/mnt/x", :umount).code
      16

  Errors: none; an atom that is no errno keeps `code: nil`. Source: errno(3).
  """
  @spec from_posix(atom(), Path.t(), operation()) :: t()
  def from_posix(errno, path, operation), do: new(errno, path: path, operation: operation)

  @doc false
  @spec from_native({operation(), atom() | pos_integer()}, Path.t()) :: t()
  def from_native({operation, errno}, path), do: from_posix(errno, path, operation)

  @doc false
  # The kernel gives one errno for two paths. `there?` says whether the target is there, nil where
  # that is not known.
  @spec about_source(:ok | {:error, t() | term()}, Path.t(), boolean() | nil) ::
          :ok | {:error, t() | term()}
  def about_source({:error, %__MODULE__{operation: :mount, errno: errno} = error}, source, there?)
      when errno in [:enoent, :enotdir, :eacces, :eloop, :enotblk] and there? != false do
    detail =
      if there?, do: "its source #{source} is meant", else: "it or its source #{source} is meant"

    {:error, %{error | detail: detail}}
  end

  def about_source(result, _source, _there?), do: result

  defp step(%{operation: :mount}), do: "mount"
  defp step(%{operation: operation}), do: "mount #{operation}"

  defp hint(%{detail: detail}) when detail != nil, do: ": #{detail}"

  defp hint(%{errno: :eperm, operation: operation})
       when operation in [:mount, :umount, :pivot_root],
       do:
         ": needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace, and no " <>
           "locked mount or flag"

  defp hint(%{errno: :eperm, operation: operation})
       when operation in [:open_tree, :mount_setattr, :move_mount],
       do:
         ": needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace (for a " <>
           "mapping of ids, the file system), " <>
           "no locked mount or attribute, and no seccomp filter that refuses #{operation}(2)"

  defp hint(%{errno: :enosys, operation: operation})
       when operation in [:open_tree, :mount_setattr, :move_mount],
       do: ": #{operation}(2) is Linux 5.12's, or a seccomp filter of the VM's refuses it"

  defp hint(%{errno: :eperm, operation: operation}) when operation in [:setns, :setns_pid],
    do: ": needs CAP_SYS_ADMIN in the user namespace that owns the namespace, and in the VM's own"

  defp hint(%{errno: errno, operation: operation})
       when errno in [:eperm, :eacces] and operation in [:open_ns, :open_pidns],
       do: ": needs CAP_SYS_PTRACE in the user namespace of that process, or its uid"

  defp hint(_error), do: ""
end
