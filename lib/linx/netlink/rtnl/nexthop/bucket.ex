defmodule Linx.Netlink.Rtnl.Nexthop.Bucket do
  @moduledoc """
  A bucket of a resilient group: the flows of one hash value, and the nexthop that they take.

  `id` is the group's, `index` the bucket's, `nh_id` the nexthop's, `idle_time` how long it has
  been idle in hundredths of a second, `flags` as in `Linx.Netlink.Rtnl.Nexthop`.

  Source: ip-nexthop(8), `include/uapi/linux/nexthop.h`, `NHA_RES_BUCKET_*`.
  """

  defmodule Entry do
    @moduledoc false
    # NHA_RES_BUCKET.

    use Linx.Netlink.Codec

    codec do
      attr(1, :index, :u16)
      attr(2, :idle_time, :u64)
      attr(3, :nh_id, :u32)
    end
  end

  defmodule Message do
    @moduledoc false
    # RTM_NEWNEXTHOPBUCKET, RTM_GETNEXTHOPBUCKET.

    use Linx.Netlink.Codec

    codec do
      header do
        field(:family, :u8)
        field(:scope, :u8)
        field(:protocol, :u8)
        pad(1)
        field(:flags, {:flags, {Linx.Netlink.Rtnl.Nexthop.Flags, :flags}})
      end

      attr(1, :id, :u32)
      attr(5, :oif, :u32)
      attr(13, :bucket, {:nested, Entry})
    end
  end

  defstruct [:id, :index, :nh_id, :idle_time, flags: []]

  @type t :: %__MODULE__{
          id: pos_integer(),
          index: 0..0xFFFF,
          nh_id: pos_integer(),
          idle_time: non_neg_integer(),
          flags: [atom() | pos_integer()]
        }

  @doc false
  @spec decode(binary()) :: t()
  def decode(body) do
    %{id: id, flags: flags, bucket: bucket} = Message.decode(body)
    entry = bucket || %Entry{}

    %__MODULE__{
      id: id,
      index: entry.index,
      nh_id: entry.nh_id,
      idle_time: entry.idle_time,
      flags: flags
    }
  end
end
