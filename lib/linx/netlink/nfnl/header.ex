defmodule Linx.Netlink.Nfnl.Header do
  @moduledoc false
  # struct nfgenmsg, for Linx.Netlink.Nfnl.Codec and for the codecs that may not know of sockets.

  @families %{unspec: 0, inet: 1, ipv4: 2, ip: 2, arp: 3, netdev: 5, bridge: 7, ipv6: 10, ip6: 10}

  @doc """
  The four bytes of a header. Raises `ArgumentError` for an unknown family and for a resource id
  that is no 16-bit number.
  """
  @spec encode(atom() | 0..255, 0..65535) :: <<_::32>>
  def encode(family \\ :unspec, res_id \\ 0)

  def encode(family, res_id) when family in 0..255 and res_id in 0..65535,
    do: <<family, 0, res_id::16>>

  def encode(family, res_id) when is_atom(family) and res_id in 0..65535,
    do: <<nfproto(family), 0, res_id::16>>

  def encode(family, res_id),
    do: raise(ArgumentError, "not a header: family #{inspect(family)}, res_id #{inspect(res_id)}")

  @doc """
  `{family, version, res_id, rest}` of a message body. Raises `ArgumentError` for fewer than four
  bytes.
  """
  @spec decode(binary()) :: {0..255, 0..255, 0..65535, binary()}
  def decode(<<family, version, res_id::16, rest::binary>>),
    do: {family, version, res_id, rest}

  def decode(other),
    do: raise(ArgumentError, "an nfgenmsg header has 4 bytes, not #{byte_size(other)}")

  @doc "The `NFPROTO_*` number of a family. Raises `ArgumentError` for an unknown one."
  @spec nfproto(atom()) :: 0..255
  def nfproto(family) do
    case @families do
      %{^family => n} -> n
      _ -> raise ArgumentError, "unknown family #{inspect(family)}"
    end
  end
end
