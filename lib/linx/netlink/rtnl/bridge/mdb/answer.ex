defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Answer do
  @moduledoc false
  # RTM_NEWMDB as it is read: the entries of a bridge, and its ports with multicast routers behind
  # them.

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Bridge.Mdb.Entry

  defmodule Group do
    @moduledoc false
    # MDBA_MDB_ENTRY: the ports of a group.

    use Linx.Netlink.Codec

    codec do
      attr(1, :entries, {:multi, Entry})
    end
  end

  defmodule Groups do
    @moduledoc false
    # MDBA_MDB.

    use Linx.Netlink.Codec

    codec do
      attr(1, :groups, {:multi, Group})
    end
  end

  defmodule Router do
    @moduledoc false
    # MDBA_ROUTER_PORT and MDBA_ROUTER_PATTR_*.

    use Linx.Netlink.Codec

    codec do
      enum(:type, :u8, disabled: 0, temp_query: 1, permanent: 2, temp: 3)

      header do
        field(:ifindex, :u32)
      end

      attr(1, :timer, :u32)
      attr(2, :type, {:enum, :type})
      attr(3, :inet_timer, :u32)
      attr(4, :inet6_timer, :u32)
      attr(5, :vid, :u16)
    end
  end

  defmodule Routers do
    @moduledoc false
    # MDBA_ROUTER.

    use Linx.Netlink.Codec

    codec do
      attr(1, :ports, {:multi, Router})
    end
  end

  codec do
    header do
      field(:family, :u8, default: 7)
      pad(3)
      field(:ifindex, :u32)
    end

    attr(1, :mdb, {:nested, Groups})
    attr(2, :router, {:nested, Routers})
  end
end
