defmodule Linx.NFT.DistributionsTest do
  # Whole rulesets in the shape of those that OpenWrt's fw4, Foomuuri, Docker, the CNI port
  # mapper, kube-proxy and NixOS load, written for this project. Each is loaded by nft(8) in one
  # namespace and by Linx in another: both list the same, a reconcile finds nothing to do, the
  # formatted text is the same ruleset, and packets meet what the text says.
  #
  # The node has wan0 towards a client and lan0 towards a pod, and forwards. What two listings
  # compare is loaded into namespaces without traffic, where no counter moves.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.Ruleset
  alias Linx.Netlink.Nfnl.Codec
  alias Linx.Test.{Firewall, NewerNft}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :newer_nft

  @rulesets Path.expand("../../fixtures/rulesets", __DIR__)

  @node {192, 0, 2, 1}
  @pod {198, 51, 100, 2}
  @client {192, 0, 2, 2}
  # An address of the client that several of the rulesets refuse.
  @guest {192, 0, 2, 66}

  @node6 {0x2001, 0xDB8, 1, 0, 0, 0, 0, 1}
  @pod6 {0x2001, 0xDB8, 2, 0, 0, 0, 0, 2}
  @client6 {0x2001, 0xDB8, 1, 0, 0, 0, 0, 2}
  @guest6 {0x2001, 0xDB8, 1, 0, 0, 0, 0, 0x66}

  @web {203, 0, 113, 10}
  @dns {203, 0, 113, 20}
  @log {203, 0, 113, 12}
  @web6 {0xFD00, 0, 0, 0x10, 0, 0, 0, 0x10}
  @dns6 {0xFD00, 0, 0, 0x10, 0, 0, 0, 0x53}

  # `{source, destination, port, where, port there}`. What is dropped reaches its place once the
  # rules are gone; where it is the rules that bring it there, the last accepted one takes the
  # same way from another address.
  @traffic %{
    "fw4/router" => [
      accept: {@client, @node, 9100, :node, 9100},
      accept: {@client, @node, 8080, :pod, 80},
      drop: {@client, @node, 162, :node, 162}
    ],
    "fw4/zones" => [
      accept: {@client, @node, 500, :node, 500},
      accept: {@client, @node, 8053, :pod, 53},
      accept: {@client6, @node6, 8053, :pod, 53},
      drop: {@client, @node, 501, :node, 501},
      drop: {@client, @pod, 500, :pod, 500}
    ],
    "fw4/parts" => [
      accept: {@client, @node, 51_820, :node, 51_820},
      drop: {@guest, @node, 51_820, :node, 51_820}
    ],
    "foomuuri/zones" => [
      accept: {@client, @node, 443, :node, 443},
      drop: {@client, @node, 444, :node, 444}
    ],
    "foomuuri/nat" => [
      accept: {@client, @node, 8080, :pod, 80},
      accept: {@client6, @node6, 8080, :pod, 80},
      accept: {@client, @node, 161, :node, 161},
      drop: {@client, @pod, 81, :pod, 81}
    ],
    "foomuuri/host" => [
      accept: {@client, @node, 51_820, :node, 51_820},
      drop: {@guest, @node, 51_820, :node, 51_820}
    ],
    "docker/bridges" => [
      accept: {@client, @node, 8080, :pod, 80},
      drop: {@client, @pod, 81, :pod, 81}
    ],
    "docker/listed" => [
      accept: {@client, @node, 8080, :pod, 80},
      drop: {@client, {198, 51, 100, 3}, 80, :pod, 80}
    ],
    "docker/bridges6" => [
      accept: {@client6, @node6, 8080, :pod, 80},
      accept: {@client6, @node6, 9000, :pod, 9000},
      drop: {@client6, @pod6, 81, :pod, 81}
    ],
    "portmap/hostports" => [
      accept: {@client, @node, 8080, :pod, 80},
      accept: {@client6, @node6, 8080, :pod, 80},
      accept: {@client, @node, 9080, :pod, 80},
      drop: {@client, @pod, 81, :pod, 81}
    ],
    "portmap/maps" => [
      accept: {@client, @node, 8080, :pod, 80},
      accept: {@client, @node, 53, :pod, 5353},
      drop: {@client, @pod, 80, :pod, 80}
    ],
    "portmap/maps6" => [
      accept: {@client6, @node6, 8080, :pod, 80},
      accept: {@client6, @node6, 3101, :pod, 53},
      drop: {@client6, @pod6, 80, :pod, 80}
    ],
    "kube_proxy/services" => [
      accept: {@client, @web, 80, :pod, 80},
      accept: {@client, @dns, 53, :pod, 5353},
      drop_by_source: {@guest, @dns, 53, :pod, 5353}
    ],
    "kube_proxy/transaction" => [
      accept: {@client, @web, 80, :pod, 8080},
      accept: {@client, @log, 514, :pod, 514},
      drop_by_source: {@guest, @log, 514, :pod, 514}
    ],
    "kube_proxy/services6" => [
      accept: {@client6, @web6, 80, :pod, 80},
      accept: {@client6, @dns6, 53, :pod, 5353},
      drop_by_source: {@guest6, @dns6, 53, :pod, 5353}
    ],
    "nixos/firewall" => [
      accept: {@client, @node, 443, :node, 443},
      drop: {@client, @node, 444, :node, 444}
    ],
    "nixos/nat" => [
      accept: {@client, @node, 8080, :pod, 80},
      accept: {@client6, @node6, 8080, :pod, 80},
      drop: {@client, @pod, 80, :pod, 80}
    ],
    "nixos/ruleset" => [
      accept: {@client, @node, 51_820, :node, 51_820},
      drop: {@guest, @node, 51_820, :node, 51_820}
    ]
  }

  setup_all do
    node = Firewall.namespace()
    theirs = Firewall.namespace()
    %{pid: client} = Firewall.namespace()
    %{pid: pod} = Firewall.namespace()

    batch(node.pid, """
    link set lo up
    link add wan0 type veth peer name eth0 netns #{client}
    link add lan0 type veth peer name eth0 netns #{pod}
    addr add 192.0.2.1/24 dev wan0
    addr add 198.51.100.1/24 dev lan0
    addr add 2001:db8:1::1/64 dev wan0 nodad
    addr add 2001:db8:2::1/64 dev lan0 nodad
    link set wan0 up
    link set lan0 up
    """)

    batch(client, """
    addr add 192.0.2.2/24 dev eth0
    addr add 192.0.2.66/24 dev eth0
    addr add 2001:db8:1::2/64 dev eth0 nodad
    addr add 2001:db8:1::66/64 dev eth0 nodad
    link set eth0 up
    route add default via 192.0.2.1
    -6 route add default via 2001:db8:1::1
    """)

    batch(pod, """
    addr add 198.51.100.2/24 dev eth0
    addr add 198.51.100.3/24 dev eth0
    addr add 2001:db8:2::2/64 dev eth0 nodad
    addr add 2001:db8:2::3/64 dev eth0 nodad
    link set eth0 up
    route add default via 198.51.100.1
    -6 route add default via 2001:db8:2::1
    """)

    forward = ~w(net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1)
    Firewall.run!(node.pid, ["sysctl", "-qw" | forward])

    ours = Firewall.namespace()

    %{
      node: node,
      ours: ours,
      theirs: theirs,
      nft: NewerNft.path!(),
      places: %{node: node.pid, client: client, pod: pod}
    }
  end

  # `ip -batch` takes `-6` for an option of its own run only.
  defp batch(pid, lines) do
    {six, four} =
      lines |> String.split("\n", trim: true) |> Enum.split_with(&String.starts_with?(&1, "-6 "))

    for {flags, lines} <- [{[], four}, {["-6"], Enum.map(six, &String.slice(&1, 3..-1//1))}],
        lines != [] do
      path = Linx.Test.Scratch.path("batch")
      File.write!(path, Enum.map(lines, &[&1, "\n"]))
      Firewall.run!(pid, ["ip"] ++ flags ++ ["-batch", path])
      File.rm!(path)
    end
  end

  setup %{node: node, ours: ours, theirs: theirs, nft: nft} do
    on_exit(fn ->
      for %{pid: pid} <- [node, ours, theirs], do: Firewall.run(pid, [nft, "flush", "ruleset"])
    end)
  end

  test "there are three rulesets of each kind, of eighty lines and more, and traffic for each" do
    files = @rulesets |> Path.join("*/*.nft") |> Path.wildcard()
    names = for file <- files, do: file |> Path.relative_to(@rulesets) |> Path.rootname()
    assert names |> Enum.frequencies_by(&Path.dirname/1) |> Map.values() == List.duplicate(3, 6)
    assert Enum.sort(names) == @traffic |> Map.keys() |> Enum.sort()
    short = for file <- files, length(String.split(File.read!(file), "\n")) <= 80, do: file
    assert short == []
  end

  for {name, traffic} <- @traffic do
    @external_resource Path.join(@rulesets, name <> ".nft")
    @tag traffic: Macro.escape(traffic), ruleset: name
    test "#{name}: as nft loads it, settled, the same when written back, and enforced", context do
      %{ours: %{sock: sock} = ours, theirs: theirs, nft: nft, ruleset: name} = context
      path = Path.join(@rulesets, name <> ".nft")
      folder = Path.dirname(path)
      parts = for glob <- ["parts", "parts/*.d"], found <- glob(folder, glob), do: found
      includes = Enum.flat_map([folder | parts], &["-I", &1])

      assert Firewall.run!(theirs.pid, [nft] ++ includes ++ ["-f", path]) == ""
      assert {:ok, ruleset} = NFT.parse_file(path)
      assert Netfilter.push(sock, ruleset) == :ok
      listed = Firewall.json(ours.pid, nft)
      assert differences(listed, theirs.pid, nft) == {[], []}

      assert {:ok, loaded} = Netfilter.pull(theirs.sock)
      assert {:ok, pulled} = Netfilter.pull(sock)
      assert Netfilter.diff(pulled, ruleset).ops == []
      assert order(loaded) == order(ruleset)

      for text <- Enum.uniq([NFT.format(ruleset), NFT.format(loaded)]) do
        assert Firewall.load!(theirs.pid, "flush ruleset\n" <> text, nft) == :ok
        assert differences(listed, theirs.pid, nft) == {[], []}, text
        assert {:ok, read} = NFT.parse(text)
        assert NFT.format(read) == text
      end

      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}

      laid_out = NFT.Formatter.format(File.read!(path), extension: ".nft")
      assert NFT.Formatter.format(laid_out, extension: ".nft") == laid_out
      assert NFT.parse(laid_out, file: path) == {:ok, ruleset}

      settled(context.node.sock, tagged(ruleset))
      traffic(unquote(Macro.escape(traffic)), context)
    end
  end

  # The entities of our listing that theirs lacks, and the reverse.
  defp differences(ours, theirs, nft) do
    theirs = Firewall.json(theirs, nft)
    if ours == theirs, do: {[], []}, else: {ours -- theirs, theirs -- ours}
  end

  defp glob(folder, pattern), do: folder |> Path.join(pattern) |> Path.wildcard()

  # A reconcile of what is there sends nothing: the generation stays, and with it every handle.
  defp settled(sock, ruleset) do
    assert Netfilter.push(sock, ruleset) == :ok
    {:ok, before} = Codec.get_gen(sock)
    assert {:ok, %{ops: []}} = Netfilter.dry_run(sock, ruleset)
    assert Netfilter.push(sock, ruleset, mode: :reconcile) == :ok
    {:ok, later} = Codec.get_gen(sock)
    assert later.id == before.id
  end

  # Names of kinds that nft has one list of stand in one order.
  defp order(ruleset) do
    for {family, name, table} <- Ruleset.tables(ruleset),
        field <- [:objects, :chains, :sets, :maps] do
      {family, name, field, for(thing <- Netfilter.Table.in_order(table, field), do: thing.name)}
    end
  end

  defp tagged(ruleset) do
    map(ruleset, fn rules, chain ->
      for {rule, n} <- Enum.with_index(rules), do: %{rule | tag: :"#{chain}_#{n}"}
    end)
  end

  defp map(%Ruleset{tables: tables} = ruleset, fun) do
    tables =
      Map.new(tables, fn {key, table} ->
        chains =
          Map.new(table.chains, fn {name, c} -> {name, %{c | rules: fun.(c.rules, name)}} end)

        {key, %{table | chains: chains}}
      end)

    %{ruleset | tables: tables}
  end

  # -- packets -----------------------------------------------------------------------------------

  defp traffic(traffic, %{node: node, places: places, nft: nft}) do
    listeners =
      for {_verdict, {source, _, _, place, port}} <- traffic, uniq: true, into: %{} do
        {{place, port, tuple_size(source)}, open(places[place], any(source), port)}
      end

    # Those that are to be dropped go first: when the last one arrives, so would they have.
    for {verdict, packet} <- traffic, verdict != :accept, do: send_to(packet, places, "dropped")

    for {:accept, packet} <- traffic do
      assert arrives?(packet, places, listeners, "accepted"), "#{inspect(packet)} did not arrive"
    end

    for {_at, socket} <- listeners, do: refute("dropped" in received(socket))
    Firewall.run!(node.pid, [nft, "flush", "ruleset"])

    for {:drop, packet} <- traffic do
      assert arrives?(packet, places, listeners, "control"), "#{inspect(packet)} has no way there"
    end

    for {_at, socket} <- listeners, do: :gen_udp.close(socket)
  end

  defp any(address) when tuple_size(address) == 4, do: {0, 0, 0, 0}
  defp any(_address), do: {0, 0, 0, 0, 0, 0, 0, 0}

  defp open(pid, address, port) do
    family = if tuple_size(address) == 4, do: [:inet], else: [:inet6, ipv6_v6only: true]
    options = [:binary, ip: address, netns: "/proc/#{pid}/ns/net", active: false, reuseaddr: true]
    {:ok, socket} = :gen_udp.open(port, family ++ options)
    socket
  end

  defp send_to({source, destination, port, _place, _port}, %{client: client}, text) do
    socket = open(client, source, 0)
    # A refusal that came back from an earlier packet is none of this one's.
    _ = :gen_udp.send(socket, destination, port, text)
    :gen_udp.close(socket)
  end

  # Sent again until it comes: the first may be lost while a neighbour is looked for.
  defp arrives?({source, _, _, place, port} = packet, places, listeners, text) do
    socket = Map.fetch!(listeners, {place, port, tuple_size(source)})

    Linx.Test.Poll.holds?(fn ->
      send_to(packet, places, text)
      match?({:ok, {_address, _port, ^text}}, :gen_udp.recv(socket, 0, 200))
    end)
  end

  defp received(socket) do
    case :gen_udp.recv(socket, 0, 0) do
      {:ok, {_address, _port, text}} -> [text | received(socket)]
      {:error, _} -> []
    end
  end
end
