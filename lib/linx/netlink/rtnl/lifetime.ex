defmodule Linx.Netlink.Rtnl.Lifetime do
  @moduledoc false
  # IFA_CACHEINFO: how long an address is preferred and valid, in seconds, as
  # `{preferred, valid}`. The two time stamps after them say when it was made and changed, and are
  # 0 in a request.

  @forever 0xFFFFFFFF

  @type seconds :: non_neg_integer() | :forever

  @spec encode({seconds(), seconds()}) :: binary()
  def encode({preferred, valid}),
    do: <<number(preferred)::native-32, number(valid)::native-32, 0::64>>

  @spec decode(binary()) :: {seconds(), seconds()} | nil
  def decode(<<preferred::native-32, valid::native-32, _::binary>>),
    do: {name(preferred), name(valid)}

  def decode(_short), do: nil

  @spec seconds?(term()) :: boolean()
  def seconds?(:forever), do: true
  def seconds?(n), do: is_integer(n) and n >= 0 and n < @forever

  defp number(:forever), do: @forever
  defp number(n) when n in 0..@forever, do: n

  defp name(@forever), do: :forever
  defp name(n), do: n
end
