defmodule Linx.Netlink.Rtnl.Stats do
  @moduledoc """
  The counters of links.

      {:ok, stats} = Linx.Netlink.Rtnl.Stats.get(socket, "eth0")
      stats.link.rx_bytes

  `link` is a `Linx.Netlink.Rtnl.Stats.Link64`, the one class of statistics that is asked for.
  Reading needs no privilege.

  Source: include/uapi/linux/if_link.h, `struct if_stats_msg`, RTM_GETSTATS.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there. What could not
  be put into a request (a text that is no address, an unknown option) is refused before anything
  is sent.
  """

  use Linx.Netlink.Codec

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Link}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Stats.Link64

  codec native: 1 do
    header do
      field(:family, :u8)
      pad(3)
      field(:ifindex, :u32)
      field(:filter_mask, :u32)
    end

    attr(1, :link, Link64)
    rest(:extra)
  end

  # IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)
  @link_64 1

  @doc """
  The counters of one link, by name, alternative name or index. An absent one is `errno: :enodev`.
  """
  @spec get(Socket.t(), Link.ref()) :: {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, ref) do
    with {:ok, index} <- Index.of(socket, ref) do
      request = %__MODULE__{ifindex: index, filter_mask: @link_64}
      Call.get(socket, rtm_getstats(), request, Call.no_such("interface", ref))
    end
  end

  @doc """
  The counters of every link, in one dump.
  """
  @spec list(Socket.t()) :: {:ok, [t()]} | {:error, Error.t()}
  def list(socket), do: Call.dump(socket, rtm_getstats(), %__MODULE__{filter_mask: @link_64})

  defimpl Inspect do
    def inspect(%{link: nil} = stats, _opts),
      do: "#Linx.Netlink.Rtnl.Stats<ifindex=#{stats.ifindex}>"

    def inspect(%{link: link} = stats, _opts) do
      "#Linx.Netlink.Rtnl.Stats<ifindex=#{stats.ifindex} " <>
        "rx=#{link.rx_packets}p/#{link.rx_bytes}B " <>
        "tx=#{link.tx_packets}p/#{link.tx_bytes}B>"
    end
  end
end
