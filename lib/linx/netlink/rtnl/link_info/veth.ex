defmodule Linx.Netlink.Rtnl.LinkInfo.Veth do
  @moduledoc """
  What belongs to a veth pair when it is made: the far end, which on the wire is a whole link
  message.

  The kernel does not send it back; which link is the far end says `link` of the
  `Linx.Netlink.Rtnl.Link`.

  Source: include/uapi/linux/veth.h, `VETH_INFO_PEER`.
  """

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Link

  codec do
    attr(1, :peer, Link)
  end

  @doc false
  def __option__(:peer, %Link{} = peer, data), do: {:ok, %{data | peer: peer}}

  def __option__(:peer, name, data) do
    with {:ok, name} <- Link.Options.new_name(name), do: {:ok, %{data | peer: %Link{name: name}}}
  end

  def __option__(_key, _value, _data), do: :error
end
