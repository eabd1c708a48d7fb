defmodule Linx.Netfilter.Wire.Attributes do
  @moduledoc false
  # Attribute numbers of include/uapi/linux/netfilter/nf_tables.h and nfnetlink_log.h. The
  # kernel's enums count from 1 after UNSPEC, so a set's attributes are listed in the kernel's
  # order and numbered by their place; `_` is a number that is not ours.

  @nfta [
    list: ~w(elem)a,
    hook: ~w(hooknum priority dev devs)a,
    device: ~w(name)a,
    table: ~w(name flags use handle pad userdata owner)a,
    chain: ~w(table handle name hook policy use type counters pad flags id userdata)a,
    rule:
      ~w(table chain handle expressions compat position userdata pad id position_id chain_id)a,
    rule_compat: ~w(proto flags)a,
    set:
      ~w(table name flags key_type key_len data_type data_len policy desc id timeout gc_interval
         userdata pad obj_type handle expr expressions)a,
    set_desc: ~w(size concat)a,
    set_field: ~w(len)a,
    set_elem: ~w(key data flags timeout expiration userdata expr pad objref key_end expressions)a,
    set_elem_list: ~w(table set elements set_id)a,
    data: ~w(value verdict)a,
    verdict: ~w(code chain chain_id)a,
    expr: ~w(name data)a,
    gen: ~w(id proc_pid proc_name)a,
    obj: ~w(table name type data use handle pad userdata)a,
    flowtable: ~w(table name hook use handle pad flags)a,
    flowtable_hook: ~w(num priority devs)a,
    # Expressions; `Linx.Netfilter.Wire.Expressions` gives the types.
    immediate: ~w(dreg data)a,
    bitwise: ~w(sreg dreg len mask xor op data sreg2)a,
    byteorder: ~w(sreg dreg op len size)a,
    cmp: ~w(sreg op data)a,
    range: ~w(sreg op from_data to_data)a,
    lookup: ~w(set sreg dreg set_id flags)a,
    dynset: ~w(set_name set_id op sreg_key sreg_data timeout expr pad flags expressions)a,
    payload: ~w(dreg base offset len sreg csum_type csum_offset csum_flags)a,
    exthdr: ~w(dreg type offset len flags op sreg)a,
    meta: ~w(dreg key sreg)a,
    rt: ~w(dreg key)a,
    socket: ~w(key dreg level)a,
    hash: ~w(sreg dreg len modulus seed offset type)a,
    ct: ~w(dreg key direction sreg)a,
    flow: ~w(table_name)a,
    limit: ~w(rate unit burst type flags pad)a,
    connlimit: ~w(count flags)a,
    counter: ~w(bytes packets pad)a,
    last: ~w(set msecs pad)a,
    log: ~w(group prefix snaplen qthreshold level flags)a,
    queue: ~w(num total flags sreg_qnum)a,
    quota: ~w(bytes flags pad consumed)a,
    secmark: ~w(ctx)a,
    reject: ~w(type icmp_code)a,
    nat: ~w(type family reg_addr_min reg_addr_max reg_proto_min reg_proto_max flags)a,
    tproxy: ~w(family reg_addr reg_port)a,
    masq: ~w(flags reg_proto_min reg_proto_max)a,
    redir: ~w(reg_proto_min reg_proto_max flags)a,
    dup: ~w(sreg_addr sreg_dev)a,
    fwd: ~w(sreg_dev sreg_addr nfproto)a,
    objref: ~w(imm_type imm_name set_sreg set_name set_id)a,
    fib: ~w(dreg result flags)a,
    osf: ~w(dreg ttl flags)a,
    synproxy: ~w(mss wscale flags)a,
    xfrm: ~w(dreg key dir spnum)a,
    ng: ~w(dreg modulus type offset)a,
    inner: ~w(num type flags hdrsize expr)a,
    tunnel: ~w(key dreg mode)a,
    match: ~w(name rev info)a,
    target: ~w(name rev info)a,
    ct_helper: ~w(name l3proto l4proto)a,
    ct_timeout: ~w(l3proto l4proto data)a,
    ct_expect: ~w(l3proto l4proto dport timeout size)a,
    tunnel_key: ~w(id ip ip6 flags tos ttl sport dport opts)a,
    tunnel_key_ip: ~w(src dst)a,
    tunnel_key_ip6: ~w(src dst flowlabel)a
  ]

  @nfula ~w(packet_hdr mark timestamp ifindex_indev ifindex_outdev ifindex_physindev
            ifindex_physoutdev hwaddr payload prefix uid seq seq_global gid hwtype hwheader hwlen
            ct ct_info vlan l2hdr)a
  @nfula_cfg ~w(cmd mode nlbufsiz timeout qthresh flags)a

  numbered = fn names -> names |> Enum.with_index(1) |> Enum.reject(fn {n, _} -> n == :_ end) end

  @rows for({set, names} <- @nfta, {name, n} <- numbered.(names), do: {:nfta, set, name, n}) ++
          for({name, n} <- numbered.(@nfula), do: {:nfula, nil, name, n}) ++
          for({name, n} <- numbered.(@nfula_cfg), do: {:nfula, :cfg, name, n})

  @numbers Map.new(@rows, fn {prefix, set, name, n} -> {{prefix, set, name}, n} end)

  @doc "`{macro name, the kernel's name, number}` of every attribute."
  @spec all() :: [{atom(), String.t(), pos_integer()}]
  def all do
    for {prefix, set, name, n} <- @rows do
      text = [prefix, set, name] |> Enum.reject(&is_nil/1) |> Enum.join("_")
      {String.to_atom(text), String.upcase(text), n}
    end
  end

  @doc "The number of `NFTA_<SET>_<NAME>`."
  @spec nfta(atom(), atom()) :: pos_integer()
  def nfta(set, name), do: Map.fetch!(@numbers, {:nfta, set, name})
end
