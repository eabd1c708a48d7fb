defmodule Linx.Netfilter.Expr do
  @moduledoc """
  One expression of a rule: an instruction for the kernel's nf_tables machine.

  A rule is a list of expressions that load packet data into registers, compare it, and act.
  `:name` is the kernel's name of the expression as an atom, `:data` what it carries: a map whose
  keys are the kernel's attributes (`NFTA_PAYLOAD_BASE` is `:base`), with names as atoms, numbers
  as integers and register contents as binaries. A verdict is
  `%Expr{name: :immediate, data: %Verdict{}}`. The table of kinds and keys is in
  `docs/netfilter/DESIGN.md`.

  The constructors here say nothing about the packet's protocol unless you name a header field:
  `payload(:tcp_dport)` matches TCP alone, since the encoder adds the dependency that nft(8) adds,
  while `payload(:transport, 2, 2)` reads these bytes of whatever follows the network header.

      iex> Linx.Netfilter.Expr.payload(:tcp_dport).data
      %{base: :transport, offset: 2, len: 2, dreg: 1, field: :tcp_dport}
      iex> Linx.Netfilter.Expr.immediate(:accept)
      #Linx.Netfilter.Expr<immediate accept>

  An expression is only a value: nothing here checks whether the kernel knows it.

  Source: include/uapi/linux/netfilter/nf_tables.h; nft(8), "EXPRESSIONS" and "STATEMENTS".
  """

  alias Linx.Netfilter.Expr.{Literal, Nat}
  alias Linx.Netfilter.{Field, Protocol, Verdict}

  @object_kinds ~w(counter quota limit connlimit ct_helper ct_timeout ct_expectation secmark
                   synproxy tunnel)a

  @enforce_keys [:name]
  defstruct [:name, :data]

  @typedoc "An atom for the kinds Linx knows; a string for one that only the kernel knows."
  @type t :: %__MODULE__{name: atom() | String.t(), data: term()}

  @type addr_input ::
          {0..255, 0..255, 0..255, 0..255}
          | {0..65535, 0..65535, 0..65535, 0..65535, 0..65535, 0..65535, 0..65535, 0..65535}
          | <<_::32>>
          | <<_::128>>
          | String.t()
          | Linx.IP.t()

  @typedoc """
  Number of an `enum nft_registers` register: 1..4 (16 bytes each) or 8..23 (4 bytes each).
  """
  @type register :: 1..4 | 8..23

  @doc """
  An expression named `name` with `data` as it is: the door to kinds that have no constructor
  here.
  """
  @spec new(atom() | String.t(), term()) :: t()
  def new(name, data \\ nil) when is_atom(name) or is_binary(name),
    do: %__MODULE__{name: name, data: data}

  @doc """
  Loads a verdict, or a constant.

  Anything that `Linx.Netfilter.Verdict.new/1` accepts becomes a verdict; a binary goes to
  register 1 as it is, an integer as 32 bits in the host's byte order (a mark). `load/2` takes the
  register.

  Raises `ArgumentError` for anything else.
  """
  @spec immediate(Verdict.input() | binary() | integer()) :: t()
  def immediate(value) when is_binary(value), do: load(value)

  def immediate(value) when is_integer(value) and value in -0x80000000..0xFFFFFFFF,
    do: load(<<value::native-32>>)

  def immediate(value) when is_integer(value),
    do: raise(ArgumentError, "#{value} takes more than 32 bits; give the bytes of a longer value")

  def immediate(verdict), do: new(:immediate, Verdict.new!(verdict))

  @doc "Loads the constant `value` (1..64 bytes) into register `dreg`."
  @spec load(binary(), register()) :: t()
  def load(value, dreg \\ 1) when is_binary(value),
    do: new(:immediate, %{dreg: dreg, data: value})

  @doc "Whether `expr` is an immediate that carries a verdict, in any of the shapes in use."
  @spec verdict?(t()) :: boolean()
  def verdict?(%__MODULE__{name: :immediate, data: %Verdict{}}), do: true
  def verdict?(%__MODULE__{name: :immediate, data: %{value: %Verdict{}}}), do: true
  def verdict?(%__MODULE__{name: :immediate, data: %{data: %Verdict{}}}), do: true
  def verdict?(%__MODULE__{}), do: false

  @doc """
  Loads a named header field, such as `:tcp_dport` or `:ip_saddr`, into `:dreg` (default 1), or
  writes it from `:sreg`.

  The field brings the dependency for its protocol with it. Raises `ArgumentError` for a name that
  is not in the table.

  Option `:sreg` turns it into nft's `tcp dport set ...`. The checksums that cover the field are
  mended after the write, unless checksum keys are given (`:csum_type`, `:csum_offset`,
  `:csum_flags`; `csum_type: :none` mends nothing). Raises `ArgumentError` for a field that is not
  made of the 16-bit words that the Internet checksum sums (`:ip_ttl`): the words around it are
  read, changed and written with `payload/4`.

      iex> Linx.Netfilter.Expr.payload(:sctp_dport, sreg: 1).data
      %{
        base: :transport,
        offset: 2,
        len: 2,
        sreg: 1,
        field: :sctp_dport,
        csum_type: :sctp,
        csum_offset: 8
      }
  """
  @spec payload(atom(), keyword()) :: t()
  def payload(field, opts \\ []) when is_atom(field) do
    case Field.fetch(field) do
      {:ok, %Field{header: nil} = found} ->
        {offset, len} = Field.bytes(found)
        %{data: data} = expr = payload(found.base, offset, len, opts)
        %{expr | data: data |> Map.merge(mends(found, opts)) |> Map.put(:field, found.name)}

      _ ->
        raise ArgumentError, "unknown header field #{inspect(field)}"
    end
  end

  @checksum_keys [:csum_type, :csum_offset, :csum_flags]

  defp mends(field, opts) do
    if Keyword.has_key?(opts, :sreg) and
         not Enum.any?(@checksum_keys, &Keyword.has_key?(opts, &1)),
       do: field |> Protocol.mends() |> whole_words!(field),
       else: %{}
  end

  defp whole_words!(%{csum_type: :inet} = keys, %Field{offset: offset, length: length} = field) do
    if rem(offset, 16) != 0 or rem(length, 16) != 0 do
      raise ArgumentError,
            "#{inspect(field.name)} is not made of 16-bit words, so its checksum cannot be " <>
              "mended: " <>
              "write the words around it with payload/4, or give csum_type: :none"
    end

    keys
  end

  defp whole_words!(keys, _field), do: keys

  @doc false
  @spec payload(atom(), non_neg_integer(), pos_integer()) :: t()
  def payload(base, offset, len), do: payload(base, offset, len, [])

  @doc """
  Loads `len` bytes at `offset` of the header `base` (`:link`, `:network`, `:transport`, `:inner`
  or `:tunnel`).

  Options: `:dreg` (default 1); or `:sreg` to write instead of read, with `:csum_type` (`:none`,
  `:inet`, `:sctp`), `:csum_offset` and `:csum_flags` (`[:pseudohdr]`).
  """
  @spec payload(atom(), non_neg_integer(), pos_integer(), keyword()) :: t()
  def payload(base, offset, len, opts)
      when base in [:link, :network, :transport, :inner, :tunnel] do
    keyed(
      :payload,
      direction(%{base: base, offset: offset, len: len}, opts),
      opts,
      [:dreg, :sreg, :csum_type, :csum_offset, :csum_flags]
    )
  end

  @doc """
  Compares register `:sreg` (default 1) with `value`, the bytes as the register holds them.

  `op` is `:eq`, `:neq`, `:lt`, `:lte`, `:gt` or `:gte`; the kernel compares as `memcmp` does.
  Header fields are in network order; meta and ct values in the host's, except addresses and
  ports.
  """
  @spec cmp(atom(), binary(), keyword()) :: t()
  def cmp(op, value, opts \\ [])
      when op in [:eq, :neq, :lt, :lte, :gt, :gte] and is_binary(value) do
    keyed(:cmp, %{op: op, data: value, sreg: 1}, opts, [:sreg])
  end

  @doc """
  Whether register `:sreg` (default 1) lies in `from..to` (`op` `:eq`) or outside (`:neq`), as
  `memcmp` compares.
  """
  @spec range(:eq | :neq, binary(), binary(), keyword()) :: t()
  def range(op, from, to, opts \\ [])
      when op in [:eq, :neq] and byte_size(from) == byte_size(to) do
    keyed(:range, %{op: op, from_data: from, to_data: to, sreg: 1}, opts, [:sreg])
  end

  @doc """
  `dreg = (sreg & mask) ^ xor`, the mask that a prefix match needs.

  `mask` and `xor` have the same size, which is the length unless `:len` is given. `:sreg` and
  `:dreg` default to 1.
  """
  @spec bitwise(binary(), binary(), keyword()) :: t()
  def bitwise(mask, xor, opts \\ []) when byte_size(mask) == byte_size(xor) do
    data = %{mask: mask, xor: xor, len: byte_size(mask), sreg: 1, dreg: 1}
    keyed(:bitwise, data, opts, [:len, :sreg, :dreg])
  end

  @doc """
  Shifts `:len` bytes (default 4) of a register left or right by `bits`, as 32-bit words in host
  order.
  """
  @spec shift(:lshift | :rshift, 0..31, keyword()) :: t()
  def shift(op, bits, opts \\ []) when op in [:lshift, :rshift] and bits in 0..31 do
    keyed(:bitwise, %{op: op, data: bits, len: 4, sreg: 1, dreg: 1}, opts, [:len, :sreg, :dreg])
  end

  @doc """
  Combines two registers: `dreg = sreg op sreg2`, with `op` `:and`, `:or` or `:xor` (Linux 6.13).

  With `:data` instead of `:sreg2` the second operand is a constant.
  """
  @spec bool(:and | :or | :xor, keyword()) :: t()
  def bool(op, opts) when op in [:and, :or, :xor] do
    data = %{op: op, len: 4, sreg: 1, dreg: 1}
    keyed(:bitwise, data, opts, [:len, :sreg, :dreg, :sreg2, :data])
  end

  @doc """
  Converts words of `:size` bytes (2, 4 or 8) in `:len` bytes between host and network order
  (`:ntoh`, `:hton`).
  """
  @spec byteorder(:ntoh | :hton, keyword()) :: t()
  def byteorder(op, opts \\ []) when op in [:ntoh, :hton] do
    data = %{op: op, len: 4, size: 4, sreg: 1, dreg: 1}
    keyed(:byteorder, data, opts, [:len, :size, :sreg, :dreg])
  end

  @doc """
  Loads packet metadata `key` (`:iifname`, `:mark`, `:l4proto`, ...) into `:dreg` (default 1), or
  sets it from `:sreg`.
  """
  @spec meta(atom(), keyword()) :: t()
  def meta(key, opts \\ []) when is_atom(key),
    do: keyed(:meta, direction(%{key: key}, opts), opts, [:dreg, :sreg])

  @doc """
  Loads the conntrack datum `key` (`:state`, `:mark`, `:status`, ...) into `:dreg` (default 1), or
  sets it from `:sreg`.

  `:direction` (`:original` or `:reply`) selects the tuple for keys that have two sides. A state
  is a bit mask in the host's byte order: build it with `Linx.Netfilter.Wire.ct_state_bits/1`.
  `Linx.Netfilter.Rule.build/2` takes a mask in network order for the same (no state has the bits
  that it would be in the host's).
  """
  @spec ct(atom(), keyword()) :: t()
  def ct(key, opts \\ []) when is_atom(key),
    do: keyed(:ct, direction(%{key: key}, opts), opts, [:dreg, :sreg, :direction])

  @doc """
  Looks register `:sreg` (default 1) up in the set `name`.

  Without `:dreg` the rule goes on when the element is there (`flags: [:inv]`: when it is not);
  with it the map's value is loaded, `dreg: 0` being the verdict register of a verdict map.
  """
  @spec lookup(String.t(), keyword()) :: t()
  def lookup(name, opts \\ []) when is_binary(name),
    do: keyed(:lookup, %{set: name, sreg: 1}, opts, [:sreg, :dreg, :flags])

  @doc """
  Looks a register up in an anonymous set made of `values`: nft's `tcp dport { 22, 80 }`.

  `values` are elements of a `Linx.Netfilter.Set` with that `key_type`, or with `:data_type` the
  `{key, value}` pairs of a map. The set is made with the rule and goes with it.

  Options: `:flags` of the set (`:anonymous` is always added, `:constant` unless `:dynamic` is
  there; `:interval` is added when a value is a range or a prefix), `:data_type`, `:sreg` (default
  1), `:dreg` (with a data type: 0 for verdicts, else 1), `:lookup_flags` (`[:inv]`), and `:via`
  (`:objref` looks up objects).
  """
  @spec set_literal([term()], atom() | tuple(), keyword()) :: t()
  def set_literal(values, key_type, opts \\ []) when is_list(values) do
    data = Literal.data(values, key_type, opts)

    keyed(:__anon_set, data, Keyword.delete(opts, :flags), [
      :data_type,
      :sreg,
      :dreg,
      :lookup_flags,
      :via,
      :set
    ])
  end

  @doc """
  Adds (`:add`), refreshes (`:update`) or deletes (`:delete`) the element in `:sreg_key` (default
  1) of the set `name`.

  Options: `:sreg_data` (maps), `:timeout` in ms, `:exprs` (expressions that the new element
  carries), `:flags` (`[:inv]`).
  """
  @spec dynset(:add | :update | :delete, String.t(), keyword()) :: t()
  def dynset(op, name, opts \\ []) when op in [:add, :update, :delete] and is_binary(name) do
    data = %{op: op, set: name, sreg_key: 1}
    keyed(:dynset, data, opts, [:sreg_key, :sreg_data, :timeout, :exprs, :flags])
  end

  @doc "Counts packets and bytes; `:packets` and `:bytes` (default 0) give the start."
  @spec counter(keyword()) :: t()
  def counter(opts \\ []),
    do: keyed(:counter, %{packets: 0, bytes: 0}, opts, [:packets, :bytes])

  @doc """
  Matches while traffic stays under `rate` per `:unit` (`:second` by default, up to `:week`).

  `:type` is `:packets` or `:bytes`; `:burst` the allowance on top (packets default 5);
  `flags: [:inv]` matches above it.
  """
  @spec limit(pos_integer(), keyword()) :: t()
  def limit(rate, opts \\ []) when is_integer(rate) and rate > 0 do
    burst = if opts[:type] == :bytes, do: 0, else: 5
    data = %{rate: rate, unit: :second, burst: burst}
    keyed(:limit, data, opts, [:unit, :burst, :type, :flags], type: :packets)
  end

  @doc """
  Matches until `bytes` have passed; `:consumed` gives the start, `flags: [:inv]` matches after.
  """
  @spec quota(non_neg_integer(), keyword()) :: t()
  def quota(bytes, opts \\ []) when is_integer(bytes) and bytes >= 0,
    do: keyed(:quota, %{bytes: bytes}, opts, [:consumed, :flags], consumed: 0)

  @doc """
  Matches while at most `count` connections are there (`flags: [:inv]`: above): nft's `ct count`.
  """
  @spec connlimit(non_neg_integer(), keyword()) :: t()
  def connlimit(count, opts \\ []), do: keyed(:connlimit, %{count: count}, opts, [:flags])

  @doc """
  Remembers when the rule last matched; a pulled rule has `set: true` and `:msecs` since then.
  """
  @spec last() :: t()
  def last, do: new(:last, %{})

  @doc """
  Logs the packet to NFLOG group `:group` (default 5000), or with `:level` to the kernel's log.

  Options: `:prefix` (at most 127 bytes), `:snaplen` (bytes of packet to copy), `:qthreshold`
  (packets per message), `:level` (`:emerg` to `:debug`, `:audit`; excludes the group), `:flags`
  (`:tcp_seq`, `:tcp_opt`, `:ip_opt`, `:uid`, `:macdecode`). Raises `ArgumentError` for a longer
  prefix and for a group that is no 16-bit number.
  """
  @spec log(keyword()) :: t()
  def log(opts \\ []) do
    Enum.each(opts, &log_option/1)
    data = if opts[:level], do: %{}, else: %{group: 5000}
    keyed(:log, data, opts, [:group, :prefix, :snaplen, :qthreshold, :level, :flags])
  end

  # NF_LOG_PREFIXLEN
  defp log_option({:prefix, text}) when byte_size(text) > 127,
    do: raise(ArgumentError, "log prefix exceeds 127 bytes")

  defp log_option({:prefix, text}) do
    if not is_binary(text) or String.contains?(text, <<0>>),
      do: raise(ArgumentError, "log prefix is no text: #{inspect(text)}")
  end

  defp log_option({:group, group}) when group not in 0..0xFFFF,
    do: raise(ArgumentError, "not a log group: #{inspect(group)}")

  defp log_option(_option), do: :ok

  @doc """
  Refuses the packet with an answer: `:icmp_unreach` (`:icmp_code`, default 3), `:tcp_reset`, or
  `:icmpx_unreach`, which fits either family (`:icmp_code`: 0 no-route, 1 port-unreachable, the
  default, 2 host-unreachable, 3 admin-prohibited).
  """
  @spec reject(atom(), keyword()) :: t()
  def reject(type \\ :icmp_unreach, opts \\ [])

  def reject(:tcp_reset, opts), do: keyed(:reject, %{type: :tcp_reset}, opts, [])

  def reject(:icmp_unreach, opts),
    do: keyed(:reject, %{type: :icmp_unreach, icmp_code: 3}, opts, [:icmp_code])

  def reject(:icmpx_unreach, opts),
    do: keyed(:reject, %{type: :icmpx_unreach, icmp_code: 1}, opts, [:icmp_code])

  @doc """
  The bare NAT expression: `type` is `:snat` or `:dnat`, addresses and ports come from registers.

  Options: `:family` (`:ip` or `:ip6`, required), `:reg_addr_min`, `:reg_addr_max`,
  `:reg_proto_min`, `:reg_proto_max`, `:flags` (`:random`, `:fully_random`, `:persistent`,
  `:netmap`). `dnat_to/3` and `snat_to/3` load the registers too.
  """
  @spec nat(atom(), keyword()) :: t()
  def nat(type, opts \\ []) when type in [:snat, :dnat] do
    registers = [:reg_addr_min, :reg_addr_max, :reg_proto_min, :reg_proto_max]
    opts = Enum.reject(opts, fn {_key, value} -> value == nil end)

    unless opts[:family] in [:ip, :ip6],
      do: raise(ArgumentError, "nat needs :family, :ip or :ip6")

    keyed(:nat, %{type: type}, opts, [:family, :flags | registers])
  end

  @doc """
  Rewrites the destination to `addr` and, when given, `port`: a list of register loads and the
  `nat` expression.

  Options: `:flags`, `:reg_addr` (default 1), `:reg_port` (default 2), `:addr_max` and `:port_max`
  for ranges. Raises `ArgumentError` for what is no address. Source: nft(8), "NAT STATEMENTS".
  """
  @spec dnat_to(addr_input(), pos_integer() | nil, keyword()) :: [t()]
  def dnat_to(addr, port \\ nil, opts \\ []), do: Nat.to(:dnat, addr, port, opts)

  @doc """
  Rewrites the source to `addr` and `port`, as `dnat_to/3` does the destination. For postrouting
  and input chains.
  """
  @spec snat_to(addr_input(), pos_integer() | nil, keyword()) :: [t()]
  def snat_to(addr, port \\ nil, opts \\ []), do: Nat.to(:snat, addr, port, opts)

  @doc """
  Rewrites the source to the address of the outgoing interface, chosen per packet. For postrouting
  chains.

  Options: `:flags` (`:random`, `:fully_random`, `:persistent`), `:port_min` and `:port_max`. One
  expression without ports, a list with them.
  """
  @spec masquerade(keyword()) :: t() | [t()]
  def masquerade(opts \\ []) do
    {ports, opts} = Keyword.split(opts, [:port_min, :port_max])
    Nat.ports(:masq, ports[:port_min], ports[:port_max], opts)
  end

  @doc """
  Rewrites the destination to this machine. For prerouting and output chains.

  Options: `:flags` (`:random`, `:fully_random`, `:persistent`), `:port` and `:port_max`. One
  expression without a port, a list with one.
  """
  @spec redirect(keyword()) :: t() | [t()]
  def redirect(opts \\ []) do
    {ports, opts} = Keyword.split(opts, [:port, :port_max])
    Nat.ports(:redir, ports[:port], ports[:port_max], opts)
  end

  @doc """
  Hands the packet to a local transparent socket; address and port come from registers
  (`:reg_addr`, `:reg_port`).
  """
  @spec tproxy(keyword()) :: t()
  def tproxy(opts), do: keyed(:tproxy, %{}, opts, [:family, :reg_addr, :reg_port])

  @doc """
  Answers TCP handshakes in the server's stead. Options `:mss`, `:wscale`, `:flags` (`:timestamp`,
  `:sack_perm`).
  """
  @spec synproxy(keyword()) :: t()
  def synproxy(opts \\ []), do: keyed(:synproxy, %{}, opts, [:mss, :wscale, :flags])

  @doc "Sends a copy to the address in `:sreg_addr`, through the interface index in `:sreg_dev`."
  @spec dup(keyword()) :: t()
  def dup(opts), do: keyed(:dup, %{}, opts, [:sreg_addr, :sreg_dev])

  @doc """
  Forwards the packet out of the interface index in `:sreg_dev`; `:sreg_addr` and `:nfproto`
  (`:ip`, `:ip6`) name a neighbour.
  """
  @spec fwd(keyword()) :: t()
  def fwd(opts), do: keyed(:fwd, %{}, opts, [:sreg_dev, :sreg_addr, :nfproto])

  @doc """
  Hands the packet to userspace queue `num`, or one of `:total` queues from there.

  `num` is nil when `:sreg_qnum` holds the number. `:flags`: `:bypass` (accept when nobody
  listens), `:fanout` (by CPU).
  """
  @spec queue(0..65535 | nil, keyword()) :: t()
  def queue(num, opts \\ []) do
    data = if num, do: %{num: num}, else: %{}
    keyed(:queue, data, opts, [:total, :sreg_qnum, :flags], total: 1)
  end

  @doc "Keeps the packet out of connection tracking."
  @spec notrack() :: t()
  def notrack, do: new(:notrack, %{})

  @doc """
  Looks the packet up in the routing table: `result` is `:oif`, `:oifname` or `:addrtype`.

  `flags` say by what: `:saddr` or `:daddr`, and `:mark`, `:iif`, `:oif`; `:present` asks for
  existence alone.
  """
  @spec fib(:oif | :oifname | :addrtype, [atom()], keyword()) :: t()
  def fib(result, flags, opts \\ []),
    do: keyed(:fib, %{result: result, flags: flags, dreg: 1}, opts, [:dreg])

  @doc """
  Loads a number below `modulus`, counted up (`:incremental`, `:inc`) or `:random`, plus
  `:offset`.
  """
  @spec numgen(:incremental | :random, pos_integer(), keyword()) :: t()
  def numgen(type, modulus, opts \\ []) when type in [:incremental, :random],
    do:
      keyed(:numgen, %{type: type, modulus: modulus, dreg: 1}, opts, [:dreg, :offset], offset: 0)

  @doc """
  Hashes below `modulus`: `:jenkins` takes `:len` bytes of `:sreg` (and `:seed`), `:sym` the flow,
  alike both ways. `:offset` is added.
  """
  @spec hash(:jenkins | :sym, pos_integer(), keyword()) :: t()
  def hash(type, modulus, opts \\ []) when type in [:jenkins, :sym] do
    data = %{type: type, modulus: modulus, dreg: 1}
    data = if type == :jenkins, do: Map.put(data, :sreg, 1), else: data
    keyed(:hash, data, opts, [:sreg, :dreg, :len, :seed, :offset], offset: 0)
  end

  @doc """
  Loads a datum of the packet's route: `:classid`, `:nexthop4`, `:nexthop6`, `:tcpmss` or `:xfrm`.
  """
  @spec rt(atom(), keyword()) :: t()
  def rt(key, opts \\ []), do: keyed(:rt, %{key: key, dreg: 1}, opts, [:dreg])

  @doc """
  Loads from a header that may be absent: `op` is `:ipv6`, `:tcpopt`, `:ipv4`, `:sctp` or `:dccp`,
  `type` its number.

  Options: `:offset`, `:len`, `flags: [:present]` (existence alone), `:dreg`; `:sreg` writes (TCP
  options).
  """
  @spec exthdr(atom(), 0..255, keyword()) :: t()
  def exthdr(op, type, opts \\ []) do
    data = direction(%{op: op, type: type, offset: 0, len: 1}, opts)
    keyed(:exthdr, data, opts, [:offset, :len, :flags, :dreg, :sreg])
  end

  @doc """
  Loads a datum of the socket the packet belongs to: `:transparent`, `:mark`, `:wildcard` or
  `:cgroupv2` (with `:level`).
  """
  @spec socket(atom(), keyword()) :: t()
  def socket(key, opts \\ []), do: keyed(:socket, %{key: key, dreg: 1}, opts, [:dreg, :level])

  @doc """
  Loads the operating system that the SYN looks like. `:ttl` is `:loose`, `:skip` or `:strict`;
  `flags: [:version]`.
  """
  @spec osf(keyword()) :: t()
  def osf(opts \\ []), do: keyed(:osf, %{dreg: 1, ttl: :strict}, opts, [:dreg, :ttl, :flags])

  @doc """
  Applies the table's object `name` of `kind` (`:counter`, `:quota`, `:limit`, `:ct_helper`, ...).

  Raises `ArgumentError` for a kind that is no kind of object and for a name that is no string.
  """
  @spec objref(atom(), String.t()) :: t()
  def objref(kind, name) do
    unless kind in @object_kinds,
      do:
        raise(
          ArgumentError,
          "not a kind of object: #{inspect(kind)}; objref takes a kind and a name"
        )

    new(:objref, %{imm_type: kind, imm_name: name!(name, "object")})
  end

  @doc "Applies the object that the object map `set` has for register `:sreg` (default 1)."
  @spec objref_map(String.t(), keyword()) :: t()
  def objref_map(set, opts \\ []),
    do: new(:objref, %{set_name: name!(set, "map"), set_sreg: Keyword.get(opts, :sreg, 1)})

  @doc "Puts the connection into the flowtable `name`: later packets bypass the hooks."
  @spec flow_offload(String.t()) :: t()
  def flow_offload(name), do: new(:flow_offload, %{table_name: name!(name, "flowtable")})

  defp name!(name, _what) when is_binary(name) and name != "", do: name

  defp name!(name, what),
    do: raise(ArgumentError, "not the name of #{article(what)}: #{inspect(name)}")

  defp article("object"), do: "an object"
  defp article(what), do: "a " <> what

  @doc """
  Loads from a packet inside a tunnel: `expr` is a payload or meta expression for the inner
  headers.
  """
  @spec inner(t(), keyword()) :: t()
  def inner(%__MODULE__{} = expr, opts),
    do: keyed(:inner, %{num: 0, expr: expr}, opts, [:num, :type, :flags, :hdrsize])

  @doc """
  Loads a datum of the IPsec state: `:daddr_ip4`, `:daddr_ip6`, `:saddr_ip4`, `:saddr_ip6`,
  `:reqid` or `:spi`.
  """
  @spec xfrm(atom(), keyword()) :: t()
  def xfrm(key, opts \\ []) do
    data = %{key: key, dir: :in, dreg: 1}
    keyed(:xfrm, data, opts, [:dir, :spnum, :dreg], spnum: 0)
  end

  @doc "Loads `:path` or `:id` of the tunnel metadata; `:mode` is `:none`, `:rx` or `:tx`."
  @spec tunnel(atom(), keyword()) :: t()
  def tunnel(key, opts \\ []), do: keyed(:tunnel, %{key: key, dreg: 1}, opts, [:mode, :dreg])

  # A kind that can read or write does the one whose register is given.
  defp direction(data, opts),
    do: if(Keyword.has_key?(opts, :sreg), do: data, else: Map.put(data, :dreg, 1))

  @doc false
  # Empty lists, nils and the kernel's own defaults are left out, so that equal expressions are
  # equal values.
  @spec keyed(atom(), map(), keyword(), [atom()], keyword()) :: t()
  def keyed(name, data, opts, allowed, defaults \\ []) do
    data =
      Enum.reduce(opts, data, fn {key, value}, data ->
        unless key in allowed,
          do: raise(ArgumentError, "#{name} takes no option #{inspect(key)}")

        if value in [nil, []] or {key, value} in defaults,
          do: data,
          else: Map.put(data, key, value)
      end)

    new(name, data)
  end
end
