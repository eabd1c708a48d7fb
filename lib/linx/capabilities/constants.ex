defmodule Linx.Capabilities.Constants do
  @moduledoc false
  # The capabilities of linux/capability.h, in the kernel's order: the place is the bit.

  import Bitwise

  alias Linx.Terms

  @names [
    :cap_chown,
    :cap_dac_override,
    :cap_dac_read_search,
    :cap_fowner,
    :cap_fsetid,
    :cap_kill,
    :cap_setgid,
    :cap_setuid,
    :cap_setpcap,
    :cap_linux_immutable,
    :cap_net_bind_service,
    :cap_net_broadcast,
    :cap_net_admin,
    :cap_net_raw,
    :cap_ipc_lock,
    :cap_ipc_owner,
    :cap_sys_module,
    :cap_sys_rawio,
    :cap_sys_chroot,
    :cap_sys_ptrace,
    :cap_sys_pacct,
    :cap_sys_admin,
    :cap_sys_boot,
    :cap_sys_nice,
    :cap_sys_resource,
    :cap_sys_time,
    :cap_sys_tty_config,
    :cap_mknod,
    :cap_lease,
    :cap_audit_write,
    :cap_audit_control,
    :cap_setfcap,
    :cap_mac_override,
    :cap_mac_admin,
    :cap_syslog,
    :cap_wake_alarm,
    :cap_block_suspend,
    :cap_audit_read,
    :cap_perfmon,
    :cap_bpf,
    :cap_checkpoint_restore
  ]

  @table Enum.with_index(@names)
  @known (1 <<< length(@names)) - 1

  @doc "Every capability."
  @spec all() :: MapSet.t(atom())
  def all, do: MapSet.new(@names)

  @doc "The bit of a capability."
  @spec to_bit(atom()) :: 0..63
  for {name, bit} <- @table do
    def to_bit(unquote(name)), do: unquote(bit)
  end

  @doc "The capability of a bit, `:unknown` for one that is not in the table."
  @spec from_bit(non_neg_integer()) :: atom() | :unknown
  for {name, bit} <- @table do
    def from_bit(unquote(bit)), do: unquote(name)
  end

  def from_bit(bit) when is_integer(bit) and bit >= 0, do: :unknown

  @doc "The capabilities of a mask; bits past the table are dropped."
  @spec from_bits(non_neg_integer()) :: MapSet.t(atom())
  def from_bits(mask) when is_integer(mask) and mask >= 0 do
    for {name, bit} <- @table, (mask >>> bit &&& 1) == 1, into: MapSet.new(), do: name
  end

  @doc """
  The mask of capabilities, or the first that is none; of what is no enumerable, that itself.
  """
  @spec to_mask(Enumerable.t()) :: {:ok, non_neg_integer()} | {:error, {:bad_capability, term()}}
  def to_mask(caps) do
    if Terms.enumerable?(caps) do
      Enum.reduce_while(caps, {:ok, 0}, fn cap, {:ok, mask} ->
        if cap in @names,
          do: {:cont, {:ok, mask ||| 1 <<< to_bit(cap)}},
          else: {:halt, {:error, {:bad_capability, cap}}}
      end)
    else
      {:error, {:bad_capability, caps}}
    end
  end

  @doc "The bits of a mask that are not in the table."
  @spec unknown(non_neg_integer()) :: non_neg_integer()
  def unknown(mask), do: mask &&& bnot(@known)
end
