defmodule Linx.Netlink.Rtnl.Route.Nexthop do
  @moduledoc """
  One of several next hops of a route: `gateway` or `via` (a gateway of the other family), `oif`
  (a link's index), `weight` (1..256) and `flags` (`RTNH_F_*`).

  Source: ip-route(8), include/uapi/linux/rtnetlink.h, `struct rtnexthop`.
  """

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Route.Via

  @type t :: %__MODULE__{
          gateway: IP.t() | nil,
          via: IP.t() | nil,
          oif: non_neg_integer(),
          weight: 1..256,
          flags: 0..255,
          extra: [{0..65535, binary()}]
        }

  defstruct gateway: nil, via: nil, oif: 0, weight: 1, flags: 0, extra: []

  # RTA_MULTIPATH is an array of these, each with a length of its own and attributes inside it.
  defmodule List do
    @moduledoc false

    alias Linx.Netlink.Attr
    alias Linx.Netlink.Rtnl.Route.Nexthop

    @header 8
    @rta_gateway 5
    @rta_via 18

    @spec encode([Nexthop.t()]) :: binary()
    def encode(hops), do: hops |> Enum.map(&hop/1) |> IO.iodata_to_binary()

    defp hop(%Nexthop{} = hop) do
      attrs =
        for({:ok, ip} <- [present(hop.gateway)], do: {@rta_gateway, IP.encode(ip)}) ++
          for({:ok, ip} <- [present(hop.via)], do: {@rta_via, Via.encode(ip)}) ++ hop.extra

      attrs = Attr.encode(attrs)

      [
        <<@header + byte_size(attrs)::native-16, hop.flags, hop.weight - 1,
          hop.oif::native-signed-32>>,
        attrs
      ]
    end

    defp present(nil), do: :none
    defp present(ip), do: {:ok, ip}

    @spec decode(binary()) :: [Nexthop.t()]
    def decode(<<length::native-16, flags, hops, oif::native-signed-32, rest::binary>>)
        when length >= @header and length - @header <= byte_size(rest) do
      attrs = binary_part(rest, 0, length - @header)
      padded = min(Bitwise.band(length + 3, Bitwise.bnot(3)) - @header, byte_size(rest))

      hop = %Nexthop{flags: flags, weight: hops + 1, oif: oif}

      [
        Enum.reduce(Attr.scan(attrs), hop, &attr/2)
        | decode(binary_part(rest, padded, byte_size(rest) - padded))
      ]
    end

    def decode(_tail), do: []

    defp attr({@rta_gateway, bytes} = attr, hop) do
      case IP.decode(bytes) do
        nil -> keep(hop, attr)
        ip -> %{hop | gateway: ip}
      end
    end

    defp attr({@rta_via, bytes} = attr, hop) do
      case Via.decode(bytes) do
        nil -> keep(hop, attr)
        ip -> %{hop | via: ip}
      end
    end

    defp attr(attr, hop), do: keep(hop, attr)

    defp keep(hop, attr), do: %{hop | extra: hop.extra ++ [attr]}
  end
end
