defmodule Linx.Netlink.Rtnl.CapturesTest do
  # Atoms are counted: nobody else may make any meanwhile.
  use ExUnit.Case, async: false

  import Linx.IP
  import Linx.MAC

  alias Linx.Native
  alias Linx.Netlink.Message
  alias Linx.Netlink.Rtnl.{Address, Link, LinkInfo, Neighbour, Objects, Route, Rule, Stats}

  # Bytes of a 6.18 kernel, with the commands that made the objects:
  # test/fixtures/netlink/capture.exs.
  @captures "test/fixtures/netlink/captures.txt"
  @external_resource @captures

  @modules %{
    "link" => Link,
    "address" => Address,
    "route" => Route,
    "neighbour" => Neighbour,
    "rule" => Rule,
    "stats" => Stats
  }

  @messages (for line <- @captures |> File.read!() |> String.split("\n", trim: true),
                 not String.starts_with?(line, "#") do
               [name, type, hex] = String.split(line, " ")
               {name, String.to_integer(type), Base.decode16!(hex, case: :lower)}
             end)

  defp all(name), do: for({^name, _type, body} <- @messages, do: @modules[name].decode(body))

  defp native(type, body) do
    bytes = Message.encode(%Message{type: type, payload: body})
    {:ok, [tuple]} = Native.netlink_decode(bytes, :rtnl)
    Objects.one(tuple)
  end

  test "the native walk and the codec read the same" do
    for {name, type, body} <- @messages do
      assert native(type, body) == @modules[name].decode(body)
    end
  end

  test "what was read can be written and reads the same again" do
    for {name, _type, body} <- @messages do
      object = @modules[name].decode(body)
      assert @modules[name].decode(@modules[name].encode(object)) == object
    end
  end

  test "nothing of this kernel is unknown" do
    for {name, _type, body} <- @messages, name not in ["neighbour"] do
      assert @modules[name].decode(body).extra == []
    end
  end

  test "links" do
    links = Map.new(all("link"), &{&1.name, &1})

    assert %Link{
             alias: "uplink",
             txqlen: 77,
             group: 5,
             altnames: ["a-name-longer-than-fifteen-bytes"]
           } =
             v1 = links["v1"]

    assert v1.link == links["v0"].index
    assert links["v0"].master == links["br0"].index
    assert %LinkInfo{kind: "veth", slave_kind: "bridge"} = links["v0"].linkinfo
    assert %LinkInfo.Macvlan{mode: 1} = links["mv0"].linkinfo.info_data
    assert %LinkInfo.Bridge{stp_state: 1} = links["br0"].linkinfo.info_data
    assert %LinkInfo.Tun{type: 2} = links["tap0"].linkinfo.info_data
    assert %LinkInfo{kind: "ifb"} = links["ifb0"].linkinfo

    assert %LinkInfo.Vxlan{id: 42, group: ~IP"192.0.2.9", port: 4789} =
             links["vx0"].linkinfo.info_data

    assert %LinkInfo.Vxlan{id: 43, local6: ~IP"2001:db8::1", group6: ~IP"ff05::1"} =
             links["vx6"].linkinfo.info_data

    assert Link.up?(links["lo"]) and not Link.up?(links["mv0"])
    assert links["lo"].address == ~MAC"00:00:00:00:00:00"
  end

  test "addresses" do
    assert [%Address{local: ~IP"192.0.2.5", prefixlen: 32, label: "v1:ptp"} = ptp] =
             Enum.filter(all("address"), &(&1.address == ~IP"198.51.100.1"))

    assert inspect(ptp) =~ "<192.0.2.5 peer 198.51.100.1/32 ifindex="

    assert [%Address{lifetime: {preferred, valid}, flags_ext: flags}] =
             Enum.filter(all("address"), &(&1.address == ~IP"2001:db8::1"))

    assert preferred in 990..1000 and valid in 4990..5000
    assert Bitwise.band(flags, 2) == 2
  end

  test "routes" do
    routes = Map.new(all("route"), &{{&1.dst, &1.dst_len, Route.target_table(&1)}, &1})

    assert %Route{gateway: ~IP"192.0.2.254", priority: 50, protocol: 4} =
             routes[{~IP"203.0.113.0", 24, 254}]

    assert %Route{
             prefsrc: ~IP"192.0.2.1",
             metrics: %Route.Metrics{mtu: 1300, advmss: 1200, lock: 4}
           } =
             routes[{~IP"203.0.114.0", 24, 1000}]

    assert %Route{
             multipath: [
               %Route.Nexthop{gateway: ~IP"192.0.2.2", weight: 3},
               %Route.Nexthop{gateway: ~IP"192.0.2.3", weight: 1}
             ]
           } = routes[{~IP"203.0.115.0", 24, 254}]

    assert %Route{type: 6} = routes[{~IP"203.0.116.0", 24, 254}]
    assert %Route{via: ~IP"2001:db8::9", gateway: nil} = routes[{~IP"203.0.117.0", 24, 254}]
    assert %Route{type: 7} = routes[{~IP"2001:db8:9::", 48, 254}]

    assert %Route{metrics: %Route.Metrics{cc_algo: "reno"}, priority: 7} =
             routes[{~IP"2001:db8:8::", 48, 254}]
  end

  test "rules" do
    rules = Map.new(all("rule"), &{&1.priority, &1})
    assert %Rule{src: ~IP"192.0.2.0", src_len: 25} = rules[100]
    assert Rule.target_table(rules[100]) == 1000
    assert %Rule{fwmark: 0x10, fwmask: 0xFF, iif: "v1", table: 77} = rules[101]
    assert %Rule{ipproto: 6, dport: 80..90, uid: 5..9, action: 8} = rules[102]
    assert %Rule{dst: ~IP"2001:db8::", dst_len: 32, goto: 32_766, action: 2} = rules[103]
  end

  test "neighbours" do
    assert Enum.any?(all("neighbour"), fn neighbour ->
             match?(
               %Neighbour{dst: ~IP"192.0.2.77", lladdr: ~MAC"02:00:00:00:00:77", state: 128},
               neighbour
             )
           end)

    # A proxy entry: NTF_PROXY.
    assert Enum.any?(all("neighbour"), &match?(%Neighbour{dst: ~IP"192.0.2.78", flags: 8}, &1))
  end

  test "every truncation of every message gives a struct, the same by both roads" do
    for {name, type, body} <- @messages, n <- 0..byte_size(body) do
      cut = binary_part(body, 0, n)
      assert native(type, cut) == @modules[name].decode(cut)
    end
  end

  test "mutated messages give a struct, the same by both roads, and make no atom" do
    mutate(20_000)
  end

  @tag :slow
  @tag timeout: :infinity
  test "two million mutated messages give a struct, the same by both roads, and make no atom" do
    mutate(2_000_000)
  end

  defp mutate(count) do
    :rand.seed(:exsss, {7, 8, 9})
    messages = List.to_tuple(@messages)

    # A module's atoms come with its code, which is loaded on first use, and the library's with
    # its first call.
    {:malformed, []} = Native.netlink_decode(<<0::128>>, :rtnl)
    {:ok, modules} = :application.get_key(:linx, :modules)
    :ok = Code.ensure_all_loaded(modules)
    atoms = :erlang.system_info(:atom_count)

    for _ <- 1..count do
      {name, type, body} = elem(messages, :rand.uniform(tuple_size(messages)) - 1)
      bytes = mutation(body, :rand.uniform(5))
      assert native(type, bytes) == @modules[name].decode(bytes)
    end

    assert atoms_since(atoms) == []
  end

  # The atom table in order of making, read by the external term format's ATOM_INTERNAL_REF3.
  defp atoms_since(count) do
    for n <- count..(:erlang.system_info(:atom_count) - 1)//1,
        do: :erlang.binary_to_term(<<131, 75, n::24>>)
  end

  # One to three bytes changed; cut; an attribute's length changed; noise at the end; all noise.
  defp mutation(body, 1),
    do:
      Enum.reduce(1..:rand.uniform(3), body, fn _, bytes ->
        put(bytes, :rand.uniform(256) - 1)
      end)

  defp mutation(body, 2), do: binary_part(body, 0, :rand.uniform(byte_size(body) + 1) - 1)

  defp mutation(body, 3) do
    at = div(:rand.uniform(byte_size(body)) - 1, 4) * 4
    length = Enum.random([0, 1, 3, 4, 5, 6, 8, 20, 0x7FFF, 0xFFFF])
    <<_, _, rest::binary>> = binary_part(body, at, byte_size(body) - at) <> <<0, 0>>
    binary_part(body, 0, at) <> <<length::native-16>> <> rest
  end

  defp mutation(body, 4), do: body <> :rand.bytes(:rand.uniform(40))
  defp mutation(_body, 5), do: :rand.bytes(:rand.uniform(200))

  defp put(bytes, value) do
    at = :rand.uniform(byte_size(bytes)) - 1

    binary_part(bytes, 0, at) <>
      <<value>> <> binary_part(bytes, at + 1, byte_size(bytes) - at - 1)
  end
end
