defmodule Linx.Netlink.Rtnl.BareudpTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Rtnl.LinkInfo
  alias Linx.Netlink.Rtnl.LinkInfo.Bareudp

  # IFLA_INFO_DATA in the request of iproute2 6.1.0 on a little-endian machine, as strace(1) shows
  # it: ip link add bu0 type bareudp dstport 6635 ethertype 0x8847 srcportmin 49152 multiproto
  @captured Base.decode16!(
              "20000200" <>
                "0600010019eb0000" <> "0600020088470000" <> "0600030000c00000" <> "04000400",
              case: :lower
            )

  test "options are written as ip writes them, and read back" do
    opts = [port: 6635, ethertype: 0x8847, srcport_min: 49_152, multiproto: true]
    assert {:ok, %Bareudp{} = data} = LinkInfo.data("bareudp", opts)
    info = %LinkInfo{kind: "bareudp", info_data: data}
    assert LinkInfo.encode(info) == Attr.encode([{1, "bareudp\0"}]) <> @captured
    assert info |> LinkInfo.encode() |> LinkInfo.decode() == info
  end

  test "an option that the kind does not have, and a port that is none, are refused" do
    assert {:error, {:bad_option, {:remote, "192.0.2.1"}}} =
             LinkInfo.data("bareudp", remote: "192.0.2.1")

    assert {:error, {:bad_option, {:port, 65_536}}} = LinkInfo.data("bareudp", port: 65_536)
    assert {:error, {:bad_option, {:port, "x"}}} = LinkInfo.data("bareudp", port: "x")
  end
end
