defmodule Linx.Netfilter.Codec.Object.Secmark do
  @moduledoc false
  # The data of a security mark: `enum nft_secmark_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  codec as: :map do
    attr(nfta_secmark_ctx(), :context, :string, required: true)
  end
end
