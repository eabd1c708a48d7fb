defmodule Linx.Netlink.Rtnl.Route.Via do
  @moduledoc false
  # RTA_VIA: a gateway of another family than the route's, as `struct rtvia`: the family in 16
  # bits, then the address.

  alias Linx.IP

  @spec encode(IP.t()) :: binary()
  def encode(%IP{family: :inet, bytes: bytes}), do: <<2::native-16, bytes::binary>>
  def encode(%IP{family: :inet6, bytes: bytes}), do: <<10::native-16, bytes::binary>>

  @spec decode(binary()) :: IP.t() | nil
  def decode(<<2::native-16, bytes::binary-size(4)>>), do: IP.decode(bytes)
  def decode(<<10::native-16, bytes::binary-size(16)>>), do: IP.decode(bytes)
  def decode(_other), do: nil
end
