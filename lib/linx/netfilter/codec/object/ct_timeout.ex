defmodule Linx.Netfilter.Codec.Object.CtTimeout do
  @moduledoc false
  # The data of a conntrack timeout policy: `enum nft_ct_timeout_timeout_attributes`. The states
  # of the policy are those of the protocol.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Wire.Timeouts
  alias Linx.Netlink.Attr

  defmodule Attributes do
    @moduledoc false
    # With the states as they stand on the wire.

    use Linx.Netlink.Codec

    alias Linx.Netfilter.Codec.Object.{Layer3, Layer4}

    codec as: :map do
      attr(nfta_ct_timeout_l3proto(), :l3proto, Layer3)
      attr(nfta_ct_timeout_l4proto(), :protocol, Layer4, required: true)
      attr(nfta_ct_timeout_data(), :policy, {:nested, :binary})
    end
  end

  @spec encode(map()) :: binary()
  def encode(data) do
    states = Timeouts.encode(data[:protocol], Map.new(data[:policy] || %{}))
    policy = for {n, seconds} <- states, do: Attr.u32_be(n, seconds)
    Attributes.encode(Map.put(data, :policy, IO.iodata_to_binary(policy)))
  end

  @spec decode(binary()) :: map()
  def decode(bytes) do
    data = Attributes.decode(bytes)
    states = for {n, <<seconds::32>>} <- Attr.scan(data[:policy] || <<>>), do: {n, seconds}
    Map.put(data, :policy, Timeouts.decode(data[:protocol], states))
  end
end
