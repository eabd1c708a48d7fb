defmodule Linx.Test.Reconcile.Lab do
  @moduledoc false
  # A network namespace for one case of the property test: three veth pairs (a0 and b0 up, b0
  # with an MTU of 1200, c0 down), addresses and nexthop objects of somebody else, a shell that
  # runs ip(8) there, and `ip monitor`.

  alias Linx.Test.NewerIproute2
  alias Linx.Test.Reconcile.View

  @enforce_keys [:shell, :monitor, :pid, :ip]
  defstruct [:shell, :monitor, :pid, :ip]

  @patience 60_000

  # Other programs' addresses and nexthop objects, which a link that goes takes with it.
  @belongings %{
    "a0" => """
    addr add 192.0.2.1/24 dev a0
    addr add 2001:db8:1::1/64 dev a0 nodad
    nexthop add id 10 via 192.0.2.2 dev a0
    nexthop add id 11 via 192.0.2.3 dev a0
    nexthop add id 12 via 2001:db8:1::2 dev a0
    nexthop add id 13 via 2001:db8:1::3 dev a0
    nexthop add id 20 group 10/11
    nexthop add id 21 group 12/13
    nexthop add id 40 group 10/11 type resilient buckets 8
    """,
    "b0" => "addr add 198.51.100.1/24 dev b0\n",
    "c0" => ""
  }

  @mtu %{"a0" => 1500, "b0" => 1200, "c0" => 1500}

  @doc "The names of its links, and the smallest MTU with which the kernel lets a link have IPv6."
  def links, do: Map.keys(@mtu)

  @doc "The commands that make a link and give it what is other programs'."
  def make(link), do: pair(link) ++ raise_link(link) ++ belongings(link)

  @doc "The commands that give a link again what it has lost with its carrier."
  def belongings(link), do: String.split(@belongings[link], "\n", trim: true)

  @doc """
  The commands that bring a link up; its peer comes first, so that it has a carrier at once.
  """
  def raise_link("c0"), do: []
  def raise_link(link), do: ["link set #{peer(link)} up", "link set #{link} up"]

  defp pair(link) do
    mtu = @mtu[link]
    ["link add #{link} mtu #{mtu} type veth peer name #{peer(link)} mtu #{mtu}"]
  end

  defp peer(link), do: String.replace(link, "0", "1")

  # `ip monitor` reads nothing, so a closed pipe does not end it, nor does the end of its
  # namespace: the shell that has started it waits for a line or for the end of its input, which
  # comes with the end of the VM too.
  @monitor """
  nsenter --target "$1" --net -- "$2" monitor address route nexthop rule </dev/null &
  read -r _
  exec 2>/dev/null
  kill $!
  wait $!
  """

  @doc "A new namespace, which belongs to the calling process."
  def start do
    ip = NewerIproute2.path!("ip")
    shell = open(["unshare", "--net", "sh"])
    [pid] = shell |> script("echo $$") |> lines()
    pid = String.to_integer(pid)
    # No address of the kernel's own, and none that is tentative.
    sysctl = "net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0"
    "" = script(shell, "sysctl -qw #{sysctl}")
    lab = %__MODULE__{shell: shell, monitor: nil, pid: pid, ip: ip}
    "" = ip(lab, ["link set lo up" | Enum.flat_map(links(), &make/1)])
    carrier(lab)

    monitor = open(["sh", "-c", @monitor, "sh", "#{pid}", ip])
    lab = %{lab | monitor: monitor}
    # Until it listens.
    listening(lab, 1)
    lab
  end

  @doc "Ends its processes, and with them the namespace."
  def stop(%__MODULE__{} = lab) do
    Port.command(lab.monitor, "\n")
    Port.command(lab.shell, "exit\n")
    for port <- [lab.monitor, lab.shell], do: ended_port(port)
    :ok
  end

  defp ended_port(port) do
    receive do
      {^port, {:exit_status, _}} -> :ok
      {^port, _} -> ended_port(port)
    after
      @patience -> raise "a process in the namespace does not end"
    end
  end

  @doc "The namespace as `Linx.Netlink.Socket` takes it."
  def target(%__MODULE__{pid: pid}), do: {:pid, pid}

  @doc "Runs commands of ip(8), those that fail too, and gives what it complained of."
  def ip(_lab, []), do: ""

  def ip(lab, commands) do
    commands
    |> Enum.chunk_by(&(&1 |> String.split(" ") |> hd() |> sort()))
    |> Enum.map_join(&batch(lab, &1))
  end

  defp sort(word) when word in ["-6", "sysctl"], do: word
  defp sort(_word), do: "ip"

  # A setting of the namespace, beside commands of ip(8).
  defp batch(lab, ["sysctl " <> _ | _] = commands),
    do: script(lab.shell, Enum.map_join(commands, "\n", &(&1 <> " 2>&1")))

  defp batch(lab, ["-6 " <> _ | _] = commands),
    do: batch(lab, "-6", Enum.map(commands, &String.replace_prefix(&1, "-6 ", "")))

  defp batch(lab, commands), do: batch(lab, "", commands)

  defp batch(lab, family, commands) do
    script(
      lab.shell,
      "#{lab.ip} #{family} -force -batch - <<'END' 2>&1\n#{Enum.join(commands, "\n")}\nEND"
    )
  end

  @doc """
  Whether each of the commands fails, each in a process of its own: `[{command, status,
  output}]`.
  """
  def try_each(lab, commands) do
    for command <- commands do
      output = script(lab.shell, "#{lab.ip} #{command} 2>&1; echo status $?")
      [_, text, status] = Regex.run(~r/\A(.*)status (\d+)\n\z/s, output)
      {command, String.to_integer(status), text}
    end
  end

  @doc "Everything of the namespace as ip(8) shows it."
  def view(lab) do
    lab.shell
    |> script("""
    #{lab.ip} -N -j -d addr
    echo @; #{lab.ip} -4 -N -j -d route show table all
    echo @; #{lab.ip} -6 -N -j -d route show table all
    echo @; #{lab.ip} -N -j nexthop
    echo @; #{lab.ip} -4 -N -d route show table all
    echo @; #{lab.ip} -6 -N -d route show table all
    echo @; #{lab.ip} -4 -N -j rule show
    echo @; #{lab.ip} -6 -N -j rule show
    """)
    |> String.split("@\n")
    |> View.parse()
  end

  @doc """
  Waits until the kernel has told its parts of the carrier of each link that is up with its
  peer.
  """
  def carrier(lab), do: Linx.Test.Poll.until(fn -> settled?(lab) end)

  defp settled?(lab) do
    shown = lines(script(lab.shell, "#{lab.ip} -o link show up"))

    up =
      for line <- shown,
          [_, name] <- [Regex.run(~r/^\d+: (\w+)@/, line)],
          into: %{},
          do: {name, line =~ "state UP"}

    Enum.all?(links(), fn link ->
      [up[link], up[peer(link)]] |> Enum.all?(&(&1 != false)) or
        up[link] == nil or up[peer(link)] == nil
    end) and Enum.all?(shown, &told?/1)
  end

  # The state that the kernel tells its parts of follows the carrier.
  defp told?(line),
    do: String.contains?(line, "LOWER_UP") == (line =~ ~r/state (UP|UNKNOWN)/)

  @doc """
  Waits until the kernel has taken each IPv6 address of a link that is up. It does so from a work
  queue, also for an address that it does not check, and tells of the address a second time then
  (addrconf_dad_completed): the local route shows that it has.
  """
  def taken(lab), do: Linx.Test.Poll.until(fn -> local?(lab) end)

  defp local?(lab) do
    # An address waits for the carrier of its link.
    carried =
      for line <- lines(script(lab.shell, "#{lab.ip} -o link show up")),
          line =~ "LOWER_UP",
          do: hd(Regex.run(~r/(?<=: )[^:@]+/, line))

    addresses =
      for line <- lines(script(lab.shell, "#{lab.ip} -6 -o addr show up")),
          hd(Regex.run(~r/(?<=: )\S+/, line)) in carried,
          do: line

    routes = script(lab.shell, "#{lab.ip} -6 route show table local")

    Enum.all?(addresses, fn line ->
      [_, link, ip] = Regex.run(~r/^\d+: (\S+) +inet6 ([^\/ ]+)/, line)
      routes =~ "local #{ip} dev #{link} "
    end)
  end

  @doc "What `ip monitor` says of `fun`, which gives the second element."
  def watched(lab, fun) do
    _ = fence(lab, 2)
    result = fun.()
    {fence(lab, 3), result}
  end

  # Lines until those of a route that comes and goes.
  defp fence(lab, n) do
    "" = ip(lab, mark(n))
    lab.monitor |> read_until("Deleted blackhole 240.0.0.#{n} table 4999", []) |> unmarked(n)
  end

  defp mark(n),
    do: [
      "route add blackhole 240.0.0.#{n} table 4999",
      "route del blackhole 240.0.0.#{n} table 4999"
    ]

  defp unmarked(lines, n),
    do: Enum.reject(lines, &(&1 =~ "blackhole 240.0.0.#{n} " or &1 =~ "ff00::/8"))

  defp listening(lab, n) do
    "" = ip(lab, mark(n))

    receive do
      {port, {:data, {_, line}}} when port == lab.monitor ->
        if line =~ "240.0.0.1", do: :ok, else: listening(lab, n)
    after
      20 -> listening(lab, n)
    end
  end

  defp read_until(port, last, lines) do
    receive do
      {^port, {:data, {_, line}}} ->
        if String.starts_with?(line, last),
          do: Enum.reverse(lines),
          else: read_until(port, last, [String.trim(line) | lines])
    after
      @patience -> raise "ip monitor does not show #{last}"
    end
  end

  # -- the shell ---

  defp open([program | args]) do
    Port.open({:spawn_executable, System.find_executable(program)}, [
      :binary,
      :exit_status,
      {:line, 65_536},
      args: args
    ])
  end

  defp script(shell, text) do
    Port.command(shell, [text, "\necho; echo ===\n"])
    output(shell, [])
  end

  defp output(shell, parts) do
    receive do
      {^shell, {:data, {:eol, "==="}}} ->
        parts |> Enum.reverse() |> IO.iodata_to_binary() |> String.trim_trailing("\n") |> ended()

      {^shell, {:data, {:eol, line}}} ->
        output(shell, [[line, "\n"] | parts])

      {^shell, {:data, {:noeol, part}}} ->
        output(shell, [part | parts])

      {^shell, {:exit_status, status}} ->
        raise "the shell in the namespace ended with #{status}"
    after
      @patience -> raise "the shell in the namespace does not answer"
    end
  end

  defp ended(""), do: ""
  defp ended(text), do: text <> "\n"

  defp lines(text), do: String.split(text, "\n", trim: true)
end
