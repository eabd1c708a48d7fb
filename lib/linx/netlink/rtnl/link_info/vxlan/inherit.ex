defmodule Linx.Netlink.Rtnl.LinkInfo.Vxlan.Inherit do
  @moduledoc false
  # IFLA_VXLAN_TTL_INHERIT: a flag as it is written, and a byte as it is read.

  @spec encode(boolean()) :: binary()
  def encode(true), do: <<>>
  def encode(false), do: <<0>>

  @spec decode(binary()) :: boolean()
  def decode(<<0, _::binary>>), do: false
  def decode(_bytes), do: true
end
