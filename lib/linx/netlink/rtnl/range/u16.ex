defmodule Linx.Netlink.Rtnl.Range.U16 do
  @moduledoc false
  # `struct fib_rule_port_range`: first and last port, in native byte order.

  @spec encode(Range.t()) :: binary()
  def encode(first..last//1), do: <<first::native-16, last::native-16>>

  @spec decode(binary()) :: Range.t() | nil
  def decode(<<first::native-16, last::native-16, _::binary>>), do: Range.new(first, last, 1)
  def decode(_short), do: nil
end
