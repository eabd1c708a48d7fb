defmodule Linx do
  @moduledoc """
  The Linux kernel's primitives, for Elixir.

  Linx replaces shelling out to `ip`, `nft`, `unshare`, `sysctl`, `mount` and their kin. It is a
  library of primitives: it makes processes, namespaces, links, rules and limits, and leaves it to
  its callers what those are for. There is no container format here, no image, no daemon, and
  nothing starts when the application does.

  | Area | Modules |
  |---|---|
  | Processes, namespaces, terminals | `Linx.Process`, `Linx.Tty` |
  | Identity and privilege | `Linx.User`, `Linx.Capabilities`, `Linx.Seccomp` |
  | Files and limits | `Linx.Mount`, `Linx.Cgroup`, `Linx.Sysctl` |
  | Network configuration | `Linx.Netlink`, `Linx.Netlink.Rtnl`, `Linx.Netns` |
  | Packet filtering | `Linx.Netfilter`, `Linx.NFT` |
  | Values | `Linx.IP`, `Linx.IP.Subnet`, `Linx.MAC` |
  | Keeping a state | `Linx.Reconcile` |

  ## The checkpoint

  `Linx.Process.spawn/1` clones a child and holds it before `execve(2)`. While it is held, every
  other subsystem can be pointed at it: maps for its user namespace, mounts and sysctls inside its
  namespaces, links moved into its network, a firewall there, a cgroup around it, capabilities and
  system calls taken away. `Linx.Process.proceed/1` then starts the program, and all of it holds
  from its first instruction. The subsystems know nothing of each other; what joins them is that
  one held moment.

      {:ok, c} = Linx.Process.spawn(argv: ["/bin/true"], namespaces: [:net, :uts])
      :ok = Linx.Sysctl.write("kernel.hostname", "inside", in: c)
      :ok = Linx.Process.proceed(c)
      {:ok, {:exited, 0}} = Linx.Process.wait(c)

  ## Errors

  A verb answers `:ok`, `{:ok, value}` or `{:error, error}`, where `error` is the subsystem's own
  exception struct with the operation, the errno as an atom, and its number. Match on `errno`; the
  text of `Exception.message/1` is for people. An argument that can be refused without asking the
  kernel is refused before anything is touched.

  ## What the machine must have

  Linux 6.6 or newer; most verbs need root or the matching capability. Subsystems that depend on
  an optional kernel feature have a `supported?/0`.

  ## The code

  [Architecture](architecture.html) is the map: the folders, who may call whom, one push and one
  session drawn with module names, and the words that the code uses.
  """
end
