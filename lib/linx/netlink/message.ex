defmodule Linx.Netlink.Message do
  @moduledoc """
  A netlink message: `struct nlmsghdr` and its payload.

      0       4      6      8            12            16
      +-------+------+------+------------+------------+----- ... -----+
      |  len  | type | flags|    seq     |    pid     |    payload    |
      +-------+------+------+------------+------------+----- ... -----+

  Numbers are in native byte order. `len` counts header and payload; what comes after it up to a
  multiple of four is padding. `pid` is a port, the sender's address on the netlink bus, and no
  process id; in a request 0 is right.

  What `type` and `payload` mean is the protocol family's business.

  Source: include/uapi/linux/netlink.h, netlink(7).
  """

  @type t :: %__MODULE__{
          type: 0..65535,
          flags: 0..65535,
          seq: non_neg_integer(),
          pid: non_neg_integer(),
          payload: binary()
        }

  defstruct type: 0, flags: 0, seq: 0, pid: 0, payload: <<>>

  @header 16

  @doc """
  The bytes of a message, padded so that messages can follow each other in one buffer.

  Raises `ArgumentError` for a number that its field of the header cannot hold.

      iex> Linx.Netlink.Message.encode(%Linx.Netlink.Message{type: 18, flags: 0x301, seq: 1})
      <<16::native-32, 18::native-16, 0x301::native-16, 1::native-32, 0::native-32>>
  """
  @spec encode(t()) :: binary()
  def encode(%__MODULE__{type: type, flags: flags, seq: seq, pid: pid, payload: payload})
      when type in 0..0xFFFF and flags in 0..0xFFFF and seq in 0..0xFFFFFFFF and
             pid in 0..0xFFFFFFFF do
    size = byte_size(payload)

    <<@header + size::native-32, type::native-16, flags::native-16, seq::native-32,
      pid::native-32, payload::binary, padding(size)::binary>>
  end

  def encode(%__MODULE__{type: type, flags: flags, seq: seq, pid: pid}) do
    raise ArgumentError,
          "not a netlink header: type #{inspect(type)}, flags #{inspect(flags)}, seq " <>
            "#{inspect(seq)}, pid #{inspect(pid)}"
  end

  # Behind the messages that are in `bytes` already, which grow in place as long as nothing else
  # refers to them.
  @doc false
  @spec append(binary(), 0..65535, 0..65535, non_neg_integer(), binary()) :: binary()
  def append(bytes, type, flags, seq, payload) do
    size = byte_size(payload)

    <<bytes::binary, @header + size::native-32, type::native-16, flags::native-16, seq::native-32,
      0::32, payload::binary, padding(size)::binary>>
  end

  @doc """
  The messages in a received buffer, in order.

  A tail too short for a header is padding. Raises `ArgumentError` when a message claims more
  bytes than there are, or fewer than its header has: nothing after it could be found.
  """
  @spec decode(binary()) :: [t()]
  def decode(
        <<length::native-32, type::native-16, flags::native-16, seq::native-32, pid::native-32,
          rest::binary>>
      ) do
    size = length - @header

    if size < 0 or size > byte_size(rest) do
      raise ArgumentError,
            "netlink message of length #{length} in #{byte_size(rest) + @header} bytes"
    end

    payload = binary_part(rest, 0, size)
    padded = min(size + byte_size(padding(size)), byte_size(rest))
    message = %__MODULE__{type: type, flags: flags, seq: seq, pid: pid, payload: payload}
    [message | decode(binary_part(rest, padded, byte_size(rest) - padded))]
  end

  def decode(tail) when is_binary(tail), do: []

  defp padding(size), do: elem({<<>>, <<0, 0, 0>>, <<0, 0>>, <<0>>}, rem(size, 4))
end
