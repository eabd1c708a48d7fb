defmodule Linx.Netfilter.Encoder.Objects do
  @moduledoc false
  # The data of named objects: NFTA_OBJ_DATA. Raises ArgumentError for data that has no form on the wire.

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.Encoder.Expressions
  alias Linx.Netfilter.{Object, Protocol, Wire}
  alias Linx.Netfilter.Wire.Timeouts
  alias Linx.Netlink.Attr

  @spec data(Object.t(), atom()) :: iodata()
  def data(%Object{kind: kind, data: data}, family), do: body(kind, fields(data), family)

  defp fields(nil), do: %{}
  defp fields(%{} = data) when not is_struct(data), do: data

  defp fields(data) do
    if Keyword.keyword?(data),
      do: Map.new(data),
      else: raise(ArgumentError, "object data is a map, not #{inspect(data)}")
  end

  defp body(:counter, data, _family) do
    Expressions.data(:counter, Map.merge(%{packets: 0, bytes: 0}, data))
  end

  defp body(:quota, data, _family) do
    {used, data} = Map.pop(data, :used, 0)
    Expressions.data(:quota, Map.merge(%{bytes: 0, consumed: used, flags: []}, data))
  end

  defp body(:limit, data, _family) do
    burst = if data[:type] == :bytes, do: 0, else: 5

    Expressions.data(
      :limit,
      Map.merge(%{unit: :second, burst: burst, type: :packets, flags: []}, data)
    )
  end

  defp body(:connlimit, data, _family), do: Expressions.data(:connlimit, data)

  defp body(:synproxy, data, _family),
    do: body_of(Expressions.expr(Linx.Netfilter.Expr.new(:synproxy, data)))

  defp body(:ct_helper, data, family) do
    [
      Attr.text(nfta_ct_helper_name(), fetch!(data, :type)),
      l3(nfta_ct_helper_l3proto(), data, family),
      Attr.u8(nfta_ct_helper_l4proto(), protocol(fetch!(data, :protocol)))
    ]
  end

  defp body(:ct_timeout, data, family) do
    protocol = fetch!(data, :protocol)

    [
      l3(nfta_ct_timeout_l3proto(), data, family),
      Attr.u8(nfta_ct_timeout_l4proto(), protocol(protocol)),
      Attr.nest(
        nfta_ct_timeout_data(),
        for(
          {n, seconds} <- Timeouts.encode(protocol, Map.new(data[:policy] || %{})),
          do: Attr.u32_be(n, seconds)
        )
      )
    ]
  end

  defp body(:ct_expectation, data, family) do
    [
      l3(nfta_ct_expect_l3proto(), data, family),
      Attr.u8(nfta_ct_expect_l4proto(), protocol(fetch!(data, :protocol))),
      Attr.u16_be(nfta_ct_expect_dport(), fetch!(data, :dport)),
      # The one number of nf_tables in host order.
      Attr.bytes(nfta_ct_expect_timeout(), <<fetch!(data, :timeout)::native-32>>),
      Attr.u8(nfta_ct_expect_size(), fetch!(data, :size))
    ]
  end

  defp body(:secmark, data, _family), do: Attr.text(nfta_secmark_ctx(), fetch!(data, :context))

  defp body(:tunnel, data, _family) do
    [
      Attr.u32_be(nfta_tunnel_key_id(), fetch!(data, :id)),
      tunnel_ends(data),
      for {key, n} <- [sport: nfta_tunnel_key_sport(), dport: nfta_tunnel_key_dport()],
          port = data[key] do
        Attr.u16_be(n, port)
      end,
      for {key, n} <- [tos: nfta_tunnel_key_tos(), ttl: nfta_tunnel_key_ttl()],
          value = data[key] do
        Attr.u8(n, value)
      end,
      if(data[:opts], do: Attr.bytes(0x8000 + nfta_tunnel_key_opts(), data[:opts]), else: [])
    ]
  end

  defp tunnel_ends(data) do
    {size, attribute} =
      case fetch!(data, :dst) do
        {_, _, _, _} -> {:ipv4_addr, nfta_tunnel_key_ip()}
        _ -> {:ipv6_addr, nfta_tunnel_key_ip6()}
      end

    # src and dst have the same numbers in both nests.
    Attr.nest(
      attribute,
      for {key, n} <- [src: nfta_tunnel_key_ip_src(), dst: nfta_tunnel_key_ip_dst()],
          addr = data[key] do
        Attr.bytes(n, Linx.Netfilter.Datum.to_bytes(size, addr))
      end
    )
  end

  defp l3(attribute, data, family) do
    case data[:l3proto] || family do
      # The kernel wants one of both; nft takes IPv4 too when nothing is said.
      :inet ->
        if data[:l3proto] == :inet, do: Attr.u16_be(attribute, 1), else: Attr.u16_be(attribute, 2)

      proto ->
        Attr.u16_be(attribute, Wire.family_num(proto))
    end
  end

  # The number of a transport protocol that objects take by name.
  @spec protocol(atom() | 0..255) :: 0..255
  defp protocol(n) when is_integer(n), do: n

  defp protocol(name),
    do: Protocol.number(name, :inet) || raise(ArgumentError, "unknown protocol #{inspect(name)}")

  @doc "The name, or the number of a protocol without one."
  @spec protocol_name(0..255) :: atom() | 0..255
  def protocol_name(n), do: Protocol.by_number(:inet, n) || n

  # The nest's inside of an expression: what an object of the same attributes carries.
  defp body_of([_name, <<_len::native-16, _type::native-16, body::binary>>]), do: body

  defp fetch!(data, key) do
    case data do
      %{^key => value} -> value
      _ -> raise ArgumentError, "object data lacks #{inspect(key)}"
    end
  end
end
