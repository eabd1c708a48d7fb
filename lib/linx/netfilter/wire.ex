defmodule Linx.Netfilter.Wire do
  @moduledoc """
  The kernel's numbers for nf_tables and NFLOG: message types, attributes, hooks, verdicts, flags,
  priorities.

  Constants are macros named as in the kernel's headers, in lower case, so that they also work in
  patterns; the functions translate names to numbers and back, some of them per family. nf_tables
  integers travel in network byte order: `u32_be/1`, `u64_be/1`, `s32_be/1` and their `!`
  counterparts.

      iex> import Linx.Netfilter.Wire
      iex> nft_msg_newrule()
      6
      iex> ct_state_bits([:new, :related])
      12

  No bytes of messages are made here: `Linx.Netfilter.Encoder` and `Linx.Netfilter.Decoder` do
  that.

  Source: include/uapi/linux/netfilter/nf_tables.h, netfilter.h, nfnetlink_log.h.
  """

  alias Linx.Netfilter.{Datatype, Datum}
  alias Linx.Netfilter.Wire.{Attributes, Constants}

  for {name, kernel, value} <- Attributes.all() ++ Constants.all() do
    @doc "`#{kernel}`, #{value}."
    defmacro unquote(name)(), do: unquote(value)
  end

  # -- integers ----------------------------------------------------------------------------------

  @doc """
  An unsigned 32-bit integer in network byte order. Raises `ArgumentError` for a number that does
  not fit.
  """
  @spec u32_be(non_neg_integer()) :: binary()
  def u32_be(v) when v in 0..0xFFFFFFFF, do: <<v::32>>
  def u32_be(v), do: raise(ArgumentError, "#{inspect(v)} is no unsigned number of 32 bits")

  @doc "Reads what `u32_be/1` writes; raises `FunctionClauseError` for another length."
  @spec u32_be!(binary()) :: non_neg_integer()
  def u32_be!(<<v::32>>), do: v

  @doc "An unsigned 64-bit integer in network byte order. Raises as `u32_be/1`."
  @spec u64_be(non_neg_integer()) :: binary()
  def u64_be(v) when v in 0..0xFFFFFFFFFFFFFFFF, do: <<v::64>>
  def u64_be(v), do: raise(ArgumentError, "#{inspect(v)} is no unsigned number of 64 bits")

  @doc "Reads what `u64_be/1` writes; raises `FunctionClauseError` for another length."
  @spec u64_be!(binary()) :: non_neg_integer()
  def u64_be!(<<v::64>>), do: v

  @doc """
  A signed 32-bit integer in network byte order: priorities and verdict codes. Raises as
  `u32_be/1`.
  """
  @spec s32_be(integer()) :: binary()
  def s32_be(v) when v in -0x80000000..0x7FFFFFFF, do: <<v::signed-32>>
  def s32_be(v), do: raise(ArgumentError, "#{inspect(v)} is no signed number of 32 bits")

  @doc "Reads what `s32_be/1` writes; raises `FunctionClauseError` for another length."
  @spec s32_be!(binary()) :: integer()
  def s32_be!(<<v::signed-32>>), do: v

  # -- families and hooks ------------------------------------------------------------------------

  @doc "The `NFPROTO_*` number of a family. Raises `ArgumentError` for an unknown one."
  @spec family_num(atom()) :: 0..255
  def family_num(family)

  @doc "The family of an `NFPROTO_*` number, or `:unknown`."
  @spec family_atom(0..255) :: atom()
  def family_atom(n)

  for {family, n} <- Constants.families() do
    def family_num(unquote(family)), do: unquote(n)
    def family_atom(unquote(n)), do: unquote(family)
  end

  def family_num(other), do: raise(ArgumentError, "unknown family #{inspect(other)}")
  def family_atom(_n), do: :unknown

  # NF_INET_*, NF_BR_* and NF_NETDEV_*; the ARP hooks have an enum of their own.
  @inet_hooks [prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5]
  @arp_hooks [input: 0, output: 1, forward: 2]
  @netdev_hooks [ingress: 0, egress: 1]

  @doc """
  The hook's number, which depends on the family. Raises `ArgumentError` for a hook that the
  family lacks.
  """
  @spec hook_num(atom(), atom()) :: 0..255
  def hook_num(family, hook) do
    case Keyword.fetch(hooks(family), hook) do
      {:ok, n} -> n
      :error -> raise ArgumentError, "no hook #{inspect(hook)} in family #{inspect(family)}"
    end
  end

  @doc "The hook of a number in a family, or `:unknown`."
  @spec hook_atom(atom(), 0..255) :: atom()
  def hook_atom(family, n) do
    case List.keyfind(hooks(family), n, 1) do
      {hook, ^n} -> hook
      nil -> :unknown
    end
  end

  defp hooks(:arp), do: @arp_hooks
  defp hooks(:netdev), do: @netdev_hooks
  defp hooks(_inet_or_bridge), do: @inet_hooks

  @priorities %{raw: -300, mangle: -150, dstnat: -100, filter: 0, security: 50, srcnat: 100}
  @bridge_priorities %{dstnat: -300, filter: -200, out: 100, srcnat: 300}

  @doc """
  A chain's priority as the kernel's number; names mean something else in the bridge family.
  Raises `ArgumentError` for an unknown name.
  """
  @spec priority_int(atom(), integer() | atom() | {atom(), integer()}) :: integer()
  def priority_int(_family, n) when is_integer(n), do: n
  def priority_int(family, {name, offset}), do: priority_int(family, name) + offset

  def priority_int(family, name) do
    table = if family == :bridge, do: @bridge_priorities, else: @priorities

    case table do
      %{^name => n} -> n
      _ -> raise ArgumentError, "unknown priority #{inspect(name)} in family #{inspect(family)}"
    end
  end

  @doc "The kernel's text for a chain type. Raises `ArgumentError` for an unknown one."
  @spec chain_type_string(atom()) :: String.t()
  def chain_type_string(type) when type in [:filter, :nat, :route], do: Atom.to_string(type)
  def chain_type_string(type), do: raise(ArgumentError, "unknown chain type #{inspect(type)}")

  @doc "The chain type of the kernel's text, or `:unknown`."
  @spec chain_type_atom(binary()) :: atom()
  def chain_type_atom("filter"), do: :filter
  def chain_type_atom("nat"), do: :nat
  def chain_type_atom("route"), do: :route
  def chain_type_atom(_other), do: :unknown

  @doc "The number of a chain policy: `:drop` 0, `:accept` 1."
  @spec policy_int(atom()) :: 0 | 1
  def policy_int(policy), do: Constants.int!(:policy, policy)

  @doc "The chain policy of a number."
  @spec policy_atom(0 | 1) :: atom()
  def policy_atom(n), do: Constants.atom(:policy, n)

  # -- verdicts ----------------------------------------------------------------------------------

  @doc "The code of a verdict kind; some are negative. Raises `ArgumentError` for an unknown one."
  @spec verdict_code(atom()) :: integer()
  def verdict_code(kind)

  @doc """
  The verdict kind of a code; the upper half of a queue verdict is its number. Other codes are
  `:unknown`.
  """
  @spec verdict_atom(integer()) :: atom()
  def verdict_atom(code)

  for {kind, code} <- Constants.verdicts() do
    def verdict_code(unquote(kind)), do: unquote(code)
    def verdict_atom(unquote(code)), do: unquote(kind)
  end

  def verdict_code(other), do: raise(ArgumentError, "unknown verdict #{inspect(other)}")
  def verdict_atom(code) when Bitwise.band(code, 0xFFFF) == 3, do: :queue
  def verdict_atom(_code), do: :unknown

  # -- expressions -------------------------------------------------------------------------------

  @doc "The number of a comparison (`:eq`, `:neq`, `:lt`, `:lte`, `:gt`, `:gte`)."
  @spec cmp_op_int(atom()) :: 0..5
  def cmp_op_int(op), do: Constants.int!(:cmp, op)

  @doc "The comparison of a number."
  @spec cmp_op_atom(0..5) :: atom()
  def cmp_op_atom(n), do: Constants.atom(:cmp, n)

  @doc "The number of a payload base (`:link`, `:network`, `:transport`, `:inner`, `:tunnel`)."
  @spec payload_base_int(atom()) :: 0..4
  def payload_base_int(base), do: Constants.int!(:payload_base, base)

  @doc "The payload base of a number."
  @spec payload_base_atom(0..4) :: atom()
  def payload_base_atom(n), do: Constants.atom(:payload_base, n)

  @doc "The number of a meta key. Raises `ArgumentError` for an unknown one."
  @spec meta_key_int(atom()) :: non_neg_integer()
  def meta_key_int(key), do: Constants.int!(:meta, key)

  @doc "The meta key of a number, or `{:unknown_meta_key, n}`."
  @spec meta_key_atom(non_neg_integer()) :: atom() | {:unknown_meta_key, non_neg_integer()}
  def meta_key_atom(n), do: named(:meta, n, :unknown_meta_key)

  @doc "The number of a conntrack key. Raises `ArgumentError` for an unknown one."
  @spec ct_key_int(atom()) :: non_neg_integer()
  def ct_key_int(key), do: Constants.int!(:ct, key)

  @doc "The conntrack key of a number, or `{:unknown_ct_key, n}`."
  @spec ct_key_atom(non_neg_integer()) :: atom() | {:unknown_ct_key, non_neg_integer()}
  def ct_key_atom(n), do: named(:ct, n, :unknown_ct_key)

  defp named(kind, n, unknown) do
    case Constants.atom(kind, n) do
      name when is_atom(name) -> name
      n -> {unknown, n}
    end
  end

  @states %{invalid: 1, established: 2, related: 4, new: 8, untracked: 64}

  @doc """
  The bits of a conntrack state or of several: `IP_CT_*` as `ct state` has them.

  The register holds them in the host's byte order:
  `<<Wire.ct_state_bits(:established)::native-32>>`. Raises `KeyError` for an unknown state.
  """
  @spec ct_state_bits(atom() | [atom()]) :: non_neg_integer()
  def ct_state_bits(states) do
    for state <- List.wrap(states), reduce: 0 do
      bits -> Bitwise.bor(bits, Map.fetch!(@states, state))
    end
  end

  @doc "The number of a reject type (`:icmp_unreach`, `:tcp_reset`, `:icmpx_unreach`)."
  @spec reject_type_int(atom()) :: 0..2
  def reject_type_int(type), do: Constants.int!(:reject, type)

  @doc "The reject type of a number."
  @spec reject_type_atom(0..2) :: atom()
  def reject_type_atom(n), do: Constants.atom(:reject, n)

  # -- flags -------------------------------------------------------------------------------------

  @doc """
  Table flags (`:dormant`, `:owner`, `:persist`) as bits. As all flag functions, raises
  `ArgumentError` for an unknown one.
  """
  @spec table_flags_int([atom()]) :: non_neg_integer()
  def table_flags_int(flags), do: Constants.bits!(:table, flags)

  @doc "The table flags in the bits."
  @spec table_flags_atoms(non_neg_integer()) :: [atom()]
  def table_flags_atoms(flags), do: Constants.names(:table, flags)

  @doc "Chain flags (`:base`, `:hw_offload`, `:binding`) as bits."
  @spec chain_flags_int([atom()]) :: non_neg_integer()
  def chain_flags_int(flags), do: Constants.bits!(:chain, flags)

  @doc "The chain flags in the bits."
  @spec chain_flags_atoms(non_neg_integer()) :: [atom()]
  def chain_flags_atoms(flags), do: Constants.names(:chain, flags)

  @doc """
  Set flags as bits. `:auto_merge` has none: it is nft's own and travels in the set's userdata.
  """
  @spec set_flags_int([atom()]) :: non_neg_integer()
  def set_flags_int(flags), do: Constants.bits!(:set, flags -- [:auto_merge])

  @doc "The set flags in the bits."
  @spec set_flags_atoms(non_neg_integer()) :: [atom()]
  def set_flags_atoms(flags), do: Constants.names(:set, flags)

  @doc "Lookup flags (`:inv`) as bits."
  @spec lookup_flags_int([atom()]) :: non_neg_integer()
  def lookup_flags_int(flags), do: Constants.bits!(:lookup, flags)

  @doc "NAT flags (`:random`, `:fully_random`, `:persistent`, `:netmap`) as bits."
  @spec nat_flags_int([atom()]) :: non_neg_integer()
  def nat_flags_int(flags), do: Constants.bits!(:nat, flags)

  @doc "The NAT flags in the bits."
  @spec nat_flags_atoms(non_neg_integer()) :: [atom()]
  def nat_flags_atoms(flags), do: Constants.names(:nat, flags)

  # -- sets --------------------------------------------------------------------------------------

  @doc "The nft number and byte length of a key type. Raises `KeyError` for an unknown one."
  @spec set_type_info(atom()) :: {non_neg_integer(), pos_integer()}
  def set_type_info(type) do
    %{id: id, size: bits} = Datatype.fetch!(type)
    {id, div(bits + 7, 8)}
  end

  @doc "The key type of an nft number and byte length, or `{:unknown_type, id, len}`."
  @spec set_type_atom(non_neg_integer(), pos_integer()) :: atom() | tuple()
  def set_type_atom(id, len) do
    with {:ok, type} <- Datatype.from_id(id), true <- Datum.size(type) in [0, len] do
      type
    else
      _ -> {:unknown_type, id, len}
    end
  end

  # -- NFLOG -------------------------------------------------------------------------------------

  @doc "The number of an NFLOG copy mode: `:none`, `:meta`, `:packet` or `{:packet, snaplen}`."
  @spec copy_mode_int(atom() | {:packet, non_neg_integer()}) :: 0..2
  def copy_mode_int(:none), do: 0
  def copy_mode_int(:meta), do: 1
  def copy_mode_int(:packet), do: 2
  def copy_mode_int({:packet, _snaplen}), do: 2

  @doc "NFLOG configuration flags (`:seq`, `:seq_global`, `:conntrack`) as bits."
  @spec nfulnl_cfg_flags_int([atom()]) :: non_neg_integer()
  def nfulnl_cfg_flags_int(flags), do: Constants.bits!(:nfulnl_cfg, flags)
end
