defmodule Linx.Netfilter.Keys do
  @moduledoc false
  # The keys of the kernel's load expressions: nft's word, datatype, bits and byte order of each.
  # One table for the decoder of sets (widths of parts) and for the load expressions of Linx.NFT:
  # words to keys, types of keys, keys to words.
  #
  # Source: nft(8), "META EXPRESSIONS" and those after it; enum nft_meta_keys and its like in
  # linux/netfilter/nf_tables.h.

  @type key :: {String.t(), atom(), pos_integer(), :host | :big | nil}

  @meta %{
    len: {"length", :integer, 32, :host},
    protocol: {"protocol", :ether_type, 16, :big},
    priority: {"priority", :classid, 32, :host},
    mark: {"mark", :mark, 32, :host},
    iif: {"iif", :iface_index, 32, :host},
    oif: {"oif", :iface_index, 32, :host},
    iifname: {"iifname", :ifname, 128, :host},
    oifname: {"oifname", :ifname, 128, :host},
    iiftype: {"iiftype", :iface_type, 16, :host},
    oiftype: {"oiftype", :iface_type, 16, :host},
    skuid: {"skuid", :uid, 32, :host},
    skgid: {"skgid", :gid, 32, :host},
    nftrace: {"nftrace", :integer, 1, :host},
    rtclassid: {"rtclassid", :realm, 32, :host},
    secmark: {"secmark", :integer, 32, :host},
    nfproto: {"nfproto", :nf_proto, 8, :host},
    l4proto: {"l4proto", :inet_proto, 8, :big},
    bri_iifname: {"ibrname", :ifname, 128, :host},
    bri_oifname: {"obrname", :ifname, 128, :host},
    pkttype: {"pkttype", :pkt_type, 8, :host},
    cpu: {"cpu", :integer, 32, :host},
    iifgroup: {"iifgroup", :devgroup, 32, :host},
    oifgroup: {"oifgroup", :devgroup, 32, :host},
    cgroup: {"cgroup", :integer, 32, :host},
    # Random bits have no order to convert.
    prandom: {"random", :integer, 32, :big},
    secpath: {"ipsec", :boolean, 8, :host},
    iifkind: {"iifkind", :ifname, 128, :host},
    oifkind: {"oifkind", :ifname, 128, :host},
    bri_iifpvid: {"ibrpvid", :integer, 16, :host},
    bri_iifvproto: {"ibrvproto", :ether_type, 16, :big},
    time_ns: {"time", :date, 64, :host},
    time_day: {"day", :day, 8, :host},
    time_hour: {"hour", :hour, 32, :host},
    sdif: {"sdif", :iface_index, 32, :host},
    sdifname: {"sdifname", :ifname, 128, :host},
    bri_broute: {"broute", :integer, 8, :host},
    bri_iifhwaddr: {"ibrhwaddr", :ether_addr, 48, :big}
  }

  # The addresses without a family (src, dst) have the type of the rule's network protocol.
  @ct %{
    state: {"state", :ct_state, 32, :host},
    direction: {"direction", :ct_dir, 8, :host},
    status: {"status", :ct_status, 32, :host},
    mark: {"mark", :mark, 32, :host},
    secmark: {"secmark", :integer, 32, :host},
    expiration: {"expiration", :time, 32, :host},
    helper: {"helper", :string, 128, nil},
    l3proto: {"l3proto", :nf_proto, 8, :host},
    src: {"saddr", :ll_addr, 128, :big},
    dst: {"daddr", :ll_addr, 128, :big},
    protocol: {"protocol", :inet_proto, 8, :big},
    proto_src: {"proto-src", :inet_service, 16, :big},
    proto_dst: {"proto-dst", :inet_service, 16, :big},
    labels: {"label", :ct_label, 128, :host},
    pkts: {"packets", :integer, 64, :host},
    bytes: {"bytes", :integer, 64, :host},
    avgpkt: {"avgpkt", :integer, 64, :host},
    zone: {"zone", :integer, 16, :host},
    eventmask: {"event", :ct_event, 32, :host},
    src_ip: {"ip saddr", :ipv4_addr, 32, :big},
    dst_ip: {"ip daddr", :ipv4_addr, 32, :big},
    src_ip6: {"ip6 saddr", :ipv6_addr, 128, :big},
    dst_ip6: {"ip6 daddr", :ipv6_addr, 128, :big},
    id: {"id", :integer, 32, :big}
  }

  @other %{
    fib: %{
      oif: {"oif", :iface_index, 32, :host},
      oifname: {"oifname", :string, 128, nil},
      addrtype: {"type", :fib_addrtype, 32, :host}
    },
    rt: %{
      classid: {"classid", :realm, 32, :host},
      nexthop4: {"ip nexthop", :ipv4_addr, 32, :big},
      nexthop6: {"ip6 nexthop", :ipv6_addr, 128, :big},
      tcpmss: {"mtu", :integer, 16, :host},
      xfrm: {"ipsec", :boolean, 8, :host}
    },
    socket: %{
      transparent: {"transparent", :integer, 8, :host},
      mark: {"mark", :mark, 32, :host},
      wildcard: {"wildcard", :integer, 8, :host},
      cgroupv2: {"cgroupv2", :cgroupsv2, 64, :host}
    },
    xfrm: %{
      daddr_ip4: {"ip daddr", :ipv4_addr, 32, :big},
      saddr_ip4: {"ip saddr", :ipv4_addr, 32, :big},
      daddr_ip6: {"ip6 daddr", :ipv6_addr, 128, :big},
      saddr_ip6: {"ip6 saddr", :ipv6_addr, 128, :big},
      reqid: {"reqid", :integer, 32, :host},
      spi: {"spi", :integer, 32, :big}
    },
    tunnel: %{
      id: {"id", :integer, 32, :host},
      path: {"path", :boolean, 8, :host}
    }
  }

  @tables Map.merge(@other, %{meta: @meta, ct: @ct})

  # Older words that nft still takes.
  @meta_aliases %{"secpath" => :secpath, "ibriport" => :bri_iifname, "obriport" => :bri_oifname}

  by_word = &Map.new(&1, fn {key, {word, _, _, _}} -> {word, key} end)
  @meta_words Map.merge(by_word.(@meta), @meta_aliases)
  @ct_words by_word.(Map.reject(@ct, fn {_key, {word, _, _, _}} -> word =~ " " end))

  @doc """
  `{word, datatype, bits, order}` of a key of `meta`, `ct`, `rt`, `socket`, `xfrm`, `fib` or
  `tunnel`.
  """
  @spec fetch(atom(), atom()) :: {:ok, key()} | :error
  def fetch(kind, key), do: @tables |> Map.fetch!(kind) |> Map.fetch(key)

  @doc "`{datatype, bits, order}` of a key that is known to exist."
  @spec type(atom(), atom()) :: {atom(), pos_integer(), :host | :big | nil}
  def type(kind, key) do
    {:ok, {_word, type, bits, order}} = fetch(kind, key)
    {type, bits, order}
  end

  @doc "The words of `meta` or `ct` and the keys they stand for."
  @spec words(:meta | :ct) :: %{String.t() => atom()}
  def words(:meta), do: @meta_words
  def words(:ct), do: @ct_words
end
