defmodule Linx.NFT.Compiler.Keys do
  @moduledoc false
  # Type, bits and byte order of what the kernel's load expressions give, per key.

  @meta %{
    len: {:integer, 32, :host},
    protocol: {:ether_type, 16, :big},
    priority: {:classid, 32, :host},
    mark: {:mark, 32, :host},
    iif: {:iface_index, 32, :host},
    oif: {:iface_index, 32, :host},
    iifname: {:ifname, 128, :host},
    oifname: {:ifname, 128, :host},
    iiftype: {:iface_type, 16, :host},
    oiftype: {:iface_type, 16, :host},
    skuid: {:uid, 32, :host},
    skgid: {:gid, 32, :host},
    nftrace: {:integer, 1, :host},
    rtclassid: {:realm, 32, :host},
    secmark: {:integer, 32, :host},
    nfproto: {:nf_proto, 8, :host},
    l4proto: {:inet_proto, 8, :big},
    bri_iifname: {:ifname, 128, :host},
    bri_oifname: {:ifname, 128, :host},
    pkttype: {:pkt_type, 8, :host},
    cpu: {:integer, 32, :host},
    iifgroup: {:devgroup, 32, :host},
    oifgroup: {:devgroup, 32, :host},
    cgroup: {:integer, 32, :host},
    # Random bits have no order to convert.
    prandom: {:integer, 32, :big},
    secpath: {:boolean, 8, :host},
    iifkind: {:ifname, 128, :host},
    oifkind: {:ifname, 128, :host},
    bri_iifpvid: {:integer, 16, :host},
    bri_iifvproto: {:ether_type, 16, :big},
    bri_broute: {:integer, 8, :host},
    bri_iifhwaddr: {:ether_addr, 48, :big},
    time_ns: {:date, 64, :host},
    time_day: {:day, 8, :host},
    time_hour: {:hour, 32, :host},
    sdif: {:iface_index, 32, :host},
    sdifname: {:ifname, 128, :host}
  }

  @ct %{
    state: {:ct_state, 32, :host},
    direction: {:ct_dir, 8, :host},
    status: {:ct_status, 32, :host},
    mark: {:mark, 32, :host},
    secmark: {:integer, 32, :host},
    expiration: {:time, 32, :host},
    helper: {:string, 128, nil},
    l3proto: {:nf_proto, 8, :host},
    protocol: {:inet_proto, 8, :big},
    src: {nil, 0, :big},
    dst: {nil, 0, :big},
    proto_src: {nil, 16, :big},
    proto_dst: {nil, 16, :big},
    labels: {:ct_label, 128, :host},
    pkts: {:integer, 64, :host},
    bytes: {:integer, 64, :host},
    avgpkt: {:integer, 64, :host},
    zone: {:integer, 16, :host},
    eventmask: {:ct_event, 32, :host},
    id: {:integer, 32, :big},
    src_ip: {:ipv4_addr, 32, :big},
    dst_ip: {:ipv4_addr, 32, :big},
    src_ip6: {:ipv6_addr, 128, :big},
    dst_ip6: {:ipv6_addr, 128, :big}
  }

  # Which side of the connection: required, allowed, or neither.
  @needs_direction [:src, :dst, :src_ip, :dst_ip, :src_ip6, :dst_ip6, :proto_src, :proto_dst]
  @may_have_direction [:pkts, :bytes, :avgpkt, :zone, :l3proto, :protocol]

  @other %{
    {:fib, :oif} => {:iface_index, 32, :host},
    {:fib, :oifname} => {:string, 128, nil},
    {:fib, :addrtype} => {:fib_addrtype, 32, :host},
    {:rt, :classid} => {:realm, 32, :host},
    {:rt, :nexthop4} => {:ipv4_addr, 32, :big},
    {:rt, :nexthop6} => {:ipv6_addr, 128, :big},
    {:rt, :tcpmss} => {:integer, 16, :host},
    {:rt, :xfrm} => {:boolean, 8, :host},
    {:socket, :transparent} => {:integer, 8, :host},
    {:socket, :wildcard} => {:integer, 8, :host},
    {:socket, :mark} => {:mark, 32, :host},
    {:socket, :cgroupv2} => {:cgroupsv2, 64, :host},
    {:xfrm, :reqid} => {:integer, 32, :host},
    {:xfrm, :spi} => {:integer, 32, :big},
    {:xfrm, :saddr_ip4} => {:ipv4_addr, 32, :big},
    {:xfrm, :daddr_ip4} => {:ipv4_addr, 32, :big},
    {:xfrm, :saddr_ip6} => {:ipv6_addr, 128, :big},
    {:xfrm, :daddr_ip6} => {:ipv6_addr, 128, :big},
    {:tunnel, :id} => {:integer, 32, :host},
    {:tunnel, :path} => {:boolean, 8, :host}
  }

  @doc false
  def meta(key), do: Map.fetch!(@meta, key)
  @doc false
  def ct(key), do: Map.fetch!(@ct, key)
  @doc false
  def other(kind, key), do: Map.fetch!(@other, {kind, key})
  @doc false
  def needs_direction?(key), do: key in @needs_direction
  @doc false
  def takes_direction?(key), do: key in @needs_direction or key in @may_have_direction
end
