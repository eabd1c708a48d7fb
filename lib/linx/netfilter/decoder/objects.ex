defmodule Linx.Netfilter.Decoder.Objects do
  @moduledoc false
  # NFTA_OBJ_DATA by kind: the other direction of Encoder.Objects.

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.{Datum, Wire}
  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.Encoder.Objects
  alias Linx.Netfilter.Wire.{Reader, Timeouts}

  @spec data(atom() | integer(), binary()) :: term()
  def data(:quota, bytes) do
    {used, data} = Map.pop(Expressions.data(:quota, bytes), :consumed, 0)
    Map.put(data, :used, used)
  end

  def data(:counter, bytes),
    do: Map.merge(%{packets: 0, bytes: 0}, Expressions.data(:counter, bytes))

  def data(kind, bytes) when kind in [:limit, :connlimit, :synproxy],
    do: Expressions.data(kind, bytes)

  def data(:ct_helper, bytes) do
    attrs = Reader.map(bytes)

    present(
      type: Reader.text(attrs[nfta_ct_helper_name()]),
      protocol: protocol(attrs[nfta_ct_helper_l4proto()]),
      l3proto: family(attrs[nfta_ct_helper_l3proto()])
    )
  end

  def data(:ct_timeout, bytes) do
    attrs = Reader.map(bytes)
    protocol = protocol(attrs[nfta_ct_timeout_l4proto()])

    values =
      for {n, v} <- Linx.Netlink.Attr.scan(attrs[nfta_ct_timeout_data()] || <<>>),
          s = Reader.uint(v),
          do: {n, s}

    present(
      protocol: protocol,
      l3proto: family(attrs[nfta_ct_timeout_l3proto()]),
      policy: Timeouts.decode(protocol, values)
    )
  end

  def data(:ct_expectation, bytes) do
    attrs = Reader.map(bytes)

    timeout =
      case attrs[nfta_ct_expect_timeout()] do
        <<ms::native-32>> -> ms
        _ -> nil
      end

    present(
      protocol: protocol(attrs[nfta_ct_expect_l4proto()]),
      l3proto: family(attrs[nfta_ct_expect_l3proto()]),
      dport: Reader.uint(attrs[nfta_ct_expect_dport()]),
      timeout: timeout,
      size: Reader.uint(attrs[nfta_ct_expect_size()])
    )
  end

  def data(:secmark, bytes),
    do: present(context: Reader.text(Reader.map(bytes)[nfta_secmark_ctx()]))

  def data(:tunnel, bytes) do
    attrs = Reader.map(bytes)

    {type, nest} =
      case attrs do
        %{nfta_tunnel_key_ip() => nest} -> {:ipv4_addr, nest}
        %{nfta_tunnel_key_ip6() => nest} -> {:ipv6_addr, nest}
        _ -> {:ipv4_addr, <<>>}
      end

    ends = Reader.map(nest)

    present(
      id: Reader.uint(attrs[nfta_tunnel_key_id()]),
      src: address(type, ends[nfta_tunnel_key_ip_src()]),
      dst: address(type, ends[nfta_tunnel_key_ip_dst()]),
      sport: Reader.uint(attrs[nfta_tunnel_key_sport()]),
      dport: Reader.uint(attrs[nfta_tunnel_key_dport()]),
      tos: Reader.uint(attrs[nfta_tunnel_key_tos()]),
      ttl: Reader.uint(attrs[nfta_tunnel_key_ttl()]),
      opts: attrs[nfta_tunnel_key_opts()]
    )
  end

  def data(_unknown, bytes), do: {:raw, :binary.copy(bytes)}

  defp address(_type, nil), do: nil
  defp address(type, bytes), do: Datum.from_bytes(type, bytes)

  defp protocol(<<n>>), do: Objects.protocol_name(n)
  defp protocol(_other), do: nil

  defp family(<<n::16>>) do
    case Wire.family_atom(n) do
      :unknown -> n
      family -> family
    end
  end

  defp family(_other), do: nil

  defp present(pairs), do: for({key, value} <- pairs, value != nil, into: %{}, do: {key, value})
end
