defmodule Linx.Netlink.Rtnl.Nexthop do
  @moduledoc """
  Nexthop objects: where packets go, apart from the routes that use it.

      :ok = Nexthop.add(socket, 10, gateway: "192.0.2.2", oif: "eth0")
      :ok = Nexthop.add(socket, 11, gateway: "192.0.2.3", oif: "eth0")
      :ok = Nexthop.add(socket, 100, group: [10, {11, 3}])
      :ok = Route.add(socket, "203.0.113.0", 24, nil, nh_id: 100)

  Ten thousand routes may share one object; to replace it moves them all at once. The kernel
  deletes an object's routes with it.

  ## Options

  A single hop:

    * `:gateway` (or `:via`) - the gateway's address, IPv4 or IPv6; without it `:oif` is on-link;
    * `:oif` - the link, by name or index; required, except with `:fdb`. It has to be up;
    * `:onlink` - `true`: the gateway counts as reachable on the link, whatever its addresses are;
    * `:encap` - a tunnel's header, see `Linx.Netlink.Rtnl.Encap`;
    * `:fdb` - `true`: for entries of a VXLAN's FDB (`Linx.Netlink.Rtnl.Bridge.Fdb`, `nh_id:`) and
      not for routes;
    * `:family` - `:inet` (the default) or `:inet6`, where no gateway says it.

  `blackhole: true` drops, and takes no other option but `:family`.

  A group:

    * `:group` - the members, each an id or `{id, weight}`. Weights are 1..256, since Linux 6.12
      1..65536;
    * `:type` - `:mpath` (the default), by a hash of the flow; or `:resilient`, which moves as few
      flows as it can when members come and go, with `:buckets` (1..65535), `:idle_timer` and
      `:unbalanced_timer` in hundredths of a second: see `Linx.Netlink.Rtnl.Nexthop.Resilient`;
    * `:fdb` - `true`: a group of `:fdb` nexthops;
    * `:hw_stats` - whether drivers are to count packets.

  Each may have a `:protocol`, a name of `RTPROT_*` (`:static`, `:bgp`) or a number: which program
  made it.

  ## Fields

  `id`, `family` (0 of a group), `gateway` (a `Linx.IP`), `oif` (an index), `blackhole`, `fdb`,
  `encap_type`, `encap`, `group` (`[{id, weight}]`), `type`, `resilient`, `protocol`, `scope`,
  `flags` (`:onlink`, and as read `:dead`, `:linkdown`, `:offload`, `:trap`), `stats` (of `get/3`
  and `list/2` with `stats: true`), `master` and `groups` of requests, and `extra` for what a
  newer kernel adds.

  Source: ip-nexthop(8), include/uapi/linux/nexthop.h at 7.2, `struct nhmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:eexist` for an id that is taken, `:enoent` for one
  that is not there, `:einval` for a member that is not there, `:enetdown` for a link that is
  down. An option that makes no sense, alone or beside the others, is `{:error, {:bad_option,
  option}}` before anything is sent, and a missing one `{:error, {:missing, :oif}}`.
  """

  use Linx.Netlink.Codec

  import Linx.Netlink.Rtnl.Constants

  alias Linx.IP
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Encap, Link, Protocol, Read, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias __MODULE__.{Bucket, Flags, Group, Options, Resilient, Stats}

  codec native: 1 do
    enum(:scope, :u8, universe: 0, site: 200, link: 253, host: 254, nowhere: 255)
    enum(:type, :u16, mpath: 0, resilient: 1)
    flags(:op, :u32, dump_stats: 0x1, dump_hw_stats: 0x2, resp_grp_resvd_0: 0x80000000)

    enum(:encap, :u16,
      mpls: 1,
      ip: 2,
      ila: 3,
      ip6: 4,
      seg6: 5,
      bpf: 6,
      seg6_local: 7,
      rpl: 8,
      ioam6: 9,
      xfrm: 10
    )

    header do
      field(:family, :u8)
      field(:scope, {:enum, :scope})
      field(:protocol, {:enum, {Protocol, :protocol}})
      pad(1)
      field(:flags, {:flags, {Flags, :flags}})
    end

    attr(1, :id, :u32)
    attr(2, :group, Group)
    attr(3, :type, {:enum, :type})
    attr(4, :blackhole, :flag)
    attr(5, :oif, :u32)
    attr(6, :gateway, IP)
    attr(7, :encap_type, {:enum, :encap})

    attr(
      8,
      :encap,
      {:nested, {:dispatch, :encap_type, %{mpls: Encap.MPLS, ip: Encap.IP4, ip6: Encap.IP6}}}
    )

    # Asked with only.
    attr(9, :groups, :flag)
    attr(10, :master, :u32)
    attr(11, :fdb, :flag)
    attr(12, :resilient, {:nested, Resilient})
    attr(14, :op_flags, {:flags, :op})
    attr(15, :stats, {:nested, Stats.List})
    attr(16, :hw_stats_enable, :u32)
    attr(17, :hw_stats_used, :u32)
    rest(:extra)
  end

  @typedoc "The number of an object, which its maker chooses."
  @type id :: 1..0xFFFFFFFF

  @families %{inet: 2, inet6: 10}

  defguardp is_id(id) when is_integer(id) and id in 1..0xFFFFFFFF

  # -- reading -------------------------------------------------------------------------------

  @doc """
  Every nexthop of the namespace in order of their ids, or those that a filter keeps.

    * `:oif` - single hops over this link (name or index);
    * `:master` - single hops over links of this bridge or VRF;
    * `:family` - `:inet` or `:inet6`;
    * `groups: true` - groups alone; `fdb: true` - those for an FDB alone;
    * `:protocol` - those of a program;
    * `stats: true` - with the packets of each group's members, in `stats` (Linux 6.9).
  """
  @spec list(Socket.t(), keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ []) do
    with {:ok, protocol, filter} <- protocol(filter),
         {:ok, request} <- filter(socket, filter, %__MODULE__{}),
         {:ok, nexthops} <- Read.dump(socket, rtm_getnexthop(), request, __MODULE__) do
      {:ok, for(hop <- nexthops, protocol in [nil, hop.protocol], do: tidy(hop))}
    end
  end

  # The kernel has no filter by protocol.
  defp protocol(filter) when is_list(filter) do
    case Enum.split_with(filter, &match?({:protocol, _}, &1)) do
      {[], filter} ->
        {:ok, nil, filter}

      {[{:protocol, protocol} = option | _], filter} ->
        case Protocol.cast(protocol) do
          {:ok, protocol} -> {:ok, protocol, filter}
          :error -> {:error, {:bad_option, option}}
        end
    end
  end

  defp protocol(filter), do: {:error, {:bad_option, filter}}

  defp filter(_socket, [], request), do: {:ok, request}

  defp filter(socket, [{key, ref} | rest], request) when key in [:oif, :master] do
    with {:ok, index} <- Index.of(socket, ref),
         do: filter(socket, rest, Map.replace!(request, key, index))
  end

  defp filter(socket, [{:family, family} | rest], request) when is_map_key(@families, family),
    do: filter(socket, rest, %{request | family: @families[family]})

  defp filter(socket, [{key, true} | rest], request) when key in [:groups, :fdb],
    do: filter(socket, rest, Map.replace!(request, key, true))

  defp filter(socket, [{:stats, true} | rest], request),
    do: filter(socket, rest, %{request | op_flags: [:dump_stats, :dump_hw_stats]})

  defp filter(_socket, [other | _], _request), do: {:error, {:bad_option, other}}

  @doc """
  One nexthop, by its id. `stats: true` as for `list/2`. One that is not there is `errno:
  :enoent`.
  """
  @spec get(Socket.t(), id(), keyword()) :: {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, id, opts \\ [])

  def get(socket, id, opts) when is_id(id) and opts in [[], [stats: true], [stats: false]] do
    op_flags = if opts[:stats], do: [:dump_stats, :dump_hw_stats]
    request = %__MODULE__{id: id, op_flags: op_flags}
    explain = Call.words(&refusal(&1, id))

    with {:ok, nexthop} <- Read.get(socket, rtm_getnexthop(), request, __MODULE__, explain),
         do: {:ok, tidy(nexthop)}
  end

  def get(_socket, id, opts) when is_id(id), do: {:error, {:bad_option, opts}}
  def get(_socket, id, _opts), do: {:error, {:invalid_id, id}}

  @doc """
  The buckets of a resilient group, in order of their indices; `:nh_id` and `:oif` keep those that
  lead there.
  """
  @spec buckets(Socket.t(), id(), keyword()) ::
          {:ok, [Bucket.t()]} | {:error, Error.t() | term()}
  def buckets(socket, id, filter \\ [])

  def buckets(socket, id, filter) when is_id(id) do
    with {:ok, request} <- bucket_filter(socket, filter, %Bucket.Message{id: id}),
         do: Read.dump(socket, rtm_getnexthopbucket(), request, Bucket)
  end

  def buckets(_socket, id, _filter), do: {:error, {:invalid_id, id}}

  defp bucket_filter(_socket, [], request), do: {:ok, request}

  defp bucket_filter(socket, [{:nh_id, id} | rest], request) when is_id(id),
    do: bucket_filter(socket, rest, %{request | bucket: %Bucket.Entry{nh_id: id}})

  defp bucket_filter(socket, [{:oif, ref} | rest], request) do
    with {:ok, index} <- Index.of(socket, ref),
         do: bucket_filter(socket, rest, %{request | oif: index})
  end

  defp bucket_filter(_socket, [other | _], _request), do: {:error, {:bad_option, other}}
  defp bucket_filter(_socket, other, _request), do: {:error, {:bad_option, other}}

  # The statistics without their envelope, and weights as the kernel that wrote them means them.
  @doc false
  @spec tidy(t()) :: t()
  def tidy(nexthop) do
    group =
      if nexthop.group && :resp_grp_resvd_0 not in (nexthop.op_flags || []),
        do: Group.low(nexthop.group),
        else: nexthop.group

    %{nexthop | group: group, stats: nexthop.stats && nexthop.stats.entries, op_flags: nil}
  end

  # -- changing ------------------------------------------------------------------------------

  @doc """
  Makes a nexthop of this id; see "Options". An id that is taken is `errno: :eexist`.
  """
  @spec add(Socket.t(), id(), keyword()) :: :ok | {:error, term()}
  def add(socket, id, opts), do: run(socket, :add, [id, opts])

  @doc "Makes a nexthop as one that was read, in the same namespace or another."
  @spec add(Socket.t(), t()) :: :ok | {:error, term()}
  def add(socket, %__MODULE__{} = nexthop), do: run(socket, :add, [nexthop])

  @doc """
  Makes a nexthop, or exchanges that of this id; the routes that use it follow at once.

  A single hop cannot become a group nor a group a single hop (`errno: :einval`).
  """
  @spec replace(Socket.t(), id(), keyword()) :: :ok | {:error, term()}
  def replace(socket, id, opts), do: run(socket, :replace, [id, opts])

  @doc "The same with one that was read."
  @spec replace(Socket.t(), t()) :: :ok | {:error, term()}
  def replace(socket, %__MODULE__{} = nexthop), do: run(socket, :replace, [nexthop])

  @doc """
  Deletes a nexthop, by its id or as it was read, **and every route that uses it**. Groups lose it
  as a member; a group without members goes too. One that is not there is `errno: :enoent`.
  """
  @spec delete(Socket.t(), id() | t()) :: :ok | {:error, term()}
  def delete(socket, id), do: run(socket, :delete, [id])

  @doc "Adds many: `{id, opts}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [{id(), keyword()}]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, nexthops), do: Verb.many(socket, __MODULE__, :add, nexthops)

  @doc "Deletes many, each an id or as it was read. See `Linx.Netlink.Rtnl.batch/2`."
  @spec delete_many(Socket.t(), [id() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, ids), do: Verb.many(socket, __MODULE__, :delete, ids)

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  # -- the verbs as values -------------------------------------------------------------------

  @doc false
  @spec __names__(atom(), [term()]) :: [Link.ref()]
  def __names__(_verb, [_id, opts]), do: Options.names(opts)
  def __names__(_verb, _args), do: []

  @doc false
  @spec __op__(atom(), [term()], Index.index()) :: Call.op()
  def __op__(verb, [%__MODULE__{} = nexthop], _index) when verb in [:add, :replace],
    do: new(verb, bare(nexthop))

  def __op__(verb, [id, opts], index) when verb in [:add, :replace] and is_id(id) do
    with {:ok, nexthop} <- Options.set(opts, %__MODULE__{id: id}, index), do: new(verb, nexthop)
  end

  def __op__(:delete, [%__MODULE__{id: id}], index), do: __op__(:delete, [id], index)

  def __op__(:delete, [id], _index) when is_id(id),
    do: Call.op(rtm_delnexthop(), 0, %__MODULE__{id: id}, Call.words(&refusal(&1, id)))

  def __op__(verb, [id | _], _index) when verb in [:add, :replace, :delete],
    do: {:error, {:invalid_id, id}}

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp new(verb, nexthop) do
    flags = if verb == :add, do: Call.create(), else: Call.replace()
    Call.op(rtm_newnexthop(), flags, nexthop, Call.words(&refusal(&1, nexthop.id)))
  end

  # A nexthop as it was read has fields that are the kernel's to set.
  defp bare(nexthop) do
    %{
      nexthop
      | scope: :universe,
        flags: Enum.filter(nexthop.flags, &(&1 == :onlink)),
        oif: if(nexthop.blackhole, do: nil, else: nexthop.oif),
        resilient: nexthop.resilient && %{nexthop.resilient | unbalanced_time: nil},
        op_flags: nil,
        stats: nil,
        hw_stats_used: nil,
        extra: []
    }
  end

  # The kernel's own text counts where it gives one.
  defp refusal(:eexist, id), do: "nexthop #{id} exists already"
  defp refusal(:enoent, id), do: "no nexthop #{id}"
  defp refusal(:enodev, _id), do: "no such interface"
  defp refusal(_errno, _id), do: nil

  defimpl Inspect do
    def inspect(nexthop, _opts) do
      "#Linx.Netlink.Rtnl.Nexthop<" <> Enum.join(Enum.filter(parts(nexthop), & &1), " ") <> ">"
    end

    defp parts(%{group: [_ | _] = group} = nexthop) do
      members =
        Enum.map_join(group, "/", fn
          {id, 1} -> "#{id}"
          {id, weight} -> "#{id},#{weight}"
        end)

      [nexthop.id, "group=#{members}", type(nexthop.type), protocol(nexthop)]
    end

    defp parts(nexthop) do
      [
        nexthop.id,
        nexthop.blackhole && "blackhole",
        nexthop.encap_type && "encap=#{nexthop.encap_type}",
        nexthop.gateway && "via=#{nexthop.gateway}",
        nexthop.oif && "ifindex=#{nexthop.oif}",
        nexthop.fdb && "fdb",
        nexthop.flags != [] && Enum.join(nexthop.flags, ","),
        protocol(nexthop)
      ]
    end

    defp type(type) when type in [nil, :mpath], do: nil
    defp type(type), do: "#{type}"

    defp protocol(%{protocol: :unspec}), do: nil
    defp protocol(%{protocol: protocol}), do: "proto=#{protocol}"
  end
end
