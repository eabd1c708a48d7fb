defmodule Linx.Netfilter.ElementsTest do
  # Single elements of sets and maps in the kernel, with nft(8) as the oracle.
  use ExUnit.Case, async: true

  alias Linx.{IP, Netfilter, NFT}
  alias Linx.Netfilter.{Element, Error, Object}
  alias Linx.Test.{Firewall, Poll}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do
    %{sock: sock, pid: pid} = Firewall.namespace()

    {:ok, ruleset} =
      NFT.parse("""
      table inet fw {
        counter web { packets 5 bytes 500 }
        quota cap { over 100 mbytes used 7 bytes }
        chain allowed { accept; }
        set guests { type ipv4_addr; flags timeout; }
        set plain { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
        set six { type ipv6_addr; flags interval; elements = { 2001:db8::/32 } }
        set nets { type ipv4_addr; flags interval
          elements = { 10.0.0.0/24, 10.0.1.0-10.0.1.9, 10.0.1.10-10.0.1.20, 255.255.255.0/24 } }
        set merged { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/24 } }
        set joined { type inet_service; flags interval; auto-merge; }
        set devices { typeof iif; }
        set device_pairs { typeof iif . ip saddr; }
        set ports { type inet_service; flags interval; elements = { 80-90 } }
        set names { type ifname; elements = { "eth0" } }
        set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . \
      80-90 } }
        set counted { type ipv4_addr; counter; elements = { 192.0.2.9 counter packets 3 bytes \
      300 } }
        map pool { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.5 } }
        map names2 { type ipv4_addr . inet_service : ipv4_addr; }
        map verdicts { type ipv4_addr : verdict; }
        map objects { type ipv4_addr : counter; }
      }
      """)

    :ok = Netfilter.push(sock, ruleset)
    %{sock: sock, pid: pid}
  end

  defp ref(name), do: {:inet, "fw", name}

  defp listed(pid, name),
    do: pid |> Firewall.run!(["nft", "list", "set", "inet", "fw", name]) |> squeezed()

  defp listed_map(pid, name),
    do: pid |> Firewall.run!(["nft", "list", "map", "inet", "fw", name]) |> squeezed()

  defp squeezed(text), do: text |> String.split() |> Enum.join(" ")

  test "elements of every form are added, found and deleted", %{sock: sock, pid: pid} do
    for {name, element, text} <- [
          {"plain", {192, 0, 2, 7}, "192.0.2.7"},
          {"plain", "192.0.2.8", "192.0.2.8"},
          {"plain", elem(IP.parse("192.0.2.9"), 1), "192.0.2.9"},
          {"six", "2001:db9::/32", "2001:db9::/32"},
          {"six", elem(IP.Subnet.parse("2001:dba::/64"), 1), "2001:dba::/64"},
          {"nets", "172.16.0.0/12", "172.16.0.0/12"},
          {"nets", {:range, "10.1.0.0", "10.1.0.5"}, "10.1.0.0-10.1.0.5"},
          {"nets", "0.0.0.0/8", "0.0.0.0/8"},
          {"ports", 443, "443"},
          {"ports", 8000..8100, "8000-8100"},
          {"ports", "ssh", "22"},
          {"names", "wg0", "\"wg0\""},
          {"pairs", {"172.16.0.0/12", 443}, "172.16.0.0/12 . 443"},
          {"pairs", ["192.0.2.1", 1..9], "192.0.2.1 . 1-9"}
        ] do
      refute Netfilter.has_element?(sock, ref(name), element)
      assert :ok = Netfilter.add_elements(sock, ref(name), [element])
      assert Netfilter.has_element?(sock, ref(name), element)
      assert listed(pid, name) =~ text
      assert :ok = Netfilter.delete_elements(sock, ref(name), [element])
      refute Netfilter.has_element?(sock, ref(name), element)
      refute listed(pid, name) =~ " #{text}"
    end
  end

  test "pairs of maps", %{sock: sock, pid: pid} do
    for {name, pair, key, text} <- [
          {"pool", {443, "10.0.0.6"}, 443, "443 : 10.0.0.6"},
          {"names2", {{"10.0.0.1", 80}, "10.0.0.6"}, {"10.0.0.1", 80},
           "10.0.0.1 . 80 : 10.0.0.6"},
          {"verdicts", {"10.0.0.1", {:jump, "allowed"}}, "10.0.0.1", "10.0.0.1 : jump allowed"},
          {"verdicts", {"10.0.0.2", :drop}, "10.0.0.2", "10.0.0.2 : drop"},
          {"objects", {"10.0.0.2", "web"}, "10.0.0.2", "10.0.0.2 : \"web\""}
        ] do
      refute Netfilter.has_element?(sock, ref(name), key)
      assert :ok = Netfilter.add_elements(sock, ref(name), [pair])
      assert listed_map(pid, name) =~ text
      assert Netfilter.has_element?(sock, ref(name), key)
      assert {:ok, [{_key, _value}]} = Netfilter.get_elements(sock, ref(name), [pair])
      assert :ok = Netfilter.delete_elements(sock, ref(name), [key])
      assert {:ok, left} = Netfilter.get_elements(sock, ref(name), :all)
      assert length(left) == if(name == "pool", do: 1, else: 0)
    end
  end

  test "a timeout for all, and one of an element's own", %{sock: sock} do
    own = %Element{key: "192.0.2.8", timeout: 120_000, comment: "own"}

    assert :ok =
             Netfilter.add_elements(sock, ref("guests"), ["192.0.2.7", own],
               timeout: 60_000,
               comment: "all"
             )

    assert {:ok, [first, second]} =
             Netfilter.get_elements(sock, ref("guests"), ["192.0.2.7", "192.0.2.8"])

    assert %Element{key: {192, 0, 2, 7}, timeout: 60_000, comment: "all", expires: left} = first
    assert left in 1..60_000
    assert %Element{key: {192, 0, 2, 8}, timeout: 120_000, comment: "own"} = second
  end

  test "an interval is found by what it covers, to its last value", %{sock: sock} do
    assert {:ok, found} =
             Netfilter.get_elements(sock, ref("nets"), [
               "10.0.0.0",
               "10.0.0.255",
               "10.0.1.9",
               "10.0.1.10",
               {:range, "10.0.1.3", "10.0.1.5"},
               "255.255.255.255"
             ])

    low = {:range, {10, 0, 1, 0}, {10, 0, 1, 9}}
    net = {:prefix, {10, 0, 0, 0}, 24}
    high = {:range, {10, 0, 1, 10}, {10, 0, 1, 20}}
    assert found == [net, net, low, high, low, {:prefix, {255, 255, 255, 0}, 24}]

    refute Netfilter.has_element?(sock, ref("nets"), "10.0.1.21")
    refute Netfilter.has_element?(sock, ref("nets"), "9.255.255.255")
    # Two intervals cover it, but not one.
    refute Netfilter.has_element?(sock, ref("nets"), {:range, "10.0.1.5", "10.0.1.15"})
    assert Netfilter.has_element?(sock, ref("pairs"), {"10.1.2.3", 85})
    refute Netfilter.has_element?(sock, ref("pairs"), {"10.1.2.3", 91})
  end

  test "auto-merge joins what is added and splits what is deleted", %{sock: sock, pid: pid} do
    set = ref("merged")
    assert :ok = Netfilter.add_elements(sock, set, ["10.0.0.128-10.0.1.255" |> range()])
    assert listed(pid, "merged") =~ "10.0.0.0/23"
    assert :ok = Netfilter.add_elements(sock, set, ["10.0.0.7"])
    assert :ok = Netfilter.delete_elements(sock, set, ["10.0.0.7"])

    assert {:ok,
            [{:range, {10, 0, 0, 0}, {10, 0, 0, 6}}, {:range, {10, 0, 0, 8}, {10, 0, 1, 255}}]} =
             Netfilter.get_elements(sock, set, :all)

    assert {:error, %Error{errno: :enoent, at: at}} =
             Netfilter.delete_elements(sock, set, ["10.0.0.8", "10.0.0.7"])

    assert at[:element] == {10, 0, 0, 7}
    assert Netfilter.has_element?(sock, set, "10.0.0.8")
  end

  test "an interval that ends at the last value is found by every key in it", %{sock: sock} do
    for {name, intervals, keys} <- [
          {"ports", [{0..65_535, [0, 9, 65_535]}], []},
          {"ports", [{0..7, [0, 7]}, {8..65_535, [8, 9, 65_535]}], []},
          {"ports", [{5..65_535, [5, 6, 65_535]}], [0, 4]},
          {"six", [{"::/0", ["::", "2001:db8::1", "2001:db8::/33"]}], []},
          {"merged", [{"128.0.0.0/1", ["128.0.0.0", "192.0.2.1"]}], ["127.255.255.255"]}
        ] do
      {:ok, there} = Netfilter.get_elements(sock, ref(name), :all)
      :ok = Netfilter.delete_elements(sock, ref(name), there)

      for {interval, within} <- intervals do
        :ok = Netfilter.add_elements(sock, ref(name), [interval])
        {:ok, all} = Netfilter.get_elements(sock, ref(name), :all)

        for key <- within do
          assert {:ok, [element]} = Netfilter.get_elements(sock, ref(name), [key])
          assert element in all
          assert Netfilter.has_element?(sock, ref(name), key)
        end
      end

      for key <- keys, do: refute(Netfilter.has_element?(sock, ref(name), key))
    end
  end

  test "auto-merge: parts are deleted with ignore_missing too, and the catch-all stays", %{
    sock: sock
  } do
    set = ref("merged")
    :ok = Netfilter.add_elements(sock, set, [:catch_all])

    assert :ok =
             Netfilter.delete_elements(sock, set, ["10.0.0.7", "10.9.9.9"], ignore_missing: true)

    refute Netfilter.has_element?(sock, set, "10.0.0.7")
    assert Netfilter.has_element?(sock, set, "10.0.0.8")
    assert :ok = Netfilter.add_elements(sock, set, ["10.0.0.0/23"])
    assert :ok = Netfilter.delete_elements(sock, set, ["10.0.0.9"])
    assert {:ok, all} = Netfilter.get_elements(sock, set, :all)

    assert Enum.sort(all) ==
             Enum.sort([
               :catch_all,
               {:range, {10, 0, 0, 0}, {10, 0, 0, 8}},
               {:range, {10, 0, 0, 10}, {10, 0, 1, 255}}
             ])
  end

  test "several writers of overlapping elements lose none", %{sock: sock, pid: pid} do
    writers =
      for writer <- 0..3 do
        Task.async(fn ->
          {:ok, own} = Linx.Netlink.Nfnl.open({:pid, pid})

          for step <- 0..9 do
            first = step * 20 + writer * 5
            assert :ok = Netfilter.add_elements(own, ref("joined"), [first..(first + 7)])
          end
        end)
      end

    Task.await_many(writers, Poll.patience())
    assert {:ok, [{:range, 0, 202}]} = Netfilter.get_elements(sock, ref("joined"), :all)
  end

  test "text that is no key is refused by every verb", %{sock: sock} do
    for {name, text} <- [
          {"pairs", "10.0.0.7"},
          {"plain", "1::2"},
          {"plain", "abcd"},
          {"nets", "1::2/24"},
          {"ports", "ab"},
          {"names2", "10.0.0.7"}
        ] do
      before = Netfilter.get_elements(sock, ref(name), :all)
      element = if name == "names2", do: {text, "10.0.0.1"}, else: text
      assert {:error, {_bad, {^element, _}}} = Netfilter.add_elements(sock, ref(name), [element])
      assert {:error, {_bad, {^text, _}}} = Netfilter.delete_elements(sock, ref(name), [text])
      assert {:error, {_bad, {^text, _}}} = Netfilter.get_elements(sock, ref(name), [text])
      assert_raise ArgumentError, fn -> Netfilter.has_element?(sock, ref(name), text) end
      assert Netfilter.get_elements(sock, ref(name), :all) == before
    end
  end

  test "an element goes to no set of another type that takes the set's place", %{
    sock: sock,
    pid: pid
  } do
    [addresses, marks] =
      for type <- ["ipv4_addr", "mark"],
          do: elem(NFT.parse("table inet turn { set s { type #{type}; }; }"), 1)

    set = {:inet, "turn", "s"}
    :ok = Netfilter.push(sock, addresses)
    {:ok, own} = Linx.Netlink.Nfnl.open({:pid, pid})

    writer = Task.async(fn -> written(own, set) end)

    for _ <- 1..30 do
      arrived(sock, set, System.monotonic_time(:millisecond) + 10_000)
      assert :ok = Netfilter.push(sock, marks)
      for _ <- 1..3, do: assert({:ok, []} = Netfilter.get_elements(sock, set, :all))
      assert :ok = Netfilter.push(sock, addresses)
    end

    send(writer.pid, :enough)
    assert :ok = Task.await(writer, Poll.patience())
  end

  test "a set that is made anew while it is read is read again", %{sock: sock, pid: pid} do
    texts =
      for {type, element} <- [{"ipv4_addr", "192.0.2.1"}, {"mark", "0x01020304"}] do
        {:ok, ruleset} =
          NFT.parse("table inet turn { set s { type #{type}; elements = { #{element} }; }; }")

        ruleset
      end

    set = {:inet, "turn", "s"}
    :ok = Netfilter.push(sock, hd(texts))
    {:ok, own} = Linx.Netlink.Nfnl.open({:pid, pid})

    writer =
      Task.async(fn ->
        for _ <- 1..150, text <- texts, do: :ok = Netfilter.push(own, text)
        :ok
      end)

    answers = read_while(writer, sock, set, MapSet.new())
    assert :ok = Task.await(writer, 60_000)
    # The bytes of one type are no value of the other.
    assert MapSet.subset?(answers, MapSet.new([[{192, 0, 2, 1}], [0x01020304]])), inspect(answers)
  end

  defp read_while(writer, sock, set, answers) do
    answers =
      case Netfilter.get_elements(sock, set, :all) do
        {:ok, elements} -> MapSet.put(answers, elements)
        {:error, %Error{errno: errno}} when errno in [:enoent, :erestart, :eintr] -> answers
      end

    if Process.alive?(writer.pid),
      do: read_while(writer, sock, set, answers),
      else: answers
  end

  # An address, again and again: a set of marks refuses it. A look-up while the kernel puts one
  # table in another's place finds neither.
  defp written(sock, set) do
    case Netfilter.add_elements(sock, set, ["192.0.2.1"]) do
      :ok -> :ok
      {:error, {:bad_set_element, {"192.0.2.1", _}}} -> :ok
      {:error, %Error{operation: :getset, errno: :enoent}} -> :ok
    end

    receive do
      :enough -> :ok
    after
      0 -> written(sock, set)
    end
  end

  defp arrived(sock, set, deadline) do
    unless Netfilter.has_element?(sock, set, "192.0.2.1") do
      assert System.monotonic_time(:millisecond) < deadline
      arrived(sock, set, deadline)
    end
  end

  test "interfaces are named by their names, of any length", %{sock: sock, pid: pid} do
    Firewall.run!(pid, ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"])
    eth0 = index(pid, "eth0")

    assert :ok = Netfilter.add_elements(sock, ref("devices"), ["lo", "eth0", {:iface, "far"}])
    assert {:ok, [1, ^eth0]} = Netfilter.get_elements(sock, ref("devices"), ["lo", "eth0"])
    assert :ok = Netfilter.delete_elements(sock, ref("devices"), ["eth0"])
    refute Netfilter.has_element?(sock, ref("devices"), eth0)
    assert :ok = Netfilter.add_elements(sock, ref("device_pairs"), [{"eth0", "192.0.2.1"}])
    assert Netfilter.has_element?(sock, ref("device_pairs"), {eth0, "192.0.2.1"})
    assert {:error, _no_such_interface} = Netfilter.add_elements(sock, ref("devices"), ["eth9"])
    assert {:error, {:bad_set_element, _}} = Netfilter.add_elements(sock, ref("devices"), ["22"])
  end

  defp index(pid, name) do
    [_, index] = Regex.run(~r/^(\d+):/, Firewall.run!(pid, ["ip", "-o", "link", "show", name]))
    String.to_integer(index)
  end

  test "arguments that cannot be are named", %{sock: sock} do
    for fun <- [
          &Netfilter.add_elements/3,
          &Netfilter.delete_elements/3,
          &Netfilter.get_elements/3
        ],
        elements <- ["192.0.2.1", nil, ["192.0.2.1" | "192.0.2.2"], %{}] do
      assert_raise ArgumentError, ~r/not a list of elements/, fn ->
        fun.(sock, ref("plain"), elements)
      end
    end

    assert_raise ArgumentError, ~r/:counter or :quota, got: :limit/, fn ->
      apply(Netfilter, :reset, [sock, :limit, {:inet, "fw"}])
    end
  end

  defp range(text) do
    [first, last] = String.split(text, "-")
    {:range, first, last}
  end

  test "an error names the element and the set, and nothing changes", %{sock: sock} do
    assert {:error, %Error{errno: :enoent, operation: :delsetelem} = error} =
             Netfilter.delete_elements(sock, ref("plain"), [
               "192.0.2.1",
               "192.0.2.77",
               "192.0.2.2"
             ])

    assert error.at == [family: :inet, table: "fw", set: "plain", element: {192, 0, 2, 77}]
    assert Exception.message(error) =~ "192.0.2.77" or Exception.message(error) =~ "192, 0, 2, 77"
    assert Netfilter.has_element?(sock, ref("plain"), "192.0.2.1")

    assert :ok =
             Netfilter.delete_elements(sock, ref("plain"), ["192.0.2.1", "192.0.2.77"],
               ignore_missing: true
             )

    refute Netfilter.has_element?(sock, ref("plain"), "192.0.2.1")

    assert {:error, %Error{errno: :eexist, at: at}} =
             Netfilter.add_elements(sock, ref("plain"), ["192.0.2.3", "192.0.2.2"], create: true)

    assert at[:element] == {192, 0, 2, 2}
    assert :ok = Netfilter.add_elements(sock, ref("plain"), ["192.0.2.2"])

    assert {:error, %Error{errno: :enoent, at: at}} =
             Netfilter.add_elements(sock, ref("verdicts"), [
               {"10.0.0.1", :accept},
               {"10.0.0.2", {:jump, "nowhere"}}
             ])

    assert {{10, 0, 0, 2}, _verdict} = at[:element]

    assert {:error, %Error{errno: :enoent, operation: :getset, at: at}} =
             Netfilter.add_elements(sock, ref("absent"), ["10.0.0.1"])

    assert at == [family: :inet, table: "fw", set: "absent"]
    assert_raise Error, fn -> Netfilter.has_element?(sock, ref("absent"), "10.0.0.1") end

    assert {:error, %Error{errno: :enoent, operation: :getsetelem, at: at}} =
             Netfilter.get_elements(sock, ref("nets"), ["10.0.0.1", "10.9.9.9"])

    assert at[:element] == {10, 9, 9, 9}

    assert {:error, %Error{at: at}} =
             Netfilter.add_elements(sock, ref("nets"), ["172.16.0.0/12", "10.0.0.128/25"])

    assert at[:element] == {:prefix, {10, 0, 0, 128}, 25}
    refute Netfilter.has_element?(sock, ref("nets"), "172.16.0.1")
  end

  test "values that do not fit are refused before anything is sent", %{sock: sock} do
    bad = {:bad_set_element, {"2001:db8::1", {:bad_value, "2001:db8::1"}}}
    assert {:error, ^bad} = Netfilter.add_elements(sock, ref("plain"), ["2001:db8::1"])
    assert {:error, ^bad} = Netfilter.delete_elements(sock, ref("plain"), ["2001:db8::1"])
    assert {:error, ^bad} = Netfilter.get_elements(sock, ref("plain"), ["2001:db8::1"])

    assert_raise ArgumentError, fn ->
      Netfilter.has_element?(sock, ref("plain"), "2001:db8::1")
    end

    assert {:error, {:bad_set_element, {_element, :needs_timeout_flag}}} =
             Netfilter.add_elements(sock, ref("plain"), ["192.0.2.9"], timeout: 1_000)

    assert {:error, {:bad_set_element, {{:prefix, {192, 0, 2, 0}, 24}, :needs_interval_flag}}} =
             Netfilter.add_elements(sock, ref("plain"), ["192.0.2.0/24"])

    assert {:error, {:bad_map_element, {443, :not_a_pair}}} =
             Netfilter.add_elements(sock, ref("pool"), [443])

    assert {:error, {:bad_option, {:timout, 1}}} =
             Netfilter.add_elements(sock, ref("plain"), ["192.0.2.9"], timout: 1)

    assert {:error, {:bad_option, {:timeout, -1}}} =
             Netfilter.add_elements(sock, ref("guests"), ["192.0.2.9"], timeout: -1)

    assert {:error, {:bad_table, _}} =
             Netfilter.add_elements(sock, {:inte, "fw", "plain"}, ["192.0.2.9"])

    assert {:error, {:bad_set, _}} = Netfilter.add_elements(sock, {:inet, "fw"}, ["192.0.2.9"])
    assert :ok = Netfilter.add_elements(sock, ref("plain"), [])
    assert {:ok, []} = Netfilter.get_elements(sock, ref("plain"), [])
  end

  test "counters of elements and objects are reset and given as they were", %{sock: sock} do
    set = ref("counted")
    packets = fn [%Element{exprs: [counter]}] -> counter.data.packets end
    assert {:ok, found} = Netfilter.get_elements(sock, set, ["192.0.2.9"], reset: true)
    assert packets.(found) == 3
    assert {:ok, found} = Netfilter.get_elements(sock, set, ["192.0.2.9"])
    assert packets.(found) == 0
    assert {:ok, [_]} = Netfilter.get_elements(sock, set, :all, reset: true)

    assert {:ok, %Object{name: "web", data: %{packets: 5, bytes: 500}}} =
             Netfilter.reset(sock, :counter, ref("web"))

    assert {:ok, [%Object{name: "web", data: %{packets: 0, bytes: 0}}]} =
             Netfilter.reset(sock, :counter, {:inet, "fw"})

    assert {:ok, %Object{name: "cap"}} = Netfilter.reset(sock, :quota, ref("cap"))
    assert {:error, %Error{errno: :enoent, at: at}} = Netfilter.reset(sock, :counter, ref("cap"))
    assert at == [family: :inet, table: "fw", object: "cap"]
    assert {:error, %Error{errno: :enoent}} = Netfilter.reset(sock, :counter, {:inet, "absent"})
  end

  test "an interface stands by its name", %{sock: sock, pid: pid} do
    :ok =
      Firewall.load!(pid, "table inet fw { set ifs { typeof meta iif; }; }")

    assert :ok = Netfilter.add_elements(sock, ref("ifs"), [{:iface, "lo"}])
    assert listed(pid, "ifs") =~ "\"lo\""
    assert Netfilter.has_element?(sock, ref("ifs"), 1)

    assert {:error, %Error{errno: :enodev}} =
             Netfilter.add_elements(sock, ref("ifs"), [{:iface, "none0"}])
  end

  test "of a large set one element is changed without reading the others", %{sock: sock} do
    elements = for i <- 1..100_000, do: {10, div(i, 65_536), rem(div(i, 256), 256), rem(i, 256)}
    set = Linx.Netfilter.Set.new!("large", key_type: :ipv4_addr, elements: elements)

    ruleset =
      Linx.Netfilter.Ruleset.new()
      |> Linx.Netfilter.Ruleset.add_table!(:inet, "l")
      |> Linx.Netfilter.Ruleset.add_set!("l", set)

    :ok = Netfilter.push(sock, ruleset)
    large = {:inet, "l", "large"}

    {all, {:ok, found}} = reductions(fn -> Netfilter.get_elements(sock, large, :all) end)
    assert length(found) == 100_000

    for {result, work} <- [
          {:ok, fn -> Netfilter.add_elements(sock, large, [{11, 0, 0, 1}]) end},
          {true, fn -> Netfilter.has_element?(sock, large, {11, 0, 0, 1}) end},
          {:ok, fn -> Netfilter.delete_elements(sock, large, [{11, 0, 0, 1}]) end}
        ] do
      {one, ^result} = reductions(work)
      assert one * 50 < all
    end
  end

  # The work of this process, which decodes what it reads.
  defp reductions(work) do
    {_, before} = Process.info(self(), :reductions)
    result = work.()
    {_, reductions} = Process.info(self(), :reductions)
    {reductions - before, result}
  end
end
