defmodule Linx.User.Error do
  @moduledoc """
  A refused read or write of a user namespace's files.

    * `:operation` is `:set_uid_map`, `:set_gid_map`, `:deny_setgroups`, `:read_uid_map` or
      `:read_gid_map`;
    * `:path` is the file below `/proc/<pid>`;
    * `:errno` is the kernel's error as an atom, `:unknown` for a number that Linx has no name
      for;
    * `:code` is the kernel's number, `nil` for an atom that is none of the kernel's.

  Match on `:operation` and `:errno`:

      case Linx.User.set_uid_map(pid, [{0, 1000, 1}]) do
        :ok -> :mapped
        {:error, %Linx.User.Error{errno: :eperm}} -> :mapped_already_or_not_allowed
        {:error, %Linx.User.Error{errno: :enoent}} -> :gone
      end

  Input that no kernel is asked about is `{:error, {:bad_map, reason}}` and the like instead.
  """

  use Linx.Errno.Exception,
    subject: "user",
    fields: [:path, :operation, :errno, :code]

  @type operation() ::
          :set_uid_map | :set_gid_map | :deny_setgroups | :read_uid_map | :read_gid_map

  @type t() :: %__MODULE__{
          __exception__: true,
          path: Path.t(),
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc """
  An error from an errno atom, the path and the operation; `:code` is looked up.

      iex> Linx.User.Error.from_posix(:eperm, "/proc/1/uid_map", :set_uid_map).code
      1

  Errors: none; an atom that is no errno keeps `code: nil`. Source: errno(3).
  """
  @spec from_posix(atom(), Path.t(), operation()) :: t()
  def from_posix(errno, path, operation), do: new(errno, path: path, operation: operation)
end
