defmodule Linx.User do
  @moduledoc """
  Who a process is inside its user namespace: `/proc/<pid>/uid_map`, `gid_map` and `setgroups`.

  `Linx.Process` makes a user namespace with `namespaces: [:user]`. Until its maps are written
  every id in it is the overflow id (65534, "nobody"). They are written once, from the parent
  namespace, and the time for it is the checkpoint:

      {:ok, session} = Linx.Process.spawn(argv: ["/bin/sh"], namespaces: [:user])
      :ok = Linx.User.setup_maps(session, uid: [{0, 1000, 1}], gid: [{0, 1000, 1}])
      :ok = Linx.Process.proceed(session)

  A caller without CAP_SETUID and CAP_SETGID in the parent namespace may map one id, its own, and
  the gid only after setgroups(2) is denied there. Ranges of subordinate ids need those
  capabilities, or newuidmap(1), which `setup_maps/2` runs for `:subuid`.

  ## Which process

  Each verb takes a pid, or a session of `Linx.Process`. A pid is a number that the kernel gives
  out again. It is pinned for the time of the call, so that a process that ends meanwhile is an
  error and its successor is never written to; only a session can tell that the number had changed
  hands before. Once a session's process has ended the verbs give `{:error, :no_process}`, before
  it has one `{:error, :not_ready}`.

  The files are opened below one descriptor of `/proc/<pid>` that is known to be procfs.

  Source: user_namespaces(7), proc_pid_uid_map(5), proc_pid_setgroups(5).
  """

  alias Linx.{KernelFile, Procfs}
  alias Linx.User.{Error, Subordinate}

  @typedoc """
  `{inside, outside, length}`: `length` ids from `inside` on stand for those from `outside` on.
  """
  @type mapping() :: {non_neg_integer(), non_neg_integer(), pos_integer()}

  @typedoc """
  The process whose namespace is meant: a pid as the VM sees it, or a session of `Linx.Process`.
  """
  @type pid_target() :: pos_integer() | Linx.Process.t()

  # UID_GID_MAP_MAX_EXTENTS of linux/user_namespace.h.
  @max_entries 340
  # The kernel reads each number into 32 bits and drops what is above: 4294967296 would be root.
  @max_number 0xFFFFFFFF

  @doc """
  Writes the uid map of `pid`'s user namespace, all of it in one write.

  `mappings` is a list of up to #{@max_entries} `{inside, outside, length}`, numbers of 32 bits,
  no range overlapping another on either side, and less than a page (4096 bytes) when written as
  text. `outside` counts in the parent namespace.

      :ok = Linx.User.set_uid_map(pid, [{0, 1000, 1}])
      :ok = Linx.User.set_uid_map(pid, [{0, 1000, 1}, {1, 100_000, 65_535}])

  Errors: `{:bad_map, :empty | :too_many | {:not_a_list, term} | {:bad_entry, entry}}` before
  anything is written; otherwise `%Linx.User.Error{}` with `:eperm` (written already, or more than
  the caller may map), `:einval` (ranges overlap or run out of the ids there are, or the text is
  too long), `:enoent` (no such process).

  Source: user_namespaces(7), "Defining user and group ID mappings".
  """
  @spec set_uid_map(pid_target(), [mapping()]) ::
          :ok | {:error, Error.t() | {:bad_map, term()} | :not_ready | :no_process}
  def set_uid_map(pid, mappings), do: set_map(pid, "uid_map", mappings, :set_uid_map)

  @doc """
  Writes the gid map of `pid`'s user namespace; as `set_uid_map/2`.

  A caller without CAP_SETGID in the parent namespace has to call `deny_setgroups/1` first.

  Errors: as `set_uid_map/2`. Source: user_namespaces(7).
  """
  @spec set_gid_map(pid_target(), [mapping()]) ::
          :ok | {:error, Error.t() | {:bad_map, term()} | :not_ready | :no_process}
  def set_gid_map(pid, mappings), do: set_map(pid, "gid_map", mappings, :set_gid_map)

  @doc """
  Denies setgroups(2) in `pid`'s user namespace, for good.

  Without it a process could drop a group that is there to deny it something. It may be repeated,
  but comes too late once the gid map is written.

  Errors: `%Linx.User.Error{}` with `:enoent` (no such process) or `:eperm` (the gid map is
  there). Source: proc_pid_setgroups(5).
  """
  @spec deny_setgroups(pid_target()) :: :ok | {:error, Error.t() | :not_ready | :no_process}
  def deny_setgroups(pid) do
    pid |> Procfs.write("setgroups", "deny") |> answer(:deny_setgroups, "setgroups")
  end

  @doc """
  The uid map of `pid`'s user namespace, `[]` before it is written.

      {:ok, [%Linx.User.Map{inside: 0, outside: 1000, length: 1}]} = Linx.User.read_uid_map(pid)

  Errors: `%Linx.User.Error{}` with `:enoent` (no such process) or `:eacces`. Source:
  proc_pid_uid_map(5).
  """
  @spec read_uid_map(pid_target()) ::
          {:ok, [Linx.User.Map.t()]} | {:error, Error.t() | :not_ready | :no_process}
  def read_uid_map(pid), do: read_map(pid, "uid_map", :read_uid_map)

  @doc """
  The gid map of `pid`'s user namespace, `[]` before it is written.

  Errors: as `read_uid_map/1`. Source: proc_pid_uid_map(5).
  """
  @spec read_gid_map(pid_target()) ::
          {:ok, [Linx.User.Map.t()]} | {:error, Error.t() | :not_ready | :no_process}
  def read_gid_map(pid), do: read_map(pid, "gid_map", :read_gid_map)

  @doc """
  Denies setgroups(2), then writes the uid map, then the gid map.

  Options: `:uid` and `:gid`, mappings as `set_uid_map/2` takes them, both required; `:setgroups`,
  `:deny` (the default) or `:skip` for a caller who may write a gid map without it.

  `uid: :subuid` and `gid: :subgid` mean the ranges that `/etc/subuid` and `/etc/subgid` give the
  VM's user, by name or number, one after the other. For a user who is not root the own id comes
  first, as 0, and newuidmap(1) and newgidmap(1) write the maps; root writes them itself, and then
  0 is the first subordinate id. The programs take a number: a pid that is not a session's has to
  stay alive meanwhile.

  All of the input is checked before the first write. The first step that fails ends it, and what
  was written before stays: the kernel does not take a map back.

      :ok = Linx.User.setup_maps(session, uid: [{0, 1000, 1}], gid: [{0, 1000, 1}])

  Errors: `{:bad_setup, {:missing, :uid | :gid}}`, `{:bad_setgroups, value}`, `{:bad_map, reason}`
  (`{:no_subordinate_ids, file}` for a user without a line in it),
  `{:newuidmap | :newgidmap, :not_found | {status, text}}`, or the `%Linx.User.Error{}` of the
  step. Source: user_namespaces(7).
  """
  @spec setup_maps(pid_target(), keyword()) ::
          :ok
          | {:error,
             Error.t()
             | {:bad_map, term()}
             | {:bad_setgroups, term()}
             | {:bad_setup, {:missing, :uid | :gid}}
             | {:newuidmap | :newgidmap, :not_found | {pos_integer(), String.t()}}
             | :not_ready
             | :no_process}
  def setup_maps(pid, opts) do
    opts = Keyword.validate!(opts, [:uid, :gid, setgroups: :deny])

    with {:ok, uid} <- required(opts, :uid),
         {:ok, gid} <- required(opts, :gid),
         {:ok, deny?} <- setgroups(opts[:setgroups]),
         {:ok, uid} <- subordinate(uid, :subuid, :uid),
         {:ok, gid} <- subordinate(gid, :subgid, :gid),
         {:ok, _} <- render(mappings(uid)),
         {:ok, _} <- render(mappings(gid)),
         :ok <- if(deny?, do: deny_setgroups(pid), else: :ok),
         :ok <- write_map(pid, :uid, uid) do
      write_map(pid, :gid, gid)
    end
  end

  # The user's own ranges: root writes them as it writes any map, another user has a program write
  # them.
  defp subordinate(name, name, kind) do
    with {:ok, mappings} <- Subordinate.mappings(kind) do
      if Subordinate.root?(), do: {:ok, mappings}, else: {:ok, {:program, mappings}}
    end
  end

  defp subordinate(mappings, _name, _kind), do: {:ok, mappings}

  defp mappings({:program, mappings}), do: mappings
  defp mappings(mappings), do: mappings

  defp write_map(session, kind, {:program, mappings}) when is_pid(session) do
    with {:ok, pid} <- Procfs.pid(session), do: write_map(pid, kind, {:program, mappings})
  end

  defp write_map(pid, kind, {:program, mappings}), do: Subordinate.run(kind, pid, mappings)
  defp write_map(pid, :uid, mappings), do: set_uid_map(pid, mappings)
  defp write_map(pid, :gid, mappings), do: set_gid_map(pid, mappings)

  @doc """
  Whether this kernel has user namespaces: whether `/proc/self/uid_map` is there.

  That they exist does not say that this caller may make one; sysctls and security modules have a
  word in that.

  Source: user_namespaces(7).
  """
  @spec supported?() :: boolean()
  def supported?, do: KernelFile.readable?("/proc/self/uid_map")

  # -- what is written and read ------------------------------------------------------------------

  defp set_map(pid, file, mappings, operation) do
    with {:ok, text} <- render(mappings) do
      pid |> Procfs.write(file, text) |> answer(operation, file)
    end
  end

  defp read_map(pid, file, operation) do
    with {:ok, text} <- pid |> Procfs.read(file) |> answer(operation, file),
         do: {:ok, Linx.User.Map.parse(text)}
  end

  defp render([]), do: {:error, {:bad_map, :empty}}

  defp render(mappings) when is_list(mappings) do
    bad = for entry <- proper(mappings), not mapping?(entry), do: entry

    cond do
      bad != [] -> {:error, {:bad_map, {:bad_entry, hd(bad)}}}
      List.improper?(mappings) -> {:error, {:bad_map, {:not_a_list, mappings}}}
      length(mappings) > @max_entries -> {:error, {:bad_map, :too_many}}
      true -> {:ok, Enum.map_join(mappings, fn {i, o, n} -> "#{i} #{o} #{n}\n" end)}
    end
  end

  defp render(other), do: {:error, {:bad_map, {:not_a_list, other}}}

  defp proper([head | tail]), do: [head | proper(tail)]
  defp proper(_), do: []

  defp mapping?({inside, outside, length}) do
    Enum.all?([inside, outside, length], &(is_integer(&1) and &1 in 0..@max_number)) and
      length > 0
  end

  defp mapping?(_), do: false

  defp required(opts, key) do
    case Keyword.fetch(opts, key) do
      {:ok, mappings} -> {:ok, mappings}
      :error -> {:error, {:bad_setup, {:missing, key}}}
    end
  end

  defp setgroups(:deny), do: {:ok, true}
  defp setgroups(:skip), do: {:ok, false}
  defp setgroups(other), do: {:error, {:bad_setgroups, other}}

  defp answer({:error, {:errno, errno, code, path}}, operation, file) do
    path = if String.ends_with?(path, file), do: path, else: Path.join(path, file)
    {:error, %Error{path: path, operation: operation, errno: errno, code: code}}
  end

  defp answer(other, _operation, _file), do: other
end
