defmodule Linx.Test.Machine do
  @moduledoc false
  # Another machine: a root filesystem that bin/test-package unpacked, in which commands run.
  # Each has namespaces of its own and an overlay whose upper layer is in memory, so that all but
  # what it writes to /srv is gone when it ends.

  @enforce_keys [:tree, :folder]
  defstruct [:tree, :folder, beam: nil]

  @type t :: %__MODULE__{tree: Path.t(), folder: Path.t(), beam: Path.t() | nil}

  # pivot_root(2), not chroot(2), in which no user namespace may be made. The overlay's folders
  # are in a tmpfs at $2/stage.
  @script ~S"""
  set -e
  tree=$1 folder=$2 beam=$3 read_only=$4
  shift 4
  mount -t tmpfs tmpfs "$folder/stage"
  mkdir "$folder/stage/upper" "$folder/stage/work" "$folder/stage/root"
  mount -t overlay overlay "$folder/stage/root" \
    -o "lowerdir=$tree,upperdir=$folder/stage/upper,workdir=$folder/stage/work"
  root=$folder/stage/root
  mount --bind "$folder/srv" "$root/srv"
  if [ -n "$read_only" ]; then
    mount --bind "$root/srv/$read_only" "$root/srv/$read_only"
    mount -o remount,bind,ro "$root/srv/$read_only"
  fi
  if [ -n "$beam" ]; then
    mkdir -p "$root$beam"
    mount --bind "$beam" "$root$beam"
    mount -o remount,bind,ro "$root$beam"
  fi
  mount --rbind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  ip link set lo up
  cd "$root"
  mkdir old
  pivot_root . old
  exec chroot . sh -c 'umount -l /old && rmdir /old && exec "$@"' sh "$@"
  """

  @doc "A machine with the files of `tree`, and /srv from a folder that is made in `folder`."
  @spec new(Path.t(), Path.t(), Path.t() | nil) :: t()
  def new(tree, folder, beam \\ nil) do
    File.mkdir_p!(Path.join(folder, "stage"))
    File.mkdir_p!(Path.join(folder, "srv"))
    %__MODULE__{tree: tree, folder: folder, beam: beam}
  end

  @doc "The path on this machine of a path below its /srv."
  @spec srv(t(), Path.t()) :: Path.t()
  def srv(machine, path), do: Path.join([machine.folder, "srv", path])

  @doc """
  Runs a command in it, as root and with no network but lo.

    * `:env`, what is added to PATH, HOME and LC_ALL
    * `:in`, its working directory below /srv
    * `:user`, the uid and gid to run as
    * `:read_only`, the folder of /srv that cannot be written
  """
  @spec run(t(), [String.t()], keyword()) :: {String.t(), non_neg_integer()}
  def run(machine, command, opts \\ []) do
    args =
      ~w(--mount --propagation private --pid --fork --kill-child --net --uts --ipc -- sh -c) ++
        [@script, "sh", machine.tree, machine.folder, machine.beam || ""] ++
        [opts[:read_only] || ""] ++ inside(machine, command, opts)

    System.cmd("unshare", args, stderr_to_stdout: true, cd: "/")
  end

  defp inside(machine, command, opts) do
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    beam = if machine.beam, do: machine.beam <> "/usr/bin:", else: ""

    ~w(env -i HOME=/root LC_ALL=C.UTF-8) ++
      ["PATH=#{beam}#{path}"] ++
      for({name, value} <- opts[:env] || [], do: "#{name}=#{value}") ++
      user(opts[:user]) ++
      ["sh", "-c", ~S(cd "$0" && exec "$@"), Path.join("/srv", opts[:in] || "")] ++ command
  end

  defp user(nil), do: []
  defp user(id), do: ["setpriv", "--reuid=#{id}", "--regid=#{id}", "--clear-groups", "--"]
end
