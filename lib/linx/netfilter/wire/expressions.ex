defmodule Linx.Netfilter.Wire.Expressions do
  @moduledoc false
  # How the data of each expression kind lies on the wire: attribute, key of `data`, type. The
  # encoder and the decoder are generated from this table; docs/netfilter/DESIGN.md shows its keys
  # to readers.
  #
  # Types: :u8 .. :u64 (network order), :reg (a register's number), :text (NUL-terminated),
  # :bytes, {:enum, kind} and {:enum8, kind} (`Wire.Constants`), {:flags, kind} and {:flags16,
  # kind}, :data (NFTA_DATA_VALUE), :verdict_or_data, :family (NFPROTO), :unit (seconds), :expr,
  # :exprs, :shift_or_data.

  alias Linx.Netfilter.Wire.Attributes

  # {name in Linx, name in the kernel, attribute set, [{attribute, type}] or [{attribute, key,
  # type}], defaults that the decoder drops}
  @kinds [
    {:immediate, "immediate", :immediate, [dreg: :reg, data: :verdict_or_data], %{}},
    {:payload, "payload", :payload,
     [
       dreg: :reg,
       base: {:enum, :payload_base},
       offset: :u32,
       len: :u32,
       sreg: :reg,
       csum_type: {:enum, :csum_type},
       csum_offset: :u32,
       csum_flags: {:flags, :csum}
     ], %{csum_type: :none, csum_offset: 0}},
    {:cmp, "cmp", :cmp, [sreg: :reg, op: {:enum, :cmp}, data: :data], %{}},
    {:range, "range", :range, [sreg: :reg, op: {:enum, :range}, from_data: :data, to_data: :data],
     %{}},
    {:bitwise, "bitwise", :bitwise,
     [
       sreg: :reg,
       dreg: :reg,
       len: :u32,
       mask: :data,
       xor: :data,
       op: {:enum, :bitwise},
       data: :shift_or_data,
       sreg2: :reg
     ], %{op: :mask_xor}},
    {:byteorder, "byteorder", :byteorder,
     [sreg: :reg, dreg: :reg, op: {:enum, :byteorder}, len: :u32, size: :u32], %{}},
    {:meta, "meta", :meta, [dreg: :reg, key: {:enum, :meta}, sreg: :reg], %{}},
    {:ct, "ct", :ct,
     [dreg: :reg, key: {:enum, :ct}, direction: {:enum8, :ct_direction}, sreg: :reg], %{}},
    {:lookup, "lookup", :lookup,
     [set: :text, sreg: :reg, dreg: :reg, set_id: :u32, flags: {:flags, :lookup}], %{}},
    {:dynset, "dynset", :dynset,
     [
       {:set_name, :set, :text},
       {:set_id, :set_id, :u32},
       {:op, :op, {:enum, :dynset}},
       {:sreg_key, :sreg_key, :reg},
       {:sreg_data, :sreg_data, :reg},
       {:timeout, :timeout, :u64},
       {:flags, :flags, {:flags, :dynset}},
       {:expressions, :exprs, :exprs}
     ], %{timeout: 0, exprs: []}},
    {:counter, "counter", :counter, [bytes: :u64, packets: :u64], %{}},
    {:limit, "limit", :limit,
     [
       rate: :u64,
       unit: :unit,
       burst: :u32,
       type: {:enum, :limit},
       flags: {:flags, :limit}
     ], %{type: :packets}},
    {:quota, "quota", :quota, [bytes: :u64, flags: {:flags, :quota}, consumed: :u64],
     %{consumed: 0}},
    {:connlimit, "connlimit", :connlimit, [count: :u32, flags: {:flags, :connlimit}], %{}},
    {:last, "last", :last, [set: :bool32, msecs: :u64], %{set: false}},
    {:log, "log", :log,
     [
       group: :u16,
       prefix: :text,
       snaplen: :u32,
       qthreshold: :u16,
       level: {:enum, :log_level},
       flags: {:flags, :log}
     ], %{level: :warn}},
    {:reject, "reject", :reject, [type: {:enum, :reject}, icmp_code: :u8], %{}},
    {:nat, "nat", :nat,
     [
       type: {:enum, :nat},
       family: :family,
       reg_addr_min: :reg,
       reg_addr_max: :reg,
       reg_proto_min: :reg,
       reg_proto_max: :reg,
       flags: {:flags, :nat}
     ], %{}},
    {:masq, "masq", :masq, [flags: {:flags, :nat}, reg_proto_min: :reg, reg_proto_max: :reg],
     %{}},
    {:redir, "redir", :redir, [reg_proto_min: :reg, reg_proto_max: :reg, flags: {:flags, :nat}],
     %{}},
    {:tproxy, "tproxy", :tproxy, [family: :family, reg_addr: :reg, reg_port: :reg],
     %{family: :unspec}},
    {:synproxy, "synproxy", :synproxy, [mss: :u16, wscale: :u8, flags: {:flags, :synproxy}], %{}},
    {:dup, "dup", :dup, [sreg_addr: :reg, sreg_dev: :reg], %{}},
    {:fwd, "fwd", :fwd, [sreg_dev: :reg, sreg_addr: :reg, nfproto: :family], %{}},
    {:queue, "queue", :queue,
     [num: :u16, total: :u16, flags: {:flags16, :queue}, sreg_qnum: :reg], %{total: 1}},
    {:notrack, "notrack", nil, [], %{}},
    {:fib, "fib", :fib, [dreg: :reg, result: {:enum, :fib}, flags: {:flags, :fib}], %{}},
    {:numgen, "numgen", :ng, [dreg: :reg, modulus: :u32, type: {:enum, :ng}, offset: :u32],
     %{offset: 0}},
    {:hash, "hash", :hash,
     [
       sreg: :reg,
       dreg: :reg,
       len: :u32,
       modulus: :u32,
       seed: :u32,
       offset: :u32,
       type: {:enum, :hash}
     ], %{offset: 0}},
    {:rt, "rt", :rt, [dreg: :reg, key: {:enum, :rt}], %{}},
    {:exthdr, "exthdr", :exthdr,
     [
       dreg: :reg,
       type: :u8,
       offset: :u32,
       len: :u32,
       flags: {:flags, :exthdr},
       op: {:enum, :exthdr},
       sreg: :reg
     ], %{}},
    {:socket, "socket", :socket, [key: {:enum, :socket}, dreg: :reg, level: :u32], %{}},
    {:osf, "osf", :osf, [dreg: :reg, ttl: {:enum8, :osf_ttl}, flags: {:flags, :osf}], %{}},
    {:objref, "objref", :objref,
     [
       imm_type: {:enum, :object},
       imm_name: :text,
       set_sreg: :reg,
       set_name: :text,
       set_id: :u32
     ], %{}},
    {:flow_offload, "flow_offload", :flow, [table_name: :text], %{}},
    {:inner, "inner", :inner,
     [num: :u32, type: {:enum, :inner_type}, flags: {:flags, :inner}, hdrsize: :u32, expr: :expr],
     %{}},
    {:xfrm, "xfrm", :xfrm,
     [dreg: :reg, key: {:enum, :xfrm_key}, dir: {:enum8, :xfrm_dir}, spnum: :u32], %{spnum: 0}},
    {:tunnel, "tunnel", :tunnel, [key: {:enum, :tunnel}, dreg: :reg, mode: {:enum, :tunnel_mode}],
     %{mode: :none}},
    {:match, "match", :match, [name: :text, rev: :u32, info: :bytes], %{}},
    {:target, "target", :target, [name: :text, rev: :u32, info: :bytes], %{}}
  ]

  @doc "`{name, kernel's name, [{number, key, type}], defaults}` of every kind."
  @spec all() :: [{atom(), String.t(), [{pos_integer(), atom(), term()}], map()}]
  def all do
    for {name, kernel, set, fields, defaults} <- @kinds do
      fields =
        for field <- fields do
          {attribute, key, type} =
            case field do
              {attribute, key, type} -> {attribute, key, type}
              {key, type} -> {key, key, type}
            end

          {Attributes.nfta(set, attribute), key, type}
        end

      {name, kernel, fields, defaults}
    end
  end

  # How nft records an expression in a set's userdata (`typeof`): its number in nft's enum
  # expr_types, of nft 1.0 first where 1.1 has another; the keys of `data` in the order of nft's
  # entries, `{key, number}` with the number of an absent one; and what the expression loads: bits
  # and byte order, or the key of `data` that Linx.Netfilter.Keys has them by.
  @records [
    meta: {[9], [:key], :key},
    socket: {[10], [:key], :key},
    osf: {[11], [], {128, nil}},
    ct: {[12], [:key, {:direction, 0xFFFFFFFF}], :key},
    numgen: {[23], [:type, :modulus, {:offset, 0}], {32, :host}},
    hash: {[24], [:type, {:offset, 0}, :modulus, {:seed, 0}, {:sreg, 0}], {32, :host}},
    rt: {[25], [:key], :key},
    fib: {[26, 27], [:result, {:flags, 0}], :result},
    xfrm: {[27, 28], [:key, {:spnum, 0}, :dir], :key}
  ]

  @doc """
  `{name, nft's numbers, [{key, type, number of an absent one or nil}], load}` of every record.
  """
  @spec records() :: [
          {atom(), [pos_integer()], [{atom(), term(), non_neg_integer() | nil}],
           atom() | {pos_integer(), atom()}}
        ]
  def records do
    for {name, {numbers, entries, load}} <- @records do
      {_, _, _, fields, _} = List.keyfind!(@kinds, name, 0)

      entries =
        for entry <- entries do
          {key, absent} = if is_atom(entry), do: {entry, nil}, else: entry
          {key, Keyword.fetch!(fields, key), absent}
        end

      {name, numbers, entries, load}
    end
  end

  @units [second: 1, minute: 60, hour: 3600, day: 86_400, week: 604_800]

  @spec unit_int(atom() | pos_integer()) :: pos_integer()
  def unit_int(n) when is_integer(n), do: n

  def unit_int(unit),
    do: Keyword.get(@units, unit) || raise(ArgumentError, "unknown unit #{inspect(unit)}")

  @spec unit_atom(non_neg_integer()) :: atom() | non_neg_integer()
  def unit_atom(seconds) do
    case List.keyfind(@units, seconds, 1) do
      {unit, _} -> unit
      nil -> seconds
    end
  end
end
