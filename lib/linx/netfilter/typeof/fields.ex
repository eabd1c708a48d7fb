defmodule Linx.Netfilter.Typeof.Fields do
  @moduledoc false
  # The numbers that nft has for header fields in its records: enum proto_desc_id, enum exthdr_desc_id, and the place of a field in the
  # enum of its header, which is mostly that of our table. Where it is not, the names are here, nil for one that has no field.

  alias Linx.Netfilter.Field

  @protocols [
    :ah,
    :esp,
    :comp,
    :icmp,
    :igmp,
    :udp,
    :udplite,
    :tcp,
    :dccp,
    :sctp,
    :th,
    :ip,
    :ip6,
    :icmpv6,
    :arp,
    :vlan,
    :ether,
    :vxlan,
    :geneve,
    :gre,
    :gretap
  ]
  @extensions [:hbh, :rt, :rt0, :rt2, :srh, :frag, :dst, :mh]

  @arp ["htype", "ptype", "hlen", "plen", "operation"] ++
         ["saddr ether", "saddr ip", "daddr ether", "daddr ip"]
  @route ["type", "length", nil, "ptr", "addr"]
  @names %{
    arp: @arp,
    igmp: ["type", "checksum", "mrt", "group"],
    vxlan: ["vni", "flags"],
    geneve: ["vni", "type"],
    gre: ["version", "flags", "protocol"],
    rt0: [nil | Field.fields(:rt0)],
    rt2: [nil | Field.fields(:rt2)],
    ipopt_lsrr: @route,
    ipopt_rr: @route,
    ipopt_ssrr: @route,
    tcpopt_sack1: ["kind", "length"] ++ List.duplicate(nil, 2) ++ ["left", "right"],
    tcpopt_sack2: ["kind", "length"] ++ List.duplicate(nil, 4) ++ ["left", "right"],
    tcpopt_sack3: ["kind", "length"] ++ List.duplicate(nil, 6) ++ ["left", "right"]
  }
  # TCP options and SCTP chunks count their fields from 0.
  @first %{ipv6: 1, ipv4: 1, tcpopt: 0, sctp: 0}
  # The headers that an operation and a number name: SACK has one for each of its blocks.
  @headers Field.all()
           |> Enum.filter(&is_map_key(@first, &1.base))
           |> Enum.group_by(&{&1.base, &1.header}, & &1.protocol)
           |> Map.new(fn {key, protocols} -> {key, Enum.uniq(protocols)} end)

  @doc false
  @spec protocol(non_neg_integer()) :: atom() | nil
  def protocol(0), do: nil
  def protocol(number), do: Enum.at(@protocols, number - 1)

  @doc false
  @spec protocol_number(atom()) :: pos_integer() | nil
  def protocol_number(protocol) do
    with index when index != nil <- index(@protocols, protocol), do: index + 1
  end

  @doc false
  @spec header(non_neg_integer(), non_neg_integer()) :: Field.t() | nil
  def header(desc, type), do: desc |> protocol() |> field(type - 1)

  @doc false
  # {desc, type}
  @spec header_numbers(Field.t()) :: {pos_integer(), pos_integer()} | nil
  def header_numbers(%Field{protocol: protocol, field: text}) do
    with desc when desc != nil <- protocol_number(protocol),
         index when index != nil <- index(names(protocol), text),
         do: {desc, index + 1}
  end

  @doc false
  @spec extension(atom(), non_neg_integer(), non_neg_integer()) :: Field.t() | nil
  def extension(:ipv6, 0, _type), do: nil
  def extension(:ipv6, desc, type), do: @extensions |> Enum.at(desc - 1) |> field(type - 1)

  def extension(op, number, type) do
    @headers
    |> Map.get({op, number}, [])
    |> Enum.find_value(&field(&1, type - Map.fetch!(@first, op)))
  end

  @doc false
  # {operation, desc, type}
  @spec extension_numbers(Field.t()) :: {atom(), non_neg_integer(), non_neg_integer()} | nil
  def extension_numbers(%Field{base: op, protocol: protocol, field: text, header: number}) do
    with index when index != nil <- index(names(protocol), text) do
      desc = if op == :ipv6, do: index(@extensions, protocol) + 1, else: number
      {op, desc, index + Map.fetch!(@first, op)}
    end
  end

  defp field(nil, _index), do: nil
  defp field(_protocol, index) when index < 0, do: nil

  defp field(protocol, index) do
    with text when text != nil <- Enum.at(names(protocol), index),
         {:ok, field} <- Field.fetch(protocol, text),
         do: field,
         else: (_ -> nil)
  end

  defp names(protocol), do: Map.get(@names, protocol) || Field.fields(protocol)
  defp index(list, item), do: Enum.find_index(list, &(&1 == item))
end
