defmodule Linx.Sysctl do
  @moduledoc """
  The kernel's tunables, `/proc/sys`: what sysctl(8) reads and writes.

  Some 1 500 knobs, each a file; a key writes its path with dots, `net.ipv4.ip_forward` for
  `/proc/sys/net/ipv4/ip_forward`. The verbs read, write and list. They do not read `sysctl.conf`;
  making a whole map of values true is `Linx.Sysctl.Reconcile`'s work.

      iex> Linx.Sysctl.read("kernel.ostype")
      {:ok, "Linux"}

  ## Whose value: `:in`

  Which value a knob shows depends on the namespaces of who looks:

  | Keys | Belong to the namespace |
  |---|---|
  | `net.*` | network |
  | `kernel.hostname`, `kernel.domainname` | UTS |
  | `kernel.shm*`, `kernel.msg*`, `kernel.sem*`, `fs.mqueue.*` | IPC |
  | `user.*` | user |
  | `kernel.ns_last_pid`, `kernel.pid_max`, `vm.memfd_noexec` | PID |
  | the rest | the whole machine |

  Each verb takes `:in`:

    * `:self`, the default: the VM's namespaces, by plain file operations;
    * `{:pid, n}`: those of process `n`;
    * `{:path, p}`: the one whose file is `p`, of whatever type, for instance `/run/netns/blue`;
    * a session of `Linx.Process`: those of its workload. A pid is a number that the kernel gives
      out again; a session cannot be mistaken. Once its process has ended a verb gives
      `{:error, :no_process}`, before it has one `{:error, :not_ready}`.

  A thread of its own joins the namespace, makes the call and ends; the VM's threads stay in the
  VM's namespaces. For `user.*`, and for a VM without root whose workload has its own user
  namespace, an agent (the program behind a session of `Linx.Process`) runs once, because no
  thread may join a user namespace. The values come through the VM's own `/proc`, never through
  one that the workload has mounted. A knob of the whole machine is the same from everywhere, and
  is changed for all by whoever may.

  ## Errors

  `{:error, %Linx.Sysctl.Error{}}` is the kernel's. Input that no kernel is asked about is
  `{:error, {:bad_key, key}}`, `{:error, {:bad_value, reason}}` or `{:error, {:bad_in, value}}`;
  another option raises `ArgumentError`.

  Source: proc_sys(5), Documentation/admin-guide/sysctl, namespaces(7).
  """

  alias Linx.Sysctl.{Entry, Error, Key, Kinds, Native}
  alias Linx.{Errno, KernelFile, Target}

  @typedoc "Whose value; see the module's text."
  @type in_target() ::
          :self
          | {:pid, pos_integer()}
          | {:path, String.t()}
          | Linx.Process.t()
          | Linx.Netns.t()

  @typedoc """
  A key in dot form: parts of letters, digits, `_` and `-`. An interface with dots in its name is
  found all the same: `net.ipv4.conf.eth0.10.forwarding`.

  Or a list of the path's names, whatever their characters (an interface may be called `a..b`,
  `eth0@1` or `c~1`): `["net", "ipv4", "conf", "eth0@1", "forwarding"]`. It has one reading.
  """
  @type key() :: String.t() | [String.t(), ...]

  @typedoc "Options of every verb: `:in`."
  @type opts() :: [{:in, in_target()}]

  @typedoc """
  A value to write: a number, a text of one line, or numbers for a knob that takes several.
  """
  @type value() :: integer() | binary() | [integer()]

  @typedoc "What a verb gives when it did not succeed."
  @type failure() :: Error.t() | {:bad_key, term()} | {:bad_in, term()} | :not_ready | :no_process

  @doc """
  The value of `key`, without the white space behind it.

      iex> Linx.Sysctl.read("kernel.ostype")
      {:ok, "Linux"}

  Errors worth matching: `:enoent` (no such knob), `:eacces` and `:eperm`, `:eio` (it cannot be
  read); the steps of the way into other namespaces. Source: proc_sys(5).
  """
  @spec read(key(), opts()) :: {:ok, binary()} | {:error, failure()}
  def read(key, opts \\ []) do
    with {:ok, paths} <- Key.paths(key),
         {:ok, target} <- target(opts),
         {:ok, content} <- at(target, :read, paths) |> answer(:read, key, paths, target) do
      {:ok, trim(content)}
    end
  end

  @doc """
  The value of `key` as one integer.

      iex> {:ok, n} = Linx.Sysctl.read_int("kernel.pid_max")
      iex> n > 0
      true

  Errors: those of `read/2`, and `{:bad_value, {:not_an_integer, text}}`. Source: proc_sys(5).
  """
  @spec read_int(key(), opts()) :: {:ok, integer()} | {:error, failure() | {:bad_value, term()}}
  def read_int(key, opts \\ []) do
    with {:ok, text} <- read(key, opts) do
      case Integer.parse(text) do
        {number, ""} -> {:ok, number}
        _ -> {:error, {:bad_value, {:not_an_integer, text}}}
      end
    end
  end

  @doc """
  The value of `key` as the integers that it lists.

      iex> {:ok, [_, _, _, _]} = Linx.Sysctl.read_ints("kernel.printk")
      iex> true
      true

  Errors: those of `read/2`, and `{:bad_value, {:not_all_integers, text}}`. Source: proc_sys(5).
  """
  @spec read_ints(key(), opts()) ::
          {:ok, [integer()]} | {:error, failure() | {:bad_value, term()}}
  def read_ints(key, opts \\ []) do
    with {:ok, text} <- read(key, opts) do
      numbers = for word <- String.split(text), do: Integer.parse(word)

      if Enum.all?(numbers, &match?({_, ""}, &1)),
        do: {:ok, Enum.map(numbers, &elem(&1, 0))},
        else: {:error, {:bad_value, {:not_all_integers, text}}}
    end
  end

  @doc """
  Writes `value` to `key`, in one write(2).

  An integer is written in decimal, integers with spaces between, a text as it is. A text with a
  line end or a NUL is refused: the kernel would take what stands before it and drop the rest.
  `""` empties a knob that holds a text.

      :ok = Linx.Sysctl.write("net.ipv4.ip_forward", 1, in: session)
      :ok = Linx.Sysctl.write("net.ipv4.tcp_rmem", [4096, 131_072, 6_291_456])

  Errors: `{:bad_value, {:contains, :newline | :nul}}`, `{:bad_value, {:not_all_integers, list}}`,
  `{:bad_value, {:bad_shape, value}}`; the kernel's `:eacces` and `:eperm`, `:enoent`, `:einval`
  (out of its range), and those of `read/2`. Source: proc_sys(5).
  """
  @spec write(key(), value(), opts()) :: :ok | {:error, failure() | {:bad_value, term()}}
  def write(key, value, opts \\ []) do
    with {:ok, paths} <- Key.paths(key),
         {:ok, data} <- render(value),
         {:ok, target} <- target(opts) do
      at(target, {:write, data}, paths) |> answer(:write, key, paths, target)
    end
  end

  @doc """
  Every knob that can be read, sorted by key.

  Those that may not be read, or only written, are left out.

  Errors: `{:error, %Linx.Sysctl.Error{}}` where there is no `/proc/sys`. Source: proc_sys(5).
  """
  @spec list() :: {:ok, [Entry.t()]} | {:error, failure()}
  def list, do: list_below("", [""], [])

  @doc """
  The knobs below `prefix`, or with options in place of it all knobs of other namespaces.

      iex> {:ok, [entry]} = Linx.Sysctl.list("kernel.ostype")
      iex> entry
      #Linx.Sysctl.Entry<kernel.ostype = "Linux">

  Errors: as `list/2`. Source: proc_sys(5).
  """
  @spec list(key() | opts()) :: {:ok, [Entry.t()]} | {:error, failure()}
  def list([name | _] = prefix) when is_binary(name), do: list(prefix, [])
  def list(opts) when is_list(opts), do: list_below("", [""], opts)
  def list(prefix), do: list(prefix, [])

  @doc """
  The knobs below `prefix` as the namespaces of `:in` show them, sorted by key. A prefix that is a
  knob itself gives that.

  All of it is one call into the kernel's side, however many knobs.

      {:ok, entries} = Linx.Sysctl.list("net.ipv4", in: session)

  `read/2` takes each key that this gives: names that dots cannot express come as lists
  (`t:key/0`).

  Errors: `{:bad_key, prefix}`; `:enoent` (nothing of that name), and those of `read/2`. Source:
  proc_sys(5).
  """
  @spec list(key(), opts()) :: {:ok, [Entry.t()]} | {:error, failure()}
  def list(prefix, opts) do
    with {:ok, paths} <- Key.paths(prefix), do: list_below(prefix, paths, opts)
  end

  @doc """
  Whether there is a `/proc/sys` here.

  Source: proc_sys(5).
  """
  @spec supported?() :: boolean()
  def supported?, do: KernelFile.readable?("/proc/sys/kernel/ostype")

  # -- the verbs' common way ---------------------------------------------------------------------

  defp list_below(prefix, paths, opts) do
    with {:ok, target} <- target(opts),
         {:ok, found} <- at(target, :list, paths) |> answer(:list, prefix, paths, target) do
      present = MapSet.new(found, &elem(&1, 0))

      entries =
        for {path, value} <- found,
            do: %Entry{key: Key.of_path(path, present), value: trim(value)}

      {:ok, Enum.sort_by(entries, & &1.key)}
    end
  end

  defp target(opts) do
    opts = Keyword.validate!(opts, in: :self)
    Target.resolve(opts[:in])
  end

  defp at(target, work, [path | _] = paths) do
    with {:ok, places} <- Native.places(target, path) do
      case work do
        :read -> Native.read_at(places, paths)
        :list -> with({:ok, all} <- Native.list_at(places, paths), do: of_kind(all, target, path))
        {:write, data} -> Native.write_at(places, paths, data)
      end
    end
  end

  # A namespace file is of one kind: what belongs to another kind would be the VM's own.
  defp of_kind(entries, file, path) when (is_binary(file) and file != "") or is_tuple(file) do
    with nil <- Kinds.of(path), {:ok, kind} <- Native.kind(file) do
      {:ok, Enum.filter(entries, fn {path, _value} -> Kinds.of(path) in [nil, kind] end)}
    else
      {:error, fault} -> {:error, fault}
      _kind -> {:ok, entries}
    end
  end

  defp of_kind(entries, _target, _path), do: {:ok, entries}

  defp answer({:error, {stage, errno}}, _operation, key, paths, target) do
    if is_atom(errno) and Target.ended?(target, Errno.code(errno)),
      do: {:error, :no_process},
      else: {:error, Error.from_native({stage, errno}, key, Key.absolute(hd(paths)))}
  end

  defp answer({:error, errno}, operation, key, paths, _target) when is_atom(errno),
    do: {:error, Error.from_posix(errno, key, Key.absolute(hd(paths)), operation)}

  defp answer(answer, _operation, _key, _paths, _target), do: answer

  defp render(value) when is_integer(value), do: {:ok, Integer.to_string(value)}

  # The kernel does nothing for a write of nothing; a line end alone is the empty text.
  defp render(""), do: {:ok, "\n"}

  defp render(value) when is_binary(value) do
    cond do
      String.contains?(value, "\n") -> {:error, {:bad_value, {:contains, :newline}}}
      String.contains?(value, "\0") -> {:error, {:bad_value, {:contains, :nul}}}
      true -> {:ok, value}
    end
  end

  defp render([_ | _] = values) do
    if not List.improper?(values) and Enum.all?(values, &is_integer/1),
      do: {:ok, Enum.map_join(values, " ", &Integer.to_string/1)},
      else: {:error, {:bad_value, {:not_all_integers, values}}}
  end

  defp render(value), do: {:error, {:bad_value, {:bad_shape, value}}}

  # Bytes, not characters: a value need not be UTF-8.
  defp trim(content), do: trim(content, byte_size(content))

  defp trim(content, size) when size > 0 do
    if :binary.at(content, size - 1) in ~c" \t\n\v\f\r",
      do: trim(content, size - 1),
      else: binary_part(content, 0, size)
  end

  defp trim(_content, 0), do: ""
end
