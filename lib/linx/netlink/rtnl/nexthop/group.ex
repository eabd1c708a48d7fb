defmodule Linx.Netlink.Rtnl.Nexthop.Group do
  @moduledoc false
  # NHA_GROUP: an array of `struct nexthop_grp`, as `[{id, weight}]`. The kernel counts weights
  # from 0.

  @type t :: [{1..0xFFFFFFFF, 1..0x10000}]

  @spec encode(t()) :: binary()
  def encode(members) do
    for {id, weight} <- members, into: <<>> do
      weight = weight - 1
      <<id::native-32, rem(weight, 256), div(weight, 256), 0::16>>
    end
  end

  @spec decode(binary()) :: t()
  def decode(bytes) do
    for <<id::native-32, low, high, _::16 <- bytes>>, do: {id, high * 256 + low + 1}
  end

  @doc """
  The members as a kernel before 6.12 means them: the byte of the high bits is undefined there.
  """
  @spec low(t()) :: t()
  def low(members), do: for({id, weight} <- members, do: {id, rem(weight - 1, 256) + 1})
end
