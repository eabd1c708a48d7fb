defmodule Linx.Test.Host do
  @moduledoc false
  # The abilities of this host. A probe answers nil when the ability is there, or the reason with
  # a remedy.

  @probes [
    :root,
    :clone3,
    :userns,
    :netns,
    :newuidmap,
    :nfnetlink,
    :nsfs,
    :nftables,
    :ct_helper,
    :flowtable,
    :nft_queue,
    :nft_bridge,
    :nft_byte_ranges,
    :newer_nft,
    :newer_iproute2,
    :cgroup2,
    :cgroup2_mount,
    :cgroup_controllers,
    :psi,
    :kernel_threads,
    :tty,
    :fuse,
    :dummy,
    :vlan,
    :ipvlan,
    :bridge_vlan,
    :bond,
    :geneve,
    :ifb,
    :x86_64,
    :long_arguments,
    :strace,
    :readelf,
    :shared_spec,
    :conformance,
    :package,
    :portable_erlang,
    :slow
  ]

  @doc "`[{tag, reason}]` of what cannot run here."
  @spec exclusions() :: keyword(String.t())
  def exclusions do
    for tag <- @probes, reason = probe(tag), do: {tag, reason}
  end

  @doc """
  A line for each tag of `required`, as LINX_REQUIRE has them, that `exclusions/0` named or that
  no probe has.
  """
  @spec missing(String.t(), keyword(String.t())) :: [String.t()]
  def missing(required, excluded) do
    for word <- String.split(required, ",", trim: true),
        tag = String.trim(word),
        reason = reason(Enum.find(@probes, &(to_string(&1) == tag)), excluded),
        do: "#{tag}: #{reason}"
  end

  defp reason(nil, _excluded), do: "no probe has this name"
  defp reason(tag, excluded), do: excluded[tag]

  defp probe(:root) do
    if root?(), do: nil, else: "not root; run as root, or in a VM"
  end

  # An emulated processor: QEMU's user mode answers ENOSYS.
  defp probe(:clone3) do
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], stdio: :devnull)

    case Linx.Process.host_pid(session) do
      {:ok, _pid} ->
        Linx.Process.abort(session)
        nil

      {:error, _reason} ->
        "no session can be made: no clone3 here"
    end
  end

  defp probe(:userns) do
    unless_ok(
      ["unshare", "--user", "--map-root-user", "true"],
      "unprivileged user namespaces are off"
    )
  end

  defp probe(:netns),
    do: unless_ok(["unshare", "--net", "true"], "no network namespace may be made; run as root")

  defp probe(:newuidmap) do
    if System.find_executable("newuidmap") && System.find_executable("newgidmap"),
      do: nil,
      else: "no newuidmap and newgidmap; install uidmap"
  end

  # QEMU's user mode knows none.
  defp probe(:nfnetlink) do
    case Linx.Netlink.Nfnl.open() do
      {:ok, socket} ->
        :ok = Linx.Netlink.Socket.close(socket)
        nil

      {:error, _} ->
        "no netlink sockets of the netfilter family here"
    end
  end

  # QEMU's user mode knows none of the requests. Another error is the library's, and not excluded.
  defp probe(:nsfs) do
    case Linx.Netns.open(:host) do
      {:ok, netns} ->
        Linx.Netns.close(netns)
        nil

      {:error, %{errno: :exdev}} ->
        "no ioctl_ns(2) here, so the type of a namespace file cannot be read"

      {:error, _} ->
        nil
    end
  end

  defp probe(:nftables) do
    unless_ok(
      ["unshare", "--net", "nft", "add", "table", "inet", "probe"],
      "nft cannot add an inet table in a fresh network namespace; install nftables, load " <>
        "nf_tables"
    )
  end

  defp probe(:ct_helper) do
    unless_ok(
      ["unshare", "--net", "nft", "table ip t { ct helper h { type \"ftp\" protocol tcp; }; }"],
      "no conntrack helper for FTP; load nf_conntrack_ftp"
    )
  end

  defp probe(:flowtable) do
    unless_ok(
      [
        "unshare",
        "--net",
        "nft",
        "table inet t { flowtable f { hook ingress priority 0; devices = { lo }; }; }"
      ],
      "no flow tables; load nf_flow_table_inet (LINX_KERNEL=stable bin/test-kernel runs these)"
    )
  end

  defp probe(:nft_queue) do
    unless_ok(
      ["unshare", "--net", "nft", "table inet t { chain c { queue num 1; }; }"],
      "no queue expression; load nft_queue (LINX_KERNEL=stable bin/test-kernel runs these)"
    )
  end

  defp probe(:nft_bridge) do
    unless_ok(
      [
        "unshare",
        "--net",
        "nft",
        "table bridge t { chain c { meta ibrname x; }; }"
      ],
      "no meta of the bridge family; load nft_meta_bridge (LINX_KERNEL=stable " <>
        "bin/test-kernel runs these)"
    )
  end

  # Linux 6.12 has no set of ranges for a field of one byte before others.
  defp probe(:nft_byte_ranges) do
    unless_ok(
      [
        "unshare",
        "--net",
        "nft",
        "table ip t { chain c { meta l4proto . meta mark { tcp . 1-5 } accept; }; }"
      ],
      "no ranges in elements that begin with a field of one byte; " <>
        "a newer kernel than 6.12 has them"
    )
  end

  defp probe(:newer_nft) do
    case Linx.Test.NewerNft.find() do
      {:ok, _path} -> nil
      {:error, reason} -> reason
    end
  end

  defp probe(:newer_iproute2) do
    case Linx.Test.NewerIproute2.find("ip") do
      {:ok, _path} -> nil
      {:error, reason} -> reason
    end
  end

  defp probe(:cgroup2) do
    unless_ok(
      [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "cgroup2",
        "none",
        "/mnt"
      ],
      "cgroup2 cannot be mounted in a private mount namespace"
    )
  end

  defp probe(:cgroup2_mount) do
    if cgroup2_mount(), do: nil, else: "no cgroup2 mount in this mount namespace"
  end

  defp probe(:kernel_threads) do
    if kernel_threads() == [],
      do: "no kernel thread above 64 in this PID namespace",
      else: nil
  end

  # Controllers bound to a v1 hierarchy are absent from v2.
  defp probe(:cgroup_controllers) do
    with {:ok, text} <- File.read("/sys/fs/cgroup/cgroup.controllers"),
         [] <- ["cpu", "memory", "pids"] -- String.split(text) do
      nil
    else
      _ ->
        "no cgroup v2 hierarchy at /sys/fs/cgroup with cpu, memory and pids " <>
          "(bin/test-kernel runs these)"
    end
  end

  # Built in but off by default on some kernels. The controllers belong to it: no cgroup has any
  # to wait for without.
  defp probe(:psi) do
    if match?({:ok, "some" <> _}, File.read("/proc/pressure/memory")),
      do: probe(:cgroup_controllers),
      else: "no pressure stall information; boot with psi=1"
  end

  defp probe(:readelf),
    do: unless_ok(["readelf", "--version"], "readelf does not run; apt install binutils")

  defp probe(:strace) do
    unless_ok(["strace", "--output=/dev/null", "true"], "strace cannot trace; apt install strace")
  end

  defp probe(:tty), do: unless_ok(["test", "-c", "/dev/ptmx"], "no /dev/ptmx")

  defp probe(:fuse) do
    with {:ok, device} <- :file.open("/dev/fuse", [:read, :raw]),
         :ok <- :file.close(device) do
      nil
    else
      {:error, _} -> "no /dev/fuse that may be opened; modprobe fuse, or run as root"
    end
  end

  defp probe(:dummy), do: link_kind("dummy")
  defp probe(:vlan), do: link_kind("vlan", ["link", "lo", "id", "5"])
  defp probe(:bond), do: link_kind("bond")
  defp probe(:geneve), do: link_kind("geneve", ~w(id 1 remote 192.0.2.1))
  defp probe(:ifb), do: link_kind("ifb")
  defp probe(:ipvlan), do: link_kind("ipvlan", ["link", "lo"])

  # A kernel without CONFIG_BRIDGE_VLAN_FILTERING has bridges and refuses this one.
  defp probe(:bridge_vlan) do
    unless_ok(
      ~w(unshare --net ip link add probe0 type bridge vlan_filtering 1),
      "no bridge of this kernel filters VLANs (bin/test-kernel runs these)"
    )
  end

  defp probe(:x86_64) do
    if Linx.Seccomp.arch() == :x86_64, do: nil, else: "another architecture"
  end

  defp probe(:long_arguments) do
    if :erlang.system_info(:wordsize) == 8,
      do: nil,
      else: "arguments of system calls have 32 bits here"
  end

  defp probe(:shared_spec) do
    if File.dir?("../shared/spec"), do: nil, else: "../shared/spec is not beside this checkout"
  end

  defp probe(:conformance) do
    if corpus() == [],
      do: "no corpus of nft's own cases; set LINX_CONFORMANCE to its folder",
      else: nil
  end

  defp probe(:package) do
    if System.get_env("LINX_PACKAGE_TREE") in [nil, ""],
      do: "no Debian to install the package in (bin/test-package runs these)",
      else: nil
  end

  # bin/setup's Erlang alone; a distribution's runs wherever the distribution does.
  defp probe(:portable_erlang) do
    toolchain = Linx.Test.Unpacked.path("toolchain")

    if String.starts_with?(to_string(:code.root_dir()), toolchain <> "/") and
         not File.exists?(Path.join(toolchain, "portable")),
       do: "the Erlang of an older bin/setup, whose releases run here alone; run bin/setup",
       else: nil
  end

  defp probe(:slow) do
    if slow?(), do: nil, else: "minutes long; set LINX_SLOW=1 to run them"
  end

  # `ip link add link lo type vlan` is refused for lo itself with EOPNOTSUPP only after the kind
  # was found.
  defp link_kind(kind, options \\ []) do
    {output, status} = run(["unshare", "--net", "ip", "link", "add"] ++ link_args(kind, options))

    cond do
      status == 0 ->
        nil

      output =~ "Unknown device type" ->
        "this kernel has no #{kind} links (bin/test-kernel runs these)"

      output =~ "not permitted" ->
        "no #{kind} link may be made; run as root"

      true ->
        nil
    end
  end

  defp link_args(kind, ["link", parent | options]),
    do: ["link", parent, "name", "probe0", "type", kind] ++ options

  defp link_args(kind, options), do: ["probe0", "type", kind] ++ options

  defp unless_ok(command, reason) do
    if match?({_, 0}, run(command)), do: nil, else: reason
  end

  defp run([name | args]) do
    case System.find_executable(name) do
      nil -> {"#{name} is not installed", 127}
      path -> System.cmd(path, args, stderr_to_stdout: true)
    end
  end

  @doc "Whether LINX_SLOW asks for what is minutes long."
  @spec slow?() :: boolean()
  def slow?, do: System.get_env("LINX_SLOW") not in [nil, "", "0"]

  @doc "The files of nft's own cases, a case a line."
  @spec corpus() :: [Path.t()]
  def corpus do
    case System.get_env("LINX_CONFORMANCE") do
      empty when empty in [nil, ""] -> []
      folder -> Path.wildcard(Path.join(folder, "corpus/*.jsonl"))
    end
  end

  @doc "Where a cgroup2 hierarchy is mounted for this VM."
  @spec cgroup2_mount() :: Path.t() | nil
  def cgroup2_mount do
    {:ok, mounts} = Linx.Mount.list()
    Enum.find_value(mounts, &(&1.fstype == "cgroup2" && &1.mount_point))
  end

  @doc """
  The numbers of kernel threads that a session could have too: low ones are the VM's own in a PID
  namespace.
  """
  @spec kernel_threads() :: [pos_integer()]
  def kernel_threads do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d{2,}$/,
        String.to_integer(name) > 64,
        {:ok, stat} <- [File.read("/proc/#{name}/stat")],
        # PF_KTHREAD, linux/sched.h.
        [_, rest] = String.split(stat, ~r/\) (?=\w )/, parts: 2),
        flags = rest |> String.split(" ") |> Enum.at(6) |> String.to_integer(),
        Bitwise.band(flags, 0x00200000) != 0,
        do: String.to_integer(name)
  end

  @spec root?() :: boolean()
  def root?, do: match?({"0\n", 0}, System.cmd("id", ["-u"]))
end
