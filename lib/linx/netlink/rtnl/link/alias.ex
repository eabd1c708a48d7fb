defmodule Linx.Netlink.Rtnl.Link.Alias do
  @moduledoc false
  # IFLA_IFALIAS: of up to 255 bytes, and no NUL after them, which the kernel would count. One NUL
  # alone clears it.

  @spec encode(String.t()) :: binary()
  def encode(""), do: <<0>>
  def encode(text), do: text

  @spec decode(binary()) :: String.t()
  def decode(bytes), do: bytes |> :binary.split(<<0>>) |> hd()
end
