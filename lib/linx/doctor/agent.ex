defmodule Linx.Doctor.Agent do
  @moduledoc false
  # The needs of a session beside namespaces: an image that nobody can write to, calls
  # with a fall-back, and the /proc of the VM's own pid namespace.

  import Linx.Doctor.Finding, only: [new: 3]

  alias Linx.{Errno, KernelFile}
  alias Linx.Process.AgentImage

  def findings do
    {{memory, clone3, close_range}, numbers} = AgentImage.calls()

    [
      new(:library, "agent image", image(AgentImage.protection())),
      call("memfd_create", memory, "programs in memory", [
        "vm.memfd_noexec is 2, or a filter refuses it: the agent runs through a read-only mount ",
        "of its file then, or enter is refused."
      ]),
      call("clone3", clone3, "children in a cgroup and in a time namespace", [
        "A filter refuses it, as container engines' default profiles do: cgroup: of a session ",
        "and time namespaces need it."
      ]),
      call("close_range", close_range, "closes what a workload does not get", [
        "A filter refuses it: descriptors are closed one by one then."
      ]),
      new(:kernel, "/proc", proc(numbers)),
      new(:kernel, "/proc/<pid>/children", children())
    ]
  rescue
    # No library: another line says so.
    ErlangError -> []
  end

  defp image({:ok, :sealed}), do: {:ok, "in sealed memory"}
  defp image({:ok, :read_only}), do: {:ok, "behind a read-only mount"}

  defp image({:error, {stage, errno}}) do
    {:missing, "a plain file: #{stage} #{Errno.name(errno)}",
     "enter/2 and init: true are refused. Set vm.memfd_noexec below 2 and allow " <>
       "memfd_create(2), or allow open_tree(2) and mount_setattr(2)."}
  end

  defp call(name, 0, purpose, _advice), do: new(:kernel, name, {:ok, purpose})

  defp call(name, errno, _purpose, advice),
    do: new(:kernel, name, {:missing, to_string(Errno.name(errno)), Enum.join(advice)})

  defp proc({0, _pid}) do
    {:missing, "not mounted, or of a pid namespace that the VM is not in",
     "mount -t proc proc /proc. Sessions and enter/2 work without it; verbs that read or " <>
       "write a file of a process are errors."}
  end

  defp proc({pid, pid}), do: {:ok, "of the VM's pid namespace"}

  defp proc({number, pid}),
    do: {:ok, "of an outer pid namespace: process #{pid} is #{number} there"}

  defp children do
    if KernelFile.readable?("/proc/thread-self/children"),
      do: {:ok, "tells what a workload left behind"},
      else:
        {:missing, "absent",
         "The kernel is built without CONFIG_PROC_CHILDREN, or there is no /proc: what leaves " <>
           "a workload is killed by its cgroup or pid namespace only."}
  end
end
