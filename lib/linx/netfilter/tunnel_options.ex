defmodule Linx.Netfilter.TunnelOptions do
  @moduledoc false
  # The options of a tunnel object beside addresses and ports (NFTA_TUNNEL_KEY_OPTS), which Object
  # keeps as bytes, and their meaning.
  #
  #     {:vxlan, [gbp: n]}
  #     {:erspan, [version: 1, index: n]}
  #     {:erspan, [version: 2, direction: :ingress | :egress, id: n]}
  #     {:geneve, [{class, type, data}]}
  #
  # Source: enum nft_tunnel_opts_attributes and those after it in linux/netfilter/nf_tables.h.

  alias Linx.Netfilter.Wire.Reader
  alias Linx.Netlink.Attr

  @vxlan 1
  @erspan 2
  @geneve 3

  @type t :: {:vxlan | :erspan, keyword()} | {:geneve, [{0..0xFFFF, byte(), binary()}]}

  @spec encode(t()) :: binary()
  def encode(options), do: options |> nests() |> IO.iodata_to_binary()

  defp nests({:vxlan, opts}), do: Attr.nest(@vxlan, Attr.u32_be(1, opts[:gbp]))

  defp nests({:erspan, opts}) do
    Attr.nest(@erspan, [
      Attr.u32_be(1, opts[:version]),
      if(opts[:version] == 1,
        do: Attr.u32_be(2, opts[:index]),
        else: [
          Attr.u8(3, opts[:id]),
          Attr.u8(4, if(opts[:direction] == :egress, do: 1, else: 0))
        ]
      )
    ])
  end

  defp nests({:geneve, options}) do
    for {class, type, data} <- options do
      Attr.nest(@geneve, [Attr.u16_be(1, class), Attr.u8(2, type), Attr.bytes(3, data)])
    end
  end

  @doc "What the bytes mean; nil for what is not understood."
  @spec decode(binary()) :: t() | nil
  def decode(bytes) do
    case Attr.scan(bytes) do
      [{@vxlan, nest}] -> vxlan(Reader.map(nest))
      [{@erspan, nest}] -> erspan(Reader.map(nest))
      [{@geneve, _} | _] = options -> geneve(for {@geneve, nest} <- options, do: Reader.map(nest))
      _ -> nil
    end
  end

  defp vxlan(%{1 => <<gbp::32>>}), do: {:vxlan, gbp: gbp}
  defp vxlan(_attrs), do: nil

  defp erspan(%{1 => <<1::32>>, 2 => <<index::32>>}), do: {:erspan, version: 1, index: index}

  defp erspan(%{1 => <<2::32>>, 3 => <<id>>, 4 => <<direction>>}),
    do: {:erspan, version: 2, direction: if(direction == 0, do: :ingress, else: :egress), id: id}

  defp erspan(_attrs), do: nil

  defp geneve(options) do
    found =
      for %{1 => <<class::16>>, 2 => <<type>>, 3 => data} <- options, do: {class, type, data}

    if length(found) == length(options), do: {:geneve, found}
  end
end
