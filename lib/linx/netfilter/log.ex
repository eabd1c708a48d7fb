defmodule Linx.Netfilter.Log do
  @moduledoc """
  A process that receives the packets rules log to an NFLOG group, and reports them to its owner.

      {:ok, listener} =
        Linx.Netfilter.log_listen(self(), group: 5000, copy_mode: {:packet, 256}, flags: [:seq])
      # {:linx_netfilter, :log, %Linx.Netfilter.Log.Event{}}   for each packet
      # {:linx_netfilter, :resync_needed}                      some were lost
      :ok = Linx.Netfilter.unlog_listen(listener)

  `Linx.Netfilter.Expr.log/1` makes the rules' side. A group has one listener in a namespace, a
  second is refused with `:eperm`.

  Packets that come faster than they are read are dropped by the kernel; the owner is then told.
  The listener reads no faster than its owner: beyond about 8 MiB of packets that the owner has
  not read it leaves the others to the kernel. With `flags: [:seq]` the gap in `:seq` says how
  many were lost; the listener watches it too and tells the owner of gaps that the socket did not
  report.

  The listener ends when its owner does, and it is linked to the process that started it. It
  decides nothing about packets: for that there is NFQUEUE.

  Source: include/uapi/linux/netfilter/nfnetlink_log.h; net/netfilter/nfnetlink_log.c.
  """

  use Linx.Netlink.Listener, form: :raw

  import Linx.Netfilter.Wire
  import Linx.Netlink.Constants

  alias Linx.Netfilter.{Error, Wire}
  alias Linx.Netfilter.Log.Event
  alias Linx.Netlink.{Attr, Inbox, Listener, Request, Socket}
  alias Linx.Netlink.Nfnl.Codec

  @msg_packet 0x0400
  @msg_config 0x0401
  @rcvbuf 4 * 1024 * 1024

  # AF_INET, AF_INET6, AF_BRIDGE, and the number netfilter gives ARP.
  @families %{ipv4: 2, ipv6: 10, bridge: 7, arp: 3}

  @type opt ::
          {:owner, pid()}
          | {:group, 1..65535}
          | {:netns, Socket.netns()}
          | {:copy_mode, :none | :meta | :packet | {:packet, non_neg_integer()}}
          | {:qthresh, 1..1024}
          | {:timeout_ms, non_neg_integer()}
          | {:flags, [:seq | :seq_global | :conntrack]}
          | {:families, [:ipv4 | :ipv6 | :bridge | :arp]}
          | {:rcvbuf, pos_integer()}

  @doc """
  Starts a listener linked to the caller.

  `:owner` and `:group` are required. `:netns` defaults to `:host`; `:copy_mode` to `:meta` (no
  payload; `:packet` copies whole packets, `{:packet, bytes}` their beginning); `:qthresh`
  (packets per message) to 1; `:timeout_ms` (how long fewer than that may wait, in steps of 10 ms)
  to 0, which leaves the kernel's own; `:flags` to `[]`; `:families` to `[:ipv4, :ipv6]`;
  `:rcvbuf` to 4 MiB.

  A bad option raises `ArgumentError`. The kernel's refusal is
  `{:error, %Linx.Netfilter.Error{operation: :log_listen}}`: `:eperm` for a group that has a
  listener and without CAP_NET_ADMIN.
  """
  @spec start_link([opt()]) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, checked(opts))

  @doc "Unbinds the group and stops the listener."
  @spec stop(pid()) :: :ok
  def stop(listener), do: GenServer.stop(listener)

  defp checked(opts) do
    Enum.each(opts, fn option ->
      unless option?(option),
        do: raise(ArgumentError, "not an option of a log listener: #{inspect(option)}")
    end)

    for key <- [:owner, :group],
        opts[key] == nil,
        do: raise(ArgumentError, "a log listener needs #{inspect(key)}")

    opts
  end

  defp option?({:owner, pid}), do: is_pid(pid)
  defp option?({:group, n}), do: n in 1..65535
  defp option?({:netns, netns}), do: Socket.check_netns!(netns) == :ok
  defp option?({:copy_mode, mode}) when mode in [:none, :meta, :packet], do: true
  defp option?({:copy_mode, {:packet, n}}), do: n in 0..0xFFFFFFFF
  defp option?({:qthresh, n}), do: n in 1..1024
  defp option?({:timeout_ms, n}), do: n in 0..0xFFFFFFFF

  defp option?({:flags, flags}),
    do: is_list(flags) and flags -- [:seq, :seq_global, :conntrack] == []

  defp option?({:families, list}),
    do: is_list(list) and list != [] and Enum.all?(list, &is_map_key(@families, &1))

  defp option?({:rcvbuf, n}), do: n in 1..0x3FFFFFFF
  defp option?(_other), do: false

  @impl Listener
  def open(opts) do
    # The group is to be unbound also when the process that started this one ends.
    Process.flag(:trap_exit, true)
    owner = Keyword.fetch!(opts, :owner)
    netns = Keyword.get(opts, :netns, :host)

    with {:ok, inbox} <-
           Inbox.open(netlink_netfilter(), netns, [], Keyword.get(opts, :rcvbuf, @rcvbuf), owner),
         :ok <- bind(inbox, opts) do
      seq? = :seq in Keyword.get(opts, :flags, [])
      {:ok, inbox, %{owner: owner, group: opts[:group], next: if(seq?, do: 0)}}
    else
      {:error, %Linx.Netlink.Error{} = error} ->
        {:error,
         Error.from_posix(error.errno, :log_listen,
           code: error.code,
           message: error.message,
           subsys: :ulog
         )}

      {:error, reason} ->
        {:error, reason}
    end
  end

  # The protocol families are bound to the logger first, as ulogd does: kernels before 4.7 ask for
  # it.
  defp bind(inbox, opts) do
    group = opts[:group]
    {mode, range} = copy_mode(Keyword.get(opts, :copy_mode, :meta))

    steps =
      for(
        f <- Keyword.get(opts, :families, [:ipv4, :ipv6]),
        do: {:pf, @families[f], 0, command(nfulnl_cfg_cmd_pf_bind())}
      ) ++
        [
          {:bind, 0, group, command(nfulnl_cfg_cmd_bind())},
          # struct nfulnl_msg_config_mode: be32 range, u8 mode, u8 padding, packed.
          {:mode, 0, group, Attr.bytes(nfula_cfg_mode(), <<range::32, mode, 0>>)},
          {:flags, 0, group, flags(Keyword.get(opts, :flags, []))},
          {:qthresh, 0, group, Attr.u32_be(nfula_cfg_qthresh(), Keyword.get(opts, :qthresh, 1))},
          {:timeout, 0, group, timeout(Keyword.get(opts, :timeout_ms, 0))}
        ]

    result =
      Enum.reduce_while(steps, :ok, fn {step, family, group, attrs}, :ok ->
        case attrs != [] &&
               Request.talk(inbox.socket, @msg_config, 0, [
                 Codec.encode_nfgenmsg(family, group),
                 attrs
               ]) do
          {:error, error} when step == :pf and error.errno in [:eopnotsupp, :einval, :enoent] ->
            {:cont, :ok}

          {:error, error} ->
            {:halt, {:error, error}}

          _ ->
            {:cont, :ok}
        end
      end)

    if result != :ok, do: Inbox.close(inbox)
    result
  end

  defp command(command), do: Attr.u8(nfula_cfg_cmd(), command)

  # A range of 0 is the longest to the kernel (nfulnl_set_mode).
  defp copy_mode({:packet, 0}), do: copy_mode(:meta)
  defp copy_mode({:packet, snaplen}), do: {nfulnl_copy_packet(), snaplen}
  defp copy_mode(:packet), do: {nfulnl_copy_packet(), 0xFFFF}
  defp copy_mode(mode), do: {Wire.copy_mode_int(mode), 0}

  defp flags([]), do: []
  defp flags(flags), do: Attr.u16_be(nfula_cfg_flags(), Wire.nfulnl_cfg_flags_int(flags))

  # In units of 10 ms.
  defp timeout(0), do: []
  defp timeout(ms), do: Attr.u32_be(nfula_cfg_timeout(), max(div(ms, 10), 1))

  @impl Listener
  def close(inbox, state) do
    Request.talk(inbox.socket, @msg_config, 0, [
      Codec.encode_nfgenmsg(:unspec, state.group),
      command(nfulnl_cfg_cmd_unbind())
    ])
  end

  @impl Listener
  def handle_messages(messages, state), do: Enum.reduce(messages, state, &message/2)

  # The gap in the numbers that follows is the same news.
  @impl Listener
  def handle_loss(state) do
    send(state.owner, {:linx_netfilter, :resync_needed})
    %{state | next: state.next && :any}
  end

  defp message({@msg_packet, _flags, _seq, payload}, state) do
    event = %{Event.decode(payload) | group: state.group}
    state = watch(event.seq, state)
    send(state.owner, {:linx_netfilter, :log, event})
    state
  end

  defp message(_other, state), do: state

  defp watch(nil, state), do: state
  defp watch(_seq, %{next: nil} = state), do: state

  defp watch(seq, %{next: next} = state) do
    if next not in [seq, :any], do: send(state.owner, {:linx_netfilter, :resync_needed})
    %{state | next: Bitwise.band(seq + 1, 0xFFFFFFFF)}
  end
end
