# The checkpoint: a web server that is cloned, held, configured from outside by every subsystem,
# and only then let go.
#
#     bin/demo
#
# From `Process.spawn` to `Process.proceed` is the example. What follows looks at the result from
# the host's side, with /proc, ip and nft as witnesses, prints a line for each fact, and exits 1
# if one of them is not so.

alias Linx.{Capabilities, Mount, Netfilter, Process, Seccomp, Sysctl, User}
alias Linx.Netlink.{Nfnl, Rtnl}

import Linx.NFT, only: [sigil_NFT: 2]

busybox =
  System.find_executable("busybox") || raise "busybox is not installed; bin/setup installs it"

site = Path.join(System.tmp_dir!(), "linx-demo-#{System.pid()}")
File.mkdir_p!(site)
File.write!(Path.join(site, "index.html"), "served from inside\n")

# -- the example ---------------------------------------------------------------------------------

# Cloned into namespaces of its own, and parked before its first instruction.
{:ok, c} =
  Process.spawn(
    argv: [busybox, "httpd", "-f", "-p", "80", "-h", site],
    namespaces: [:user, :pid, :net, :mount, :uts, :ipc],
    env: {:clean, ["PATH=/usr/bin:/bin"]},
    stdio: :devnull,
    no_new_privs: true
  )

{:ok, pid} = Process.host_pid(c)

# Identity: root inside is an ordinary uid outside.
:ok = User.setup_maps(c, uid: [{0, 100_000, 1}], gid: [{0, 100_000, 1}])

# A hostname and a /proc of its own.
:ok = Sysctl.write("kernel.hostname", "checkpoint", in: c)
:ok = Mount.mount("proc", "/proc", "proc", in: c)

# Network: a veth pair, an address at each end, a default route.
{:ok, host} = Rtnl.open()
:ok = Rtnl.Link.create_veth(host, "demo0", "eth0")
:ok = Rtnl.Link.move_to_netns(host, "eth0", pid)
:ok = Rtnl.Address.add(host, "demo0", "10.77.0.1", 24)
:ok = Rtnl.Link.set_up(host, "demo0")

{:ok, inside} = Rtnl.open({:pid, pid})
:ok = Rtnl.Link.set_up(inside, "lo")
:ok = Rtnl.Address.add(inside, "eth0", "10.77.0.2", 24)
:ok = Rtnl.Link.set_up(inside, "eth0")
:ok = Rtnl.Route.add_default(inside, "10.77.0.1")

# Firewall: one port. The table belongs to this socket and dies with it.
{:ok, nf} = Nfnl.open({:pid, pid})

:ok =
  Netfilter.push(nf, ~NFT"""
  table inet guard {
    flags owner

    chain input {
      type filter hook input priority filter
      policy drop
      iifname "lo" accept
      ct state established,related accept
      tcp dport 80 accept
      meta l4proto tcp counter reject with tcp reset
    }
  }
  """)

# Privilege: nothing but binding a low port.
keep = MapSet.new([:cap_net_bind_service])
:ok = Capabilities.drop_bounding(c, MapSet.difference(Capabilities.Constants.all(), keep))

# System calls: what this server uses, and not one more. The list needs no execve: the filter lets
# the one that starts the workload through, and no other. A name that the architecture lacks is an
# error, so x86_64's older calls, which aarch64 never had, are listed for it alone.
older = %{
  x86_64: ~w(access alarm arch_prctl dup2 fork open poll readlink select stat time vfork)a,
  aarch64: []
}

{:ok, filter} =
  Seccomp.allow_list(
    older[Seccomp.arch()] ++
      ~w(accept accept4 bind brk chdir clone close dup dup3 exit exit_group faccessat fcntl fstat
         futex getcwd getegid geteuid getgid getpeername getpid getrandom getsockname gettid
         getuid ioctl kill listen lseek mmap mprotect mremap munmap newfstatat openat ppoll prctl
         prlimit64 pselect6 read readlinkat recvfrom rseq rt_sigaction rt_sigprocmask rt_sigreturn
         sendfile sendto set_robust_list set_tid_address setitimer setsid setsockopt shutdown
         socket umask uname wait4 write writev)a,
    default: :kill_process
  )

:ok = Seccomp.install(c, filter)

# Everything above is in force from the workload's first instruction.
:ok = Process.proceed(c)

# -- what is in force, seen from the host --------------------------------------------------------

defmodule Witness do
  @moduledoc false

  def start, do: Elixir.Process.put(:failed, 0)

  def check(what, ok?, seen) do
    unless ok?, do: Elixir.Process.put(:failed, Elixir.Process.get(:failed) + 1)
    mark = if ok?, do: "OK  ", else: "FAIL"
    IO.puts("  #{mark}  #{String.pad_trailing(what, 34)} #{seen}")
  end

  def failed, do: Elixir.Process.get(:failed)

  # Asks until the answer is accepted or two seconds have passed; the last answer either way.
  def eventually(ask, accept?, deadline \\ now() + 2_000) do
    answer = ask.()

    if accept?.(answer) or now() > deadline do
      answer
    else
      Elixir.Process.sleep(10)
      eventually(ask, accept?, deadline)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  def get(port) do
    with {:ok, socket} <- :gen_tcp.connect({10, 77, 0, 2}, port, [:binary, active: false], 1_000),
         :ok <- :gen_tcp.send(socket, "GET / HTTP/1.0\r\n\r\n") do
      body(socket, "")
    else
      {:error, reason} -> reason
    end
  end

  defp body(socket, acc) do
    case :gen_tcp.recv(socket, 0, 1_000) do
      {:ok, bytes} -> body(socket, acc <> bytes)
      {:error, _closed} -> acc |> String.split("\r\n\r\n") |> List.last() |> String.trim()
    end
  end

  def status(pid, field) do
    [_, value] = Regex.run(~r/^#{field}:\s*(.*)$/m, File.read!("/proc/#{pid}/status"))
    value
  end

  def fds(pid) do
    for fd <- pid |> fd_dir() |> File.ls!() |> Enum.sort(),
        {:ok, target} <- [File.read_link(Path.join(fd_dir(pid), fd))],
        do: {fd, target}
  end

  defp fd_dir(pid), do: "/proc/#{pid}/fd"

  def run(command, args) do
    {output, _status} = System.cmd(command, args, stderr_to_stdout: true)
    String.trim(output)
  end

  # Which of these namespaces some process is still in.
  def inhabited(namespaces) do
    for path <- Path.wildcard("/proc/[0-9]*/ns/*"),
        {:ok, link} <- [File.read_link(path)],
        link in namespaces,
        uniq: true,
        do: link
  end
end

Witness.start()
namespaces = for ns <- ~w(user pid net mnt uts ipc), do: File.read_link!("/proc/#{pid}/ns/#{ns}")
IO.puts("\nThe workload runs as pid #{pid}. In force, as the host sees it:\n")

page = Witness.eventually(fn -> Witness.get(80) end, &is_binary/1)
Witness.check("page over the veth, port 80", page == "served from inside", inspect(page))

refused = Witness.get(81)
ruleset = Witness.run("nsenter", ["-t", "#{pid}", "-n", "nft", "list", "ruleset"])
Witness.check("port 81", refused == :econnrefused, inspect(refused))

Witness.check(
  "... by the firewall",
  ruleset =~ ~r/counter packets 1 bytes \d+ reject/,
  "its counter stands at one packet"
)

Witness.check(
  "ruleset, as nft sees it",
  ruleset =~ "tcp dport 80 accept",
  "table inet guard, tcp dport 80 accept"
)

hostname = Witness.run("nsenter", ["-t", "#{pid}", "-u", "hostname"])
Witness.check("hostname", hostname == "checkpoint", hostname)

ns_pid = pid |> Witness.status("NSpid") |> String.split()

Witness.check(
  "pid inside",
  ns_pid == ["#{pid}", "1"],
  Enum.join(ns_pid, " outside, ") <> " inside"
)

procs = "/proc/#{pid}/root/proc" |> File.ls!() |> Enum.filter(&(&1 =~ ~r/^\d+$/))
Witness.check("its /proc shows itself only", procs == ["1"], "pids #{Enum.join(procs, " ")}")

uid_map = "/proc/#{pid}/uid_map" |> File.read!() |> String.split()
Witness.check("uid map", uid_map == ["0", "100000", "1"], Enum.join(uid_map, " "))

route = Witness.run("nsenter", ["-t", "#{pid}", "-n", "ip", "route", "show", "default"])
Witness.check("default route", route =~ "via 10.77.0.1 dev eth0", route)

bind = 0x400
bounding = pid |> Witness.status("CapBnd") |> String.to_integer(16)
effective = pid |> Witness.status("CapEff") |> String.to_integer(16)

Witness.check(
  "bounding set",
  bounding == bind,
  "#{Witness.status(pid, "CapBnd")} (cap_net_bind_service)"
)

Witness.check("effective set", effective == bind, Witness.status(pid, "CapEff"))

Witness.check(
  "seccomp mode",
  Witness.status(pid, "Seccomp") == "2",
  "#{Witness.status(pid, "Seccomp")} (filter)"
)

Witness.check(
  "no_new_privs",
  Witness.status(pid, "NoNewPrivs") == "1",
  Witness.status(pid, "NoNewPrivs")
)

# Which numbers the server gives to what it opens itself is its own affair.
targets = fn process -> for {_fd, target} <- Witness.fds(process), do: target end
held = targets.("self") ++ targets.(Witness.status(pid, "PPid"))
found = targets.(pid)
leaked = for target <- found, target in held, target != "/dev/null", do: target
Witness.check("descriptors", leaked == [] and "/dev/null" in found, Enum.join(found, " "))

# -- and then nothing of it is left --------------------------------------------------------------

# A second socket in the workload's network namespace keeps that alive, to see the table go before
# its namespace does.
{:ok, witness} = Nfnl.open({:pid, pid})

IO.puts("\nThe workload is stopped, the firewall's socket closed:\n")

# SIGTERM, and SIGKILL 200 ms later: the server is pid 1 in there, and the kernel drops signals
# that pid 1 ignores.
{:ok, outcome} = Process.stop(c, 200)
Witness.check("workload", not File.exists?("/proc/#{pid}"), inspect(outcome))

:ok = Linx.Netlink.Socket.close(nf)
{:ok, ruleset} = Netfilter.pull(witness)

Witness.check(
  "table",
  Netfilter.Ruleset.tables(ruleset) == [],
  "none left in its network namespace"
)

for socket <- [witness, inside], do: :ok = Linx.Netlink.Socket.close(socket)

left = Witness.eventually(fn -> Witness.inhabited(namespaces) end, &(&1 == []))

Witness.check(
  "namespaces",
  left == [],
  "#{length(namespaces) - length(left)} of #{length(namespaces)} gone"
)

links = fn -> with {:ok, links} <- Rtnl.Link.list(host), do: Enum.map(links, & &1.name) end
names = Witness.eventually(links, &("demo0" not in &1))
Witness.check("veth", "demo0" not in names, "links left: #{Enum.join(names, " ")}")

File.rm_rf!(site)

case Witness.failed() do
  0 ->
    IO.puts("\nAll of it holds.")

  n ->
    IO.puts("\n#{n} of these do not hold.")
    System.halt(1)
end
