defmodule Linx.Netfilter.Codec.Chain do
  @moduledoc false
  # The messages that make, delete and describe a chain: `enum nft_chain_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Codec.Comment
  alias Linx.Netfilter.Wire.Constants

  defmodule Hook do
    @moduledoc false
    # NFTA_CHAIN_HOOK: `enum nft_hook_attributes`. The kernel names one device, or a list of them.

    use Linx.Netlink.Codec

    codec do
      attr(nfta_hook_hooknum(), :hooknum, :u32_be)
      attr(nfta_hook_priority(), :priority, :s32_be)
      attr(nfta_hook_dev(), :device, :string)
      attr(nfta_hook_devs(), :devices, {:nested, {:list, nfta_device_name(), :string}})
    end
  end

  codec do
    flags(:flag, :u32_be, Constants.flags(:chain))
    enum(:policy, :u32_be, Constants.enum(:policy))

    header do
      field(:family, :u8)
      pad(3)
    end

    attr(nfta_chain_table(), :table, :string, required: true)
    attr(nfta_chain_name(), :name, :string)
    attr(nfta_chain_id(), :id, :u32_be)
    attr(nfta_chain_hook(), :hook, {:nested, Hook})
    attr(nfta_chain_type(), :type, :string)
    attr(nfta_chain_policy(), :policy, {:enum, :policy})
    attr(nfta_chain_flags(), :flags, {:flags, :flag})
    attr(nfta_chain_userdata(), :comment, Comment)
    attr(nfta_chain_handle(), :handle, :u64_be)
  end
end
