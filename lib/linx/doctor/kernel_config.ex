defmodule Linx.Doctor.KernelConfig do
  @moduledoc false
  # The options of the kernel's build that each subsystem needs, and those of this kernel.
  # docs/development/boards.md lists the same table.

  import Linx.Doctor.Finding, only: [new: 3]

  alias Linx.KernelFile

  # {subsystem, options that all of it needs, options of single features}.
  @subsystems [
    {"process", ~w(NAMESPACES UTS_NS IPC_NS PID_NS NET_NS USER_NS MEMFD_CREATE UNIX),
     ~w(TIME_NS PROC_CHILDREN)},
    {"tty", ~w(TTY UNIX98_PTYS), []},
    {"mount", ~w(PROC_FS TMPFS), ~w(OVERLAY_FS FUSE_FS)},
    {"cgroup", ~w(CGROUPS),
     ~w(MEMCG CGROUP_PIDS CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH CPUSETS
       BLK_CGROUP PSI)},
    {"seccomp", ~w(SECCOMP SECCOMP_FILTER), []},
    {"sysctl", ~w(SYSCTL PROC_SYSCTL), []},
    {"netlink", ~w(NET INET),
     ~w(IPV6 IP_ADVANCED_ROUTER IP_MULTIPLE_TABLES IPV6_MULTIPLE_TABLES IP_ROUTE_MULTIPATH VETH
       BRIDGE BRIDGE_VLAN_FILTERING VLAN_8021Q DUMMY MACVLAN IPVLAN VXLAN BONDING IFB)},
    {"netfilter", ~w(NETFILTER NETFILTER_NETLINK NF_TABLES),
     ~w(NF_TABLES_INET NF_TABLES_IPV4 NF_TABLES_IPV6 NF_TABLES_ARP NF_TABLES_BRIDGE
       NF_TABLES_NETDEV NF_CONNTRACK NFT_CT NFT_CONNLIMIT NFT_LIMIT NFT_QUOTA NFT_LOG
       NETFILTER_NETLINK_LOG NFT_NAT NFT_MASQ NFT_REDIR NFT_REJECT NFT_REJECT_INET NFT_FIB_INET
       NFT_HASH NFT_NUMGEN NFT_SOCKET NFT_TPROXY NFT_OSF NFT_SYNPROXY NFT_TUNNEL NFT_XFRM
       NFT_DUP_IPV4 NFT_DUP_IPV6 NFT_DUP_NETDEV NFT_FWD_NETDEV NFT_BRIDGE_META NFT_QUEUE
       NF_FLOW_TABLE NFT_FLOW_OFFLOAD)}
  ]

  @doc """
  The table: each subsystem, what all of it needs, and what single features need. Names are
  without `CONFIG_`.
  """
  @spec subsystems() :: [{String.t(), [String.t()], [String.t()]}]
  def subsystems, do: @subsystems

  # /proc/config.gz is there with IKCONFIG_PROC, as a module too; distributions ship the file
  # beside the kernel.
  @spec findings() :: [Linx.Doctor.Finding.t()]
  def findings do
    case read() do
      {:ok, source, config} ->
        findings(source, config)

      :error ->
        advice =
          "modprobe configs, or build the kernel with CONFIG_IKCONFIG_PROC; the other " <>
            "findings were tried."

        [
          new(
            :config,
            "kernel options",
            {:missing, "no /proc/config.gz, no /boot/config", advice}
          )
        ]
    end
  end

  @doc "A finding for each subsystem, of the configuration `config` that `source` holds."
  @spec findings(Path.t(), String.t()) :: [Linx.Doctor.Finding.t()]
  def findings(source, config) do
    for {name, needed, features} <- @subsystems,
        do: new(:config, name, result(source, config, needed, features))
  end

  @doc """
  The options among `names` that a configuration in the form of .config does not set to y or m.
  """
  @spec lacking(String.t(), [String.t()]) :: [String.t()]
  def lacking(config, names) do
    set = parse(config)
    Enum.reject(names, &MapSet.member?(set, &1))
  end

  defp result(source, config, needed, features) do
    case lacking(config, needed ++ features) do
      [] ->
        {:ok, "#{length(needed ++ features)} options in #{source}"}

      lacking ->
        names = Enum.map_join(lacking, ", ", &("CONFIG_" <> &1))

        {:missing, "not set in #{source}: #{names}",
         advice(Enum.filter(lacking, &(&1 in needed)))}
    end
  end

  defp advice([]), do: "Features of the same names are missing; all else works."

  defp advice(needed),
    do: "Nothing of it works without #{Enum.map_join(needed, ", ", &("CONFIG_" <> &1))}."

  defp read do
    Enum.find_value(sources(), :error, fn {path, read, unpack} ->
      with {:ok, bytes} <- read.(path), {:ok, text} <- unpack.(bytes) do
        {:ok, path, text}
      else
        _ -> nil
      end
    end)
  end

  defp sources do
    release =
      case KernelFile.read("/proc/sys/kernel/osrelease") do
        {:ok, text} -> String.trim(text)
        {:error, _} -> ""
      end

    [{"/proc/config.gz", &KernelFile.read/1, &gunzip/1}] ++
      for path <- ["/boot/config-#{release}", "/lib/modules/#{release}/config"],
          do: {path, &File.read/1, &{:ok, &1}}
  end

  defp gunzip(bytes) do
    {:ok, :zlib.gunzip(bytes)}
  rescue
    ErlangError -> :error
  end

  defp parse(text) do
    for "CONFIG_" <> line <- String.split(text, "\n"),
        [name, value] <- [String.split(line, "=", parts: 2)],
        value in ["y", "m"],
        into: MapSet.new(),
        do: name
  end
end
