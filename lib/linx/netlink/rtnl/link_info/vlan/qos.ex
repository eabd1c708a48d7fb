defmodule Linx.Netlink.Rtnl.LinkInfo.Vlan.Qos do
  @moduledoc false
  # IFLA_VLAN_EGRESS_QOS and IFLA_VLAN_INGRESS_QOS: a nest of `struct ifla_vlan_qos_mapping`, as a
  # map.

  alias Linx.Netlink.Attr

  @mapping 1

  @spec encode(%{non_neg_integer() => non_neg_integer()}) :: binary()
  def encode(map) do
    Attr.encode(for {from, to} <- map, do: {@mapping, <<from::native-32, to::native-32>>})
  end

  @spec decode(binary()) :: %{non_neg_integer() => non_neg_integer()}
  def decode(bytes) do
    for {@mapping, <<from::native-32, to::native-32, _::binary>>} <- Attr.scan(bytes),
        into: %{},
        do: {from, to}
  end
end
