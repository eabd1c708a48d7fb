defmodule Linx.Netlink.Rtnl.Route do
  @moduledoc """
  Routes.

      :ok = Route.add_default(socket, "192.0.2.1")
      :ok =
        Route.add(socket, "198.51.100.0", 24, "192.0.2.254",
          table: 100,
          protocol: :static,
          metric: 50
        )
      {:ok, route} = Route.get(socket, "198.51.100.7")

  A destination and its prefix length are two arguments, or one: text with a `/`, or a
  `Linx.IP.Subnet`. Gateway and options come after either. A tuple of the `*_many` verbs and a
  change of `Linx.Netlink.Rtnl.batch/2` are written alike.

      :ok = Route.add(socket, "198.51.100.0/24", "192.0.2.254")
      :ok = Route.add(socket, ~IP"10.0.0.0/8", nil, type: :blackhole)

  Text without a length in that place is `{:error, {:invalid_subnet, text}}`.

  The family follows from destination and gateway, which must be of the same.

  `add/5` insists that the route is new (`errno: :eexist`); `replace/5` makes it or, if there is
  one to the same destination with the same table, metric and TOS, changes that one, which is the
  way to give a route another gateway without a moment in which there is none.

  ## Options

    * `:table` - 1..2^32-1; the main table, 254, unless given.
    * `:protocol` - the program that made the route: 0..255 or a name of `RTPROT_*`, such as
      `:boot` (the default), `:static` or `:bgp`. The kernel only keeps it; reconcilers know their
      own routes by it.
    * `:metric` - smaller is preferred. IPv4 takes none as 0, IPv6 none and 0 as 1024.

  And beyond those:

    * `:oif` - the link to send on, by name or index. With it the gateway may be `nil`: the
      destination is on the link.
    * `:type` - `:unicast` (the default), `:local`, `:broadcast`, `:anycast`, `:multicast`,
      `:blackhole`, `:unreachable`, `:prohibit`, `:throw`; for the last four the gateway is `nil`.
    * `:scope` - `:universe`, `:site`, `:link`, `:host`; what fits, unless given.
    * `:prefsrc` - the source address for what is sent this way.
    * `:metrics` - a keyword of `Linx.Netlink.Rtnl.Route.Metrics`, such as `[mtu: 1400]`.
    * `:multipath` - several next hops, instead of a gateway: a list of keywords with `:gateway`
      or `:via`, `:oif`, `:weight` (1..256) and `onlink: true`.
    * `:via` - a gateway of the other family, instead of a gateway.
    * `:onlink` - `true`: take it that the gateway is on the link, whatever its address.
    * `:tos`, `:nh_id` (a nexthop object's id), `:expires` (IPv6, seconds), `:pref` (IPv6: `:low`,
      `:medium`, `:high`).

  An option that is unknown or makes no sense is `{:error, {:bad_option, option}}`, text that is
  no address `{:error, {:invalid_ip, text}}`, families that differ
  `{:error, {:unlike_families, destination, gateway}}`.

  ## Fields

  Those of `struct rtmsg`, then `dst`, `gateway`, `prefsrc` as `Linx.IP`, `oif`, `priority` (the
  metric), `metrics`, `multipath` (`Linx.Netlink.Rtnl.Route.Nexthop`), and others by their RTA_*
  names. A default route has no `dst` and a `dst_len` of 0. The header's `table` has eight bits,
  so `table_ext` holds the whole number; `target_table/1` gives whichever counts. `expires` is the
  time left in seconds of a route that ends by itself, such as one from a router advertisement;
  `encap` is as the kernel sent it, and what a newer kernel adds is in `extra`.

  Source: ip-route(8), rtnetlink(7), include/uapi/linux/rtnetlink.h.
  """

  use Linx.Netlink.Codec

  import Linx.Netlink.Rtnl.Constants

  alias Linx.IP
  alias Linx.IP.Subnet
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Protocol, Verb}
  alias Linx.Netlink.Rtnl.Route.{CacheInfo, Change, Hops, Metrics, Nexthop, Query, Via}

  codec native: 7 do
    header do
      field(:family, :u8)
      field(:dst_len, :u8)
      field(:src_len, :u8)
      field(:tos, :u8)
      field(:table, :u8)
      field(:protocol, :u8)
      field(:scope, :u8)
      field(:type, :u8)
      field(:flags, :u32)
    end

    attr(1, :dst, IP)
    attr(5, :gateway, IP)
    attr(4, :oif, :u32)
    attr(6, :priority, :u32)
    attr(15, :table_ext, :u32)
    attr(7, :prefsrc, IP)
    attr(20, :pref, :u8)
    attr(2, :src, IP)
    attr(3, :iif, :u32)
    attr(8, :metrics, {:nested, Metrics})
    attr(9, :multipath, Nexthop.List)
    attr(11, :flow, :u32)
    attr(16, :mark, :u32)
    attr(18, :via, Via)
    attr(21, :encap_type, :u16)
    attr(22, :encap, :binary)
    attr(23, :expires, :u32)
    attr(25, :uid, :u32)
    attr(30, :nh_id, :u32)
    also(12, :expires, CacheInfo)
    rest(:extra)
  end

  @typedoc "See \"Options\"."
  @type opts :: keyword()

  @typedoc "Text or a `Linx.IP`, or with a prefix length of 0 `nil` for the default route."
  @type destination :: binary() | IP.t() | nil

  @typedoc "A destination with its prefix length: `\"10.0.0.0/8\"`, or a `Linx.IP.Subnet`."
  @type subnet :: binary() | Subnet.t()

  @typedoc "A gateway, or for a route by a device alone `nil` or its family."
  @type default_gateway :: binary() | IP.t() | IP.family() | nil

  # -- reading -----------------------------------------------------------------------------------

  @doc """
  Every route of the namespace in every table, or those that a filter keeps: `:family`, `:table`,
  `:protocol`, `:type`, `:oif` (name or index).

  The kernel does the filtering, so the ten routes of one table cost nothing among a hundred
  thousand.
  """
  @spec list(Socket.t(), keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ []) do
    with {:ok, request} <- Query.filter(socket, filter),
         {:ok, routes} <- dump(socket, request) do
      # A kernel without strict checking dumps them all.
      {:ok, if(filter == [], do: routes, else: Enum.filter(routes, &Query.keep?(&1, request)))}
    end
  end

  # ENOENT: a table that does not exist has no routes.
  defp dump(socket, request) do
    case Call.dump(socket, rtm_getroute(), request) do
      {:error, %Error{errno: :enoent, stage: nil}} -> {:ok, []}
      other -> other
    end
  end

  defp unreachable(:enetunreach, ip), do: "no route to #{ip}"
  defp unreachable(_errno, _ip), do: nil

  @doc """
  The route that the kernel would take to `destination`: `ip route get`.

  What comes back is the lookup's result with the destination as its `dst`; `fib_match: true`
  gives the entry of the table that was found instead. Further: `:from`, `:oif`, `:iif` (name or
  index), `:mark`. No route is `errno: :enetunreach` (or what the entry says: `:ehostunreach`,
  `:eacces`, `:einval` for a blackhole).
  """
  @spec get(Socket.t(), binary() | IP.t(), keyword()) ::
          {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, destination, opts \\ []) do
    with {:ok, ip} <- IP.cast(destination),
         {:ok, request} <- Query.lookup(socket, ip, opts),
         do: Call.get(socket, rtm_getroute(), request, Call.words(&unreachable(&1, ip)))
  end

  @doc """
  The table that a route is in, from the attribute if it is there and otherwise from the header.
  """
  @spec target_table(t()) :: non_neg_integer()
  def target_table(%__MODULE__{table_ext: nil, table: table}), do: table
  def target_table(%__MODULE__{table_ext: table}), do: table

  # -- changing ----------------------------------------------------------------------------------

  @doc """
  Adds a route to `destination/prefix` by `gateway`. One that is there already is
  `errno: :eexist`; a gateway that no link reaches is `errno: :enetunreach` (IPv6:
  `:ehostunreach`).

  An IPv6 route whose `:multipath` has hops without a gateway takes a request for each hop, since
  the kernel accepts none in a group: see `append/5`. It is no single change then, and not for
  `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add(Socket.t(), destination(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  @spec add(Socket.t(), subnet(), binary() | IP.t() | nil, opts()) :: :ok | {:error, term()}
  def add(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :add, [destination, prefix, gateway, opts])

  @doc """
  As `add/5`, to a destination with its prefix length. Text that is none is
  `{:error, {:invalid_subnet, text}}`.
  """
  @spec add(Socket.t(), subnet(), binary() | IP.t() | nil) :: :ok | {:error, term()}
  def add(socket, subnet, gateway), do: add(socket, subnet, gateway, [])

  @doc """
  Adds a route as `list/2` gives it, for instance in another namespace. Links are by index.
  """
  @spec add(Socket.t(), t()) :: :ok | {:error, term()}
  def add(socket, %__MODULE__{} = route), do: run(socket, :add, [route])

  @doc """
  Adds the default route of the gateway's family.

  By a device alone the gateway is `nil` for the family that the options name (IPv4 if none does),
  or `:inet` or `:inet6`:

      :ok = Route.add_default(socket, nil, oif: "tun0")
      :ok = Route.add_default(socket, :inet6, oif: "tun0")
  """
  @spec add_default(Socket.t(), default_gateway(), opts()) :: :ok | {:error, term()}
  def add_default(socket, gateway, opts \\ []), do: run(socket, :add_default, [gateway, opts])

  @doc """
  Adds a route, or changes the one to the same destination with the same table, metric and TOS.
  Arguments as `add/5`.
  """
  @spec replace(Socket.t(), destination(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  @spec replace(Socket.t(), subnet(), binary() | IP.t() | nil, opts()) :: :ok | {:error, term()}
  def replace(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :replace, [destination, prefix, gateway, opts])

  @doc """
  As `replace/5`, to a destination with its prefix length: errors as `add/3`.
  """
  @spec replace(Socket.t(), subnet(), binary() | IP.t() | nil) :: :ok | {:error, term()}
  def replace(socket, subnet, gateway), do: replace(socket, subnet, gateway, [])

  @doc """
  Adds a route beside those to the same destination with the same table, metric and TOS. Arguments
  as `add/5`.

  On IPv4 it comes behind them, and counts when they are gone. On IPv6 a hop by a gateway joins
  the group that the others form; one by a device alone stays a route of its own behind them. The
  very same hop again is `errno: :eexist`.

  Source: ip-route(8), "append".
  """
  @spec append(Socket.t(), destination(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  @spec append(Socket.t(), subnet(), binary() | IP.t() | nil, opts()) :: :ok | {:error, term()}
  def append(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :append, [destination, prefix, gateway, opts])

  @doc """
  As `append/5`, to a destination with its prefix length: errors as `add/3`.
  """
  @spec append(Socket.t(), subnet(), binary() | IP.t() | nil) :: :ok | {:error, term()}
  def append(socket, subnet, gateway), do: append(socket, subnet, gateway, [])

  @doc """
  Deletes a route. One that is not there is `errno: :esrch`.

  What is not given is not compared, the protocol too, except that the table is the main one and
  the TOS 0. The first that fits goes; on IPv6 without a gateway its whole group of hops.

  The kernel takes some values for "not given": on IPv4 `metric: 0`, on both `protocol: 0`,
  `scope: :nowhere`, and on IPv6 the type, scope, preferred source and metrics whatever they are.
  `delete/2` takes a route as listed, and that one only.
  """
  @spec delete(Socket.t(), destination(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  @spec delete(Socket.t(), subnet(), binary() | IP.t() | nil, opts()) :: :ok | {:error, term()}
  def delete(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :delete, [destination, prefix, gateway, opts])

  @doc """
  As `delete/5`, of a destination with its prefix length: errors as `add/3`.
  """
  @spec delete(Socket.t(), subnet(), binary() | IP.t() | nil) :: :ok | {:error, term()}
  def delete(socket, subnet, gateway), do: delete(socket, subnet, gateway, [])

  @doc """
  Deletes a route as `list/2` gives it, of whatever type and with whatever hops.

  Of two IPv4 routes that differ in nothing but a preferred source, realm or encapsulation that
  one of them has, the kernel cannot be asked for the one without: it takes the first.
  """
  @spec delete(Socket.t(), t()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = route), do: run(socket, :delete, [route])

  @doc """
  Deletes the default route by `gateway`, which is as for `add_default/3`.
  """
  @spec delete_default(Socket.t(), default_gateway(), opts()) :: :ok | {:error, term()}
  def delete_default(socket, gateway, opts \\ []),
    do: run(socket, :delete_default, [gateway, opts])

  @doc """
  Adds many routes with one send: `{destination, prefix, gateway}` or `{subnet, gateway}`, either
  with `opts` behind it, or a struct each. One result each, in order; not a transaction. See
  `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, routes), do: Verb.many(socket, __MODULE__, :add, routes)

  @doc "Replaces many, as `add_many/2`."
  @spec replace_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def replace_many(socket, routes), do: Verb.many(socket, __MODULE__, :replace, routes)

  @doc "Deletes many, as `add_many/2`."
  @spec delete_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, routes), do: Verb.many(socket, __MODULE__, :delete, routes)

  # Options in the place of a gateway: the destination has its prefix length.
  defp run(socket, verb, [subnet, gateway, opts, []]) when is_list(opts),
    do: run(socket, verb, [subnet, gateway, opts])

  defp run(socket, verb, args) do
    op = Verb.op(socket, __MODULE__, verb, args)

    case verb do
      verb when verb in [:add, :append] -> Hops.change(socket, verb, op)
      :add_default -> Hops.change(socket, :add, op)
      _ -> Call.change(socket, op)
    end
  end

  @doc """
  The route as a value, as `add/5` would send it: what `Linx.Netlink.Rtnl.Diff` compares. Links
  are by index here.
  """
  @spec new(binary() | IP.t() | nil, non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          {:ok, t()} | {:error, term()}
  @spec new(subnet(), binary() | IP.t() | nil, opts()) :: {:ok, t()} | {:error, term()}
  def new(destination, prefix, gateway, opts \\ [])

  def new(subnet, gateway, opts, []) when is_list(opts) do
    with {:ok, %Subnet{address: destination, prefix: prefix}} <- Subnet.cast(subnet),
         do: new(destination, prefix, gateway, opts)
  end

  def new(destination, prefix, gateway, opts),
    do: Change.build(:add, destination, prefix, gateway, opts, &index/1)

  @doc """
  As `new/4`, to a destination with its prefix length: errors as `add/3`.
  """
  @spec new(subnet(), binary() | IP.t() | nil) :: {:ok, t()} | {:error, term()}
  def new(subnet, gateway), do: new(subnet, gateway, [])

  defp index(index) when is_integer(index) and index > 0, do: {:ok, index}
  defp index(name), do: {:error, {:invalid_name, name}}

  # -- the verbs as values -----------------------------------------------------------------------

  @doc false
  defdelegate __names__(verb, args), to: Change, as: :names

  @doc false
  defdelegate __op__(verb, args, index), to: Change, as: :op

  # A route that is a struct already.
  @doc false
  @spec change(:add | :replace | :append | :delete, t()) :: Call.op()
  defdelegate change(verb, route), to: Change

  # An observed route as a deletion names it.
  @doc false
  @spec bare(t()) :: t()
  defdelegate bare(route), to: Change

  @protocols Protocol.__codec__().kinds.protocol.numbers

  # A protocol's number.
  @doc false
  @spec protocol(0..255 | atom()) :: {:ok, 0..255} | {:error, term()}
  def protocol(n) when n in 0..255, do: {:ok, n}
  def protocol(name) when is_map_key(@protocols, name), do: {:ok, @protocols[name]}
  def protocol(other), do: {:error, {:bad_option, {:protocol, other}}}
end
