defmodule Linx.Netfilter.Codec.Table do
  @moduledoc false
  # The messages that make, delete and describe a table: `enum nft_table_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Codec.Comment
  alias Linx.Netfilter.Wire.Constants

  codec do
    flags(:flag, :u32_be, Constants.flags(:table))

    header do
      field(:family, :u8)
      # struct nfgenmsg: version, and a resource id that nf_tables leaves 0.
      pad(3)
    end

    attr(nfta_table_name(), :name, :string, required: true)
    attr(nfta_table_flags(), :flags, {:flags, :flag})
    attr(nfta_table_userdata(), :comment, Comment)
    attr(nfta_table_use(), :use_count, :u32_be)
    attr(nfta_table_handle(), :handle, :u64_be)
    attr(nfta_table_owner(), :owner, :u32_be)
  end
end
