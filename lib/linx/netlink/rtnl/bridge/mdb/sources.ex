defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Sources do
  @moduledoc false
  # A group's list of sources. As read each has a timer; as written it is an address.

  use Linx.Netlink.Codec

  alias Linx.IP

  defmodule Source do
    @moduledoc false
    # MDBE_SRCATTR_*, MDBA_MDB_SRCATTR_*.

    use Linx.Netlink.Codec

    codec do
      attr(1, :address, IP)
      attr(2, :timer, :u32)
    end
  end

  codec do
    attr(1, :entries, {:multi, {:nested, Source}})
  end
end
