defmodule Linx.Netlink.Rtnl.GeneveTest do
  use ExUnit.Case, async: true

  import Linx.IP

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Rtnl.LinkInfo
  alias Linx.Netlink.Rtnl.LinkInfo.Geneve

  # IFLA_INFO_DATA in the request of iproute2 6.1.0 on a little-endian machine, as strace(1) shows
  # it: ip link add g0 type geneve id 5 remote 192.0.2.9 ttl 7 tos 4 dstport 6082 noudpcsum df set
  @captured Base.decode16!(
              "05000d0001000000" <>
                "0800010005000000" <>
                "08000200c0000209" <>
                "08000b0000000000" <>
                "0500030007000000" <>
                "0500040004000000" <>
                "0600050017c20000" <> "0500080000000000",
              case: :lower
            )

  test "options are written as ip writes them, and read back" do
    opts =
      [id: 5, remote: "192.0.2.9", ttl: 7, tos: 4, port: 6082, udp_csum: false] ++
        [df: 1, label: 0]

    assert {:ok, %Geneve{} = data} = LinkInfo.data("geneve", opts)
    assert Geneve.decode(@captured) == data

    # The kernel takes the attributes in any order.
    assert attributes(Geneve.encode(data)) == attributes(@captured)
  end

  defp attributes(bytes), do: bytes |> IO.iodata_to_binary() |> Attr.decode() |> Enum.sort()

  test "the far end is of either family, and metadata stand for all of it" do
    assert {:ok, %Geneve{remote: ~IP"192.0.2.9", remote6: nil}} =
             LinkInfo.data("geneve", remote: "192.0.2.9")

    assert {:ok, %Geneve{remote: nil, remote6: ~IP"2001:db8::9"}} =
             LinkInfo.data("geneve", remote: ~IP"2001:db8::9")

    assert {:ok, data} = LinkInfo.data("geneve", external: true)
    assert Geneve.encode(data) |> attributes() == [{6, ""}]
  end

  test "values that are none are refused" do
    for option <- [
          id: 0x1000000,
          id: -1,
          remote: "192.0.2",
          remote: nil,
          port: 65_536,
          ttl: 256,
          label: 0x100000,
          df: 3,
          df: :set,
          udp_csum: "on",
          external: 1,
          local: "192.0.2.1"
        ] do
      assert {:error, _reason} = LinkInfo.data("geneve", [option]), inspect(option)
    end
  end
end
