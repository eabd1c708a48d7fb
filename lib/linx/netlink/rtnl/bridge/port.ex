defmodule Linx.Netlink.Rtnl.Bridge.Port do
  @moduledoc """
  The options of a bridge's ports.

      :ok = Port.set(socket, "veth0", isolated: true, learning: false)
      {:ok, port} = Port.get(socket, "veth0")
      port.state
      #=> :forwarding

  ## Options and fields

  Switches, `true` or `false`:

    * `hairpin` - send a frame out of the port it came in by; `guard` - refuse spanning tree
      messages; `root_block` - never a root port; `isolated` - no frames from or to other isolated
      ports;
    * `learning` - learn addresses; `flood`, `mcast_flood`, `bcast_flood` - send unknown unicast,
      multicast and broadcast out of it; `mcast_to_unicast`; `fastleave` - a group goes with its
      first leave message;
    * `locked` - take in frames only from addresses that its FDB has; `mab` - with it, learn
      others as locked entries;
    * `neigh_suppress`, `neigh_vlan_suppress` - answer ARP and ND for the hosts behind it;
      `neigh_forward_grat`; `proxy_arp`, `proxy_arp_wifi`; `vlan_tunnel` - map VLANs to tunnel ids
      (`Linx.Netlink.Rtnl.Bridge.Vlan`); `learning_sync`.

  Others: `state` (`:disabled`, `:listening`, `:learning`, `:forwarding`, `:blocking`; not to be
  set where the kernel runs spanning tree), `priority` (0..63), `cost` (1..65535), `mcast_router`
  (0 never, 1 as learned, 2 always, 3 for a while), `mcast_max_groups`, `mcast_eht_hosts_limit`,
  `group_fwd_mask`, `backup_port` (a link, by name or index, that takes the frames while this port
  has no carrier; `nil` for none), `backup_nhid` (a nexthop for them), and `flush: true`, which
  forgets what was learned on the port.

  Only read: `ifindex`, `name`, `bridge` (its index), `id`, `no`, `designated_port`,
  `designated_cost`, `topology_change_ack`, `config_pending`, `mcast_n_groups`,
  `mcast_eht_hosts_cnt`, and `extra` for what a newer kernel adds. A field that a kernel does
  not have is `nil`.

  Source: bridge(8), ip-link(8), include/uapi/linux/if_link.h at 7.2, `IFLA_BRPORT_*`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eopnotsupp`
  for one that is no port and for an option that this kernel's ports do not have. An option that
  makes no sense is `{:error, {:bad_option, option}}` before anything is sent.
  """

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.Bridge.Message
  alias Linx.Netlink.Rtnl.{Call, Fields, Link, Read, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias __MODULE__.{Attributes, Single}

  @fields Attributes.__struct__() |> Map.from_struct() |> Map.keys()

  defstruct [:ifindex, :name, :bridge] ++
              Enum.map(@fields -- [:extra, :flush], &{&1, nil}) ++ [extra: []]

  @type t :: %__MODULE__{}

  @readonly [
    :designated_port,
    :designated_cost,
    :id,
    :no,
    :topology_change_ack,
    :config_pending,
    :mcast_n_groups,
    :mcast_eht_hosts_cnt,
    :extra
  ]

  # A kernel passes over an attribute that it does not know, and reports each of these when it
  # does.
  @reported [
    :mcast_eht_hosts_limit,
    :locked,
    :mab,
    :mcast_max_groups,
    :neigh_vlan_suppress,
    :neigh_forward_grat
  ]

  # -- reading -------------------------------------------------------------------------------

  @doc "Every port of the namespace, or those of one bridge (by name or index)."
  @spec list(Socket.t(), Link.ref() | nil) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, bridge \\ nil) do
    with {:ok, index} <- if(bridge, do: Index.of(socket, bridge), else: {:ok, nil}),
         {:ok, messages} <- Read.dump(socket, rtm_getlink(), %Message{}, Message) do
      {:ok,
       for(
         %Message{port: %Attributes{}} = m <- messages,
         index in [nil, m.master],
         do: port(m.index, m.name, m.master, m.port)
       )}
    end
  end

  @doc "One port, by its link's name or index. A link that is no port is `errno: :eopnotsupp`."
  @spec get(Socket.t(), Link.ref()) :: {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, ref) do
    with {:ok, link} <- Link.Options.identify(ref),
         request = %Single{index: link.index, name: link.name, altname: link.altname},
         explain = Call.no_such("interface", ref),
         {:ok, answer} <- Read.get(socket, rtm_getlink(), request, Single, explain),
         {:ok, attributes} <- attributes(answer, ref),
         do: {:ok, port(answer.index, answer.name, answer.master, attributes)}
  end

  defp attributes(%{linkinfo: %{slave_kind: "bridge", slave_data: %Attributes{} = data}}, _ref),
    do: {:ok, data}

  defp attributes(_link, ref), do: unsupported(no_port(ref))

  defp port(index, name, bridge, attributes) do
    %{
      struct(__MODULE__, Map.from_struct(attributes))
      | ifindex: index,
        name: name,
        bridge: bridge
    }
  end

  defp no_port(ref), do: "#{inspect(ref)} is no port of a bridge"

  defp unsupported(text), do: {:error, Error.from_errno(Linx.Errno.code(:eopnotsupp), text)}

  # -- changing ------------------------------------------------------------------------------

  @doc """
  Changes options of a port in one request; see "Options and fields".

  An option that this kernel does not have would be passed over by it; where the port shows that,
  it is `errno: :eopnotsupp`, and nothing is changed.
  """
  @spec set(Socket.t(), Link.ref(), keyword()) :: :ok | {:error, term()}
  def set(socket, ref, opts), do: Verb.run(socket, __MODULE__, :set, [ref, opts])

  # -- the verbs as values -------------------------------------------------------------------

  @doc false
  @spec __names__(atom(), [term()]) :: [Index.wanted()]
  def __names__(_verb, [ref, opts]) when is_list(opts) do
    backup = for {:backup_port, port} <- opts, is_binary(port), do: port
    if reported(opts) == [], do: [ref | backup], else: [ref, {Single, ref} | backup]
  end

  def __names__(_verb, [ref | _]), do: [ref]
  def __names__(_verb, _args), do: []

  defp reported(opts), do: for({key, _value} <- opts, key in @reported, do: key)

  @doc false
  @spec __op__(atom(), [term()], Index.index()) :: Call.op()
  def __op__(:set, [ref, opts], index) do
    with {:ok, ifindex} <- index.(ref),
         {:ok, attributes} <- options(opts, index),
         :ok <- known(ref, reported(opts), index) do
      explain =
        Call.no_such("interface", ref, fn
          :eopnotsupp -> no_port(ref)
          _errno -> nil
        end)

      Call.op(rtm_setlink(), 0, %Message{index: ifindex, port: attributes}, explain)
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp known(_ref, [], _index), do: :ok

  defp known(ref, keys, index) do
    with {:ok, %Single{} = link} <- index.({Single, ref}),
         {:ok, attributes} <- attributes(link, ref) do
      case Enum.find(keys, &(Map.fetch!(attributes, &1) == nil)) do
        nil -> :ok
        key -> unsupported("this kernel's ports have no #{key}")
      end
    else
      {:ok, :any} -> :ok
      error -> error
    end
  end

  defp options(opts, index) when is_list(opts) and opts != [] do
    Enum.reduce_while(opts, {:ok, %Attributes{}}, fn option, {:ok, attributes} ->
      case option(option, attributes, index) do
        {:ok, attributes} -> {:cont, {:ok, attributes}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  defp options(opts, _index), do: {:error, {:bad_option, opts}}

  defp option({:backup_port, nil}, attributes, _index), do: {:ok, %{attributes | backup_port: 0}}

  defp option({:backup_port, ref}, attributes, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{attributes | backup_port: n}}
  end

  defp option({:priority, n}, _attributes, _index) when n not in 0..63, do: :error
  defp option({:cost, n}, _attributes, _index) when n not in 1..0xFFFF, do: :error
  defp option({:mcast_router, n}, _attributes, _index) when n not in 0..3, do: :error
  defp option({:flush, on?}, _attributes, _index) when on? != true, do: :error

  defp option({:state, state}, _attributes, _index) when is_integer(state) and state > 4,
    do: :error

  defp option({key, value}, attributes, _index) when key not in @readonly,
    do: attributes |> Fields.put(key, value) |> switched(key, value)

  defp option(_option, _attributes, _index), do: :error

  # A switch takes 0 and 1 too, and no other number.
  @switches for {_, name, {:enum, :switch}} <- Attributes.__codec__().attrs, do: name

  defp switched(_result, key, value) when key in @switches and value not in [true, false, 0, 1],
    do: :error

  defp switched(result, _key, _value), do: result

  defimpl Inspect do
    def inspect(port, _opts) do
      parts = [
        port.name && Kernel.inspect(port.name),
        "(#{port.ifindex})",
        port.state && "#{port.state}",
        "bridge=#{port.bridge}"
      ]

      "#Linx.Netlink.Rtnl.Bridge.Port<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
    end
  end
end
