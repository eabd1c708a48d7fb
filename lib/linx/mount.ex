defmodule Linx.Mount do
  @moduledoc """
  Mounts: what a process sees as its file system tree.

  The verbs are the kernel's classic calls, mount(2), umount2(2) and pivot_root(2), and
  mount_setattr(2); `list/1` reads the mount table. They do not parse `/etc/fstab`, choose no file
  system type and create no directories.

      {:ok, mounts} = Linx.Mount.list()
      Enum.find(mounts, &(&1.mount_point == "/"))

  ## Whose mounts: `:in`

  Each verb that changes something takes `:in`:

    * `:self`, the default: the VM's own mount namespace;
    * `{:pid, n}`: that of process `n`, parked at the checkpoint or running;
    * `{:path, p}`: the one whose file is `p`, for instance `/proc/<n>/ns/mnt` or a bind mount of
      that;
    * a session of `Linx.Process`: that of its workload. A pid is a number that the kernel gives
      out again; a session cannot be mistaken, so prefer it. Once its process has ended a verb
      gives `{:error, :no_process}`, before it has one `{:error, :not_ready}`.

  The mount namespace that `Linx.Process.spawn/1` makes is private, unless its option
  `:propagation` says otherwise: what is mounted there stays there. In another that shares its
  mounts with the host's (see `propagation` of `list/1`'s entries) a mount appears on the host
  too, and stays there when the namespace ends.

  A thread of its own joins the namespace, makes the call and ends. The kernel refuses two things
  to a thread (joining a user namespace, for a VM without root; mounting a `proc` for another pid
  namespace): for these an agent runs once, as behind a session of `Linx.Process`. No thread of
  the VM ever changes its namespace, root or working directory.

  ## Paths that somebody else controls

  Symlinks at the target are somebody else's as soon as a workload has had its hands on the tree.
  With `:in` a target is therefore looked up once, to a descriptor of what it names, and the call
  is made on that:

    * after `pivot_root/3`, or in any namespace whose root is not ours, symlinks are followed as
      the workload itself would follow them: none leads out of its root, and `/proc/<pid>/root`
      and its like are not followed;
    * while the namespace's root is still the host's (a child before its `pivot_root/3`) a symlink
      in the target is refused with `:eloop`, since nothing tells the workload's files from the
      host's;
    * `root: dir` draws that line: the target is then a path inside `dir`, and symlinks are
      followed inside it;
    * `no_symlinks: true` refuses every symlink, in the source of a bind too.

  The source of a bind or a move is looked up by the same thread in the same namespace, its
  symlinks followed; one that is named below `root: dir` stays inside `dir`, as the target does.
  But the magic links of `/proc` lead a thread of the VM back to the host, so none is followed on
  the way (`:eloop`), except the last one of a path that has no other symlink:
  `/proc/<pid>/ns/net` can be bound.

  A relative path means the namespace's root there, and the VM's working directory with
  `in: :self`.

  ## File systems that do not answer

  A path may lead through a file system whose daemon or server hangs, in somebody else's namespace
  on purpose. Then a verb waits as long as the kernel does, on a thread of a pool of Linx's. At
  most four of the VM's dirty I/O threads wait with it, for a quarter of a second, and for ten
  milliseconds while an earlier verb is late: file operations of the VM go on however many verbs
  hang. Call such a verb in a process that may be given up, and end that, as a `Task` with a
  timeout does.

  The pool runs up to 128 verbs in one target's namespaces at the same time, and queues more; a
  caller that dies leaves the queue or gives up its place. The thread of a verb ends with the file
  system's answer, or its connection. Of such threads there are at most 512 in a VM: at that bound
  a verb is `operation: :thread`, `:eagain`.

  ## Errors

  `{:error, %Linx.Mount.Error{}}` is the kernel's, and says which step failed. Input that no
  kernel is asked about is `{:error, {:bad_flag, flag}}` or `{:error, {:bad_in, value}}`; an
  option that is not known, or of the wrong type, raises `ArgumentError`.

  Source: mount(2), umount2(2), pivot_root(2), mount_namespaces(7), path_resolution(7),
  openat2(2).
  """

  alias Linx.Mount.{Attributes, Entry, Error, Flags, Idmap, Mountinfo, Native, Request}
  alias Linx.{Errno, KernelFile, Procfs, Target}

  @typedoc """
  Whose mount table: that of a process, of a session's workload, or a file in mountinfo's format.
  """
  @type list_target() :: {:pid, pos_integer()} | {:path, Path.t()}

  @typedoc "Whose mount namespace; see the module's text."
  @type in_target() :: :self | {:pid, pos_integer()} | {:path, String.t()} | Linx.Process.t()

  @typedoc "What a verb gives when it did not succeed."
  @type failure() ::
          Error.t() | {:bad_flag, atom()} | {:bad_in, term()} | :not_ready | :no_process

  @mount_keys [:flags, :data, :create, :in, :root, :no_symlinks]
  @bind_keys [:idmap | @mount_keys]

  @doc """
  Mounts `source` at `target` as file system type `fstype`.

  `source` is what the file system makes of it: a block device, a name without meaning
  (`"tmpfs"`), or nothing (`""`).

  Options:

    * `:flags`, a list of `:ro`, `:nosuid`, `:nodev`, `:noexec`, `:sync`, `:dirsync`, `:mandlock`,
      `:noatime`, `:nodiratime`, `:relatime`, `:strictatime`, `:lazytime`, `:nosymfollow`,
      `:silent`, `:i_version`, `:posixacl`, `:rec`; of `:remount`, `:bind` and `:move`, which have
      verbs of their own; and of `:private`, `:shared`, `:slave` and `:unbindable`, which change
      how mount events travel and are given without any other but `:rec` and `:silent`;
    * `:data`, the file system's own options, such as `"size=64M,mode=755"`. The kernel takes less
      than a page: longer is `:e2big`;
    * `:create`, true to make an empty file at `target` first where there is nothing, the place
      for a device node to be bound to. It never opens or follows what is there, and is gone again
      if the mount is refused;
    * `:in`, `:root`, `:no_symlinks`: see the module's text.

  A `proc` shows the processes of the pid namespace that it was mounted from, so with
  `in: {:pid, n}` or a session it is mounted from that one's; likewise a `sysfs` from its network,
  an `mqueue` from its IPC and a `cgroup2` from its cgroup namespace. With `{:path, p}` it is from
  the VM's.

      :ok =
        Linx.Mount.mount("tmpfs", "/mnt/scratch", "tmpfs",
          flags: [:nosuid, :nodev],
          data: "size=16M"
        )
      :ok = Linx.Mount.mount("proc", "/proc", "proc", in: session)

  Errors worth matching: `:eperm` (no CAP_SYS_ADMIN over that namespace), `:enoent` and `:enotdir`
  (no such target), `:enodev` (no such file system), `:ebusy`, `:einval`, `:eloop` (a symlink that
  may not be followed).

  Source: mount(2).
  """
  @spec mount(String.t(), String.t(), String.t(), keyword()) :: :ok | {:error, failure()}
  def mount(source, target, fstype, opts \\ []),
    do: mount(source, target, fstype, [], options(opts, @mount_keys))

  defp mount(source, target, fstype, implied, opts) do
    with {:ok, call} <- Request.call(implied ++ opts[:flags]),
         {:ok, place} <- Target.resolve(opts[:in]) do
      check_data(implied ++ opts[:flags], opts[:data])

      call(call, {path(source), path(target), path(fstype)}, opts, place)
      |> answer(place, target)
      |> Error.about_source(
        source,
        if(opts[:root] == nil and opts[:in] == :self, do: File.exists?(target))
      )
    end
  end

  defp call({:mount, flags}, what, %{idmap: idmap} = opts, place) when idmap != nil,
    do: call({:bind, {0, 0, 0, Flags.recursive?(flags)}}, what, opts, place)

  defp call({:mount, flags}, {source, target, fstype}, opts, place) do
    new = if Flags.new?(flags), do: fstype, else: ""
    what = {source, target, fstype, flags, opts[:data]}

    place
    |> Native.places(new)
    |> Native.mount_at(what, opts[:create], lookup(opts))
  end

  defp call({:bind, attributes}, {source, target, _fstype}, opts, place) do
    Idmap.with_target(opts[:idmap], fn idmap ->
      what = {source, target, opts[:create]}
      place |> Native.places() |> Native.bind_at(what, attributes, idmap, lookup(opts))
    end)
  end

  defp call({:setattr, attributes}, {_source, target, _fstype}, opts, place) do
    Idmap.with_target(opts[:idmap], fn idmap ->
      place |> Native.places() |> Native.setattr_at(target, attributes, idmap, lookup(opts))
    end)
  end

  # Options of a file system, for a mount that is made from another: the kernel looks at none of
  # them.
  defp check_data(flags, data) do
    if data != "" and (:bind in flags or :move in flags),
      do: raise(ArgumentError, ":data means nothing to a bind or a move")
  end

  @doc """
  Unmounts what is mounted at `target`.

  Options: `:flags`, a list of `:force` (give up on an unreachable server), `:detach` (out of the
  tree now, and away once nobody uses it), `:expire` (the second call in a row succeeds if nobody
  used it in between) and `:no_follow` (a symlink at `target` is not followed); `:in`, `:root`,
  `:no_symlinks`: see the module's text.

      :ok = Linx.Mount.umount("/mnt/scratch")
      :ok = Linx.Mount.umount("/old_root", flags: [:detach], in: session)

  Errors worth matching: `:ebusy`, `:einval` (not a mount point), `:eagain` (`:expire` marked it),
  `:eperm`.

  Source: umount2(2).
  """
  @spec umount(String.t(), keyword()) :: :ok | {:error, failure()}
  def umount(target, opts \\ []) do
    opts = options(opts, [:flags, :in, :root, :no_symlinks])

    with {:ok, flags} <- Flags.umount(opts[:flags]),
         {:ok, place} <- Target.resolve(opts[:in]) do
      place
      |> Native.places()
      |> Native.umount_at(path(target), flags, lookup(opts))
      |> answer(place, target)
    end
  end

  @doc """
  Makes the tree at `source` appear at `target` too.

  Takes the options of `mount/4` but `:data`. `flags: [:rec]` takes the mounts below `source`
  along. Of the other flags those are taken that belong to one mount: `:ro`, `:nosuid`, `:nodev`,
  `:noexec`, `:noatime`, `:nodiratime`, `:relatime`, `:strictatime` and `:nosymfollow`. The new
  mount has them before anybody can reach it, with `:rec` those below it too. A flag of the file
  system's, such as `:sync`, is `{:bad_flag, flag}`: the kernel would drop it without a word.

    * `:idmap` maps the owners of the files, for instance so that a rootfs of root's serves a user
      namespace: a session (or another `t:in_target/0` but `:self`) whose user namespace is meant,
      or `[uid: mappings, gid: mappings]` as `Linx.User.setup_maps/2` takes them. A file of user
      `inside` on the disk is one of user `outside` in the mount. The file system has to support
      it (most do), and the caller needs CAP_SYS_ADMIN over it.

      :ok = Linx.Mount.bind("/srv/data", "/mnt/data")
      :ok = Linx.Mount.bind("/srv/data", "/mnt/data", flags: [:ro, :nosuid, :rec])
      :ok = Linx.Mount.bind("/dev/null", "/dev/null", root: rootfs, create: true, in: session)
      :ok =
        Linx.Mount.bind(rootfs, "/mnt/root",
          idmap: [uid: [{0, 100_000, 65_536}], gid: [{0, 100_000, 65_536}]]
        )

  `source` is a path in the namespace that `:in` names. One that starts with the directory that
  `:root` names is meant inside it: then no symlink leads it out.

  Errors: as `mount/4`; `:enoent` may be either path's. With flags or a mapping also
  `operation: :open_tree`, `:mount_setattr` and `:move_mount`: `:enosys` before Linux 5.12,
  `:eperm` and `:einval` for what the file system, or a locked mount, does not let change. Nothing
  is mounted then. Source: mount(2), "Creating a bind mount"; mount_setattr(2), open_tree(2),
  move_mount(2).
  """
  @spec bind(String.t(), String.t(), keyword()) :: :ok | {:error, failure()}
  def bind(source, target, opts \\ []),
    do: made_from(source, target, :bind, options(opts, @bind_keys))

  # Another kind of request beside the verb's own would replace it.
  defp made_from(source, target, verb, opts) do
    case is_list(opts[:flags]) and
           Enum.find([:remount, :bind, :move] -- [verb], &(&1 in opts[:flags])) do
      flag when flag in [nil, false] -> mount(source, target, "", [verb], opts)
      flag -> {:error, {:bad_flag, flag}}
    end
  end

  @doc """
  Gives the mount at `target` new flags.

  Takes `:flags`, `:data`, `:in`, `:root` and `:no_symlinks` of `mount/4`. The flags replace those
  it had; `setattr/3` changes those that are named and keeps the others. With `:bind` they are the
  mount's own (those of `bind/3`; another is `{:bad_flag, flag}`), without it the file system's,
  everywhere that it is mounted. How events travel is not changed here: that is
  `mount("", target, "", flags: [:private])`.

  With `:bind` and `:rec` the flags are set on the mount and on every mount below it, and none is
  taken away: what lies below may be nosuid for a reason. `:rec` without `:bind` is
  `{:bad_flag, :rec}`.

      :ok = Linx.Mount.remount("/mnt/data", flags: [:bind, :ro])
      :ok = Linx.Mount.remount("/mnt/data", flags: [:bind, :ro, :rec])

  Errors: as `mount/4`; `:einval` if nothing is mounted there, `:eperm` also for a flag that is
  locked, because the mount came from a more privileged namespace: `setattr/3` keeps it. Source:
  mount(2), "Remounting an existing mount"; mount_setattr(2).
  """
  @spec remount(String.t(), keyword()) :: :ok | {:error, failure()}
  def remount(target, opts \\ []),
    do: mount("", target, "", [:remount], options(opts, @mount_keys -- [:create]))

  @doc """
  Changes the attributes of the mount at `target`, and keeps those that are not named
  (mount_setattr(2), Linux 5.12).

  `attributes` is a list of words of mount(8): `:ro` or `:rw`, `:nosuid` or `:suid`, `:nodev` or
  `:dev`, `:noexec` or `:exec`, `:nodiratime` or `:diratime`, `:nosymfollow` or `:symfollow`; one
  of `:relatime`, `:noatime` and `:strictatime`; one of `:private`, `:slave`, `:shared` and
  `:unbindable`. The file system and its other mounts stay as they are.

  Options:

    * `:recursive`, true to change every mount below as well, all of them or none;
    * `:idmap`, as for `bind/3`. The kernel maps no mount that is in use, so the mount is covered
      with a clone of itself that has the mapping and the attributes; `umount/2` uncovers it;
    * `:in`, `:root`, `:no_symlinks`: see the module's text.

      :ok = Linx.Mount.setattr("/", [:ro], recursive: true, in: session)
      :ok = Linx.Mount.setattr("/data", [:rw, :noatime], in: session)

  Errors worth matching, with `operation: :mount_setattr`: `:einval` (no mount point), `:eperm`
  (no CAP_SYS_ADMIN over that namespace, or an attribute that is locked, because the mount came
  from a more privileged namespace), `:ebusy` (`:ro` while a file is open for writing), `:enosys`
  (an older kernel). `{:bad_flag, word}` is no attribute, or contradicts one before it; an empty
  list without `:idmap` raises `ArgumentError`. Source: mount_setattr(2).
  """
  @spec setattr(String.t(), [atom()], keyword()) :: :ok | {:error, failure() | term()}
  def setattr(target, attributes, opts \\ []) do
    opts = options(opts, [:recursive, :idmap, :in, :root, :no_symlinks])

    if attributes == [] and opts[:idmap] == nil,
      do: raise(ArgumentError, "no attribute to change")

    with {:ok, attributes} <- Attributes.parse(attributes, opts[:recursive]),
         {:ok, place} <- Target.resolve(opts[:in]) do
      {:setattr, attributes}
      |> call({"", path(target), ""}, opts, place)
      |> answer(place, target)
    end
  end

  @doc """
  Moves the mount at `source`, with what is mounted below it, to `target`.

  Takes the options of `mount/4` but `:data`; a flag other than `:silent` and `:rec` is
  `{:bad_flag, flag}`.

      :ok = Linx.Mount.move("/mnt/new", "/mnt/data")

  Errors: as `mount/4`; `:einval` if `source` is no mount point or lies under a shared mount,
  `:eloop` if `target` lies below it. Source: mount(2), "Moving a mount".
  """
  @spec move(String.t(), String.t(), keyword()) :: :ok | {:error, failure()}
  def move(source, target, opts \\ []),
    do: made_from(source, target, :move, options(opts, @mount_keys -- [:data]))

  @doc """
  Makes `new_root` the root of the mount namespace, and puts the old root at `put_old`.

  The kernel asks that `new_root` is a mount point and not the root already, that `put_old` is a
  directory at or below it, and that neither the parent of `new_root` nor that of the old root is
  shared; otherwise it is `:einval`. Every process of the namespace whose root or working
  directory is the old root is moved to the new one: with `in: :self` that is the VM, and all that
  share its namespace.

      :ok = Linx.Mount.mount("", "/", "", flags: [:private, :rec], in: session)
      :ok = Linx.Mount.bind(rootfs, rootfs, in: session)
      :ok = Linx.Mount.pivot_root(rootfs, Path.join(rootfs, "old_root"), in: session)
      :ok = Linx.Mount.umount("/old_root", flags: [:detach], in: session)

  The only option is `:in`.

  Errors: `operation: :chdir` if `new_root` is no directory, `:pivot_root` with `:einval` or
  `:ebusy` from the call, the stages of the way into another namespace. Source: pivot_root(2).
  """
  @spec pivot_root(String.t(), String.t(), keyword()) ::
          :ok | {:error, Error.t() | {:bad_in, term()} | :not_ready | :no_process}
  def pivot_root(new_root, put_old, opts \\ []) do
    opts = options(opts, [:in])

    with {:ok, place} <- Target.resolve(opts[:in]) do
      place
      |> Native.places()
      |> Native.pivot_root_at(path(new_root), path(put_old))
      |> answer(place, new_root)
    end
  end

  @doc """
  The mount table of the VM's own mount namespace.

  Errors: `{:error, posix}`. Source: proc_pid_mountinfo(5).
  """
  @spec list() :: {:ok, [Entry.t()]} | {:error, atom()}
  def list do
    with {:ok, text} <- KernelFile.read("/proc/self/mountinfo"), do: {:ok, Mountinfo.parse(text)}
  end

  @doc """
  The mount table of another process's mount namespace, or of a file in mountinfo's format.

  It is read from here, without entering anything. Paths are as that process sees them; mounts out
  of its root's reach are not shown. A line that is not understood is left out. A session of
  `Linx.Process` stands for its workload.

  Errors: `{:error, posix}`, among them `:enoent` (no such process or file) and `:eacces`; for a
  session `:no_process` and `:not_ready`. Source: proc_pid_mountinfo(5).
  """
  @spec list(list_target() | Linx.Process.t()) :: {:ok, [Entry.t()]} | {:error, atom()}
  def list({:pid, pid}) when is_integer(pid) and pid > 0, do: list_of(pid)

  def list({:path, path}) do
    file = path |> IO.chardata_to_string() |> path()
    with {:ok, text} <- KernelFile.read(file), do: {:ok, Mountinfo.parse(text)}
  end

  def list(session) when is_pid(session), do: list_of(session)

  defp list_of(process) do
    case Procfs.read(process, "mountinfo") do
      {:ok, text} -> {:ok, Mountinfo.parse(text)}
      {:error, {:errno, errno, _code, _path}} -> {:error, errno}
      {:error, reason} -> {:error, reason}
    end
  end

  # -- options and answers -----------------------------------------------------------------------

  @defaults [
    flags: [],
    data: "",
    create: false,
    in: :self,
    root: "",
    no_symlinks: false,
    recursive: false,
    idmap: nil
  ]

  defp options(opts, keys) do
    opts |> Keyword.validate!(Keyword.take(@defaults, keys)) |> Enum.each(&check/1)
    Map.merge(Map.new(@defaults), Map.new(Enum.reverse(opts)))
  end

  defp check({key, value})
       when key in [:create, :no_symlinks, :recursive] and is_boolean(value),
       do: :ok

  defp check({key, _value}) when key in [:flags, :in, :idmap], do: :ok
  defp check({key, value}) when key in [:data, :root], do: path(value)

  defp check({key, value}),
    do: raise(ArgumentError, "bad value for #{inspect(key)}: #{inspect(value)}")

  # The text without a NUL: the kernel ends a string at its first NUL.
  defp path(text) when is_binary(text) do
    if String.contains?(text, "\0"),
      do: raise(ArgumentError, "a NUL in #{inspect(text)}"),
      else: text
  end

  defp path(other), do: raise(ArgumentError, "expected a string, got: #{inspect(other)}")

  defp lookup(opts), do: {opts[:root], opts[:no_symlinks]}

  defp answer(:ok, _place, _path), do: :ok

  # There is no mapping to be had.
  defp answer({:refused, reason}, _place, _path), do: {:error, reason}

  defp answer({:error, {stage, errno}}, place, path) do
    if is_atom(errno) and Target.ended?(place, Errno.code(errno)),
      do: {:error, :no_process},
      else: {:error, Error.from_native({stage, errno}, Native.error_path(stage, place, path))}
  end
end
