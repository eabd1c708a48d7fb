defmodule Linx.Netlink.Rtnl.Bridge.Port.Single do
  @moduledoc false
  # One link, with what it is as a port: the answer to a GET has that in IFLA_LINKINFO.

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Bridge.Port.Attributes

  defmodule LinkInfo do
    @moduledoc false
    # IFLA_LINKINFO of a port.

    use Linx.Netlink.Codec

    codec do
      attr(4, :slave_kind, :string)
      attr(5, :slave_data, {:dispatch, :slave_kind, %{"bridge" => Attributes}})
    end
  end

  codec do
    header do
      field(:family, :u8)
      pad(1)
      field(:type, :u16)
      field(:index, :s32)
      field(:flags, :u32)
      field(:change, :u32)
    end

    attr(3, :name, :string)
    attr(10, :master, :u32)
    attr(18, :linkinfo, LinkInfo)
    # RTEXT_FILTER_SKIP_STATS.
    attr(29, :ext_mask, :u32, default: 8)
    attr(53, :altname, :string)
  end
end
