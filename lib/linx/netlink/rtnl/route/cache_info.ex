defmodule Linx.Netlink.Rtnl.Route.CacheInfo do
  @moduledoc false
  # RTA_CACHEINFO, `struct rta_cacheinfo`: the kernel sends in it the time that a route has left,
  # which it takes in RTA_EXPIRES. Every IPv6 route has it, most with 0 for a route that stays.

  # USER_HZ
  @ticks 100

  @doc "The time left in seconds."
  @spec decode(binary()) :: non_neg_integer() | :none | nil
  def decode(<<_::64, 0::32, _::binary>>), do: :none
  # Below 0 where the kernel has not taken away yet what has ended.
  def decode(<<_::64, ticks::native-signed-32, _::binary>>), do: max(div(ticks, @ticks), 0)
  def decode(_short), do: nil
end
