defmodule Linx.Netlink.Rtnl.Neighbour.Bits do
  @moduledoc false
  # NUD_*, NTF_* and NTF_EXT_* of linux/neighbour.h at 7.2, which neighbours and FDB entries
  # share.

  use Linx.Netlink.Codec

  codec do
    flags(:state, :u16,
      incomplete: 0x01,
      reachable: 0x02,
      stale: 0x04,
      delay: 0x08,
      probe: 0x10,
      failed: 0x20,
      noarp: 0x40,
      permanent: 0x80
    )

    flags(:flags, :u8,
      use: 0x01,
      self: 0x02,
      master: 0x04,
      proxy: 0x08,
      extern_learn: 0x10,
      offloaded: 0x20,
      sticky: 0x40,
      router: 0x80
    )

    flags(:flags_ext, :u32, managed: 0x1, locked: 0x2, validated: 0x4)
  end
end
