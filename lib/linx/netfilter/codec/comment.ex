defmodule Linx.Netfilter.Codec.Comment do
  @moduledoc false
  # NFTA_TABLE_USERDATA, NFTA_CHAIN_USERDATA and NFTA_OBJ_USERDATA: a comment as libnftnl writes
  # it.

  alias Linx.Netfilter.Userdata

  @spec encode(String.t()) :: binary()
  def encode(text), do: Userdata.with_comment(text)

  @spec decode(binary()) :: String.t() | nil
  def decode(bytes), do: Userdata.comment(bytes)
end
