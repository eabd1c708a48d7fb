defmodule Linx.Sysctl.Error do
  @moduledoc """
  A knob that could not be read, written or listed.

    * `:operation` says which step failed: `:read`, `:write` or `:list`, the file itself; on the
      way into other namespaces `:open_ns` (a namespace's file could not be opened), `:thread`,
      `:unshare`, `:setns`. What a thread may not join (a user or a pid namespace) adds
      `:open_pidns`, `:setns_pid`, `:pipe` and `:fork`. `:compare_ns`: whether a namespace is the
      VM's own cannot be found out; `:image`: the agent has no image that nobody there can write
      to.
    * `:key` is the key as it was given, `:path` its file below `/proc/sys`, whichever step
      failed.
    * `:errno` is the kernel's error as an atom, `:unknown` for a number that Linx has no name
      for.
    * `:code` is the kernel's number, `nil` for an atom that is none of the kernel's.

  Match on `:operation` and `:errno`:

      case Linx.Sysctl.write("net.ipv4.ip_forward", 1) do
        :ok -> :forwarding
        {:error, %Linx.Sysctl.Error{errno: errno}} when errno in [:eacces, :eperm] -> :not_allowed
        {:error, %Linx.Sysctl.Error{errno: :enoent}} -> :no_such_knob
      end

  Input that no kernel is asked about is `{:error, {:bad_key, key}}` or
  `{:error, {:bad_value, reason}}` instead.
  """

  use Linx.Errno.Exception,
    subject: "sysctl",
    fields: [:key, :path, :operation, :errno, :code]

  @typedoc "The step that failed."
  @type operation() ::
          :read
          | :write
          | :list
          | :open_ns
          | :unshare
          | :setns
          | :compare_ns
          | :image
          | :chdir
          | :thread
          | :open_pidns
          | :setns_pid
          | :pipe
          | :fork

  @type t() :: %__MODULE__{
          __exception__: true,
          key: Linx.Sysctl.key(),
          path: Path.t(),
          operation: operation(),
          errno: atom(),
          code: pos_integer() | nil
        }

  @doc """
  An error from an errno atom, the key, its path and the step; `:code` is looked up.

      iex> Linx.Sysctl.Error.from_posix(:eacces, "a.b", "/proc/sys/a/b", :write).code
      13

  Errors: none; an atom that is no errno keeps `code: nil`. Source: errno(3).
  """
  @spec from_posix(atom(), Linx.Sysctl.key(), Path.t(), operation()) :: t()
  def from_posix(errno, key, path, operation),
    do: new(errno, key: key, path: path, operation: operation)

  @doc false
  @spec from_native({operation(), atom() | pos_integer()}, Linx.Sysctl.key(), Path.t()) :: t()
  def from_native({operation, errno}, key, path), do: from_posix(errno, key, path, operation)

  defp step(error), do: "sysctl #{error.operation} #{inspect(error.key)}"
end
