defmodule Linx.Doctor.Machine do
  @moduledoc false
  # The kernel, the native parts, privilege, namespaces, cgroups, seccomp, terminals.

  import Linx.Doctor.Finding, only: [new: 3]
  import Linx.Doctor.Probe, only: [parks: 1, text: 1]

  @min_kernel [6, 6]
  @namespaces [:user, :mount, :pid, :uts, :ipc, :net, :cgroup, :time]

  # The capabilities that most verbs ask for, and the use of each.
  @privileges [
    cap_sys_admin: "namespaces, mounts, sysctls of other namespaces",
    cap_net_admin: "links, routes, firewalls",
    cap_setpcap: "dropping capabilities of a workload",
    cap_setuid: "uid maps, uid: of a workload",
    cap_kill: "signals to workloads of other users",
    cap_sys_resource: "raising hard limits"
  ]

  def findings do
    [kernel(), library(), agent()] ++
      privileges() ++
      Enum.map(@namespaces, &namespace/1) ++
      held_netns() ++
      cgroups() ++ [seccomp(), terminal()] ++ Enum.map(~w(nft ip strace), &tool/1)
  end

  defp kernel do
    release = read("/proc/sys/kernel/osrelease") || "unknown"

    version =
      ~r/\d+/
      |> Regex.scan(release)
      |> List.flatten()
      |> Enum.take(2)
      |> Enum.map(&String.to_integer/1)

    result =
      if version >= @min_kernel,
        do: {:ok, release},
        else:
          {:missing, release,
           "Linux 6.6 or newer is what Linx is written for; older ones lack calls it makes."}

    new(:kernel, "release", result)
  end

  defp library do
    new(:library, "linx_nif", {:ok, "#{Linx.Mount.Native.version()}, loaded"})
  rescue
    error in ErlangError ->
      advice = "Run mix compile here; a library built for another CPU does not load."
      new(:library, "linx_nif", {:missing, Exception.message(error), advice})
  end

  defp agent do
    result =
      case parks([]) do
        :ok ->
          {:ok, "parks and drops a child"}

        {:error, reason} ->
          {:missing, reason, "priv/linx_process must be there, executable, and for this CPU."}
      end

    new(:library, "linx_process", result)
  end

  defp privileges do
    case Linx.Capabilities.read(:self) do
      {:ok, %{effective: effective}} ->
        for {name, purpose} <- @privileges do
          result =
            if name in effective,
              do: {:ok, held() <> purpose},
              else: {:missing, "not held: " <> purpose, privilege_advice(name)}

          new(:privilege, to_string(name), result)
        end

      {:error, error} ->
        [
          new(
            :privilege,
            "capabilities",
            {:missing, Exception.message(error), "Is /proc mounted?"}
          )
        ]
    end
  end

  # The first user namespace maps every id to itself; in another one powers end at its border.
  defp held do
    case Linx.User.Map.parse(read("/proc/self/uid_map") || "") do
      [%{inside: 0, outside: 0, length: 0xFFFFFFFF}] -> "held: "
      _ -> "held inside this user namespace: "
    end
  end

  defp privilege_advice(name) do
    if (read("/proc/self/status") || "") =~ ~r/^Uid:\t\d+\t0\t/m,
      do: "Give the VM #{name}: the service or the container that it runs in keeps it back.",
      else: "Run as root, or give the VM #{name}."
  end

  # In a user namespace of its own too, where the VM is not privileged: that is how a workload
  # gets one without root.
  defp namespace(kind) do
    result =
      case parks(namespaces: [kind]) do
        :ok ->
          {:ok, "can be made"}

        {:error, _} when kind != :user ->
          case parks(namespaces: [:user, kind]) do
            :ok -> {:ok, "can be made inside a user namespace"}
            {:error, reason} -> {:missing, reason, namespace_advice(kind)}
          end

        {:error, reason} ->
          {:missing, reason,
           "Set kernel.unprivileged_userns_clone and user.max_user_namespaces, or run as root."}
      end

    new(:namespaces, to_string(kind), result)
  end

  # A namespace without a process takes the VM's own right, which a child in a user namespace does
  # not need.
  defp held_netns do
    found =
      with {:ok, netns} <- Linx.Netns.new() do
        :ok = Linx.Netns.close(netns)
        {:ok, "can be made, and named in /run/netns"}
      end

    case found do
      {:ok, _text} ->
        [new(:namespaces, "net without a process", found)]

      {:error, error} ->
        advice =
          "Run as root, or give the VM CAP_SYS_ADMIN. A session's net namespace needs neither."

        [new(:namespaces, "net without a process", {:missing, text(error), advice})]
    end
  rescue
    # No library: another line says so.
    ErlangError -> []
  end

  defp namespace_advice(kind),
    do: "The kernel may be built without it, or user.max_#{kind}_namespaces is 0."

  defp cgroups do
    case cgroup2_mount() do
      nil ->
        [
          new(
            :cgroup,
            "cgroup v2",
            {:missing, "no cgroup2 mount",
             "mount -t cgroup2 none /sys/fs/cgroup, or boot with the unified hierarchy."}
          )
        ]

      path ->
        present = (read(Path.join(path, "cgroup.controllers")) || "") |> String.split()
        mount = new(:cgroup, "cgroup v2", {:ok, path})
        [mount | for(name <- ~w(cpu memory pids io), do: controller(name, name in present))]
    end
  end

  defp controller(name, true), do: new(:cgroup, name, {:ok, "controller available"})

  defp controller(name, false) do
    advice =
      "A cgroup v1 hierarchy may hold it: boot with systemd.unified_cgroup_hierarchy=1 " <>
        "(cgroup_no_v1=all)."

    new(:cgroup, name, {:missing, "controller absent from the v2 hierarchy", advice})
  end

  defp cgroup2_mount do
    case Linx.Mount.list() do
      {:ok, entries} -> Enum.find_value(entries, &(&1.fstype == "cgroup2" && &1.mount_point))
      {:error, _} -> nil
    end
  end

  defp seccomp do
    result =
      case {Linx.Seccomp.supported?(), read("/proc/sys/kernel/seccomp/actions_avail")} do
        {true, actions} when is_binary(actions) ->
          {:ok, actions}

        _ ->
          {:missing, "no seccomp filters", "The kernel is built without CONFIG_SECCOMP_FILTER."}
      end

    new(:seccomp, "actions", result)
  end

  defp terminal do
    result =
      case parks(stdio: :pty) do
        :ok -> {:ok, "a pty can be opened"}
        {:error, reason} -> {:missing, reason, "Mount devpts on /dev/pts, with /dev/ptmx."}
      end

    new(:terminal, "pty", result)
  end

  defp tool(name) do
    result =
      case System.find_executable(name) do
        nil -> {:missing, "not installed", "Only Linx's own tests call it."}
        path -> {:ok, path}
      end

    new(:tools, name, result)
  end

  defp read(path) do
    case Linx.KernelFile.read(path) do
      {:ok, text} -> String.trim(text)
      {:error, _} -> nil
    end
  end
end
