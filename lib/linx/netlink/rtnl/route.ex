defmodule Linx.Netlink.Rtnl.Route do
  @moduledoc """
  Routes.

      :ok = Route.add_default(socket, "192.0.2.1")
      :ok = Route.add(socket, "198.51.100.0", 24, "192.0.2.254", table: 100, protocol: :static, metric: 50)
      {:ok, route} = Route.get(socket, "198.51.100.7")

  The family follows from destination and gateway, which must be of the same.

  `add/5` insists that the route is new (`errno: :eexist`); `replace/5` makes it or, if there is one to the same
  destination with the same table, metric and TOS, changes that one, which is the way to give a route another gateway
  without a moment in which there is none.

  ## Options

    * `:table` - 1..2^32-1; the main table, 254, unless given.
    * `:protocol` - who made the route: 0..255 or `:kernel`, `:boot` (the default), `:static`, `:ra`, `:dhcp`. The kernel
      only keeps it; reconcilers know their own routes by it.
    * `:metric` - smaller is preferred. IPv4 takes none as 0, IPv6 none and 0 as 1024.

  And beyond those:

    * `:oif` - the link to send on, by name or index. With it the gateway may be `nil`: the destination is on the link.
    * `:type` - `:unicast` (the default), `:local`, `:broadcast`, `:anycast`, `:multicast`, `:blackhole`, `:unreachable`,
      `:prohibit`, `:throw`; for the last four the gateway is `nil`.
    * `:scope` - `:universe`, `:site`, `:link`, `:host`; what fits, unless given.
    * `:prefsrc` - the source address for what is sent this way.
    * `:metrics` - a keyword of `Linx.Netlink.Rtnl.Route.Metrics`, such as `[mtu: 1400]`.
    * `:multipath` - several next hops, instead of a gateway: a list of keywords with `:gateway` or `:via`, `:oif`,
      `:weight` (1..256) and `onlink: true`.
    * `:via` - a gateway of the other family, instead of a gateway.
    * `:onlink` - `true`: take it that the gateway is on the link, whatever its address.
    * `:tos`, `:nh_id` (a nexthop object's id), `:expires` (IPv6, seconds), `:pref` (IPv6: `:low`, `:medium`, `:high`).

  An option that is unknown or makes no sense is `{:error, {:bad_option, option}}`, text that is no address
  `{:error, {:invalid_ip, text}}`, families that differ `{:error, {:unlike_families, destination, gateway}}`.

  ## Fields

  Those of `struct rtmsg`, then `dst`, `gateway`, `prefsrc` as `Linx.IP`, `oif`, `priority` (the metric), `metrics`,
  `multipath` (`Linx.Netlink.Rtnl.Route.Nexthop`), and others by their RTA_* names. A default route has no `dst` and a
  `dst_len` of 0. The header's `table` has eight bits, so `table_ext` holds the whole number; `target_table/1` gives
  whichever counts. `encap` is as the kernel sent it, and what a newer kernel adds is in `extra`.

  Source: ip-route(8), rtnetlink(7), include/uapi/linux/rtnetlink.h.
  """

  use Linx.Netlink.Codec

  alias Linx.IP
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Route.{Metrics, Nexthop, Options, Query, Via}

  codec do
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
    rest(:extra, skip: [12])
  end

  @typedoc "See \"Options\"."
  @type opts :: keyword()

  @rtm_newroute 24
  @rtm_delroute 25
  @rtm_getroute 26

  @families %{inet: 2, inet6: 10}
  @main 254
  # RT_SCOPE_LINK, RT_SCOPE_NOWHERE
  @link 253
  @nowhere 255

  # -- reading ---------------------------------------------------------------------------------------------------------

  @doc """
  Every route of the namespace in every table, or those that a filter keeps: `:family`, `:table`, `:protocol`, `:type`,
  `:oif` (name or index).

  The kernel does the filtering, so the ten routes of one table cost nothing among a hundred thousand.
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
    case Call.dump(socket, @rtm_getroute, request) do
      {:error, %Error{errno: :enoent, stage: nil}} -> {:ok, []}
      other -> other
    end
  end

  @doc """
  The route that the kernel would take to `destination`: `ip route get`.

  What comes back is the lookup's result with the destination as its `dst`; `fib_match: true` gives the entry of the
  table that was found instead. Further: `:from`, `:oif`, `:iif` (name or index), `:mark`. No route is `errno: :enetunreach`
  (or what the entry says: `:ehostunreach`, `:eacces`, `:einval` for a blackhole).
  """
  @spec get(Socket.t(), binary() | IP.t(), keyword()) ::
          {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, destination, opts \\ []) do
    with {:ok, ip} <- IP.cast(destination),
         {:ok, request} <- Query.lookup(socket, ip, opts),
         do: Call.get(socket, @rtm_getroute, request, Call.words(&unreachable(&1, ip)))
  end

  @doc """
  The table that a route is in, from the attribute if it is there and otherwise from the header.
  """
  @spec target_table(t()) :: non_neg_integer()
  def target_table(%__MODULE__{table_ext: nil, table: table}), do: table
  def target_table(%__MODULE__{table_ext: table}), do: table

  # -- changing --------------------------------------------------------------------------------------------------------

  @doc """
  Adds a route to `destination/prefix` by `gateway`. One that is there already is `errno: :eexist`; a gateway that no
  link reaches is `errno: :enetunreach` (IPv6: `:ehostunreach`).
  """
  @spec add(Socket.t(), binary() | IP.t(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  def add(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :add, [destination, prefix, gateway, opts])

  @doc """
  Adds the default route of the gateway's family.
  """
  @spec add_default(Socket.t(), binary() | IP.t(), opts()) :: :ok | {:error, term()}
  def add_default(socket, gateway, opts \\ []), do: run(socket, :add_default, [gateway, opts])

  @doc """
  Adds a route, or changes the one to the same destination with the same table, metric and TOS. Arguments as `add/5`.
  """
  @spec replace(Socket.t(), binary() | IP.t(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  def replace(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :replace, [destination, prefix, gateway, opts])

  @doc """
  Deletes a route. One that is not there is `errno: :esrch`.

  What is not given is not compared, the protocol too, except that the table is the main one. The first that fits goes.
  """
  @spec delete(Socket.t(), binary() | IP.t(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          :ok | {:error, term()}
  def delete(socket, destination, prefix, gateway, opts \\ []),
    do: run(socket, :delete, [destination, prefix, gateway, opts])

  @doc """
  Deletes the default route by `gateway`.
  """
  @spec delete_default(Socket.t(), binary() | IP.t(), opts()) :: :ok | {:error, term()}
  def delete_default(socket, gateway, opts \\ []),
    do: run(socket, :delete_default, [gateway, opts])

  @doc """
  Adds many routes with one send: `{destination, prefix, gateway}` or `{destination, prefix, gateway, opts}` each. One
  result each, in order; not a transaction. See `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add_many(Socket.t(), [tuple()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, routes), do: many(socket, :add, routes)

  @doc "Replaces many, as `add_many/2`."
  @spec replace_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def replace_many(socket, routes), do: many(socket, :replace, routes)

  @doc "Deletes many, as `add_many/2`."
  @spec delete_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, routes), do: many(socket, :delete, routes)

  defp many(socket, verb, routes) do
    names = Enum.flat_map(routes, &__names__(verb, Tuple.to_list(&1)))

    with {:ok, index} <- Index.all(socket, names),
         do: Batch.run(socket, routes, &__op__(verb, Tuple.to_list(&1), index))
  end

  defp run(socket, verb, args),
    do: Call.change(socket, Index.named(socket, __names__(verb, args), &__op__(verb, args, &1)))

  @doc """
  The route as a value, as `add/5` would send it: what `Linx.Netlink.Rtnl.Diff` compares. Links are by index here.
  """
  @spec new(binary() | IP.t(), non_neg_integer(), binary() | IP.t() | nil, opts()) ::
          {:ok, t()} | {:error, term()}
  def new(destination, prefix, gateway, opts \\ []),
    do: build(:add, destination, prefix, gateway, opts, &index/1)

  defp index(index) when is_integer(index) and index > 0, do: {:ok, index}
  defp index(name), do: {:error, {:invalid_name, name}}

  @doc false
  def __names__(_verb, args) do
    case List.last(args) do
      opts when is_list(opts) -> Options.names(opts)
      _ -> []
    end
  end

  @doc false
  def __op__(verb, [gateway | opts], index) when verb in [:add_default, :delete_default] do
    with {:ok, gateway} <- IP.cast(gateway) do
      verb = if verb == :add_default, do: :add, else: :delete
      __op__(verb, [unspecified(gateway), 0, gateway | opts], index)
    end
  end

  def __op__(verb, [destination, prefix, gateway], index),
    do: __op__(verb, [destination, prefix, gateway, []], index)

  def __op__(verb, [destination, prefix, gateway, opts], index)
      when verb in [:add, :replace, :delete] do
    with {:ok, route} <- build(verb, destination, prefix, gateway, opts, index),
         do: change(verb, route)
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  # A route that is a struct already.
  @doc false
  @spec change(:add | :replace | :append | :delete, t()) :: Call.op()
  def change(:add, route), do: op(@rtm_newroute, Call.create(), route)
  def change(:replace, route), do: op(@rtm_newroute, Call.replace(), route)
  def change(:append, route), do: op(@rtm_newroute, Call.append(), route)
  def change(:delete, route), do: op(@rtm_delroute, 0, route)

  defp op(type, flags, route),
    do: Call.op(type, flags, route, Call.words(&refusal(&1, route)))

  # What an errno says where the kernel says no more.
  defp refusal(:eexist, route), do: "a route to #{destination(route)} exists already"
  defp refusal(:esrch, route), do: "no such route to #{destination(route)}"
  defp refusal(_errno, _route), do: nil

  defp unreachable(:enetunreach, ip), do: "no route to #{ip}"
  defp unreachable(_errno, _ip), do: nil

  defp destination(%{dst_len: 0}), do: "default"
  defp destination(%{dst: dst, dst_len: length}), do: "#{dst}/#{length}"

  # An observed route as a deletion names it: without what the kernel has added, which it would not take back.
  @doc false
  @spec bare(t()) :: t()
  def bare(route) do
    kept =
      [:family, :dst_len, :tos, :table, :protocol, :scope, :type, :dst, :gateway, :oif] ++
        [:priority, :table_ext, :via, :nh_id]

    hops = route.multipath && Enum.map(route.multipath, &%{&1 | flags: 0})
    struct(__MODULE__, [{:multipath, hops} | Map.to_list(Map.take(route, kept))])
  end

  @doc false
  @spec unspecified(IP.t()) :: IP.t()
  def unspecified(%IP{bytes: bytes} = ip), do: %{ip | bytes: <<0::size(bit_size(bytes))>>}

  @protocols %{kernel: 2, boot: 3, static: 4, ra: 9, dhcp: 16}

  # A protocol's number.
  @doc false
  @spec protocol(0..255 | atom()) :: {:ok, 0..255} | {:error, term()}
  def protocol(n) when n in 0..255, do: {:ok, n}
  def protocol(name) when is_map_key(@protocols, name), do: {:ok, @protocols[name]}
  def protocol(other), do: {:error, {:bad_option, {:protocol, other}}}

  # -- building ----------------------------------------------------------------------------------------------------------

  defp build(verb, destination, prefix, gateway, opts, index) do
    with {:ok, dst} <- IP.cast(destination),
         {:ok, prefix} <- Linx.Netlink.Rtnl.Address.prefix(dst, prefix),
         {:ok, gateway} <- gateway(dst, gateway),
         {:ok, route} <- Options.set(opts, start(verb, dst, prefix, gateway), index),
         do: whole(verb, route, opts)
  end

  defp start(:delete, dst, prefix, gateway) do
    %__MODULE__{
      family: @families[dst.family],
      dst: dst,
      dst_len: prefix,
      gateway: gateway,
      table: @main,
      # RT_SCOPE_NOWHERE: any scope.
      scope: @nowhere
    }
  end

  defp start(_add, dst, prefix, gateway) do
    %__MODULE__{
      family: @families[dst.family],
      dst: dst,
      dst_len: prefix,
      gateway: gateway,
      table: @main,
      protocol: @protocols.boot,
      type: 1,
      # What is right unless an option says otherwise: each later change copies the struct.
      scope: if(gateway == nil and dst.family == :inet, do: @link, else: 0)
    }
  end

  defp gateway(_dst, nil), do: {:ok, nil}

  defp gateway(dst, gateway) do
    with {:ok, gateway} <- IP.cast(gateway), :ok <- same_family(dst, gateway), do: {:ok, gateway}
  end

  defp same_family(%IP{family: family}, %IP{family: family}), do: :ok
  defp same_family(a, b), do: {:error, {:unlike_families, a, b}}

  defp whole(:delete, route, _opts), do: {:ok, route}

  defp whole(_add, %{gateway: nil, oif: nil, via: nil, multipath: nil, nh_id: nil, type: type}, _)
       when type < 6,
       do: {:error, {:missing, :gateway}}

  defp whole(_add, route, opts) do
    scope = Options.scope(route)

    if route.scope == scope or Keyword.has_key?(opts, :scope),
      do: {:ok, route},
      else: {:ok, %{route | scope: scope}}
  end

  defimpl Inspect do
    def inspect(route, _opts) do
      parts = [
        destination(route),
        (route.gateway || route.via) && "via #{route.gateway || route.via}",
        route.multipath && "via #{length(route.multipath)} hops",
        route.oif && "oif=#{route.oif}"
      ]

      "#Linx.Netlink.Rtnl.Route<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
    end

    defp destination(%{dst_len: 0}), do: "default"
    defp destination(%{dst: nil, dst_len: length}), do: "?/#{length}"
    defp destination(%{dst: dst, dst_len: length}), do: "#{dst}/#{length}"
  end
end
