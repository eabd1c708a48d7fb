defmodule Linx.Netlink.Rtnl.NexthopTest do
  use ExUnit.Case, async: true

  import Linx.IP

  alias Linx.Netlink.{Attr, Error, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Encap, Nexthop}

  # A closed socket answers everything that reaches it with EBADF.
  setup do
    {:ok, socket} = Rtnl.open()
    :ok = Socket.close(socket)
    %{socket: socket}
  end

  test "options that make no sense are refused before anything is sent", %{socket: socket} do
    for {id, opts, reason} <- [
          {0, [oif: 1], {:invalid_id, 0}},
          {-1, [oif: 1], {:invalid_id, -1}},
          {0x100000000, [oif: 1], {:invalid_id, 0x100000000}},
          {"1", [oif: 1], {:invalid_id, "1"}},
          {1, [], {:missing, :oif}},
          {1, [gateway: "192.0.2.1"], {:missing, :oif}},
          {1, [gateway: "192.0.2", oif: 1], {:invalid_ip, "192.0.2"}},
          {1, [oif: ""], {:invalid_name, ""}},
          {1, [oif: 1, nonsense: 1], {:bad_option, {:nonsense, 1}}},
          {1, [oif: 1, protocol: :nobody], {:bad_option, {:protocol, :nobody}}},
          {1, [oif: 1, protocol: 256], {:bad_option, {:protocol, 256}}},
          {1, [oif: 1, family: :inet5], {:bad_option, {:family, :inet5}}},
          {1, [oif: 1, onlink: 1], {:bad_option, {:onlink, 1}}},
          {1, [blackhole: false], {:bad_option, {:blackhole, false}}},
          {1, [blackhole: true, oif: 1], {:bad_option, {:oif, 1}}},
          {1, [group: []], {:bad_option, {:group, []}}},
          {1, [group: [0]], {:bad_option, {:group, [0]}}},
          {1, [group: [{1, 0}]], {:bad_option, {:group, [{1, 0}]}}},
          {1, [group: [{1, 0x10001}]], {:bad_option, {:group, [{1, 0x10001}]}}},
          {1, [group: [1], oif: 1], {:bad_option, {:oif, 1}}},
          {1, [group: [1], buckets: 4], {:bad_option, {:buckets, 4}}},
          {1, [group: [1], type: :mpath, idle_timer: 4], {:bad_option, {:idle_timer, 4}}},
          {1, [group: [1], type: :resilient, buckets: 0], {:bad_option, {:buckets, 0}}},
          {1, [group: [1], type: :hash], {:bad_option, {:type, :hash}}},
          {1, [oif: 1, type: :mpath], {:bad_option, {:type, :mpath}}},
          {1, [oif: 1, encap: :mpls], {:bad_option, {:encap, :mpls}}},
          {1, [oif: 1, encap: {:mpls, [0x100000]}], {:bad_option, {:encap, {:mpls, [0x100000]}}}},
          {1, [oif: 1, encap: {:mpls, []}], {:bad_option, {:encap, {:mpls, []}}}},
          {1, [oif: 1, encap: {:ip, ttl: 256}], {:bad_option, {:encap, {:ip, [ttl: 256]}}}},
          {1, [oif: 1, encap: {:ip, tc: 1}], {:bad_option, {:encap, {:ip, [tc: 1]}}}},
          {1, [oif: 1, encap: {:ip, dst: "::1"}], {:unlike_families, :inet, ~IP"::1"}},
          {1, :none, {:bad_option, :none}},
          {1, [:oif], {:bad_option, :oif}}
        ] do
      assert {:error, ^reason} = Nexthop.add(socket, id, opts)
      assert {:error, ^reason} = Nexthop.replace(socket, id, opts)
    end

    assert {:error, {:bad_option, {:protocol, :nobody}}} = Nexthop.list(socket, protocol: :nobody)
    assert {:error, {:bad_option, {:fdb, false}}} = Nexthop.list(socket, fdb: false)
    assert {:error, {:bad_option, :all}} = Nexthop.list(socket, :all)
    assert {:error, {:invalid_id, nil}} = Nexthop.get(socket, nil)
    assert {:error, {:bad_option, [stat: true]}} = Nexthop.get(socket, 1, stat: true)
    assert {:error, {:invalid_id, 0}} = Nexthop.delete(socket, 0)
    assert {:error, {:invalid_id, 0}} = Nexthop.buckets(socket, 0)
    assert {:error, {:bad_option, {:nh_id, 0}}} = Nexthop.buckets(socket, 1, nh_id: 0)

    for result <- [
          Nexthop.add(socket, 1, oif: "eth0"),
          Nexthop.add(socket, 1, oif: 1),
          Nexthop.delete(socket, 1),
          Nexthop.get(socket, 1),
          Nexthop.list(socket)
        ],
        do: assert({:error, %Error{errno: :ebadf}} = result)
  end

  test "the encapsulations read back, a stack of labels with its bottom marked" do
    for {option, type, value} <- [
          {{:mpls, [100, 200]}, :mpls, %Encap.MPLS{labels: [100, 200]}},
          {{:mpls, [0xFFFFF], ttl: 9}, :mpls, %Encap.MPLS{labels: [0xFFFFF], ttl: 9}},
          {{:ip, dst: "192.0.2.9", id: 5, src: "192.0.2.1", ttl: 1, tos: 2, flags: 3}, :ip,
           %Encap.IP4{dst: ~IP"192.0.2.9", src: ~IP"192.0.2.1", id: 5, ttl: 1, tos: 2, flags: 3}},
          {{:ip6, dst: "::9", hoplimit: 1, tc: 2}, :ip6,
           %Encap.IP6{dst: ~IP"::9", hoplimit: 1, tc: 2}},
          {{99, <<1, 2>>}, 99, <<1, 2>>},
          {{5, <<1, 2>>}, :seg6, <<1, 2>>}
        ] do
      {:ok, {_, _, hop, _}} = Nexthop.__op__(:add, [1, [oif: 1, encap: option]], &{:ok, &1})

      assert %Nexthop{encap_type: ^type, encap: ^value} =
               hop |> Nexthop.encode() |> Nexthop.decode()
    end

    assert <<_::32, 100::20, 0::12, 200::20, 0::3, 1::1, 0::8>> =
             Encap.MPLS.encode(%Encap.MPLS{labels: [100, 200]})
  end

  test "what a newer kernel sends is kept as numbers" do
    body =
      <<2, 77, 200, 0, 0x184::native-32>> <>
        Attr.encode([{1, <<9::native-32>>}, {3, <<7::native-16>>}, {99, "new"}])

    assert %Nexthop{
             id: 9,
             scope: 77,
             protocol: 200,
             flags: [:onlink, 0x80, 0x100],
             type: 7,
             extra: [{99, "new"}]
           } = hop = Nexthop.decode(body)

    assert Nexthop.encode(hop) == body
  end

  test "inspect shows what a person needs" do
    for {hop, text} <- [
          {%Nexthop{id: 1, gateway: ~IP"192.0.2.2", oif: 3, protocol: :static},
           "1 via=192.0.2.2 ifindex=3 proto=static"},
          {%Nexthop{id: 2, blackhole: true}, "2 blackhole"},
          {%Nexthop{id: 3, oif: 3, flags: [:onlink, :dead]}, "3 ifindex=3 onlink,dead"},
          {%Nexthop{id: 4, group: [{1, 1}, {2, 3}], type: :mpath}, "4 group=1/2,3"},
          {%Nexthop{id: 5, group: [{1, 1}], type: :resilient, protocol: 76},
           "5 group=1 resilient proto=76"}
        ],
        do: assert(inspect(hop) == "#Linx.Netlink.Rtnl.Nexthop<#{text}>")
  end
end
