defmodule Linx.Netlink.Rtnl.Bridge.Mdb do
  @moduledoc """
  The multicast database: to which ports a bridge sends a group.

      :ok = Mdb.add(socket, "br0", "239.1.1.1", port: "veth0", state: :permanent)
      :ok = Mdb.add(socket, "br0", "239.1.1.2", port: "veth0", source: "192.0.2.1")
      {:ok, entries} = Mdb.list(socket, "br0")

  A bridge that snoops (`mcast_snooping: 1`) learns groups; what is added here stays until it is
  deleted, or, as `:temp`, until its time is over. A group is an IPv4 or IPv6 multicast address,
  or, as text or `Linx.MAC`, a hardware address.

  ## Options

    * `:port` - the port (name or index); without it the bridge itself, which takes the group for
      the host;
    * `:vid` - the VLAN, for a bridge that filters VLANs;
    * `:state` - `:temp` (the default) or `:permanent`, which does not time out;
    * `:source` - packets of this sender alone, (S, G);
    * `:filter_mode` - `:exclude` (the default: every sender but those in `:source_list`) or
      `:include` (those alone), with `:source_list`, a list of addresses (Linux 6.3);
    * `:protocol` - which program made it, as in `Linx.Netlink.Rtnl.Nexthop`, from `:static` on
      (Linux 6.3);
    * of a VXLAN (Linux 6.4): `:dst`, `:dst_port`, `:vni`, `:src_vni`, `:via`.

  ## Fields

  `bridge` and `port` (indices), `group`, `vid` (0 for none), `state`, `flags` (`:offload`,
  `:fast_leave`, `:star_excl`, `:blocked`), `timer` (hundredths of a second), `source`,
  `filter_mode`, `source_list` (`[{address, timer}]`), `protocol`, a VXLAN's `dst`, `dst_port`,
  `vni`, `src_vni` and `via`, and `extra` for what a newer kernel adds.

  Source: bridge(8), include/uapi/linux/if_bridge.h at 7.2, `struct br_mdb_entry`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eexist` for
  an entry that is, `:einval` or `:enoent` for the deletion of one that is not, `:eopnotsupp` for
  a link that is no bridge. A group that is none is `{:error, {:invalid_group, group}}`, an option
  that makes no sense `{:error, {:bad_option, option}}`, before anything is sent.
  """

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Fields, Link, Read, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias __MODULE__.{Answer, Entry, Options, Request, Router, Sources}
  alias __MODULE__.Request.Attributes

  defstruct [
    :bridge,
    :port,
    :group,
    :timer,
    :source,
    :filter_mode,
    :protocol,
    :dst,
    :dst_port,
    :vni,
    :src_vni,
    :via,
    vid: 0,
    state: :temp,
    flags: [],
    source_list: [],
    extra: []
  ]

  @type t :: %__MODULE__{
          bridge: pos_integer(),
          port: pos_integer(),
          group: IP.t() | MAC.t() | nil,
          vid: 0..4095,
          state: :temp | :permanent | integer(),
          source_list: [{IP.t(), non_neg_integer() | nil}]
        }

  @typedoc "A group: text, an address or a hardware address."
  @type group :: binary() | IP.t() | MAC.t()

  @ipv4 0x0800
  @ipv6 0x86DD

  # MDBE_ATTR_STATE_MASK.
  @state_mask 10

  # -- reading -------------------------------------------------------------------------------

  @doc "Every entry of the namespace, or those of one bridge (by name or index)."
  @spec list(Socket.t(), Link.ref() | nil) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, bridge \\ nil) do
    with {:ok, answers} <- answers(socket, bridge), do: {:ok, Enum.flat_map(answers, &entries/1)}
  end

  @doc "The ports with multicast routers behind them, of every bridge or of one."
  @spec routers(Socket.t(), Link.ref() | nil) ::
          {:ok, [Router.t()]} | {:error, Error.t() | term()}
  def routers(socket, bridge \\ nil) do
    with {:ok, answers} <- answers(socket, bridge) do
      {:ok,
       for(
         %Answer{router: %{ports: ports}} = answer <- answers,
         port <- ports,
         do: %Router{
           bridge: answer.ifindex,
           port: port.ifindex,
           type: port.type,
           timer: port.timer,
           vid: port.vid
         }
       )}
    end
  end

  # The kernel has no filter by bridge.
  defp answers(socket, bridge) do
    with {:ok, index} <- if(bridge, do: Index.of(socket, bridge), else: {:ok, nil}),
         {:ok, answers} <- Read.dump(socket, rtm_getmdb(), %Request{}, Answer),
         do: {:ok, Enum.filter(answers, &(index in [nil, &1.ifindex]))}
  end

  defp entries(%Answer{mdb: %{groups: groups}, ifindex: bridge}),
    do: for(%{entries: entries} <- groups, entry <- entries, do: read(entry, bridge))

  defp entries(_answer), do: []

  defp read(%Entry{} = entry, bridge) do
    %{
      struct(__MODULE__, Map.from_struct(entry))
      | bridge: bridge,
        port: entry.ifindex,
        group: group(entry.proto, entry.address),
        source_list:
          for(
            source <- (entry.source_list || %Sources{}).entries,
            do: {source.address, source.timer}
          )
    }
  end

  defp group(@ipv4, <<bytes::binary-4, _::binary>>), do: IP.decode(bytes)
  defp group(@ipv6, bytes), do: IP.decode(bytes)
  defp group(0, <<bytes::binary-6, _::binary>>), do: MAC.decode(bytes)
  defp group(_proto, _bytes), do: nil

  @doc """
  The entries of one group, of every port: `:vid`, `:source` and, of a VXLAN, `:src_vni` belong to
  it. A group that is not there is `errno: :enoent`. Linux 6.8.
  """
  @spec get(Socket.t(), Link.ref(), group(), keyword()) ::
          {:ok, [t()]} | {:error, Error.t() | term()}
  def get(socket, bridge, group, opts \\ []) do
    with :ok <- Fields.only(opts, [:vid, :source, :src_vni]),
         {:ok, {type, 0, request, explain}} <-
           Index.named(socket, [bridge], &build(rtm_getmdb(), 0, bridge, group, opts, &1)),
         # The kernel takes no interface here.
         request = put_in(request.entry.ifindex, 0),
         {:ok, answer} <- Read.get(socket, type, request, Answer, explain),
         do: {:ok, entries(answer)}
  end

  # -- changing ------------------------------------------------------------------------------

  @doc "Adds a group to a port; see \"Options\". An entry that is there is `errno: :eexist`."
  @spec add(Socket.t(), Link.ref(), group(), keyword()) :: :ok | {:error, term()}
  def add(socket, bridge, group, opts \\ []), do: run(socket, :add, [bridge, group, opts])

  @doc "Adds an entry, or changes the one of this group and port. Linux 6.3."
  @spec replace(Socket.t(), Link.ref(), group(), keyword()) :: :ok | {:error, term()}
  def replace(socket, bridge, group, opts \\ []), do: run(socket, :replace, [bridge, group, opts])

  @doc """
  Takes a group from a port: `:port`, `:vid`, `:source` and a VXLAN's options say which entry.
  """
  @spec delete(Socket.t(), Link.ref(), group(), keyword()) :: :ok | {:error, term()}
  def delete(socket, bridge, group, opts \\ []), do: run(socket, :delete, [bridge, group, opts])

  @doc "Deletes an entry as it was read."
  @spec delete(Socket.t(), t()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = entry), do: run(socket, :delete, [entry])

  @doc """
  Deletes many entries at once: all of a bridge, or those of a `:port`, a `:vid`, a `:state` or a
  `:protocol`. Linux 6.8; an older kernel refuses it with `errno: :eopnotsupp` or `:einval`.
  """
  @spec flush(Socket.t(), Link.ref(), keyword()) :: :ok | {:error, term()}
  def flush(socket, bridge, opts \\ []), do: run(socket, :flush, [bridge, opts])

  @doc "Adds many: `{bridge, group, opts}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [tuple()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, entries), do: Verb.many(socket, __MODULE__, :add, entries)

  @doc """
  Deletes many: `{bridge, group, opts}` each, or entries as read. See `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec delete_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, entries), do: Verb.many(socket, __MODULE__, :delete, entries)

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  # -- the verbs as values -------------------------------------------------------------------

  @doc false
  @spec __names__(atom(), [term()]) :: [Link.ref()]
  def __names__(_verb, [%__MODULE__{}]), do: []
  def __names__(:flush, [bridge | opts]), do: [bridge | Enum.flat_map(opts, &Options.names/1)]

  def __names__(_verb, [bridge, _group | opts]),
    do: [bridge | Enum.flat_map(opts, &Options.names/1)]

  def __names__(_verb, _args), do: []

  @doc false
  @spec __op__(atom(), [term()], Index.index()) :: Call.op()
  def __op__(verb, [bridge, group], index) when verb in [:add, :replace, :delete],
    do: __op__(verb, [bridge, group, []], index)

  def __op__(:flush, [bridge], index), do: __op__(:flush, [bridge, []], index)

  def __op__(:delete, [%__MODULE__{} = entry], index) do
    opts =
      for key <- [:port, :source, :dst, :dst_port, :vni, :src_vni, :via],
          value = Map.fetch!(entry, key),
          do: {key, value}

    opts = if entry.vid == 0, do: opts, else: [{:vid, entry.vid} | opts]
    __op__(:delete, [entry.bridge, entry.group, opts], index)
  end

  def __op__(verb, [bridge, group, opts], index) when verb in [:add, :replace],
    do: build(rtm_newmdb(), flags(verb), bridge, group, opts, index)

  def __op__(:delete, [bridge, group, opts], index),
    do: build(rtm_delmdb(), 0, bridge, group, opts, index)

  def __op__(:flush, [bridge, opts], index) do
    with :ok <- Fields.only(opts, [:port, :vid, :state, :protocol]),
         {:ok, ifindex} <- index.(bridge),
         {:ok, entry, attributes} <- Options.set(opts, %Entry{}, %Attributes{}, index) do
      request = %Request{ifindex: ifindex, entry: entry, attributes: mask(attributes, opts)}
      Call.op(rtm_delmdb(), nlm_f_bulk(), request, explain(bridge, "all", opts))
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp flags(:add), do: Call.create()
  defp flags(:replace), do: Call.replace()

  # A state counts only where its mask says so.
  defp mask(attributes, opts) do
    if Keyword.has_key?(opts, :state),
      do: %{attributes | extra: [{@state_mask, <<1>>}]},
      else: attributes
  end

  defp build(type, flags, bridge, group, opts, index) do
    with {:ok, ifindex} <- index.(bridge),
         {:ok, proto, address} <- Options.group(group),
         entry = %Entry{ifindex: ifindex, proto: proto, address: address},
         {:ok, entry, attributes} <- Options.set(opts, entry, %Attributes{}, index) do
      attributes = if attributes == %Attributes{}, do: nil, else: attributes
      request = %Request{ifindex: ifindex, entry: entry, attributes: attributes}
      Call.op(type, flags, request, explain(bridge, group, opts))
    end
  end

  defp explain(bridge, group, opts) do
    Call.no_such("interface", bridge, fn
      :eexist -> "#{group} is there already, on #{inspect(opts[:port] || bridge)}"
      :enoent -> "#{group} is not there, on #{inspect(opts[:port] || bridge)}"
      :eopnotsupp -> "#{inspect(bridge)} is no bridge"
      _errno -> nil
    end)
  end

  defimpl Inspect do
    def inspect(entry, _opts) do
      parts = [
        "#{entry.group || "?"}",
        entry.source && "source=#{entry.source}",
        "bridge=#{entry.bridge}",
        "port=#{entry.port}",
        entry.vid != 0 && "vid=#{entry.vid}",
        entry.dst && "dst=#{entry.dst}",
        "#{entry.state}"
      ]

      "#Linx.Netlink.Rtnl.Bridge.Mdb<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
    end
  end
end
