defmodule Linx.Netlink.Rtnl.LinkInfo.Vxlan.Ports do
  @moduledoc false
  # `struct ifla_vxlan_port_range`: the first and last source port, in network byte order.

  @spec encode(Range.t()) :: binary()
  def encode(first..last//1) when first in 0..0xFFFF and last in 0..0xFFFF and first <= last,
    do: <<first::16, last::16>>

  @spec decode(binary()) :: Range.t() | nil
  def decode(<<first::16, last::16, _::binary>>), do: Range.new(first, last, 1)
  def decode(_short), do: nil
end
