defmodule Linx.Netfilter.Log.Event do
  @moduledoc """
  A packet that a rule logged, as `Linx.Netfilter.Log` reports it.

  Fields that the kernel did not send are nil. `:hook` is the hook's number, `:hw_protocol` the
  ethertype, `:timestamp` `{seconds, microseconds}` since 1970, interfaces are indexes, `:hwaddr`
  the sender's link-layer address, `:payload` the packet from its network header on (nil unless
  the listener asked for it). `:uid` and `:gid` come only with packets of local sockets, `:seq`
  and `:seq_global` only where the listener asked for them.

  Source: include/uapi/linux/netfilter/nfnetlink_log.h, `enum nfulnl_attr_type`.
  """

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.Wire.Reader
  alias Linx.Netlink.Attr

  defstruct [
    :group,
    :prefix,
    :hook,
    :hw_protocol,
    :mark,
    :timestamp,
    :indev,
    :outdev,
    :physindev,
    :physoutdev,
    :hwaddr,
    :payload,
    :uid,
    :gid,
    :seq,
    :seq_global
  ]

  @type t :: %__MODULE__{
          gid: non_neg_integer() | nil,
          group: 1..65535 | nil,
          hook: 0..255 | nil,
          hw_protocol: 0..65535 | nil,
          hwaddr: binary() | nil,
          indev: non_neg_integer() | nil,
          mark: non_neg_integer() | nil,
          outdev: non_neg_integer() | nil,
          payload: binary() | nil,
          physindev: non_neg_integer() | nil,
          physoutdev: non_neg_integer() | nil,
          prefix: String.t() | nil,
          seq: non_neg_integer() | nil,
          seq_global: non_neg_integer() | nil,
          timestamp: {non_neg_integer(), non_neg_integer()} | nil,
          uid: non_neg_integer() | nil
        }

  @doc """
  The event in an NFULNL_MSG_PACKET payload, which begins with the nfgenmsg header. Total: what is
  not understood stays nil.
  """
  @spec decode(binary()) :: t()
  def decode(<<_family, _version, _group::16, attrs::binary>>),
    do: attrs |> Attr.scan() |> Enum.reduce(%__MODULE__{}, &field/2)

  def decode(_short), do: %__MODULE__{}

  defp field({nfula_packet_hdr(), <<protocol::16, hook, _::binary>>}, e),
    do: %{e | hw_protocol: protocol, hook: hook}

  defp field({nfula_mark(), <<n::32>>}, e), do: %{e | mark: n}
  defp field({nfula_timestamp(), <<sec::64, usec::64>>}, e), do: %{e | timestamp: {sec, usec}}
  defp field({nfula_ifindex_indev(), <<n::32>>}, e), do: %{e | indev: n}
  defp field({nfula_ifindex_outdev(), <<n::32>>}, e), do: %{e | outdev: n}
  defp field({nfula_ifindex_physindev(), <<n::32>>}, e), do: %{e | physindev: n}
  defp field({nfula_ifindex_physoutdev(), <<n::32>>}, e), do: %{e | physoutdev: n}

  # struct nfulnl_msg_packet_hw: be16 length, two bytes of padding, eight bytes of address.
  defp field({nfula_hwaddr(), <<len::16, _pad::16, address::binary>>}, e)
       when len <= byte_size(address),
       do: %{e | hwaddr: :binary.copy(binary_part(address, 0, len))}

  defp field({nfula_payload(), bytes}, e), do: %{e | payload: :binary.copy(bytes)}
  defp field({nfula_prefix(), bytes}, e), do: %{e | prefix: Reader.text(bytes)}
  defp field({nfula_uid(), <<n::32>>}, e), do: %{e | uid: n}
  defp field({nfula_gid(), <<n::32>>}, e), do: %{e | gid: n}
  defp field({nfula_seq(), <<n::32>>}, e), do: %{e | seq: n}
  defp field({nfula_seq_global(), <<n::32>>}, e), do: %{e | seq_global: n}
  defp field(_unknown, e), do: e
end
