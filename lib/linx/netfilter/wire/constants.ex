defmodule Linx.Netfilter.Wire.Constants do
  @moduledoc false
  # The enums and flag bits of nf_tables.h, netfilter.h, nf_nat.h, nf_log.h and nfnetlink_log.h,
  # in the kernel's order.

  @messages ~w(newtable gettable deltable newchain getchain delchain newrule getrule delrule
               newset getset delset newsetelem getsetelem delsetelem newgen getgen trace newobj
               getobj delobj getobj_reset newflowtable getflowtable delflowtable getrule_reset
               destroytable destroychain destroyrule destroyset destroysetelem destroyobj
               destroyflowtable getsetelem_reset)a

  @enums %{
    message: @messages,
    meta: [
      :len,
      :protocol,
      :priority,
      :mark,
      :iif,
      :oif,
      :iifname,
      :oifname,
      :iiftype,
      :oiftype,
      :skuid,
      :skgid,
      :nftrace,
      :rtclassid,
      :secmark,
      :nfproto,
      :l4proto,
      :bri_iifname,
      :bri_oifname,
      :pkttype,
      :cpu,
      :iifgroup,
      :oifgroup,
      :cgroup,
      :prandom,
      :secpath,
      :iifkind,
      :oifkind,
      :bri_iifpvid,
      :bri_iifvproto,
      :time_ns,
      :time_day,
      :time_hour,
      :sdif,
      :sdifname,
      :bri_broute,
      # __NFT_META_IIFTYPE, internal to the kernel.
      :_,
      :bri_iifhwaddr
    ],
    ct: [
      :state,
      :direction,
      :status,
      :mark,
      :secmark,
      :expiration,
      :helper,
      :l3proto,
      :src,
      :dst,
      :protocol,
      :proto_src,
      :proto_dst,
      :labels,
      :pkts,
      :bytes,
      :avgpkt,
      :zone,
      :eventmask,
      :src_ip,
      :dst_ip,
      :src_ip6,
      :dst_ip6,
      :id
    ],
    ct_direction: [:original, :reply],
    payload_base: [:link, :network, :transport, :inner, :tunnel],
    csum_type: [:none, :inet, :sctp],
    cmp: [:eq, :neq, :lt, :lte, :gt, :gte],
    range: [:eq, :neq],
    bitwise: [:mask_xor, :lshift, :rshift, :and, :or, :xor],
    byteorder: [:ntoh, :hton],
    dynset: [:add, :update, :delete],
    exthdr: [:ipv6, :tcpopt, :ipv4, :sctp, :dccp],
    rt: [:classid, :nexthop4, :nexthop6, :tcpmss, :xfrm],
    hash: [:jenkins, :sym],
    socket: [:transparent, :mark, :wildcard, :cgroupv2],
    limit: [:packets, :bytes],
    log_level: [:emerg, :alert, :crit, :err, :warn, :notice, :info, :debug, :audit],
    reject: [:icmp_unreach, :tcp_reset, :icmpx_unreach],
    nat: [:snat, :dnat],
    fib: [:_, :oif, :oifname, :addrtype],
    osf_ttl: [:strict, :loose, :skip],
    ng: [:incremental, :random],
    xfrm_key: [:_, :daddr_ip4, :daddr_ip6, :saddr_ip4, :saddr_ip6, :reqid, :spi],
    xfrm_dir: [:in, :out],
    # enum nft_inner_type, and nft's own numbers after it.
    inner_type: [:_, :vxlan, :geneve, :gre, :gretap],
    tunnel: [:path, :id],
    tunnel_mode: [:none, :rx, :tx],
    object: [
      :_,
      :counter,
      :quota,
      :ct_helper,
      :limit,
      :connlimit,
      :tunnel,
      :ct_timeout,
      :secmark,
      :ct_expectation,
      :synproxy
    ],
    policy: [:drop, :accept],
    set_policy: [:performance, :memory]
  }

  @flags %{
    table: [dormant: 1, owner: 2, persist: 4],
    chain: [base: 1, hw_offload: 2, binding: 4],
    # :auto_merge is nft's own and travels in userdata.
    set: [
      anonymous: 0x1,
      constant: 0x2,
      interval: 0x4,
      map: 0x8,
      timeout: 0x10,
      dynamic: 0x20,
      object: 0x40,
      concat: 0x80,
      expr: 0x100
    ],
    lookup: [inv: 1],
    dynset: [inv: 1, expr: 2],
    exthdr: [present: 1],
    csum: [pseudohdr: 1],
    limit: [inv: 1],
    connlimit: [inv: 1],
    quota: [inv: 1, depleted: 2],
    log: [tcp_seq: 1, tcp_opt: 2, ip_opt: 4, uid: 8, nflog: 0x10, macdecode: 0x20],
    nat: [
      map_ips: 1,
      proto_specified: 2,
      random: 4,
      persistent: 8,
      fully_random: 16,
      proto_offset: 32,
      netmap: 64
    ],
    fib: [saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, present: 32],
    osf: [version: 1],
    queue: [bypass: 1, fanout: 2],
    synproxy: [mss: 1, wscale: 2, sack_perm: 4, timestamp: 8, ecn: 16],
    inner: [hdrsize: 1, ll: 2, nh: 4, th: 8],
    flowtable: [hw_offload: 1, counter: 2],
    nfulnl_cfg: [seq: 1, seq_global: 2, conntrack: 4]
  }

  # enum nft_verdicts and the NF_* codes below them.
  @verdicts [
    drop: 0,
    accept: 1,
    queue: 3,
    stop: 5,
    continue: -1,
    break: -2,
    jump: -3,
    goto: -4,
    return: -5
  ]

  @families [unspec: 0, inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10]

  @ints Map.new(@enums, fn {kind, names} ->
          {kind, names |> Enum.with_index() |> Enum.reject(fn {n, _} -> n == :_ end) |> Map.new()}
        end)

  # Atoms of an enum by number; its unnamed places stay numbers.
  @atoms Map.new(@enums, fn {kind, names} -> {kind, List.to_tuple(names)} end)

  @doc "The number of a name; a number stands for itself."
  @spec int!(atom(), atom() | integer()) :: integer()
  def int!(_kind, n) when is_integer(n), do: n

  def int!(kind, name) do
    case @ints do
      %{^kind => %{^name => n}} -> n
      _ -> raise ArgumentError, "unknown #{kind} #{inspect(name)}"
    end
  end

  @doc "The name of a number, or the number."
  @spec atom(atom(), non_neg_integer()) :: atom() | non_neg_integer()
  def atom(kind, n) do
    names = Map.fetch!(@atoms, kind)

    with true <- n < tuple_size(names), name when name != :_ <- elem(names, n) do
      name
    else
      _ -> n
    end
  end

  @doc "Names and numbers of an enum, in the kernel's order."
  @spec enum(atom()) :: keyword(non_neg_integer())
  def enum(kind) do
    for {name, n} <- Enum.with_index(Map.fetch!(@enums, kind)), name != :_, do: {name, n}
  end

  @doc "Names and bits of a kind of flags."
  @spec flags(atom()) :: keyword(pos_integer())
  def flags(kind), do: Map.fetch!(@flags, kind)

  @doc "Flags as bits; a number stands for itself."
  @spec bits!(atom(), [atom()] | integer()) :: non_neg_integer()
  def bits!(_kind, bits) when is_integer(bits), do: bits

  def bits!(kind, names) do
    known = flags(kind)

    Enum.reduce(names, 0, fn
      n, bits when is_integer(n) ->
        Bitwise.bor(bits, n)

      name, bits ->
        case Keyword.fetch(known, name) do
          {:ok, bit} -> Bitwise.bor(bits, bit)
          :error -> raise ArgumentError, "unknown #{kind} flag #{inspect(name)}"
        end
    end)
  end

  @doc """
  Bits as flags in the kernel's order; bits without a name are kept as one number at the end.
  """
  @spec names(atom(), non_neg_integer()) :: [atom() | pos_integer()]
  def names(_kind, 0), do: []

  def names(kind, bits) do
    {names, rest} =
      Enum.flat_map_reduce(flags(kind), bits, fn {name, bit}, rest ->
        if Bitwise.band(rest, bit) == 0, do: {[], rest}, else: {[name], rest - bit}
      end)

    if rest == 0, do: names, else: names ++ [rest]
  end

  @spec verdicts() :: keyword(integer())
  def verdicts, do: @verdicts

  @spec families() :: keyword(non_neg_integer())
  def families, do: @families

  @doc "`{macro name, the kernel's name, value}` of the constants that have a macro."
  @spec all() :: [{atom(), String.t(), integer()}]
  def all do
    messages = for {name, n} <- Enum.with_index(@messages), do: {"nft_msg_#{name}", n}

    sets =
      for {name, bit} <- @flags.set do
        case name do
          :dynamic -> {"nft_set_eval", bit}
          name when name in [:timeout, :object, :expr] -> {"nft_set_#{name}_flag", bit}
          name -> {"nft_set_#{name}", bit}
        end
      end

    nat =
      for {name, bit} <- @flags.nat do
        case name do
          :random -> {"nf_nat_range_proto_random", bit}
          :fully_random -> {"nf_nat_range_proto_random_fully", bit}
          name -> {"nf_nat_range_#{name}", bit}
        end
      end

    verdicts =
      for {name, code} <- @verdicts,
          do: {if(code >= 0, do: "nf_#{name}", else: "nft_#{name}"), code}

    states = [invalid: 1, established: 2, related: 4, new: 8, untracked: 64]

    types = [
      invalid: 0,
      verdict: 1,
      nf_proto: 2,
      bitmask: 3,
      integer: 4,
      string: 5,
      lladdr: 6,
      ipaddr: 7,
      ip6addr: 8,
      etheraddr: 9,
      ethertype: 10,
      inet_protocol: 12,
      inet_service: 13,
      mark: 19,
      ifname: 41
    ]

    rows =
      messages ++
        sets ++
        nat ++
        verdicts ++
        for({name, bit} <- states, do: {"nf_ct_state_#{name}_bit", bit}) ++
        for({name, id} <- types, do: {"nftnl_type_#{name}", id}) ++
        for({name, bit} <- @flags.table, do: {"nft_table_f_#{name}", bit}) ++
        for({name, bit} <- @flags.chain, do: {"nft_chain_f_#{name}", bit}) ++
        for({name, bit} <- @flags.nfulnl_cfg, do: {"nfulnl_cfg_f_#{name}", bit}) ++
        [
          {"nft_lookup_f_inv", 1},
          {"nft_set_elem_interval_end", 1},
          {"nft_set_elem_catchall", 2},
          {"nft_nat_snat", 0},
          {"nft_nat_dnat", 1},
          {"nft_reg_verdict", 0},
          {"nft_reg_1", 1},
          {"nft_reg_2", 2},
          {"nft_reg_3", 3},
          {"nft_reg_4", 4},
          {"nft_reg32_00", 8},
          {"nfulnl_msg_packet", 0},
          {"nfulnl_msg_config", 1},
          {"nfulnl_copy_none", 0},
          {"nfulnl_copy_meta", 1},
          {"nfulnl_copy_packet", 2},
          {"nfulnl_cfg_cmd_none", 0},
          {"nfulnl_cfg_cmd_bind", 1},
          {"nfulnl_cfg_cmd_unbind", 2},
          {"nfulnl_cfg_cmd_pf_bind", 3},
          {"nfulnl_cfg_cmd_pf_unbind", 4}
        ]

    for {name, value} <- rows, do: {String.to_atom(name), String.upcase(name), value}
  end
end
