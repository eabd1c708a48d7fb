defmodule Linx.Netlink.Rtnl.Encap.MPLS do
  @moduledoc """
  The MPLS labels that a packet gets: `labels`, outermost first, and `ttl`. See
  `Linx.Netlink.Rtnl.Encap`.

  Source: `include/uapi/linux/mpls_iptunnel.h`; RFC 3032.
  """

  use Linx.Netlink.Codec

  defmodule Labels do
    @moduledoc false
    # A label stack: 20 bits of label, 3 of traffic class, the bottom's mark, 8 of TTL, each
    # entry.

    @spec encode([0..0xFFFFF]) :: binary()
    def encode(labels) do
      last = length(labels) - 1

      for {label, at} <- Enum.with_index(labels), into: <<>> do
        bottom = if at == last, do: 1, else: 0
        <<label::20, 0::3, bottom::1, 0::8>>
      end
    end

    @spec decode(binary()) :: [0..0xFFFFF]
    def decode(bytes), do: for(<<label::20, _::12 <- bytes>>, do: label)
  end

  codec do
    attr(1, :labels, Labels)
    attr(2, :ttl, :u8)
    rest(:extra)
  end
end
