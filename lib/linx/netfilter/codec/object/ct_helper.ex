defmodule Linx.Netfilter.Codec.Object.CtHelper do
  @moduledoc false
  # The data of a conntrack helper: `enum nft_ct_helper_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Codec.Object.{Layer3, Layer4}

  codec as: :map do
    attr(nfta_ct_helper_name(), :type, :string, required: true)
    attr(nfta_ct_helper_l3proto(), :l3proto, Layer3)
    attr(nfta_ct_helper_l4proto(), :protocol, Layer4, required: true)
  end
end
