defmodule Linx.Mount.Native do
  @moduledoc """
  The system calls under `Linx.Mount`, with numbers for flags and paths for namespaces.

  Use `Linx.Mount`: it checks its input, knows the flags by name, takes sessions and gives
  `%Linx.Mount.Error{}`.

  `ns_path` names a mount namespace by its file, `""` standing for the VM's own. In another one
  the call is made on a thread that is started for it and ends with it; the VM's own threads never
  leave. Every call that may fail gives `{:error, {stage, errno}}`, `errno` being an atom, or the
  number where the kernel's error has no name here.

  Source: mount(2), umount2(2), pivot_root(2), setns(2).
  """

  alias Linx.{Errno, Native, Process.AgentImage, Target}

  @clone_newns 0x00020000
  @clone_newpid 0x20000000

  @typedoc "The step that failed."
  @type stage() :: Linx.Mount.Error.operation()

  @typedoc "What a call that failed gives."
  @type error() :: {:error, {stage(), atom() | pos_integer()}}

  @doc """
  mount(2). Empty `source`, `fstype` and `data` are NULL for the kernel.

  `pidns_path` names a pid namespace that the mount is made from, which is what a `proc` shows; it
  needs a process of its own. With `create_target` 1 an empty file is made at `target` first,
  where there is none.

  Errors: `{:error, {stage, errno}}`.
  """
  @spec mount(
          binary(),
          binary(),
          binary(),
          non_neg_integer(),
          binary(),
          binary(),
          binary(),
          0 | 1
        ) :: :ok | error()
  def mount(source, target, fstype, flags, data, ns_path, pidns_path, create_target)
      when create_target in [0, 1] do
    places =
      paths([{ns_path, @clone_newns}, {pidns_path, @clone_newpid}])

    mount_at(places, {source, target, fstype, flags, data}, create_target == 1, {"", false})
  end

  @doc """
  umount2(2), `flags` being the sum of its `MNT_*` and `UMOUNT_*`.

  Errors: `{:error, {stage, errno}}`.
  """
  @spec umount(binary(), integer(), binary()) :: :ok | error()
  def umount(target, flags, ns_path) do
    umount_at(paths([{ns_path, @clone_newns}]), target, flags, {"", false})
  end

  @doc """
  pivot_root(2), always on a thread of its own, so that the VM's working directory stays.

  Errors: `{:error, {stage, errno}}`.
  """
  @spec pivot_root(binary(), binary(), binary()) :: :ok | error()
  def pivot_root(new_root, put_old, ns_path) do
    pivot_root_at(paths([{ns_path, @clone_newns}]), new_root, put_old)
  end

  @doc "The name of the native library."
  @spec version() :: charlist()
  def version, do: String.to_charlist(Native.nif_version())

  @doc false
  @spec mount_at(Native.places(), tuple(), boolean(), Native.lookup()) :: :ok | error()
  def mount_at(places, what, create, lookup),
    do: named(Native.mount_mount(agent(places), places, what, create, lookup))

  @doc false
  @spec umount_at(Native.places(), binary(), non_neg_integer(), Native.lookup()) :: :ok | error()
  def umount_at(places, target, flags, lookup),
    do: named(Native.mount_umount(agent(places), places, target, flags, lookup))

  @doc false
  @spec pivot_root_at(Native.places(), binary(), binary()) :: :ok | error()
  def pivot_root_at(places, new_root, put_old),
    do: named(Native.mount_pivot_root(agent(places), places, new_root, put_old))

  @doc false
  @spec bind_at(places, tuple(), attributes, target, lookup) :: :ok | error()
        when places: Native.places(),
             attributes: Native.attributes(),
             target: Native.target(),
             lookup: Native.lookup()
  def bind_at(places, what, attributes, idmap, lookup),
    do: named(Native.mount_bind(agent(places), places, what, attributes, idmap, lookup))

  @doc false
  @spec setattr_at(
          Native.places(),
          binary(),
          Native.attributes(),
          Native.target(),
          Native.lookup()
        ) :: :ok | error()
  def setattr_at(places, target, attributes, idmap, lookup),
    do: named(Native.mount_setattr(agent(places), places, target, attributes, idmap, lookup))

  # The namespaces of `target` that a mount of `fstype` depends on. A file system of the kernel's
  # shows the namespace of who mounts it: a proc the processes of a pid namespace, a sysfs the
  # devices of a network namespace, and so on.
  @doc false
  @spec places(Native.target(), String.t()) :: Native.places()
  def places(target, fstype \\ "")
  def places("", _fstype), do: []
  def places(path, _fstype) when is_binary(path), do: [{path, [@clone_newns], false}]
  def places({_held, _number} = netns, _fstype), do: [{netns, [@clone_newns], false}]
  def places(target, fstype), do: [{target, [@clone_newns | shown_by(fstype)], true}]

  defp shown_by("proc"), do: [@clone_newpid]
  defp shown_by("sysfs"), do: [0x40000000]
  defp shown_by("mqueue"), do: [0x08000000]
  defp shown_by("cgroup2"), do: [0x02000000]
  defp shown_by("cgroup"), do: [0x02000000]
  defp shown_by(_), do: []

  @doc false
  @spec error_path(stage(), Native.target(), String.t()) :: String.t()
  def error_path(stage, target, _path)
      when stage in [:open_ns, :unshare, :setns, :thread] and target != "",
      do: Target.proc_path(target, "ns/mnt")

  def error_path(stage, target, _path)
      when stage in [:open_pidns, :setns_pid] and target != "",
      do: Target.proc_path(target, "ns/pid")

  def error_path(_stage, _target, path), do: path

  defp paths(list), do: for({path, flag} <- list, path != "", do: {path, [flag], false})

  # The agent that does a job runs from memory that no container can write to.
  defp agent([]), do: ""
  defp agent(_places), do: List.to_string(AgentImage.path())

  defp named({:error, {stage, code}}), do: {:error, {stage, Errno.name_or_code(code)}}

  defp named(:ok), do: :ok

  # The kernel takes its time. Whoever ends meanwhile is not waited for.
  defp named({:pending, reference}) do
    receive do
      {^reference, answer} -> named(answer)
    end
  end
end
