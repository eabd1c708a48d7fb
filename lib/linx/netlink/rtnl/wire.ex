defmodule Linx.Netlink.Rtnl.Wire do
  @moduledoc false
  # What the native walk gives as structs. A tuple is the message type, the header, the attributes in the order of
  # native/linx_wire/src/netlink/rtnl.rs, and the attributes that the walk left: those go through the codec.

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Heap, Request}

  alias Linx.Netlink.Rtnl.{
    Address,
    AltNames,
    HardwareAddress,
    Link,
    LinkInfo,
    Neighbour,
    Route,
    Rule,
    Stats
  }

  # A route and its tuple are 70.
  @words 80

  @spec objects([tuple()] | {reference(), pos_integer()}) :: [struct()]
  def objects(tuples) when is_list(tuples), do: for(tuple <- tuples, do: object(tuple))
  def objects({dump, count}), do: Heap.roomy(count * @words, fn -> taken([], dump) end)

  defp taken([tuple | tuples], dump), do: [object(tuple) | taken(tuples, dump)]

  defp taken([], dump) do
    case Request.take(dump) do
      [] -> []
      tuples -> taken(tuples, dump)
    end
  end

  @spec object(tuple()) :: struct() | nil
  def object(
        {type, <<family, dst_len, src_len, tos, table, protocol, scope, kind, flags::native-32>>,
         dst, gateway, oif, priority, table_ext, prefsrc, pref, rest}
      )
      when type in 24..26 do
    route = %Route{
      family: family,
      dst_len: dst_len,
      src_len: src_len,
      tos: tos,
      table: table,
      protocol: protocol,
      scope: scope,
      type: kind,
      flags: flags,
      dst: ip(dst),
      gateway: ip(gateway),
      oif: oif,
      priority: priority,
      table_ext: table_ext,
      prefsrc: ip(prefsrc),
      pref: pref
    }

    if rest == [], do: route, else: Route.__attrs__(route, rest)
  end

  def object(
        {type,
         <<family, _, arp::native-16, index::native-signed-32, flags::native-32,
           change::native-32>>, address, name, mtu, link, master, linkinfo, net_ns_pid, broadcast,
         qdisc, txqlen, operstate, ifalias, group, carrier, link_netnsid, prop_list, rest}
      )
      when type in 16..19 do
    link = %Link{
      family: family,
      type: arp,
      index: index,
      flags: flags,
      change: change,
      address: hardware(address),
      name: name,
      mtu: mtu,
      link: link,
      master: master,
      linkinfo: linkinfo && LinkInfo.decode(linkinfo),
      net_ns_pid: net_ns_pid,
      broadcast: hardware(broadcast),
      qdisc: qdisc,
      txqlen: txqlen,
      operstate: operstate,
      alias: ifalias,
      group: group,
      carrier: carrier,
      link_netnsid: link_netnsid,
      altnames: prop_list && AltNames.decode(prop_list)
    }

    if rest == [], do: link, else: Link.__attrs__(link, rest)
  end

  def object(
        {type, <<family, prefixlen, flags, scope, index::native-32>>, address, local, label,
         broadcast, flags_ext, priority, proto, rest}
      )
      when type in 20..22 do
    address = %Address{
      family: family,
      prefixlen: prefixlen,
      flags: flags,
      scope: scope,
      index: index,
      address: ip(address),
      local: ip(local),
      label: label,
      broadcast: ip(broadcast),
      flags_ext: flags_ext,
      priority: priority,
      proto: proto
    }

    if rest == [], do: address, else: Address.__attrs__(address, rest)
  end

  def object(
        {type, <<family, _::24, ifindex::native-signed-32, state::native-16, flags, kind>>, dst,
         lladdr, protocol, master, vlan, rest}
      )
      when type in 28..30 do
    neighbour = %Neighbour{
      family: family,
      ifindex: ifindex,
      state: state,
      flags: flags,
      type: kind,
      dst: ip(dst),
      lladdr: hardware(lladdr),
      protocol: protocol,
      master: master,
      vlan: vlan
    }

    if rest == [], do: neighbour, else: Neighbour.__attrs__(neighbour, rest)
  end

  def object(
        {type, <<family, dst_len, src_len, tos, table, res1, res2, action, flags::native-32>>,
         dst, src, priority, fwmark, table_ext, rest}
      )
      when type in 32..34 do
    rule = %Rule{
      family: family,
      dst_len: dst_len,
      src_len: src_len,
      tos: tos,
      table: table,
      res1: res1,
      res2: res2,
      action: action,
      flags: flags,
      dst: ip(dst),
      src: ip(src),
      priority: priority,
      fwmark: fwmark,
      table_ext: table_ext
    }

    if rest == [], do: rule, else: Rule.__attrs__(rule, rest)
  end

  def object({type, <<family, _::24, ifindex::native-32, filter_mask::native-32>>, link, rest})
      when type in [92, 94] do
    stats = %Stats{
      family: family,
      ifindex: ifindex,
      filter_mask: filter_mask,
      link: link && Stats.Link64.decode(link)
    }

    if rest == [], do: stats, else: Stats.__attrs__(stats, rest)
  end

  def object({_type}), do: nil

  defp ip(nil), do: nil
  defp ip(<<_::32>> = bytes), do: %IP{bytes: bytes, family: :inet}
  defp ip(<<_::128>> = bytes), do: %IP{bytes: bytes, family: :inet6}

  defp hardware(nil), do: nil
  defp hardware(<<_::48>> = bytes), do: %MAC{bytes: bytes}
  defp hardware(bytes), do: HardwareAddress.decode(bytes)
end
