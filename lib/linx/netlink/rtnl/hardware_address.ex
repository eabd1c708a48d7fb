defmodule Linx.Netlink.Rtnl.HardwareAddress do
  @moduledoc false
  # A link-layer address for the codec: a Linx.MAC where it has six bytes, otherwise the bytes.
  # Tunnels have the four or sixteen of an IP address here, InfiniBand twenty, and many links
  # none.

  alias Linx.MAC

  @spec encode(MAC.t() | binary()) :: binary()
  def encode(%MAC{} = mac), do: MAC.encode(mac)
  def encode(bytes) when is_binary(bytes), do: bytes

  @spec decode(binary()) :: MAC.t() | binary()
  def decode(<<_::48>> = bytes), do: %MAC{bytes: bytes}
  def decode(bytes), do: bytes
end
