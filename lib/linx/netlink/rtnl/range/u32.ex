defmodule Linx.Netlink.Rtnl.Range.U32 do
  @moduledoc false
  # `struct fib_rule_uid_range`: first and last user id.

  @spec encode(Range.t()) :: binary()
  def encode(first..last//1), do: <<first::native-32, last::native-32>>

  @spec decode(binary()) :: Range.t() | nil
  def decode(<<first::native-32, last::native-32, _::binary>>), do: Range.new(first, last, 1)
  def decode(_short), do: nil
end
