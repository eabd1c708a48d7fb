defmodule Linx.Netlink.Nfnl.Codec do
  @moduledoc """
  What all of nfnetlink has in common: the nfgenmsg header, subsystems in message types, the batch
  envelope.

      struct nfgenmsg {          0        1        2                4
        __u8   nfgen_family;     +--------+--------+--------+-------+
        __u8   version;          | family |   0    |  res_id (BE)   |
        __be16 res_id;           +--------+--------+--------+-------+
      };

  A message type is `(subsystem << 8) | operation`. The resource id is in network byte order,
  unlike the rest of netlink: it is the subsystem in a batch's envelope and the group in NFLOG
  messages.

  Nothing here knows what a subsystem's messages carry. Source:
  include/uapi/linux/netfilter/nfnetlink.h.
  """

  alias Linx.Netlink.{Message, Request, Socket}
  alias Linx.Netlink.Nfnl.{Batch, Generation, Header}

  @subsystems %{ctnetlink: 1, queue: 3, ulog: 4, nftables: 10}
  @batch_begin 0x10
  @batch_end 0x11
  @getgen 0x0A10
  @newgen 0x0A0F

  @doc """
  The four bytes of a header. Raises `ArgumentError` for an unknown family and for a resource id
  that is no 16-bit number.
  """
  @spec encode_nfgenmsg(atom() | 0..255, 0..65535) :: <<_::32>>
  defdelegate encode_nfgenmsg(family \\ :unspec, res_id \\ 0), to: Header, as: :encode

  @doc """
  `{family, version, res_id, rest}` of a message body. Raises `ArgumentError` for fewer than four
  bytes.
  """
  @spec decode_nfgenmsg(binary()) :: {0..255, 0..255, 0..65535, binary()}
  defdelegate decode_nfgenmsg(body), to: Header, as: :decode

  @doc "The `NFPROTO_*` number of a family. Raises `ArgumentError` for an unknown one."
  @spec nfproto(atom()) :: 0..255
  defdelegate nfproto(family), to: Header

  @doc "The message type of an operation of a subsystem, both numbers."
  @spec nlmsg_type(0..255, 0..255) :: 0..65535
  def nlmsg_type(subsys, msg_type) when subsys in 0..255 and msg_type in 0..255,
    do: Bitwise.bor(Bitwise.bsl(subsys, 8), msg_type)

  @doc "`{subsystem, operation}` of a message type."
  @spec split_type(0..65535) :: {0..255, 0..255}
  def split_type(type) when type in 0..65535, do: {Bitwise.bsr(type, 8), Bitwise.band(type, 0xFF)}

  @doc "`NFNL_SUBSYS_CTNETLINK`."
  @spec subsys_ctnetlink() :: 1
  def subsys_ctnetlink, do: 1

  @doc "`NFNL_SUBSYS_QUEUE`."
  @spec subsys_queue() :: 3
  def subsys_queue, do: 3

  @doc "`NFNL_SUBSYS_ULOG`."
  @spec subsys_ulog() :: 4
  def subsys_ulog, do: 4

  @doc "`NFNL_SUBSYS_NFTABLES`."
  @spec subsys_nftables() :: 10
  def subsys_nftables, do: 10

  @doc """
  The message that opens a batch for a subsystem.

  With `genid: n` the kernel refuses the batch with ERESTART unless the ruleset's generation is
  still `n`. Raises `ArgumentError` for an unknown subsystem, another option, and a generation
  that is no 32-bit number.
  """
  @spec batch_begin(:nftables | :ctnetlink | :queue | :ulog | 0..255, keyword()) :: Message.t()
  def batch_begin(subsys, opts \\ []) do
    %Message{
      type: @batch_begin,
      payload: Batch.encode(%Batch{subsystem: subsys(subsys), genid: genid(opts)})
    }
  end

  defp genid(opts) when opts in [[], [genid: nil]], do: nil
  defp genid(genid: id) when id in 0..0xFFFFFFFF, do: id
  defp genid(opts), do: raise(ArgumentError, "not the options of a batch: #{inspect(opts)}")

  @doc """
  The message that closes a batch; the kernel carries it out when it has read this one. Raises
  `ArgumentError` for an unknown subsystem.
  """
  @spec batch_end(:nftables | :ctnetlink | :queue | :ulog | 0..255) :: Message.t()
  def batch_end(subsys),
    do: %Message{type: @batch_end, payload: Batch.encode(%Batch{subsystem: subsys(subsys)})}

  @doc """
  Asks for the generation of the namespace's nf_tables ruleset, which counts its commits, and for
  who made the last one.

  An error is a `Linx.Netlink.Error`: `:eperm` without CAP_NET_ADMIN over the namespace.
  """
  @spec get_gen(Socket.t()) ::
          {:ok,
           %{
             id: non_neg_integer(),
             proc_pid: non_neg_integer() | nil,
             proc_name: String.t() | nil
           }}
          | {:error, term()}
  def get_gen(%Socket{} = socket) do
    with {:ok, messages} <- Request.talk(socket, @getgen, 0, encode_nfgenmsg()) do
      case Enum.find(messages, &(&1.type == @newgen)) do
        nil ->
          {:error,
           Linx.Netlink.Error.from_errno(Linx.Errno.code(:enomsg), "no NEWGEN in the answer")}

        message ->
          {:ok, Generation.read(message.payload)}
      end
    end
  end

  defp subsys(n) when n in 0..255, do: n

  defp subsys(name) do
    case @subsystems do
      %{^name => n} -> n
      _ -> raise ArgumentError, "unknown nfnetlink subsystem #{inspect(name)}"
    end
  end
end
