defmodule Linx.Mount.Entry do
  @moduledoc """
  One mount, as a line of `/proc/<pid>/mountinfo` tells of it.

  The fields are proc(5)'s, in its order:

      36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
      │  │  │    │     │           │          │          │    │         └ super_options
      │  │  │    │     │           │          │          │    └ source
      │  │  │    │     │           │          │          └ fstype
      │  │  │    │     │           │          └ propagation, none or several
      │  │  │    │     │           └ mount_options
      │  │  │    │     └ mount_point
      │  │  │    └ root
      │  │  └ device
      │  └ parent_id
      └ mount_id

  `:root` is the directory of the file system that is mounted, `/` for all of it and something
  longer for a bind mount. `:mount_options` belong to the mount, `:super_options` to the file
  system behind it; both are the kernel's text, unparsed. Spaces, tabs, line ends and backslashes,
  which the kernel writes as octal escapes, are themselves again in `:root`, `:mount_point` and
  `:source`.

  It is inspected as `#Linx.Mount.Entry<ext4 on / (rw,relatime)>`.

  Source: proc_pid_mountinfo(5), mount_namespaces(7).
  """

  @typedoc """
  How mount events travel: in a peer group (`:shared`), from one (`:master`, and `:propagate_from`
  where the master itself is out of sight), or not even by a bind mount (`:unbindable`). A private
  mount has none of these.
  """
  @type propagation_entry() ::
          {:shared, non_neg_integer()}
          | {:master, non_neg_integer()}
          | {:propagate_from, non_neg_integer()}
          | :unbindable

  @type t() :: %__MODULE__{
          mount_id: non_neg_integer(),
          parent_id: integer(),
          device: String.t(),
          root: String.t(),
          mount_point: String.t(),
          mount_options: String.t(),
          propagation: [propagation_entry()],
          fstype: String.t(),
          source: String.t(),
          super_options: String.t()
        }

  defstruct [
    :mount_id,
    :parent_id,
    :device,
    :root,
    :mount_point,
    :mount_options,
    :fstype,
    :source,
    :super_options,
    propagation: []
  ]

  defimpl Inspect do
    def inspect(entry, _opts) do
      "#Linx.Mount.Entry<#{entry.fstype} on #{printable(entry.mount_point)} " <>
        "(#{entry.mount_options})>"
    end

    # A mount point may hold any byte but NUL, and a line end in it would forge a line of ours.
    defp printable(path) when is_binary(path) do
      if String.printable?(path) and not String.contains?(path, ["\n", "\r"]),
        do: path,
        else: Kernel.inspect(path)
    end

    defp printable(other), do: Kernel.inspect(other)
  end
end
