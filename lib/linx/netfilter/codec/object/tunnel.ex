defmodule Linx.Netfilter.Codec.Object.Tunnel do
  @moduledoc false
  # The data of a tunnel: `enum nft_tunnel_key_attributes`. The addresses are two fields of the
  # data, and stand in a nest of their family.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Datum

  defmodule Ends do
    @moduledoc false
    # `enum nft_tunnel_key_ip_attributes`, whose numbers nft_tunnel_key_ip6_attributes shares.

    use Linx.Netlink.Codec

    codec as: :map do
      attr(nfta_tunnel_key_ip_src(), :src, :binary)
      attr(nfta_tunnel_key_ip_dst(), :dst, :binary)
    end
  end

  defmodule Key do
    @moduledoc false
    # With the addresses as they stand on the wire.

    use Linx.Netlink.Codec

    codec as: :map do
      attr(nfta_tunnel_key_id(), :id, :u32_be, required: true)
      attr(nfta_tunnel_key_ip(), :ip, {:nested, Ends})
      attr(nfta_tunnel_key_ip6(), :ip6, {:nested, Ends})
      attr(nfta_tunnel_key_sport(), :sport, :u16_be)
      attr(nfta_tunnel_key_dport(), :dport, :u16_be)
      attr(nfta_tunnel_key_tos(), :tos, :u8)
      attr(nfta_tunnel_key_ttl(), :ttl, :u8)
      attr(nfta_tunnel_key_opts(), :opts, {:nested, :binary})
    end
  end

  @spec encode(map()) :: binary()
  def encode(data) do
    {ends, data} = Map.split(data, [:src, :dst])

    {key, type} =
      case ends[:dst] do
        nil -> raise ArgumentError, "no :dst is given"
        {_, _, _, _} -> {:ip, :ipv4_addr}
        _ -> {:ip6, :ipv6_addr}
      end

    ends = for {name, address} <- ends, address, into: %{}, do: {name, bytes(type, address)}

    Key.encode(Map.put(data, key, ends))
  end

  # Bytes are an address that the decoder has left as it was.
  defp bytes(type, address) do
    bytes = Datum.to_bytes(type, address)

    if byte_size(bytes) == Datum.size(type),
      do: bytes,
      else: raise(ArgumentError, "#{inspect(address)} is no #{type}")
  end

  @spec decode(binary()) :: map()
  def decode(bytes) do
    {nests, data} = bytes |> Key.decode() |> Map.split([:ip, :ip6])

    {type, ends} =
      if ends = nests[:ip], do: {:ipv4_addr, ends}, else: {:ipv6_addr, nests[:ip6] || %{}}

    # A copy, which does not keep the message alive.
    data = if opts = data[:opts], do: %{data | opts: :binary.copy(opts)}, else: data

    Map.merge(
      data,
      Map.new(ends, fn {name, address} -> {name, Datum.from_bytes(type, address)} end)
    )
  end
end
