defmodule Linx.Netfilter.Codec.Flowtable do
  @moduledoc false
  # The messages that make, delete and describe a flowtable: `enum nft_flowtable_attributes`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Wire.Constants

  defmodule Hook do
    @moduledoc false
    # NFTA_FLOWTABLE_HOOK: `enum nft_flowtable_hook_attributes`.

    use Linx.Netlink.Codec

    codec do
      attr(nfta_flowtable_hook_num(), :num, :u32_be)
      attr(nfta_flowtable_hook_priority(), :priority, :s32_be)
      attr(nfta_flowtable_hook_devs(), :devices, {:nested, {:list, nfta_device_name(), :string}})
    end
  end

  codec do
    flags(:flag, :u32_be, Constants.flags(:flowtable))

    header do
      field(:family, :u8)
      pad(3)
    end

    attr(nfta_flowtable_table(), :table, :string, required: true)
    attr(nfta_flowtable_name(), :name, :string, required: true)
    attr(nfta_flowtable_hook(), :hook, {:nested, Hook})
    attr(nfta_flowtable_flags(), :flags, {:flags, :flag})
    attr(nfta_flowtable_handle(), :handle, :u64_be)
  end
end
