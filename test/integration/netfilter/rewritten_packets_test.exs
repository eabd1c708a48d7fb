defmodule Linx.Netfilter.RewrittenPacketsTest do
  # Packets between two namespaces that a veth pair joins: what a rule writes into a header
  # arrives whole, and a field of some ICMP types is found in these alone.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Expr, Ruleset}
  alias Linx.Test.Firewall

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do
    %{pid: here, sock: sock} = Firewall.namespace()
    %{pid: there} = Firewall.namespace()
    Firewall.run!(here, ~w(ip link add v0 type veth peer name v1 netns #{there}))

    # Neighbours are known, so that no neighbour discovery is counted.
    for {pid, dev, own, other, mac, peer} <- [
          {here, "v0", 1, 2, "02:00:00:00:00:01", "02:00:00:00:00:02"},
          {there, "v1", 2, 1, "02:00:00:00:00:02", "02:00:00:00:00:01"}
        ] do
      script = """
      ip link set #{dev} address #{mac} up
      ip addr add 192.0.2.#{own}/24 dev #{dev}
      ip addr add 2001:db8::#{own}/64 dev #{dev} nodad
      ip neigh add 192.0.2.#{other} lladdr #{peer} dev #{dev}
      ip neigh add 2001:db8::#{other} lladdr #{peer} dev #{dev}
      """

      Firewall.run!(pid, ["sh", "-ec", script])
    end

    %{here: here, there: there, sock: sock}
  end

  # Listens in one namespace and sends from the other, until something has come; the receiver says
  # what.
  @exchange """
  import ctypes, os, socket, struct, sys, time
  def enter(pid):
      fd = os.open("/proc/%s/ns/net" % pid, os.O_RDONLY)
      if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000): raise \
  OSError(ctypes.get_errno())
  def table():
      for n in range(256):
          for _ in range(8): n = n >> 1 ^ 0x82F63B78 * (n & 1)
          yield n
  TABLE = list(table())
  def crc32c(data):
      crc = 0xFFFFFFFF
      for byte in data: crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
      return crc ^ 0xFFFFFFFF
  def sctp(sport, dport):
      head, chunk = struct.pack("!HHI", sport, dport, 7), struct.pack("!BBH", 14, 0, 4)
      return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk
  def whole(packet):
      body = packet[(packet[0] & 15) * 4:]
      good = struct.pack("<I", crc32c(body[:8] + bytes(4) + body[12:])) == body[8:12]
      return "%d %s" % (struct.unpack("!H", body[2:4])[0], "whole" if good else "damaged")
  kind, here, there = sys.argv[1:]
  raw = {"sctp": 132, "udp": socket.IPPROTO_UDP, "udp-unsummed": socket.IPPROTO_UDP}[kind]
  enter(here)
  if kind == "sctp":
      listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, raw)
  else:
      listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); listener.bind(("0.0.0.0", \
  9001))
  listener.settimeout(20)
  enter(there)
  if kind == "sctp":
      socket.socket(socket.AF_INET, socket.SOCK_RAW, raw).sendto(sctp(1000, 9000), ("192.0.2.1", \
  0))
      print(whole(listener.recv(2000)))
  else:
      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      if kind == "udp-unsummed": s.setsockopt(socket.SOL_SOCKET, 11, 1)
      s.sendto(b"hello", ("192.0.2.1", 9000))
      print(listener.recv(100).decode())
  """

  defp exchange(kind, %{here: here, there: there}) do
    {text, 0} = System.cmd("python3", ["-c", @exchange, kind, "#{here}", "#{there}"])
    String.trim(text)
  end

  defp push!(sock, family, rules) do
    chain = "chain c { type filter hook prerouting priority -300; #{rules}; };"
    {:ok, ruleset} = NFT.parse("table #{family} t { #{chain} }")
    :ok = Netfilter.push(sock, ruleset)
  end

  describe "a rewritten port" do
    test "leaves the CRC32c of an SCTP packet whole", %{sock: sock} = context do
      for value <- ["9001", "sctp dport | 1"] do
        push!(sock, "inet", "sctp dport 9000 sctp dport set #{value}")
        assert exchange("sctp", context) == "9001 whole"
      end
    end

    test "leaves a datagram without a checksum without one, and sums one that has it", context do
      for value <- ["9001", "udp dport | 1"], kind <- ["udp-unsummed", "udp"] do
        push!(context.sock, "ip", "udp dport 9000 udp dport set #{value}")
        assert exchange(kind, context) == "hello"
      end
    end

    test "does so in a rule that was built by hand", %{sock: sock} = context do
      for {field, write, kind, got} <- [
            {:sctp_dport, :sctp_dport, "sctp", "9001 whole"},
            {:udp_dport, :udp_dport, "udp-unsummed", "hello"}
          ] do
        rule = [
          Expr.payload(field),
          Expr.cmp(:eq, <<9000::16>>),
          Expr.load(<<9001::16>>),
          Expr.payload(write, sreg: 1)
        ]

        ruleset =
          Ruleset.new()
          |> Ruleset.add_table!(:ip, "t")
          |> Ruleset.add_chain!("t", "c", type: :filter, hook: :prerouting, priority: -300)
          |> Ruleset.add_rule!("t", "c", rule)

        :ok = Netfilter.push(sock, ruleset)
        assert exchange(kind, context) == got
        {:ok, pulled} = Netfilter.pull(sock)
        assert Netfilter.diff(pulled, ruleset).ops == []
      end
    end
  end

  # An echo request whose payload is an address, and a redirect to that address.
  @icmpv6 """
  import socket, sys
  s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
  s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
  address = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
  for kind in sys.argv[1:]:
      s.sendto(bytes([int(kind), 0]) + bytes(6) + address + address, ("2001:db8::1", 0))
  """

  defp counters(sock) do
    {:ok, ruleset} = Netfilter.pull(sock)
    {:ok, table} = Ruleset.fetch_table(ruleset, "t")

    for rule <- table.chains["c"].rules,
        %{name: :counter, data: data} <- rule.expressions,
        do: data.packets
  end

  defp await(sock, last, deadline \\ System.monotonic_time(:millisecond) + 20_000) do
    case List.last(counters(sock)) do
      ^last ->
        :ok

      n ->
        if System.monotonic_time(:millisecond) > deadline,
          do: flunk("#{n}"),
          else: await(sock, last, deadline)
    end
  end

  test "an ICMPv6 address is found in messages that have one " <>
         "there",
       %{sock: sock, there: there} do
    typed = fn name ->
      [Expr.payload(name), Expr.cmp(:eq, <<0x20010DB8::32, 0::64, 1::32>>), Expr.counter()]
    end

    {:ok, ruleset} =
      NFT.parse("""
      table ip6 t {
        chain c {
          type filter hook input priority 0
          icmpv6 taddr 2001:db8::1 counter
          icmpv6 daddr 2001:db8::1 counter
        }
      }
      """)

    all = [Expr.payload(:icmpv6_code), Expr.cmp(:eq, <<0>>), Expr.counter()]

    ruleset =
      for rule <- [typed.(:icmpv6_taddr), typed.(:icmpv6_daddr), all], reduce: ruleset do
        ruleset -> Ruleset.add_rule!(ruleset, "t", "c", rule)
      end

    :ok = Netfilter.push(sock, ruleset)
    {:ok, pulled} = Netfilter.pull(sock)
    assert Netfilter.diff(pulled, ruleset).ops == []

    # Echo request, packet too big, and nothing of what has an address there.
    Firewall.run!(there, ["python3", "-c", @icmpv6, "128", "2", "200"])
    await(sock, 3)
    assert counters(sock) == [0, 0, 0, 0, 3]

    # A neighbour solicitation has a target; a redirect has a target and a destination.
    Firewall.run!(there, ["python3", "-c", @icmpv6, "135", "137"])
    await(sock, 5)
    assert counters(sock) == [2, 1, 2, 1, 5]
  end
end
