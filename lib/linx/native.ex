defmodule Linx.Native do
  @moduledoc false
  # The one NIF library. Loading is tolerant: a strict @on_load would stop an embedded-mode
  # release at boot, and on a Nerves build machine the library is for another CPU. A stub that is
  # reached without a library raises {:nif_not_loaded, reason}.
  #
  # Numbers and bytes cross here; names stay in Elixir. Errors are {:error, {stage, errno}} with
  # the kernel's number. A `target` is "" for the VM's own namespaces, a namespace file's path, a
  # pid (pinned inside the call), a pin, or a held network namespace with the number of its
  # descriptor.

  @on_load :load

  @type errno :: pos_integer()
  @type fault :: {:error, {stage :: atom(), errno()}}
  @opaque pin :: reference()
  @opaque held_netns :: reference()
  @type target ::
          binary() | pos_integer() | pin() | {held_netns(), descriptor :: non_neg_integer()}

  # Namespaces by their CLONE_NEW* flags, 0 for whatever a path names; `true` where the target's
  # user namespace may be joined if the others are refused without it. `agent` is the path of the
  # agent, for what a thread may not join.
  @type places :: [{target(), [non_neg_integer()], boolean()}]
  @type agent :: binary()

  defp load do
    path = :filename.join(priv_dir(), ~c"linx_nif")

    case :erlang.load_nif(path, 0) do
      :ok ->
        :persistent_term.erase({__MODULE__, :reason})
        :ok

      # The module is loaded a second time, and the library that its first version holds cannot be
      # handed on (it has no upgrade function). The first version stays: anything else than :ok
      # refuses the second.
      {:error, {:upgrade, _}} = refusal ->
        refusal

      {:error, reason} ->
        :persistent_term.put({__MODULE__, :reason}, reason)
        :ok
    end
  end

  @doc "Whether the library is loaded, and if not why: `:ok | {:error, {atom, text}}`."
  @spec status() :: :ok | {:error, {atom(), charlist()}}
  def status do
    case :persistent_term.get({__MODULE__, :reason}, nil) do
      nil -> :ok
      reason -> {:error, reason}
    end
  end

  # The app's priv directory, also in a shell that was started with -pa and no lib structure
  # around the ebin.
  @doc false
  def priv_dir do
    case :code.priv_dir(:linx) do
      {:error, :bad_name} ->
        :filename.join(:filename.dirname(:filename.dirname(:code.which(__MODULE__))), ~c"priv")

      dir ->
        dir
    end
  end

  defp not_loaded,
    do: :erlang.nif_error({:nif_not_loaded, :persistent_term.get({__MODULE__, :reason}, nil)})

  @doc "The library's name, from the library itself."
  @spec nif_version() :: binary()
  def nif_version, do: not_loaded()

  # -- pins --------------------------------------------------------------------------------------

  @spec pid_pin(pos_integer()) :: {:ok, pin()} | fault()
  def pid_pin(_pid), do: not_loaded()

  @spec pid_alive(pin()) :: boolean()
  def pid_alive(_pin), do: not_loaded()

  @doc "The number of the pinned process's life (pidfs inode), 0 where the kernel has none."
  @spec pid_identity(pin()) :: non_neg_integer()
  def pid_identity(_pin), do: not_loaded()

  @doc "Whether the pinned process is in the VM's user namespace."
  @spec pid_shares_user_namespace(pin()) :: {:ok, boolean()} | fault()
  def pid_shares_user_namespace(_pin), do: not_loaded()

  @spec pid_of(pin()) :: pos_integer()
  def pid_of(_pin), do: not_loaded()

  @spec pid_kill(pin()) :: :ok | fault()
  def pid_kill(_pin), do: not_loaded()

  # -- late answers ------------------------------------------------------------------------------

  # Jobs that may hang in the kernel run in a bounded pool of threads
  # (native/linx_sys/src/work.rs). `{:pending, reference}` is the answer of one that is queued or
  # has not ended yet: `{reference, answer}` is sent to the caller when it has.
  # `Linx.Pool.Native.await/1` waits for that.
  @type late(answer) :: answer | {:pending, reference()}

  # -- cgroup ------------------------------------------------------------------------------------

  @spec cgroup_is(binary()) :: late({:ok, boolean()} | fault())
  def cgroup_is(_path), do: not_loaded()

  @spec cgroup_wait_empty(binary(), non_neg_integer()) :: late({:ok, boolean()} | fault())
  def cgroup_wait_empty(_path, _milliseconds), do: not_loaded()

  # -- mount -------------------------------------------------------------------------------------

  @type lookup :: {root :: binary(), no_symlinks :: boolean()}

  @type answer :: :ok | fault()

  @spec mount_mount(
          agent(),
          places(),
          {source :: binary(), target :: binary(), fstype :: binary(), non_neg_integer(),
           binary()},
          create :: boolean(),
          lookup()
        ) :: late(answer())
  def mount_mount(_agent, _places, _what, _create, _lookup), do: not_loaded()

  @spec mount_umount(agent(), places(), binary(), non_neg_integer(), lookup()) ::
          late(answer())
  def mount_umount(_agent, _places, _target, _flags, _lookup), do: not_loaded()

  @spec mount_pivot_root(agent(), places(), binary(), binary()) :: late(answer())
  def mount_pivot_root(_agent, _places, _new_root, _put_old), do: not_loaded()

  # MOUNT_ATTR_* to set and to clear, one of MS_SHARED, MS_SLAVE, MS_PRIVATE and MS_UNBINDABLE or
  # 0, and whether the mounts below change too.
  @type attributes ::
          {set :: non_neg_integer(), clear :: non_neg_integer(), propagation :: non_neg_integer(),
           recursive :: boolean()}

  # `idmap` has the user namespace of the mount's mapping, or is "".
  @spec mount_bind(
          agent(),
          places(),
          {source :: binary(), target :: binary(), create :: boolean()},
          attributes(),
          idmap :: target(),
          lookup()
        ) :: late(answer())
  def mount_bind(_agent, _places, _what, _attributes, _idmap, _lookup), do: not_loaded()

  @spec mount_setattr(agent(), places(), binary(), attributes(), idmap :: target(), lookup()) ::
          late(answer())
  def mount_setattr(_agent, _places, _target, _attributes, _idmap, _lookup), do: not_loaded()

  # -- netfilter ---------------------------------------------------------------------------------

  @typedoc """
  A template's number. At its first use the number comes with the template's bytes and the
  positions of its placeholders; nil is the number of a template that is not cached.
  """
  @type nft_template ::
          non_neg_integer()
          | {non_neg_integer() | nil, binary(),
             [{expression :: non_neg_integer(), attribute :: 1..0x3FFF}]}

  @spec netfilter_rules([binary()]) :: [
          {family :: byte() | nil, table :: binary(), chain :: binary(),
           handle :: non_neg_integer() | nil, userdata :: binary() | nil, nft_template(),
           placeholders :: tuple()}
        ]
  def netfilter_rules(_bodies), do: not_loaded()

  # -- netlink -----------------------------------------------------------------------------------

  @opaque netlink :: reference()
  @opaque netlink_dump :: reference()
  @type netlink_form :: :raw | :rtnl
  @type netlink_answer ::
          {:ok, [tuple()] | {netlink_dump(), count :: pos_integer()}, [netlink_failure()],
           interrupted :: boolean()}
  @type netlink_failure ::
          {seq :: non_neg_integer(), errno(), offset :: non_neg_integer() | nil,
           text :: binary() | nil, missing :: non_neg_integer() | nil}

  @spec netlink_open(agent(), non_neg_integer(), target()) ::
          late({:ok, netlink()} | fault())
  def netlink_open(_agent, _protocol, _target), do: not_loaded()

  @spec netlink_close(netlink()) :: late(:ok)
  def netlink_close(_socket), do: not_loaded()

  @spec netlink_enter(netlink()) :: {:ok | :wait, pos_integer()}
  def netlink_enter(_socket), do: not_loaded()

  @spec netlink_request(
          netlink(),
          non_neg_integer(),
          binary(),
          {pos_integer(), pos_integer()}
        ) :: late(netlink_answer() | :busy | fault())
  def netlink_request(_socket, _ticket, _bytes, _seqs), do: not_loaded()

  @spec netlink_transact(
          netlink(),
          non_neg_integer(),
          [binary()],
          {pos_integer(), pos_integer()}
        ) :: late(netlink_answer() | :busy | fault())
  def netlink_transact(_socket, _ticket, _parts, _seqs), do: not_loaded()

  @spec netlink_call(
          netlink(),
          non_neg_integer(),
          [{type :: 0..65535, flags :: 0..65535, payload :: binary()}],
          pos_integer(),
          netlink_form()
        ) :: late(netlink_answer() | :busy | fault())
  def netlink_call(_socket, _ticket, _requests, _first, _form), do: not_loaded()

  @spec netlink_take(netlink_dump()) :: [tuple()]
  def netlink_take(_dump), do: not_loaded()

  @spec netlink_drain(netlink(), netlink_form(), pos_integer()) ::
          {:ok, [tuple()], :empty | :more | :overrun, bytes :: non_neg_integer()} | fault()
  def netlink_drain(_socket, _form, _most), do: not_loaded()

  @spec netlink_port(netlink()) :: {:ok, non_neg_integer()} | fault()
  def netlink_port(_socket), do: not_loaded()

  @spec netlink_watch(netlink(), reference()) :: :ok | fault()
  def netlink_watch(_socket, _reference), do: not_loaded()

  @spec netlink_membership(netlink(), pos_integer(), boolean()) :: late(:ok | fault())
  def netlink_membership(_socket, _group, _join?), do: not_loaded()

  @spec netlink_set_rcvbuf(netlink(), pos_integer()) :: :ok | fault()
  def netlink_set_rcvbuf(_socket, _bytes), do: not_loaded()

  @spec netlink_rcvbuf(netlink()) :: {:ok, pos_integer()} | fault()
  def netlink_rcvbuf(_socket), do: not_loaded()

  @spec netlink_sysctl(netlink(), path :: binary()) :: late({:ok, binary()} | fault())
  def netlink_sysctl(_socket, _path), do: not_loaded()

  @spec netlink_set_buffer(netlink(), pos_integer()) :: :ok
  def netlink_set_buffer(_socket, _bytes), do: not_loaded()

  @spec netlink_decode(binary(), netlink_form()) :: {:ok | :malformed, [tuple()]}
  def netlink_decode(_bytes, _form), do: not_loaded()

  @spec netns_open(target()) :: late({:ok, {reference(), non_neg_integer()}} | fault())
  def netns_open(_target), do: not_loaded()

  @spec netns_release(reference()) :: :ok
  def netns_release(_namespace), do: not_loaded()

  @spec netlink_open_fd(target(), non_neg_integer()) ::
          late({:ok, non_neg_integer()} | fault())
  def netlink_open_fd(_target, _protocol), do: not_loaded()

  @spec netlink_bind_fd(integer(), non_neg_integer()) :: late(:ok | fault())
  def netlink_bind_fd(_fd, _groups), do: not_loaded()

  @spec netlink_close_fd(integer()) :: late(:ok)
  def netlink_close_fd(_fd), do: not_loaded()

  # -- network namespaces ------------------------------------------------------------------------

  # They end with `owner`, which is told of by ESRCH where it has ended already.
  @spec netns_make(owner :: pid()) ::
          late({:ok, {held_netns(), non_neg_integer()}} | fault())
  def netns_make(_owner), do: not_loaded()

  @spec netns_hold(target(), owner :: pid()) ::
          late({:ok, {held_netns(), non_neg_integer()}} | fault())
  def netns_hold(_target, _owner), do: not_loaded()

  @spec netns_close(held_netns()) :: :ok
  def netns_close(_held), do: not_loaded()

  @spec netns_number(held_netns()) ::
          {:ok, {descriptor :: non_neg_integer(), inode :: pos_integer()}} | fault()
  def netns_number(_held), do: not_loaded()

  @spec netns_inode(target()) :: late({:ok, pos_integer()} | fault())
  def netns_inode(_target), do: not_loaded()

  @spec netns_processes(target()) :: late({:ok, [pos_integer()]} | fault())
  def netns_processes(_target), do: not_loaded()

  @spec netns_create(binary(), binary(), target() | :new) :: late(:ok | fault())
  def netns_create(_directory, _name, _source), do: not_loaded()

  @spec netns_delete(binary(), binary()) :: late(:ok | fault())
  def netns_delete(_directory, _name), do: not_loaded()

  # -- process -----------------------------------------------------------------------------------

  @opaque image :: reference()

  @spec process_image(Path.t()) :: {:ok, {:sealed | :read_only, image()}} | fault()
  def process_image(_path), do: not_loaded()

  @spec process_image_path(image()) :: {:ok, binary()} | fault()
  def process_image_path(_image), do: not_loaded()

  @spec process_calls() ::
          {{memfd_create :: non_neg_integer(), clone3 :: non_neg_integer(),
            close_range :: non_neg_integer()},
           {number_in_proc :: non_neg_integer(), pid :: pos_integer()}}
  def process_calls, do: not_loaded()

  @spec process_continue(pos_integer()) :: :ok | fault()
  def process_continue(_pid), do: not_loaded()

  # -- seccomp -----------------------------------------------------------------------------------

  # Numbers throughout: linux/audit.h's architecture, SECCOMP_RET_* with data, {number, action,
  # [{arg, op, mask, value}]}. At most 4096 rules and conditions: it runs on an ordinary
  # scheduler.
  @spec seccomp_compile(non_neg_integer(), non_neg_integer(), [
          {non_neg_integer(), non_neg_integer(),
           [{0..5, 0..6, non_neg_integer(), non_neg_integer()}]}
        ]) :: {:ok, binary()} | {:error, :too_long}
  def seccomp_compile(_arch, _default, _rules), do: not_loaded()

  # -- sysctl ------------------------------------------------------------------------------------

  @spec sysctl_read(agent(), places(), [binary()]) :: late({:ok, binary()} | fault())
  def sysctl_read(_agent, _places, _paths), do: not_loaded()

  @spec sysctl_write(agent(), places(), [binary()], binary()) :: late(:ok | fault())
  def sysctl_write(_agent, _places, _paths, _data), do: not_loaded()

  @spec sysctl_list(agent(), places(), [binary()]) ::
          late({:ok, [{binary(), binary()}]} | fault())
  def sysctl_list(_agent, _places, _paths), do: not_loaded()

  # -- tty ---------------------------------------------------------------------------------------

  @typedoc "`{rows, cols, xpixel, ypixel}`"
  @type window_size ::
          {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer()}
  @opaque terminal :: reference()

  @spec tty_version() :: binary()
  def tty_version, do: not_loaded()

  @spec tty_open_raw() :: {:ok, {non_neg_integer(), binary()}} | fault()
  def tty_open_raw, do: not_loaded()

  @spec tty_restore(integer(), binary()) :: :ok | fault()
  def tty_restore(_fd, _saved), do: not_loaded()

  @spec tty_window_size(integer()) :: {:ok, window_size()} | fault()
  def tty_window_size(_fd), do: not_loaded()

  @spec tty_set_window_size(integer(), window_size()) :: :ok | fault()
  def tty_set_window_size(_fd, _size), do: not_loaded()

  @spec tty_signal_disposition(atom()) :: :default | :ignore | :handle
  def tty_signal_disposition(_signal), do: not_loaded()

  @spec terminal_open(boolean()) :: {:ok, terminal()} | fault()
  def terminal_open(_standard), do: not_loaded()

  @spec terminal_start(terminal(), pid(), non_neg_integer()) :: :ok | fault()
  def terminal_start(_terminal, _pid, _id), do: not_loaded()

  @spec terminal_want(terminal()) :: :ok
  def terminal_want(_terminal), do: not_loaded()

  @spec terminal_write(terminal(), binary()) :: :ok | fault()
  def terminal_write(_terminal, _bytes), do: not_loaded()

  @spec terminal_window_size(terminal()) :: {:ok, window_size()} | fault()
  def terminal_window_size(_terminal), do: not_loaded()

  @spec terminal_reapply(terminal()) :: :ok | fault()
  def terminal_reapply(_terminal), do: not_loaded()

  @spec terminal_close(terminal()) :: :ok | fault()
  def terminal_close(_terminal), do: not_loaded()

  # -- files of the kernel's file systems --------------------------------------------------------

  # `magic` is the file system's type (linux/magic.h); a file of another one is EXDEV.
  @spec kernel_file_read(binary(), non_neg_integer()) :: late({:ok, binary()} | fault())
  def kernel_file_read(_path, _magic), do: not_loaded()

  @spec kernel_file_write(binary(), non_neg_integer(), binary()) :: late(:ok | fault())
  def kernel_file_write(_path, _magic, _data), do: not_loaded()

  @spec namespace_kind(binary()) :: late({:ok, flag :: pos_integer()} | fault())
  def namespace_kind(_path), do: not_loaded()

  # -- procfs ------------------------------------------------------------------------------------

  @spec procfs_read(pos_integer() | pin(), binary()) :: late({:ok, binary()} | fault())
  def procfs_read(_target, _name), do: not_loaded()

  @spec procfs_write(pos_integer() | pin(), binary(), binary()) :: late(:ok | fault())
  def procfs_write(_target, _name, _data), do: not_loaded()
end
