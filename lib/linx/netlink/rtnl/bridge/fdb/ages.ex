defmodule Linx.Netlink.Rtnl.Bridge.Fdb.Ages do
  @moduledoc false
  # NDA_CACHEINFO, `struct nda_cacheinfo`: how long ago an entry was used and changed, `{used,
  # updated}`.

  @type t :: {non_neg_integer(), non_neg_integer()}

  @spec encode(t()) :: binary()
  def encode({used, updated}), do: <<0::32, used::native-32, updated::native-32, 0::32>>

  @spec decode(binary()) :: t() | nil
  def decode(<<_::32, used::native-32, updated::native-32, _::binary>>), do: {used, updated}
  def decode(_short), do: nil
end
