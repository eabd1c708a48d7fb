defmodule Linx.Netlink.Rtnl.Stats.Link64 do
  @moduledoc """
  The counters of one link, 64 bits each, since the link was made (`struct rtnl_link_stats64`).

  The struct grows at its end: `rx_otherhost_dropped` came with Linux 5.19, and a counter that the
  kernel does not send is `nil`. Counters that a newer kernel adds are passed over.

  Source: include/uapi/linux/if_link.h.
  """

  @counters [
    :rx_packets,
    :tx_packets,
    :rx_bytes,
    :tx_bytes,
    :rx_errors,
    :tx_errors,
    :rx_dropped,
    :tx_dropped,
    :multicast,
    :collisions,
    :rx_length_errors,
    :rx_over_errors,
    :rx_crc_errors,
    :rx_frame_errors,
    :rx_fifo_errors,
    :rx_missed_errors,
    :tx_aborted_errors,
    :tx_carrier_errors,
    :tx_fifo_errors,
    :tx_heartbeat_errors,
    :tx_window_errors,
    :rx_compressed,
    :tx_compressed,
    :rx_nohandler,
    :rx_otherhost_dropped
  ]

  @type counter :: non_neg_integer() | nil
  @type t :: %__MODULE__{
          unquote_splicing(for name <- @counters, do: {name, quote(do: counter())})
        }

  defstruct @counters

  @doc """
  The counters in the kernel's order, all 25 of them; one that is `nil` is written as 0.
  """
  @spec encode(t()) :: binary()
  def encode(%__MODULE__{} = stats) do
    for name <- @counters, into: <<>>, do: <<Map.fetch!(stats, name) || 0::native-64>>
  end

  @doc """
  The counters that `payload` carries. Bytes that make no whole counter are passed over.
  """
  @spec decode(binary()) :: t()
  def decode(payload) when is_binary(payload), do: decode(@counters, payload, %__MODULE__{})

  defp decode([name | names], <<value::native-64, rest::binary>>, stats),
    do: decode(names, rest, Map.replace!(stats, name, value))

  defp decode(_names, _rest, stats), do: stats
end
