defmodule Linx.Netfilter.Codec.Object.CtExpectation do
  @moduledoc false
  # The data of a conntrack expectation: `enum nft_ct_expectation_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Codec.Object.{Layer3, Layer4}

  codec as: :map do
    attr(nfta_ct_expect_l3proto(), :l3proto, Layer3)
    attr(nfta_ct_expect_l4proto(), :protocol, Layer4, required: true)
    attr(nfta_ct_expect_dport(), :dport, :u16_be, required: true)
    # Milliseconds: the one number of nf_tables in host order.
    attr(nfta_ct_expect_timeout(), :timeout, :u32, required: true)
    attr(nfta_ct_expect_size(), :size, :u8, required: true)
  end
end
