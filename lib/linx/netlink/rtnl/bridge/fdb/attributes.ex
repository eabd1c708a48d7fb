defmodule Linx.Netlink.Rtnl.Bridge.Fdb.Attributes do
  @moduledoc false
  # NDA_FDB_EXT_ATTRS: what a bridge does about the activity of an entry.

  use Linx.Netlink.Codec

  codec do
    flags(:notify, :u8, notify: 1, inactive: 2)

    attr(1, :activity_notify, {:flags, :notify})
    attr(2, :norefresh, :flag)
  end
end
