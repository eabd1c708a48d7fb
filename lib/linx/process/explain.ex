defmodule Linx.Process.Explain do
  @moduledoc false
  # The part of an error that its stage and errno leave open: the file, the capability and the
  # namespace that it is missing in, the other reading of an errno that has two.

  import Bitwise

  alias Linx.Process.{Error, Options, Subject}
  alias Linx.Process.Explain.Stages

  @new_user 0x10000000
  @new_mount 0x00020000

  @doc "`error` with the detail that `subject` gives it."
  @spec explain(Error.t(), Subject.t() | nil) :: Error.t()
  def explain(error, nil), do: error

  def explain(error, subject) do
    detail = detail(error.stage, error.errno, subject) || otherwise(error, subject)
    %{error | detail: detail}
  end

  # execve's ENOENT is explained above, or by the caller's own argv.
  defp otherwise(%{stage: :execve}, _subject), do: nil
  defp otherwise(%{stage: stage, errno: errno}, subject), do: Stages.text(stage, errno, subject)

  @doc "As `explain/2`, and a file that is not there is named too."
  @spec name(Error.t(), Subject.t()) :: Error.t()
  def name(%{stage: :execve, detail: nil} = error, subject), do: %{error | detail: subject.path}
  def name(error, _subject), do: error

  @spec detail(atom(), atom(), Subject.t()) :: String.t() | nil
  defp detail(:execve, :enoent, subject),
    do: no_file(subject, String.contains?(subject.path, "/"))

  defp detail(:execve, :eacces, %{path: path}) do
    "#{path}: it, or the interpreter that it names, is no file that may be executed, a " <>
      "directory on the way may " <>
      "not be searched, or the mount is noexec"
  end

  defp detail(:execve, :enoexec, %{path: path}),
    do:
      "#{path}: neither an ELF file of this machine nor a script whose first line begins with #!"

  defp detail(:execve, :e2big, %{path: path}),
    do:
      "#{path}: the kernel takes less of argv and environment (execve(2), limits on size of " <>
        "arguments)"

  defp detail(:execve, :eperm, %{path: path}),
    do: "#{path}: a filter of the workload or a security module refuses it"

  defp detail(:execve, _errno, subject), do: subject.path

  defp detail(:clone, :eperm, %{namespaces: namespaces}) when (namespaces &&& @new_user) != 0 do
    "a user namespace is not permitted here: a security module, a seccomp filter, " <>
      "kernel.unprivileged_userns_clone, or a VM in a chroot"
  end

  defp detail(:clone, :eperm, %{namespaces: namespaces}) when namespaces != 0 do
    "namespaces #{names(namespaces)} need CAP_SYS_ADMIN in the user namespace of the VM, or " <>
      ":user beside them"
  end

  defp detail(:clone, :enospc, _subject),
    do: "a limit of user.max_*_namespaces (sysctl) is reached, or namespaces are nested 32 deep"

  defp detail(:clone, :eagain, _subject),
    do: "a limit on processes is reached: RLIMIT_NPROC, pids.max of a cgroup, kernel.pid_max"

  defp detail(:clone, :eacces, %{cgroup: cgroup}) when cgroup != nil do
    "#{cgroup}: needs write permission on its cgroup.procs and on that of the common " <>
      "ancestor with the VM's cgroup"
  end

  defp detail(:clone, :ebusy, %{cgroup: cgroup}) when cgroup != nil,
    do: "#{cgroup}: a cgroup with controllers in cgroup.subtree_control holds no processes"

  defp detail(:clone, errno, %{cgroup: cgroup})
       when cgroup != nil and errno in [:eopnotsupp, :enodev, :ebadf],
       do: "#{cgroup}: a threaded cgroup, or one that is going away"

  defp detail(:cgroup, :exdev, subject), do: "#{subject.cgroup}: not on a cgroup v2 file system"

  defp detail(:cgroup, :ebusy, subject),
    do: "#{subject.cgroup}: the cgroup is frozen (cgroup.freeze)"

  defp detail(:cgroup, _errno, subject), do: subject.cgroup

  defp detail(:chdir, _errno, %{cwd: nil}), do: "the VM's working directory, and /"
  defp detail(:chdir, _errno, subject), do: subject.cwd

  defp detail(:setgroups, :eperm, _subject) do
    "needs CAP_SETGID in the workload's user namespace, whose gid_map is written and whose " <>
      "setgroups is allow"
  end

  defp detail(:setgid, :eperm, %{gid: gid}) when gid != nil,
    do: "gid #{gid}: needs CAP_SETGID in the workload's user namespace"

  defp detail(:setgid, :einval, %{gid: gid}) when gid != nil,
    do: "gid #{gid} is not mapped in the workload's user namespace"

  defp detail(:setuid, :eperm, %{uid: uid}) when uid != nil,
    do: "uid #{uid}: needs CAP_SETUID in the workload's user namespace"

  defp detail(:setuid, :einval, %{uid: uid}) when uid != nil,
    do: "uid #{uid} is not mapped in the workload's user namespace"

  defp detail(:setuid, :eagain, %{uid: uid}) when uid != nil,
    do: "uid #{uid} has RLIMIT_NPROC processes already"

  defp detail(:rlimit, :eperm, subject) do
    if(subject.rlimits == [], do: "", else: limits(subject) <> ": ") <>
      "a hard limit above the VM's needs CAP_SYS_RESOURCE in the initial user namespace; " <>
      "nofile goes to fs.nr_open at most"
  end

  defp detail(:rlimit, _errno, %{rlimits: [_ | _]} = subject), do: limits(subject)

  defp detail(:seccomp_install, :eacces, _subject),
    do: "without no_new_privs a filter needs CAP_SYS_ADMIN in the workload's user namespace"

  defp detail(:cap_drop_bounding, :eperm, _subject),
    do: "needs CAP_SETPCAP in the workload's user namespace"

  defp detail(:cap_set_thread, :eperm, _subject),
    do: "a set holds a capability that the workload's permitted or bounding set does not"

  defp detail(:cap_set_ambient, :eperm, _subject),
    do: "an ambient capability has to be permitted and inheritable, and not locked by securebits"

  defp detail(stage, errno, _subject)
       when stage in [:nice, :scheduler, :io_priority] and errno in [:eperm, :eacces],
       do:
         "needs CAP_SYS_NICE in the initial user namespace, or the limit that allows it " <>
           "(nice, rtprio)"

  defp detail(:scheduler, :ebusy, _subject),
    do: "the deadline tasks of these CPUs would need more time than there is"

  defp detail(:cpus, :einval, %{cpus: [_ | _] = cpus}),
    do: "of CPU #{ranges(cpus)}: one that the machine, or the cpuset of the cgroup, has not got"

  defp detail(:cpus, _errno, %{cpus: [_ | _] = cpus}), do: "CPU #{ranges(cpus)}"

  defp detail(:oom_score_adj, :eacces, _subject),
    do: "a value below the VM's needs CAP_SYS_RESOURCE; or /proc hides the workload"

  defp detail(:time_offsets, errno, _subject) when errno in [:eperm, :eacces],
    do: "needs CAP_SYS_TIME in the user namespace of the time namespace, or :user beside :time"

  defp detail(:time_offsets, :erange, _subject),
    do: "a clock would be before 0 or after 146 years"

  defp detail(:stdio, _errno, %{files: []}), do: nil
  defp detail(:stdio, _errno, %{files: files}), do: Enum.join(files, " or ")
  defp detail(stage, errno, subject), do: namespace(Atom.to_string(stage), errno, subject)

  defp namespace("open_ns_" <> kind, :eperm, subject) do
    "the #{kind} namespace of process #{subject.target}: needs CAP_SYS_PTRACE in its user " <>
      "namespace, or its uid"
  end

  defp namespace("open_ns_" <> _kind, _errno, subject), do: "process #{subject.target}"

  defp namespace("setns_user", :eperm, subject) do
    "needs CAP_SYS_ADMIN in the user namespace of process #{subject.target}"
  end

  defp namespace("setns_" <> kind, :eperm, subject) do
    "needs CAP_SYS_ADMIN in the user namespace that owns the #{kind} namespace of process " <>
      "#{subject.target}, " <>
      "and in the VM's own"
  end

  defp namespace(_stage, _errno, _subject), do: nil

  # -- numbers of the request --------------------------------------------------------------------

  defp limits(%{rlimits: limits}) do
    names = Map.new(Options.rlimits(), fn {name, number} -> {number, name} end)

    Enum.map_join(limits, ", ", fn {number, soft, hard} ->
      "#{names[number]} #{limit(soft)}" <> if(hard == soft, do: "", else: "/#{limit(hard)}")
    end)
  end

  defp limit(0xFFFFFFFFFFFFFFFF), do: "infinity"
  defp limit(value), do: "#{value}"

  # `0-3, 8`, of sorted numbers; of many ranges the first and the last, where a CPU that is absent
  # is.
  defp ranges(numbers) do
    ranges =
      numbers
      |> Enum.chunk_while(
        nil,
        fn
          n, nil -> {:cont, {n, n}}
          n, {first, last} when n == last + 1 -> {:cont, {first, n}}
          n, range -> {:cont, range, {n, n}}
        end,
        fn range -> {:cont, range, nil} end
      )
      |> Enum.map(fn
        {n, n} -> "#{n}"
        {first, last} -> "#{first}-#{last}"
        nil -> "?"
      end)

    case ranges do
      [_, _, _, _, _, _, _, _, _ | _] ->
        Enum.join(Enum.take(ranges, 4) ++ ["..."] ++ Enum.take(ranges, -4), ", ")

      few ->
        Enum.join(few, ", ")
    end
  end

  # -- execve's ENOENT ---------------------------------------------------------------------------

  defp no_file(%{path: path}, false),
    do: "#{path}: PATH is not searched; give the absolute path of the file"

  defp no_file(%{path: path} = subject, true) do
    cond do
      subject.mode == :enter or (subject.namespaces &&& @new_mount) != 0 ->
        "#{path}: not there in the workload's root, or its interpreter is not"

      Path.type(path) != :absolute ->
        "#{path}: not there, seen from the workload's working directory, or its interpreter " <>
          "is not"

      File.regular?(path) ->
        "#{path} is there; the interpreter that its first line or its ELF header names is not"

      # The caller knows its own argv.
      true ->
        nil
    end
  end

  defp names(namespaces) do
    Options.namespaces()
    |> Enum.filter(fn {_name, bit} -> (namespaces &&& bit) != 0 end)
    |> Enum.map(fn {name, _bit} -> inspect(name) end)
    |> Enum.sort()
    |> Enum.join(", ")
  end
end
