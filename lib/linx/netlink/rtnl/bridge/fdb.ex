defmodule Linx.Netlink.Rtnl.Bridge.Fdb do
  @moduledoc """
  The forwarding database: behind which port a bridge has a hardware address, and to which remote
  a VXLAN sends one.

      :ok = Fdb.add(socket, "veth0", "02:00:5e:10:00:01", master: true, state: :static)
      :ok = Fdb.append(socket, "vxlan42", "00:00:00:00:00:00", dst: "192.0.2.9")
      {:ok, entries} = Fdb.list(socket, br: "br0")

  A port has two tables: that of its bridge (`master: true`), where a bridge learns, and the
  device's own (`self: true`): addresses that a network card takes in, a VXLAN's remotes. As in
  bridge(8) it is the latter unless `master: true` says otherwise.

  ## Options

    * `:master`, `:self` - whose table, see above; both may be `true`;
    * `:state` - `:permanent` (the default, also called local: the address is the bridge's own),
      `:static` (behind the port, and does not age) or `:dynamic` (ages);
    * `:vlan` - 1..4094, for a bridge that filters VLANs. Without it an entry of a bridge's table
      goes to every VLAN of the port as well, and is listed once for each;
    * `:sticky` - the address does not move to another port; `:extern_learn` - a program learned
      it, and the kernel does not let it age; `:router`, `:use` (refresh it);
    * `:activity_notify` - `true` or `:inactive`: tell of the entry's activity; `:norefresh` - a
      repeated addition does not make it younger;
    * a VXLAN's: `:dst` (the remote's address), `:port`, `:vni`, `:src_vni`, `:via` (the link to
      the remote, by name or index), `:nh_id` (a nexthop group with `fdb: true` instead of
      `:dst`).

  ## Fields

  `ifindex` (the port, or the device whose table it is), `lladdr` (a `Linx.MAC`), `master` (the
  bridge's index; `nil` in a device's own table), `state` (a list: `[:permanent]`; `[:noarp]` is
  static, `[:reachable]` and `[:stale]` are dynamic), `flags` (`:self`, `:sticky`,
  `:extern_learn`, `:offloaded`, ...), `flags_ext` (`:managed`, `:locked`, `:validated`), `vlan`,
  `dst`, `port`, `vni`, `src_vni`, `via` (an index), `nh_id`, `attributes` (`activity_notify`,
  `norefresh`), `ages` (`{used, updated}`, hundredths of a second ago), `protocol`, and `extra`
  for what a newer kernel adds.

  Source: bridge(8), include/uapi/linux/neighbour.h at 7.2, `struct ndmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eexist` for
  an entry that is, `:enoent` for one that is not, `:eopnotsupp` for `master: true` with a link
  that is no port. An option that makes no sense is `{:error, {:bad_option, option}}` before
  anything is sent.
  """

  use Linx.Netlink.Codec

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Fields, HardwareAddress, Link, Protocol, Read, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Neighbour.Bits
  alias __MODULE__.{Ages, Attributes, Options}

  codec do
    header do
      field(:family, :u8, default: 7)
      pad(3)
      field(:ifindex, :s32)
      field(:state, {:flags, {Bits, :state}})
      field(:flags, {:flags, {Bits, :flags}})
      field(:type, :u8)
    end

    attr(2, :lladdr, HardwareAddress)
    attr(9, :master, :u32)
    attr(5, :vlan, :u16)
    attr(1, :dst, IP)
    attr(6, :port, :u16_be)
    attr(7, :vni, :u32)
    attr(8, :via, :u32)
    attr(11, :src_vni, :u32)
    attr(13, :nh_id, :u32)
    attr(12, :protocol, {:enum, {Protocol, :protocol}})
    attr(14, :attributes, {:nested, Attributes})
    attr(15, :flags_ext, {:flags, {Bits, :flags_ext}})
    attr(3, :ages, Ages)
    # Only in a bulk deletion.
    attr(16, :state_mask, {:flags, {Bits, :state}})
    attr(17, :flags_mask, {:flags, {Bits, :flags}})
    rest(:extra, skip: [4])
  end

  # A device's own table wants this state with a deletion (ndo_dflt_fdb_del); the others do not
  # look.
  @state [:noarp, :permanent]

  # -- reading -------------------------------------------------------------------------------

  @doc """
  Every entry of the namespace, or those that a filter keeps; a link alone is `dev:`.

    * `:dev` - of this link: as a port in its bridge's table, and of its own table;
    * `:br` - of this bridge, and of the own tables of its ports;
    * `:vlan` - of a VLAN; `:state` - `:permanent`, `:static` or `:dynamic`.

  The kernel filters by link and bridge.
  """
  @spec list(Socket.t(), keyword() | Link.ref()) ::
          {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ [])

  def list(socket, filter) when is_list(filter) do
    with {:ok, request, keep?} <- filter(socket, filter, %__MODULE__{}, []),
         {:ok, entries} <- Read.dump(socket, rtm_getneigh(), request, __MODULE__) do
      {:ok, Enum.filter(entries, fn entry -> Enum.all?(keep?, & &1.(entry)) end)}
    end
  end

  def list(socket, ref), do: list(socket, dev: ref)

  defp filter(_socket, [], request, keep?), do: {:ok, request, keep?}

  defp filter(socket, [{:dev, ref} | rest], request, keep?) do
    with {:ok, n} <- Index.of(socket, ref),
         do: filter(socket, rest, %{request | ifindex: n}, [(&(&1.ifindex == n)) | keep?])
  end

  defp filter(socket, [{:br, ref} | rest], request, keep?) do
    with {:ok, n} <- Index.of(socket, ref),
         do: filter(socket, rest, %{request | master: n}, keep?)
  end

  defp filter(socket, [{:vlan, vid} | rest], request, keep?)
       when is_integer(vid) and vid in 1..4094,
       do: filter(socket, rest, request, [(&(&1.vlan == vid)) | keep?])

  defp filter(socket, [{:state, state} | rest], request, keep?)
       when state in [:permanent, :static, :dynamic],
       do: filter(socket, rest, request, [(&(named(&1.state) == state)) | keep?])

  defp filter(_socket, [other | _], _request, _keep?), do: {:error, {:bad_option, other}}

  defp named(state) do
    cond do
      :permanent in state -> :permanent
      :noarp in state -> :static
      true -> :dynamic
    end
  end

  @doc """
  The entry for one address, of the table that `:master` or `:self` says, with `:vlan` or `:vni`
  where they belong to it. One that is not there is `errno: :enoent`.
  """
  @spec get(Socket.t(), Link.ref(), binary() | MAC.t(), keyword()) ::
          {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, dev, mac, opts \\ []) do
    build = &asked(dev, mac, opts, &1)

    case Index.named(socket, [dev], build) do
      {:ok, {type, 0, request, explain}} -> Read.get(socket, type, request, __MODULE__, explain)
      {:error, _} = error -> error
    end
  end

  defp asked(dev, mac, opts, index) do
    with :ok <- Fields.only(opts, [:self, :master, :vlan, :vni]),
         {:ok, request} <- key(dev, mac, opts, index),
         do: Call.op(rtm_getneigh(), 0, request, explain(dev, mac))
  end

  # -- changing ------------------------------------------------------------------------------

  @doc """
  Adds an entry; see "Options". One that is there is `errno: :eexist`.
  """
  @spec add(Socket.t(), Link.ref(), binary() | MAC.t(), keyword()) :: :ok | {:error, term()}
  def add(socket, dev, mac, opts \\ []), do: run(socket, :add, [dev, mac, opts])

  @doc "Adds an entry as one that was read."
  @spec add(Socket.t(), t()) :: :ok | {:error, term()}
  def add(socket, %__MODULE__{} = entry), do: run(socket, :add, [entry])

  @doc """
  Adds an entry, or changes the one of this address: its port, state or remote.
  """
  @spec replace(Socket.t(), Link.ref(), binary() | MAC.t(), keyword()) :: :ok | {:error, term()}
  def replace(socket, dev, mac, opts \\ []), do: run(socket, :replace, [dev, mac, opts])

  @doc """
  Adds a further remote for an address: a VXLAN sends to all of them. Multicast addresses and the
  zero address may have several.
  """
  @spec append(Socket.t(), Link.ref(), binary() | MAC.t(), keyword()) :: :ok | {:error, term()}
  def append(socket, dev, mac, opts \\ []), do: run(socket, :append, [dev, mac, opts])

  @doc """
  Deletes an entry: `:master`, `:self`, `:vlan` and a VXLAN's options say which. One that is not
  there is `errno: :enoent`.
  """
  @spec delete(Socket.t(), Link.ref(), binary() | MAC.t(), keyword()) :: :ok | {:error, term()}
  def delete(socket, dev, mac, opts \\ []), do: run(socket, :delete, [dev, mac, opts])

  @doc "Deletes an entry as it was read."
  @spec delete(Socket.t(), t()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = entry), do: run(socket, :delete, [entry])

  @doc """
  Deletes many entries of a bridge, a port (`master: true`) or a VXLAN at once: all, or those that
  a filter keeps.

    * `:state` - `:permanent`, `:static` or `:dynamic`;
    * `:vlan`, `:brport` (of a bridge: this port's entries);
    * `:added_by_user`, `:extern_learn`, `:sticky`, `:offloaded` - `true`: those that are so,
      `false`: those that are not;
    * a VXLAN's: `:dst`, `:port`, `:vni`, `:src_vni`, `:nh_id`.

  Linux 6.0; an older kernel refuses it with `errno: :einval`.
  """
  @spec flush(Socket.t(), Link.ref(), keyword()) :: :ok | {:error, term()}
  def flush(socket, dev, opts \\ []), do: run(socket, :flush, [dev, opts])

  @doc "Adds many: `{dev, mac, opts}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [tuple()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, entries), do: Verb.many(socket, __MODULE__, :add, entries)

  @doc """
  Deletes many: `{dev, mac, opts}` each, or entries as they were read. See
  `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec delete_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, entries), do: Verb.many(socket, __MODULE__, :delete, entries)

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  # -- the verbs as values -------------------------------------------------------------------

  @doc false
  @spec __names__(atom(), [term()]) :: [Link.ref()]
  def __names__(_verb, [%__MODULE__{}]), do: []
  def __names__(:flush, [dev | opts]), do: [dev | Enum.flat_map(opts, &Options.names/1)]
  def __names__(_verb, [dev, _mac | opts]), do: [dev | Enum.flat_map(opts, &Options.names/1)]
  def __names__(_verb, _args), do: []

  @doc false
  @spec __op__(atom(), [term()], Index.index()) :: Call.op()
  def __op__(verb, [dev, mac], index) when verb in [:add, :replace, :append, :delete],
    do: __op__(verb, [dev, mac, []], index)

  def __op__(:flush, [dev], index), do: __op__(:flush, [dev, []], index)

  def __op__(:add, [%__MODULE__{} = entry], _index),
    do: Call.op(rtm_newneigh(), Call.create(), again(entry), explain(entry.ifindex, entry.lladdr))

  def __op__(:delete, [%__MODULE__{} = entry], _index) do
    request = again(entry)
    flags = Enum.filter(request.flags, &(&1 in [:self, :master]))
    request = %{request | flags: flags, state: @state, attributes: nil}
    Call.op(rtm_delneigh(), 0, request, explain(entry.ifindex, entry.lladdr))
  end

  def __op__(verb, [dev, mac, opts], index) when verb in [:add, :replace, :append] do
    with {:ok, ifindex} <- index.(dev),
         {:ok, mac} <- MAC.cast(mac),
         {:ok, entry} <- Options.entry(opts, %__MODULE__{ifindex: ifindex, lladdr: mac}, index),
         do: Call.op(rtm_newneigh(), flags(verb), entry, explain(dev, mac))
  end

  def __op__(:delete, [dev, mac, opts], index) do
    with {:ok, request} <- key(dev, mac, opts, index),
         do: Call.op(rtm_delneigh(), 0, %{request | state: @state}, explain(dev, mac))
  end

  def __op__(:flush, [dev, opts], index) do
    with {:ok, ifindex} <- index.(dev),
         {:ok, request} <- Options.bulk(opts, %__MODULE__{ifindex: ifindex}, index) do
      explain = Call.no_such("interface", dev, &refusal(&1, "flush", dev))
      Call.op(rtm_delneigh(), nlm_f_bulk(), request, explain)
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp flags(:add), do: Call.create()
  defp flags(:replace), do: Call.replace()
  defp flags(:append), do: Call.append()

  defp key(dev, mac, opts, index) do
    with {:ok, ifindex} <- index.(dev),
         {:ok, mac} <- MAC.cast(mac),
         do: Options.key(opts, %__MODULE__{ifindex: ifindex, lladdr: mac}, index)
  end

  # An entry as it was read does not say whose table it was in, and carries what only the kernel
  # sets.
  defp again(%__MODULE__{master: master, ifindex: ifindex} = entry) do
    table = if master in [nil, ifindex], do: :self, else: :master
    flags = entry.flags -- [:self, :master, :offloaded]

    %{
      entry
      | flags: [table | flags],
        state: if(entry.state == [:stale], do: [:reachable], else: entry.state),
        master: nil,
        ages: nil,
        protocol: nil,
        flags_ext: nil,
        extra: []
    }
  end

  defp explain(dev, mac), do: Call.no_such("interface", dev, &refusal(&1, mac, dev))

  # Words for an errno that the kernel sends without any.
  defp refusal(:eexist, mac, dev), do: "#{mac} has an entry on #{inspect(dev)} already"
  defp refusal(:enoent, mac, dev), do: "#{mac} has no entry on #{inspect(dev)}"
  defp refusal(:eopnotsupp, _mac, dev), do: "#{inspect(dev)} has no such table"
  defp refusal(_errno, _mac, _dev), do: nil

  defimpl Inspect do
    def inspect(entry, _opts) do
      parts = [
        "#{lladdr(entry.lladdr)} ifindex=#{entry.ifindex}",
        entry.vlan && "vlan=#{entry.vlan}",
        entry.dst && "dst=#{entry.dst}",
        entry.nh_id && "nh_id=#{entry.nh_id}",
        entry.master && "master=#{entry.master}",
        entry.flags != [] && Enum.join(entry.flags, ","),
        entry.state != [] && Enum.join(entry.state, ",")
      ]

      "#Linx.Netlink.Rtnl.Bridge.Fdb<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
    end

    defp lladdr(nil), do: "?"
    defp lladdr(%Linx.MAC{} = mac), do: "#{mac}"
    defp lladdr(bytes), do: Base.encode16(bytes, case: :lower)
  end
end
