defmodule Linx.Cgroup do
  @moduledoc """
  Control groups, version 2: what a group of processes may use, and what it did use.

  A cgroup is a directory below `/sys/fs/cgroup`, and each of its knobs and counters is a file in
  it. The verbs make and remove the directories, and read and write the files; the path is the
  handle. Where a cgroup lies and what it is called is the caller's choice. Version 1 is not
  served. Nothing watches a cgroup here; keeping its limits at given values is
  `Linx.Cgroup.Reconcile`'s work.

      {:ok, session} = Linx.Process.spawn(argv: ["/usr/bin/worker"])
      {:ok, cg} = Linx.Cgroup.create("/sys/fs/cgroup/myorg/web-42")
      :ok = Linx.Cgroup.set_memory_max(cg, 256 * 1024 * 1024)
      :ok = Linx.Cgroup.add_process(cg, session)
      :ok = Linx.Process.proceed(session)

  The child is placed while it is parked, so its first instruction is under the limits.

  A limit exists only where its controller is enabled in the parent's `cgroup.subtree_control`:
  see `enable_controllers/2`. Where it is not, a setter's error is `:enoent`.

  ## Where there is no cgroup

  `/sys/fs/cgroup` may be a plain directory (a container without its mount) or the root of version
  1, and a path may lead anywhere. Each verb therefore looks at the file system first (statfs(2)):
  outside cgroup2 it is `{:error, %Linx.Cgroup.Error{errno: :not_cgroup2}}`, and nothing is made,
  read or written. The one exception is a temporary directory, below `System.tmp_dir!/0` or a
  folder called `tmp` such as ExUnit's: there plain files stand in for a cgroup's, for a test on a
  machine without one. They limit nothing.

  ## Errors

  `{:error, %Linx.Cgroup.Error{}}` carries the kernel's errno and the file. A path that is not
  absolute, and a value that a setter does not take, raise `ArgumentError` before anything is
  touched.

  Source: Documentation/admin-guide/cgroup-v2.rst, cgroups(7).
  """

  alias Linx.Cgroup.{Error, Events, Keyed, Native, Pressure, Stats}
  alias Linx.{KernelFile, Procfs}

  @typedoc "The absolute path of a cgroup's directory."
  @type cgroup() :: String.t()

  @typedoc """
  Bytes a second (`:rbps`, `:wbps`) and operations a second (`:riops`, `:wiops`), each a number or
  `:max`.
  """
  @type io_limit() :: {:rbps | :wbps | :riops | :wiops, pos_integer() | :max}

  # A week.
  @longest 604_800_000

  # -- directories -------------------------------------------------------------------------------

  @doc """
  Makes the cgroup at `path`. One that is there already is success too.

  Its parent has to exist. A new cgroup has no limits and no processes.

      {:ok, cg} = Linx.Cgroup.create("/sys/fs/cgroup/myorg")

  Errors worth matching: `:enoent` (no parent), `:not_cgroup2` (a directory of another file
  system: nothing is made), `:eacces` and `:eperm`, `:eagain` (the hierarchy's limit on their
  number). Source: cgroup-v2.rst, "Organizing Processes and Threads".
  """
  @spec create(Path.t()) :: {:ok, cgroup()} | {:error, Error.t()}
  def create(path) do
    path = path |> IO.chardata_to_string() |> whole()

    with :ok <- new_place(path), do: make(path)
  end

  defp make(path) do
    case File.mkdir(path) do
      :ok ->
        {:ok, path}

      {:error, :eexist} ->
        if File.dir?(path), do: {:ok, path}, else: error(:eexist, path, :create)

      {:error, errno} ->
        error(errno, path, :create)
    end
  end

  # That which is there, or the directory that it would be made in. What is neither is left to
  # mkdir(2), which says so.
  defp new_place(path) do
    case Native.check(path) do
      {:error, :not_cgroup2} ->
        error(:not_cgroup2, path, :create)

      :ok ->
        :ok

      {:error, _absent} ->
        if Native.check(Path.dirname(path)) == {:error, :not_cgroup2},
          do: error(:not_cgroup2, path, :create),
          else: :ok
    end
  end

  @doc """
  Removes the cgroup at `path`.

  The processes of a cgroup that was killed, or of a session that has ended, may be on their way
  out still. With `timeout: ms` this waits so long for the last of them: for the kernel's notice
  of a change of `cgroup.events`, not by trying again and again. A child cgroup is not waited for.

      :ok = Linx.Cgroup.kill(cg)
      :ok = Linx.Cgroup.destroy(cg, timeout: 500)

  Errors worth matching: `:ebusy` (a process or a child cgroup is in it; a zombie is not),
  `:enoent`, `:not_cgroup2`. Source: rmdir(2), poll(2), cgroup-v2.rst, "cgroup.events".
  """
  @spec destroy(cgroup(), timeout: non_neg_integer()) :: :ok | {:error, Error.t()}
  def destroy(path, opts \\ []) do
    path = whole(path)
    [timeout: timeout] = Keyword.validate!(opts, timeout: 0)

    if not (is_integer(timeout) and timeout in 0..@longest),
      do: raise(ArgumentError, ":timeout is a number of milliseconds, got: #{inspect(timeout)}")

    with :ok <- place(path, path, :destroy),
         do: path |> remove(deadline(timeout)) |> result(path, :destroy)
  end

  defp remove(path, deadline) do
    with {:error, :ebusy} <- File.rmdir(path),
         true <- now() < deadline,
         {:left, true} <- {:left, Native.await_empty(path, deadline - now())} do
      # A process that came meanwhile is waited for as well; a child cgroup is not.
      case File.rmdir(path) do
        {:error, :ebusy} ->
          if populated?(path), do: remove(path, deadline), else: {:error, :ebusy}

        answer ->
          answer
      end
    else
      {:left, false} -> {:error, :ebusy}
      false -> {:error, :ebusy}
      answer -> answer
    end
  end

  defp populated?(path), do: match?({:ok, %Events{populated: true}}, events(path))

  defp deadline(timeout), do: now() + timeout
  defp now, do: System.monotonic_time(:millisecond)

  @doc """
  Moves a process, with all its threads, to `cg`. What it starts from then on is born there.

  `pid` is a number, or a session of `Linx.Process`: then the number is the workload's and it is
  seen alive before the write. With `init: true` its reaper moves, too. cgroupfs takes nothing but
  numbers, so what `spawn/1` places by its `:cgroup` option is safer still.

  Errors worth matching: `:esrch` (no such process, for a session too), `:ebusy` (`cg` has enabled
  controllers for its children, and so takes no processes), `:enoent` (no such cgroup). A session
  before its checkpoint gives `:esrch`. Source: cgroup-v2.rst, "cgroup.procs".
  """
  @spec add_process(cgroup(), pos_integer() | Linx.Process.t()) :: :ok | {:error, Error.t()}
  def add_process(cg, session) when is_pid(session) do
    case Procfs.pid(session) do
      {:ok, pid} -> with :ok <- add_process(cg, pid), do: add_reaper(cg, session)
      {:error, _} -> error(:esrch, Path.join(cg, "cgroup.procs"), :add_process)
    end
  end

  # 0 would be the process that writes: the VM itself.
  def add_process(cg, pid) when is_integer(pid) and pid > 0,
    do: put(cg, "cgroup.procs", Integer.to_string(pid), :add_process)

  def add_process(_cg, other),
    do: raise(ArgumentError, "expected a pid or a session, got: #{inspect(other)}")

  # It outlives the workload, so its number is its own while the session has not ended.
  defp add_reaper(cg, session) do
    case Linx.Process.info(session) do
      {:ok, %{reaper_pid: pid}} when pid != nil -> add_process(cg, pid)
      _ -> :ok
    end
  end

  @doc """
  Enables controllers for the children of `cg`, one write each, so that one that is refused does
  not take the others down.

  Controllers are atoms: `:cpu`, `:cpuset`, `:io`, `:memory`, `:pids`, `:hugetlb`, `:rdma`,
  `:misc`, and whatever else the kernel has. `cgroup.controllers` lists those that `cg` itself was
  given. What is no name of one controller (the kernel takes several words, and `-` before one
  takes it away) raises `ArgumentError` before anything is written.

      :ok = Linx.Cgroup.enable_controllers(cg, [:cpu, :memory, :pids])

  Errors: `{:partial, [{controller, %Linx.Cgroup.Error{}}]}` names those that were refused, with
  `:enoent` (not given to `cg`), `:einval` (no such controller) or `:ebusy` (`cg` has processes of
  its own); the others are enabled. Source: cgroup-v2.rst, "Controlling Controllers".
  """
  @spec enable_controllers(cgroup(), [atom()]) :: :ok | {:partial, [{atom(), Error.t()}]}
  def enable_controllers(cg, controllers) do
    for controller <- controllers, not (to_string(controller) =~ ~r/\A[a-z0-9_]+\z/) do
      raise ArgumentError, "no controller is called #{inspect(controller)}"
    end

    failures =
      for controller <- controllers,
          {:error, error} <- [write(cg, "cgroup.subtree_control", "+#{controller}")],
          do: {controller, error}

    if failures == [], do: :ok, else: {:partial, failures}
  end

  # -- files -------------------------------------------------------------------------------------

  @doc """
  The content of the interface file `file` of `cg`, without the white space behind it.

      {:ok, "max"} = Linx.Cgroup.read(cg, "memory.max")

  Errors worth matching: `:enoent` (no such cgroup, or its controller is not enabled). Source:
  cgroup-v2.rst.
  """
  @spec read(cgroup(), String.t()) :: {:ok, String.t()} | {:error, Error.t()}
  def read(cg, file) do
    with {:ok, content} <- slurp(cg, file, :read), do: {:ok, String.trim_trailing(content)}
  end

  @doc """
  Writes `value`, as `to_string/1` has it, to the interface file `file` of `cg`, in one write(2).
  `""` empties a file that holds a list, such as `cpuset.cpus`.

      :ok = Linx.Cgroup.write(cg, "memory.swap.max", 0)

  Errors worth matching: `:enoent`, `:einval`, `:erange`, `:ebusy`, `:eacces`. Source:
  cgroup-v2.rst.
  """
  @spec write(cgroup(), String.t(), term()) :: :ok | {:error, Error.t()}
  def write(cg, file, value), do: put(cg, file, text(to_string(value)), :write)

  # A write of nothing is none, and would be answered with :ok all the same; a line end alone is
  # the empty text.
  defp text(""), do: "\n"
  defp text(value), do: value

  # -- limits ------------------------------------------------------------------------------------

  @doc """
  Sets the hard memory limit of `cg` (`memory.max`): bytes, or `:max` for none.

  Below what is in use the kernel reclaims, and kills if it must, before this returns.

      :ok = Linx.Cgroup.set_memory_max(cg, 256 * 1024 * 1024)

  Errors worth matching: `:enoent` (the memory controller is not enabled in the parent). Source:
  cgroup-v2.rst, "memory.max".
  """
  @spec set_memory_max(cgroup(), non_neg_integer() | :max) :: :ok | {:error, Error.t()}
  def set_memory_max(cg, bytes), do: write(cg, "memory.max", amount(bytes, "bytes"))

  @doc """
  Sets the mark above which `cg` is slowed down and its memory reclaimed (`memory.high`): bytes,
  or `:max` for none.

  It kills nobody. Errors: as `set_memory_max/2`. Source: cgroup-v2.rst, "memory.high".
  """
  @spec set_memory_high(cgroup(), non_neg_integer() | :max) :: :ok | {:error, Error.t()}
  def set_memory_high(cg, bytes), do: write(cg, "memory.high", amount(bytes, "bytes"))

  @doc """
  Sets how many processes and threads `cg` may hold (`pids.max`): a number, or `:max` for no
  limit.

  More than that and fork(2) is EAGAIN. Moving a process in is not limited.

  Errors worth matching: `:enoent` (the pids controller is not enabled in the parent). Source:
  cgroup-v2.rst, "pids.max".
  """
  @spec set_pids_max(cgroup(), non_neg_integer() | :max) :: :ok | {:error, Error.t()}
  def set_pids_max(cg, n), do: write(cg, "pids.max", amount(n, "processes"))

  @doc """
  Sets the CPU time of `cg` (`cpu.max`): `{quota, period}`, `quota` microseconds in each `period`
  of them, or `:max` for no limit.

  The quota counts over all CPUs: `{200_000, 100_000}` is two of them. The kernel takes periods
  from 1 ms to 1 s and quotas from 1 ms.

      :ok = Linx.Cgroup.set_cpu_max(cg, {50_000, 100_000})

  Errors worth matching: `:enoent` (the cpu controller is not enabled in the parent), `:einval`
  (out of the kernel's range). Source: cgroup-v2.rst, "cpu.max".
  """
  @spec set_cpu_max(cgroup(), {pos_integer(), pos_integer()} | :max) :: :ok | {:error, Error.t()}
  def set_cpu_max(cg, :max), do: write(cg, "cpu.max", "max")

  def set_cpu_max(cg, {quota, period})
      when is_integer(quota) and quota > 0 and is_integer(period) and period > 0,
      do: write(cg, "cpu.max", "#{quota} #{period}")

  def set_cpu_max(_cg, other) do
    raise ArgumentError, "expected {quota_us, period_us} or :max, got: #{inspect(other)}"
  end

  @doc """
  Sets the share of `cg` when its siblings want the CPU too (`cpu.weight`): 1 to 10 000, 100 being
  the default.

  Errors worth matching: `:enoent` (the cpu controller is not enabled in the parent). Source:
  cgroup-v2.rst, "cpu.weight".
  """
  @spec set_cpu_weight(cgroup(), 1..10_000) :: :ok | {:error, Error.t()}
  def set_cpu_weight(cg, weight) when is_integer(weight) and weight in 1..10_000,
    do: write(cg, "cpu.weight", weight)

  def set_cpu_weight(_cg, other),
    do: raise(ArgumentError, "expected a weight of 1 to 10000, got: #{inspect(other)}")

  @doc """
  Limits what `cg` reads from and writes to a block device (`io.max`).

  `device` is `{major, minor}`, as `Linx.Mount.list/0` and `File.stat/1` know it. Of `:rbps`,
  `:wbps`, `:riops` and `:wiops` those that are given are set, the others stay; `:max` lifts one.

      :ok = Linx.Cgroup.set_io_max(cg, {8, 0}, rbps: 10 * 1024 * 1024, wiops: 120)

  Errors worth matching: `:enoent` (the io controller is not enabled in the parent), `:enodev` (no
  such device, or a partition). Source: cgroup-v2.rst, "io.max".
  """
  @spec set_io_max(cgroup(), {non_neg_integer(), non_neg_integer()}, [io_limit(), ...]) ::
          :ok | {:error, Error.t()}
  def set_io_max(cg, {major, minor}, [_ | _] = limits)
      when is_integer(major) and major >= 0 and is_integer(minor) and minor >= 0 do
    limits = Keyword.validate!(limits, [:rbps, :wbps, :riops, :wiops])

    words =
      for {name, limit} <- limits do
        if limit == 0, do: raise(ArgumentError, "#{name} of 0 would never finish: use freeze/1")
        "#{name}=#{amount(limit, "a second")}"
      end

    write(cg, "io.max", Enum.join(["#{major}:#{minor}" | words], " "))
  end

  def set_io_max(_cg, device, limits) do
    raise ArgumentError,
          "expected {major, minor} and limits, got: #{inspect(device)} and #{inspect(limits)}"
  end

  # -- all of its processes ----------------------------------------------------------------------

  @doc """
  Stops every process of `cg` and below, until `thaw/1` (`cgroup.freeze`).

  It is a request: `events/1` shows `frozen: true` once the last one has stopped. A frozen process
  can still be killed.

  Errors worth matching: `:enoent`. Source: cgroup-v2.rst, "cgroup.freeze".
  """
  @spec freeze(cgroup()) :: :ok | {:error, Error.t()}
  def freeze(cg), do: write(cg, "cgroup.freeze", "1")

  @doc """
  Lets a frozen `cg` run again. One that is not frozen stays as it is.

  Errors worth matching: `:enoent`. Source: cgroup-v2.rst, "cgroup.freeze".
  """
  @spec thaw(cgroup()) :: :ok | {:error, Error.t()}
  def thaw(cg), do: write(cg, "cgroup.freeze", "0")

  @doc """
  Kills every process of `cg` and below with SIGKILL, also those that fork while it is at it
  (`cgroup.kill`, Linux 5.14).

  The processes are gone a little later: `events/1` shows `populated: false` then.

  Errors worth matching: `:enoent`, `:eopnotsupp` (a threaded cgroup). Source: cgroup-v2.rst,
  "cgroup.kill".
  """
  @spec kill(cgroup()) :: :ok | {:error, Error.t()}
  def kill(cg), do: write(cg, "cgroup.kill", "1")

  # -- counters ----------------------------------------------------------------------------------

  @doc """
  What `cg` has used, as `Linx.Cgroup.Stats`. Each file is read once; one that is not there leaves
  its fields `nil`.

      {:ok, %Linx.Cgroup.Stats{memory_current: bytes}} = Linx.Cgroup.stats(cg)

  Errors worth matching: `:enoent` (no such cgroup), `:eacces`. Source: cgroup-v2.rst,
  Documentation/accounting/psi.rst.
  """
  @spec stats(cgroup()) :: {:ok, Stats.t()} | {:error, Error.t()}
  def stats(cg) do
    with :ok <- directory(cg) do
      cpu = cg |> content("cpu.stat") |> Keyed.flat()

      {:ok,
       %Stats{
         cpu_usec: cpu["usage_usec"],
         cpu_user_usec: cpu["user_usec"],
         cpu_system_usec: cpu["system_usec"],
         cpu_nr_throttled: cpu["nr_throttled"],
         cpu_throttled_usec: cpu["throttled_usec"],
         memory_current: number(cg, "memory.current"),
         memory_peak: number(cg, "memory.peak"),
         pids_current: number(cg, "pids.current"),
         cpu_pressure: cg |> content("cpu.pressure") |> Pressure.parse(),
         memory_pressure: cg |> content("memory.pressure") |> Pressure.parse(),
         io_pressure: cg |> content("io.pressure") |> Pressure.parse()
       }}
    end
  end

  @doc """
  What has happened to `cg`, as `Linx.Cgroup.Events`: whether it holds processes, whether it is
  frozen, how often it met its limits, how many of its processes the OOM killer took.

      {:ok, %Linx.Cgroup.Events{memory_oom_kill: 0}} = Linx.Cgroup.events(cg)

  Errors worth matching: `:enoent` (no such cgroup, or the root, which has no events). Source:
  cgroup-v2.rst, "cgroup.events".
  """
  @spec events(cgroup()) :: {:ok, Events.t()} | {:error, Error.t()}
  def events(cg) do
    with {:ok, cgroup} <- slurp(cg, "cgroup.events", :read) do
      {:ok, Events.from_files(cgroup, content(cg, "memory.events"), content(cg, "pids.events"))}
    end
  end

  @doc """
  Whether the unified hierarchy is mounted at `/sys/fs/cgroup`.

  Source: cgroup-v2.rst, "Mounting".
  """
  @spec supported?() :: boolean()
  def supported?, do: KernelFile.readable?("/sys/fs/cgroup/cgroup.controllers")

  # -- files of a cgroup -------------------------------------------------------------------------

  defp put(cg, file, data, operation) do
    path = path(cg, file)

    with :ok <- place(cg, path, operation),
         :ok <- KernelFile.write(path, data) do
      :ok
    else
      {:error, %Error{} = error} -> {:error, error}
      {:error, errno} -> error(errno, path, operation)
    end
  end

  # Also for a cgroup that is not there: its file says that.
  defp place(cg, path, operation) do
    case Native.check(cg) do
      {:error, :not_cgroup2} -> error(:not_cgroup2, path, operation)
      _ -> :ok
    end
  end

  defp slurp(cg, file, operation) do
    path = path(cg, file)

    with :ok <- place(cg, path, operation),
         {:ok, content} <- KernelFile.read(path) do
      {:ok, content}
    else
      {:error, %Error{} = error} -> {:error, error}
      {:error, errno} -> error(errno, path, operation)
    end
  end

  # A file that cannot be read counts as empty: the controller is not enabled.
  defp content(cg, file) do
    case KernelFile.read(path(cg, file)) do
      {:ok, content} -> content
      {:error, _} -> ""
    end
  end

  defp number(cg, file) do
    case cg |> content(file) |> String.trim_trailing() |> Integer.parse() do
      {number, ""} -> number
      _ -> nil
    end
  end

  defp directory(cg) do
    with :ok <- place(whole(cg), cg, :stats) do
      case :file.list_dir(cg) do
        {:ok, _} -> :ok
        {:error, errno} -> error(errno, cg, :stats)
      end
    end
  end

  defp path(cg, file) do
    if file in ["", ".", ".."] or String.contains?(file, ["/", "\0"]),
      do: raise(ArgumentError, "no interface file is called #{inspect(file)}"),
      else: Path.join(whole(cg), file)
  end

  # The path, if it is absolute and without a NUL: the kernel ends a path at its first NUL, and a
  # relative one would depend on the VM's working directory.
  defp whole(path) do
    cond do
      String.contains?(path, "\0") -> raise ArgumentError, "a NUL in #{inspect(path)}"
      Path.type(path) != :absolute -> raise ArgumentError, "not absolute: #{inspect(path)}"
      true -> path
    end
  end

  defp amount(:max, _unit), do: "max"

  # The kernel reads a limit of memory into 64 bits and drops what is above (memparse): 2^64 bytes
  # would be none at all.
  defp amount(n, _unit) when is_integer(n) and n in 0..0xFFFFFFFFFFFFFFFF,
    do: Integer.to_string(n)

  defp amount(other, unit),
    do: raise(ArgumentError, "expected a number (#{unit}) or :max, got: #{inspect(other)}")

  defp result(:ok, _path, _operation), do: :ok
  defp result({:error, errno}, path, operation), do: error(errno, path, operation)

  defp error(errno, path, operation), do: {:error, Error.from_posix(errno, path, operation)}
end
