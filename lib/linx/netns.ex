defmodule Linx.Netns do
  @moduledoc """
  Network namespaces without a process: held by a value, or kept by a name.

      {:ok, lab} = Linx.Netns.new()
      {:ok, socket} = Linx.Netlink.Rtnl.open(lab)
      :ok = Linx.Netlink.Rtnl.Link.set_up(socket, "lo")
      {:ok, listener} = :gen_tcp.listen(0, netns: Linx.Netns.path(lab))

  `new/1` makes a namespace that no process is in. A descriptor of the VM holds it, which belongs
  to an owner: the caller, or the process that `:owner` names. It is closed when the owner ends,
  or by `close/1`, and not before, also where no variable refers to the value any more. The kernel
  ends a namespace when nothing holds it: no descriptor, no socket in it, no process, no name. The
  value is good on its own node, for every process there.

  A `%Linx.Netns{}` is taken wherever a namespace is named: `Linx.Netlink.Rtnl.open/1`,
  `Linx.Netlink.Nfnl.open/1`, `Linx.Netlink.Rtnl.Link.move_to_netns/3`, the `:in` of
  `Linx.Sysctl`, `join: {netns, [:net]}` of `Linx.Process.spawn/1` and `run/1`. OTP's own sockets
  take its `path/1`: `:gen_tcp`, `:gen_udp` and `:gen_sctp` as the option `netns: path`,
  `:socket.open/4` as `%{netns: path}`. OTP opens that path in the VM's own process, whose
  descriptor it is.

  A fresh namespace has a loopback link, `lo`, that is down and without addresses, as
  `ip netns add` leaves it.

  ## Names

  A name is a file in `/run/netns`, on which the namespace is mounted. `create/2` and `delete/2`
  do what `ip netns add` and `ip netns delete` do, so either works on the names of the other: the
  directory is made and becomes a shared mount, the file is made with `O_EXCL`, of two creators of
  a name one gets `errno: :eexist`, and a step that fails takes back the file. A name outlives the
  VM. `dir: path` on any verb is another directory, an absolute path; ip knows none but
  `/run/netns`.

  A name that is deleted is free for another namespace at once; who holds the former one goes on
  using it.

  A name has 1 to 255 bytes, no `/` and no NUL, and is not `.` or `..`: else
  `{:error, {:invalid_name, name}}`, before anything is asked of the kernel. An option that is
  unknown or makes no sense is `{:error, {:bad_option, option}}`.

  ## References

  Where a verb takes a `t:ref/0` that is a name (text), a `%Linx.Netns{}`, or what
  `Linx.Netlink.Socket.open/2` takes: `:host`, `:self`, `{:pid, pid}`, `{:path, path}`, a
  `Linx.Process` session. Another term raises `ArgumentError`; a session that is not up yet or is
  over is `{:error, :not_ready}` or `{:error, :no_process}`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netns.Error{}}`, with the step, the path and the
  errno: `:eperm` without CAP_SYS_ADMIN, `:enoent` for a name that is not there, `:ebadf` for a
  value that is closed. The verbs of ids make netlink requests and answer
  `{:error, %Linx.Netlink.Error{}}` for those.

  No thread of the VM changes its namespace: a namespace is made by a thread that ends.

  Source: ip-netns(8), network_namespaces(7), unshare(2).
  """

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netns.{Error, Id, Native}
  alias Linx.Target

  @typedoc "A network namespace that is held. Its fields are Linx's own."
  @type t() :: %__MODULE__{handle: reference(), number: non_neg_integer()}

  @typedoc "See \"References\"."
  @type ref() :: String.t() | Socket.netns()

  @enforce_keys [:handle, :number]
  defstruct [:handle, :number]

  @directory "/run/netns"
  @name_max 255
  # The kernel's ids are a signed int.
  @id_max 0x7FFFFFFF

  # -- held --------------------------------------------------------------------------------------

  @doc """
  Makes a network namespace that no process is in.

  Option `:owner` is the process with whose end it ends, the caller unless given. An owner that
  has ended already is `errno: :esrch`; without CAP_SYS_ADMIN it is `errno: :eperm`, beyond
  `user.max_net_namespaces` `:enospc`.

      {:ok, netns} = Linx.Netns.new()
      :ok = Linx.Netns.close(netns)

  Source: unshare(2), CLONE_NEWNET.
  """
  @spec new(keyword()) :: {:ok, t()} | {:error, Error.t() | term()}
  def new(opts \\ []) do
    with {:ok, opts} <- options(opts, [:owner]),
         do: opts |> owner() |> Native.make() |> held(:new, nil)
  end

  @doc """
  Holds a network namespace that is there: that of a name, a process, a session, a file. With
  `:new` it is `new/1`.

  Options: `:owner` as for `new/1`, `:dir` for a name. A held namespace may be opened too, for
  another owner. A process that is not there is `errno: :enoent`, a file that is no network
  namespace `:einval`.

      :ok = Linx.Netns.create("blue")
      {:ok, blue} = Linx.Netns.open("blue")

  Source: namespaces(7).
  """
  @spec open(ref() | :new, keyword()) :: {:ok, t()} | {:error, Error.t() | term()}
  def open(ref, opts \\ [])
  def open(:new, opts), do: new(opts)

  def open(ref, opts) do
    with {:ok, opts} <- options(opts, [:owner, :dir]),
         {:ok, target} <- target(ref, opts),
         do: target |> Native.hold(owner(opts)) |> ended(target) |> held(:open, place(target))
  end

  defp held({:ok, {handle, number}}, _operation, _path),
    do: {:ok, %__MODULE__{handle: handle, number: number}}

  defp held(fault, operation, path), do: answer(fault, operation, path)

  @doc """
  Lets go of a namespace. It is `:ok` also where its owner has ended, or it was closed before.

  Sockets in it, and names, keep the namespace. The path that `path/1` gave names nothing from
  here on, or later another descriptor of the VM.
  """
  @spec close(t()) :: :ok
  def close(%__MODULE__{handle: handle}), do: Native.close(handle)

  @doc """
  The path of a held namespace, or of a name.

  That of a held one is `/proc/self/fd/<n>`, which means the VM's descriptor when the VM opens it:
  good for OTP's `:netns` and for `{:path, path}`, until the namespace is closed. In another
  process it means something else. For one that is closed, and for a name that cannot be one, this
  raises `ArgumentError`.

      {:ok, socket} = :socket.open(:inet, :stream, :tcp, %{netns: Linx.Netns.path(netns)})

  Source: proc_pid_fd(5).
  """
  @spec path(t() | String.t(), keyword()) :: String.t()
  def path(netns, opts \\ [])

  def path(%__MODULE__{handle: handle}, []) do
    case Native.number(handle) do
      {:ok, {number, _inode}} -> "/proc/self/fd/#{number}"
      {:error, _closed} -> raise ArgumentError, "the network namespace is closed"
    end
  end

  def path(name, opts) when is_binary(name) do
    with {:ok, opts} <- options(opts, [:dir]),
         {:ok, directory, name} <- name(name, opts) do
      Path.join(directory, name)
    else
      {:error, reason} -> raise ArgumentError, "no path of a namespace: #{inspect(reason)}"
    end
  end

  # -- names -------------------------------------------------------------------------------------

  @doc """
  Makes a network namespace with a name, as `ip netns add` does.

  Options: `:dir`, and `from: ref` to name a namespace that is there instead (`ip netns attach`).

  A name that is taken is `errno: :eexist` at the stage `:create`. When a step fails, the steps
  before it are taken back, but for the directory and its mount, which others may use already.

      :ok = Linx.Netns.create("blue")
      {:error, %Linx.Netns.Error{errno: :eexist}} = Linx.Netns.create("blue")

  Source: ip-netns(8).
  """
  @spec create(String.t(), keyword()) :: :ok | {:error, Error.t() | term()}
  def create(name, opts \\ []) do
    with {:ok, opts} <- options(opts, [:dir, :from]),
         {:ok, directory, name} <- name(name, opts),
         {:ok, source} <- source(opts) do
      case directory |> Native.create(name, source) |> ended(source) do
        {:error, {stage, _}} = fault when stage in [:mkdir, :lock, :share] ->
          answer(fault, :create, directory)

        {:error, {stage, _}} = fault when stage in [:open, :setns] and source != :new ->
          answer(fault, :create, place(source))

        other ->
          answer(other, :create, Path.join(directory, name))
      end
    end
  end

  defp source(opts) do
    case Keyword.fetch(opts, :from) do
      {:ok, ref} -> target(ref, Keyword.take(opts, [:dir]))
      :error -> {:ok, :new}
    end
  end

  @doc """
  Takes a name away, as `ip netns delete` does. One that is not there is `errno: :enoent`.

  The namespace ends with the last that holds it: a process, a socket, a held value, a further
  name. A file that is neither a namespace nor the empty one that an interrupted creation leaves
  is `errno: :einval`, and stays. Option: `:dir`.

  Source: ip-netns(8), umount2(2).
  """
  @spec delete(String.t(), keyword()) :: :ok | {:error, Error.t() | term()}
  def delete(name, opts \\ []) do
    with {:ok, opts} <- options(opts, [:dir]),
         {:ok, directory, name} <- name(name, opts),
         do: directory |> Native.delete(name) |> answer(:delete, Path.join(directory, name))
  end

  @doc """
  The names that there are, sorted: `ip netns list`. None where the directory is not there.
  Option: `:dir`.

  A name that somebody makes at this moment is among them before the namespace is.

  Source: ip-netns(8).
  """
  @spec list(keyword()) :: {:ok, [String.t()]} | {:error, Error.t() | term()}
  def list(opts \\ []) do
    with {:ok, opts} <- options(opts, [:dir]), do: opts |> directory() |> names()
  end

  defp names(directory) do
    case :file.list_dir_all(directory) do
      {:ok, names} -> {:ok, names |> Enum.map(&IO.chardata_to_string/1) |> Enum.sort()}
      {:error, :enoent} -> {:ok, []}
      {:error, errno} -> {:error, Error.new(:list, {:list, errno}, directory)}
    end
  end

  # -- what is in it -----------------------------------------------------------------------------

  @doc """
  The pids of the processes in a namespace, in ascending order: `ip netns pids`.

  Those that the VM's `/proc` shows and whose namespace the VM may look at: without root, its own
  user's. A thread with a namespace of its own counts for the one of its process. Option: `:dir`
  for a name.

      {:ok, [_ | _]} = Linx.Netns.pids(:host)

  Source: ip-netns(8), proc_pid_ns(5).
  """
  @spec pids(ref(), keyword()) :: {:ok, [pos_integer()]} | {:error, Error.t() | term()}
  def pids(ref, opts \\ []) do
    ask(:pids, ref, opts, &Native.processes/1)
  end

  @doc """
  The smallest pid in a namespace, nil where no process is in it. As `pids/2` otherwise.
  """
  @spec pid_of(ref(), keyword()) :: {:ok, pos_integer() | nil} | {:error, Error.t() | term()}
  def pid_of(ref, opts \\ []) do
    with {:ok, pids} <- pids(ref, opts), do: {:ok, List.first(pids)}
  end

  @doc """
  The namespace's inode number, by which lsns(8) and `/proc/<pid>/ns/net` know it. Two references
  with the same one mean the same namespace, as long as one of them is held. Option: `:dir` for a
  name.

  Source: namespaces(7).
  """
  @spec inode(ref(), keyword()) :: {:ok, pos_integer()} | {:error, Error.t() | term()}
  def inode(ref, opts \\ []) do
    ask(:inode, ref, opts, &Native.inode/1)
  end

  defp ask(operation, ref, opts, fun) do
    with {:ok, opts} <- options(opts, [:dir]),
         {:ok, target} <- target(ref, opts) do
      target |> fun.() |> ended(target) |> answer(operation, place(target))
    end
  end

  # -- ids ---------------------------------------------------------------------------------------

  @doc """
  The id that a namespace has for another, nil where it has none.

  Ids are what the kernel names a foreign namespace by in messages, such as a link's
  `link_netnsid`; each namespace has numbers of its own for others. Options: `in: ref`, whose ids
  are meant (the VM's own namespace unless given), and `:dir` for names.

      {:ok, id} = Linx.Netns.set_id(netns, :auto)
      {:ok, ^id} = Linx.Netns.id(netns)

  Source: ip-netns(8), rtnetlink's RTM_GETNSID.
  """
  @spec id(ref(), keyword()) :: {:ok, non_neg_integer() | nil} | {:error, term()}
  def id(ref, opts \\ []), do: with_id(ref, opts, &Id.get/2)

  @doc """
  Gives a namespace an id for another and answers it: a number, or `:auto` for one that is free.
  Options as for `id/2`.

  One that has an id already is `errno: :eexist`, a number that another has `:enospc` or
  `:eexist`.

  Source: ip-netns(8), `ip netns set`; rtnetlink's RTM_NEWNSID.
  """
  @spec set_id(ref(), non_neg_integer() | :auto, keyword()) ::
          {:ok, non_neg_integer()} | {:error, term()}
  def set_id(ref, id, opts \\ [])

  def set_id(ref, id, opts) when id == :auto or id in 0..@id_max do
    with_id(ref, opts, fn socket, fd ->
      with :ok <- Id.set(socket, fd, id), do: Id.get(socket, fd)
    end)
  end

  def set_id(_ref, id, _opts), do: {:error, {:bad_option, {:id, id}}}

  @doc """
  Every id that a namespace has for others, in order: `ip netns list-id`. Options: `in: ref`,
  `:dir`.

  Source: ip-netns(8).
  """
  @spec ids(keyword()) :: {:ok, [non_neg_integer()]} | {:error, term()}
  def ids(opts \\ []) do
    with {:ok, opts} <- options(opts, [:in, :dir]), do: with_socket(opts, &Id.list/1)
  end

  defp with_id(ref, opts, fun) do
    with {:ok, opts} <- options(opts, [:in, :dir]),
         {:ok, target} <- target(ref, opts) do
      answer =
        with_socket(opts, fn socket -> Target.with_netns(target, &fun.(socket, &1)) end)

      answer |> ended(target) |> answer(:open, place(target))
    end
  end

  defp with_socket(opts, fun) do
    with {:ok, netns} <- inside(opts[:in] || :host, opts),
         {:ok, socket} <- Rtnl.open(netns) do
      try do
        fun.(socket)
      after
        Socket.close(socket)
      end
    end
  end

  defp inside(name, opts) when is_binary(name) do
    with {:ok, directory, name} <- name(name, opts),
         do: {:ok, {:path, Path.join(directory, name)}}
  end

  defp inside(ref, _opts), do: {:ok, ref}

  # -- arguments ---------------------------------------------------------------------------------

  defp options(opts, known) do
    if Keyword.keyword?(opts) do
      Enum.find_value(opts, {:ok, opts}, fn {key, _value} = option ->
        if key not in known or not good?(option), do: {:error, {:bad_option, option}}
      end)
    else
      {:error, {:bad_option, opts}}
    end
  end

  defp good?({:owner, owner}), do: is_pid(owner) and node(owner) == node()

  defp good?({:dir, dir}),
    do: is_binary(dir) and Path.type(dir) == :absolute and not String.contains?(dir, "\0")

  defp good?(_option), do: true

  defp owner(opts), do: opts[:owner] || self()
  defp directory(opts), do: opts[:dir] || @directory

  defp name(name, opts) do
    if name?(name), do: {:ok, directory(opts), name}, else: {:error, {:invalid_name, name}}
  end

  defp name?(name) when is_binary(name) and byte_size(name) in 1..@name_max,
    do: name not in [".", ".."] and not String.contains?(name, ["/", "\0"])

  defp name?(_name), do: false

  # The native target of a reference.
  defp target(name, opts) when is_binary(name) do
    with {:ok, directory, name} <- name(name, opts), do: {:ok, Path.join(directory, name)}
  end

  defp target(:host, _opts), do: Target.resolve(:self)

  defp target(ref, _opts) do
    with {:error, {:bad_in, _}} <- Target.resolve(ref),
         do: raise(ArgumentError, "not a network namespace: #{inspect(ref)}")
  end

  # The path of a native target, for an error.
  defp place(""), do: "/proc/self/ns/net"
  defp place(target), do: Target.proc_path(target, "ns/net")

  # A session whose process has ended since it was asked for its namespace.
  defp ended({:error, {stage, errno}} = fault, target) when is_atom(stage) and is_integer(errno),
    do: if(Target.ended?(target, errno), do: {:error, :no_process}, else: fault)

  defp ended(other, _target), do: other

  defp answer({:error, {stage, errno}}, operation, path)
       when is_atom(stage) and is_integer(errno),
       do: {:error, Error.new(operation, {stage, errno}, path)}

  defp answer(other, _operation, _path), do: other

  defimpl Inspect do
    def inspect(netns, _opts), do: "#Linx.Netns</proc/self/fd/#{netns.number}>"
  end
end
