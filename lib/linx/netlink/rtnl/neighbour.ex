defmodule Linx.Netlink.Rtnl.Neighbour do
  @moduledoc """
  Neighbours: which hardware address an IP address has on a link, ARP's and NDP's table.

      :ok = Neighbour.add(socket, "eth0", "192.0.2.1", "02:00:5e:10:00:01")
      {:ok, neighbours} = Neighbour.list(socket, "eth0")

  An entry that is added is permanent unless it is asked for otherwise: the kernel neither checks
  nor forgets it.

  ## Fields

  `family`, `ifindex`, `dst` (a `Linx.IP`), `lladdr` (a `Linx.MAC`, or bytes where it is none),
  `state` (`NUD_*`: 1 incomplete, 2 reachable, 4 stale, 8 delay, 16 probe, 32 failed, 64 no arp,
  128 permanent), `flags` (NTF_*), `type` (RTN_*). Beyond those `protocol`, `master`, `vlan`, and
  `extra` for what a newer kernel adds.

  Source: rtnetlink(7), include/uapi/linux/neighbour.h, `struct ndmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eexist` for
  an entry that is, `:enoent` for the deletion of one that is not. What could not be put into a
  request (a text that is no address, an unknown option) is refused before anything is sent.
  """

  use Linx.Netlink.Codec

  import Bitwise
  import Linx.Netlink.Rtnl.Constants

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, HardwareAddress, Link, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Neighbour.Options

  codec native: 5 do
    header do
      field(:family, :u8)
      pad(3)
      field(:ifindex, :s32)
      field(:state, :u16)
      field(:flags, :u8)
      field(:type, :u8)
    end

    attr(1, :dst, IP)
    attr(2, :lladdr, HardwareAddress)
    attr(12, :protocol, :u8)
    attr(9, :master, :u32)
    attr(5, :vlan, :u16)
    # NTF_EXT_*: NTF_EXT_MANAGED is 1.
    attr(15, :flags_ext, :u32)
    # Only asked with: what comes back carries the index in its header.
    attr(8, :filter_ifindex, :u32)
    rest(:extra, skip: [3, 4])
  end

  @typedoc "See `add/5`."
  @type opts :: keyword()

  @ntf_proxy 0x08
  @families %{inet: 2, inet6: 10}

  @doc """
  Every neighbour of the namespace, IPv4 and IPv6.
  """
  @spec list(Socket.t()) :: {:ok, [t()]} | {:error, Error.t()}
  def list(socket), do: list(socket, [])

  @doc """
  The neighbours on one link (by name, alternative name or index), or those that a filter keeps:
  `:link`, `:family`, and `proxy: true` for the addresses that are answered for. The kernel does
  the filtering.
  """
  @spec list(Socket.t(), Link.ref() | keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter) when is_list(filter) do
    with {:ok, request} <- filter(socket, filter, %__MODULE__{}),
         {:ok, neighbours} <- Call.dump(socket, rtm_getneigh(), request) do
      # A kernel without strict checking dumps them all.
      {:ok, Enum.filter(neighbours, &keep?(&1, request))}
    end
  end

  def list(socket, ref), do: list(socket, link: ref)

  defp keep?(neighbour, request) do
    neighbour.family in [2, 10] and request.filter_ifindex in [nil, neighbour.ifindex]
  end

  defp filter(_socket, [], request), do: {:ok, request}

  defp filter(socket, [{:link, ref} | rest], request) do
    with {:ok, index} <- Index.of(socket, ref),
         do: filter(socket, rest, %{request | filter_ifindex: index})
  end

  defp filter(socket, [{:family, family} | rest], request) when is_map_key(@families, family),
    do: filter(socket, rest, %{request | family: @families[family]})

  defp filter(socket, [{:proxy, true} | rest], request),
    do: filter(socket, rest, %{request | flags: @ntf_proxy})

  defp filter(_socket, [other | _], _request), do: {:error, {:bad_option, other}}

  @doc """
  Adds an entry, permanent unless `:state` says otherwise. An entry for that address, learned or
  added, is `errno: :eexist`; `replace/5` overwrites it.

    * `:state` - `:permanent`, `:noarp`, `:reachable`, `:stale`, `:delay`, `:probe`,
      `:incomplete`, `:failed`, `:none`;
    * `:flags` - of `:router`, `:use` (look it up now), `:extern_learn` (by another program: never
      forgotten), `:managed` (looked up again and again, and never forgotten);
    * `:protocol` - who made it, as in `Linx.Netlink.Rtnl.Route`;
    * `proxy: true` - the kernel answers for the address on the link. The MAC is `nil` then, and
      there is no state.

  The MAC may be `nil` where the kernel is to find it out: with `flags: [:use]` or `[:managed]`,
  or in the states `:incomplete`, `:failed` and `:none`.
  """
  @spec add(Socket.t(), Link.ref(), binary() | IP.t(), binary() | MAC.t() | nil, opts()) ::
          :ok | {:error, term()}
  def add(socket, link_name, ip, mac, opts \\ []),
    do: run(socket, :add, [link_name, ip, mac, opts])

  @doc """
  Adds an entry as `list/2` gives it, for instance in another namespace with its `ifindex` there.
  """
  @spec add(Socket.t(), t()) :: :ok | {:error, term()}
  def add(socket, %__MODULE__{} = neighbour), do: run(socket, :add, [neighbour])

  @doc """
  Adds an entry, or makes one of what is there. Arguments as `add/5`.
  """
  @spec replace(Socket.t(), Link.ref(), binary() | IP.t(), binary() | MAC.t() | nil, opts()) ::
          :ok | {:error, term()}
  def replace(socket, link_name, ip, mac, opts \\ []),
    do: run(socket, :replace, [link_name, ip, mac, opts])

  @doc """
  Removes an entry. One that is not there is `errno: :enoent`. `proxy: true` removes an address
  that is answered for.
  """
  @spec delete(Socket.t(), Link.ref(), binary() | IP.t(), keyword()) :: :ok | {:error, term()}
  def delete(socket, link_name, ip, opts \\ []),
    do: run(socket, :delete, [link_name, ip, opts])

  @doc """
  Removes an entry as `list/2` gives it.
  """
  @spec delete(Socket.t(), t()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = neighbour), do: run(socket, :delete, [neighbour])

  @doc """
  Adds many: `{link, ip, mac}`, `{link, ip, mac, opts}` or a struct each. See
  `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, neighbours), do: Verb.many(socket, __MODULE__, :add, neighbours)

  @doc """
  Removes many: `{link, ip}`, `{link, ip, opts}` or a struct each. See
  `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec delete_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, neighbours), do: Verb.many(socket, __MODULE__, :delete, neighbours)

  @doc """
  The entry as a value, as `add/5` would send it, on the link of an index.
  """
  @spec new(pos_integer(), binary() | IP.t(), binary() | MAC.t() | nil, opts()) ::
          {:ok, t()} | {:error, term()}
  def new(index, ip, mac, opts \\ [])

  def new(index, ip, mac, opts) when index in 1..0x7FFFFFFF do
    with {:ok, neighbour} <- build(index, ip),
         do: Options.set(opts, mac, neighbour)
  end

  def new(index, _ip, _mac, _opts), do: {:error, {:invalid_name, index}}

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  @doc false
  def __names__(_verb, [%__MODULE__{} | _]), do: []
  def __names__(_verb, [name | _]), do: [name]
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [%__MODULE__{} = neighbour], _index) when verb in [:add, :replace] do
    # The others of its flags and attributes say how it came about.
    kept = [:family, :ifindex, :state, :type, :dst, :lladdr, :protocol, :vlan]
    again = struct(__MODULE__, Map.to_list(Map.take(neighbour, kept)))
    op(verb, Options.flags(again, neighbour), neighbour.ifindex)
  end

  def __op__(:delete, [%__MODULE__{} = neighbour], _index) do
    kept = Map.to_list(Map.take(neighbour, [:family, :ifindex, :dst]))
    flags = neighbour.flags &&& @ntf_proxy
    op(:delete, struct(__MODULE__, [{:flags, flags} | kept]), neighbour.ifindex)
  end

  def __op__(:delete, [link, ip], index), do: __op__(:delete, [link, ip, []], index)

  def __op__(:delete, [link, ip, opts], index) do
    with {:ok, index} <- index.(link),
         {:ok, neighbour} <- build(index, ip),
         {:ok, neighbour} <- Options.identity(opts, neighbour),
         do: op(:delete, neighbour, link)
  end

  def __op__(verb, [link, ip, mac], index) when verb in [:add, :replace],
    do: __op__(verb, [link, ip, mac, []], index)

  def __op__(verb, [link, ip, mac, opts], index) when verb in [:add, :replace] do
    with {:ok, index} <- index.(link),
         {:ok, neighbour} <- build(index, ip),
         {:ok, neighbour} <- Options.set(opts, mac, neighbour),
         do: op(verb, neighbour, link)
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp op(verb, neighbour, link) do
    {type, flags} = type(verb)
    explain = Call.no_such("interface", link, &refusal(&1, neighbour.dst, link))
    Call.op(type, flags, neighbour, explain)
  end

  defp type(:add), do: {rtm_newneigh(), Call.create()}
  defp type(:replace), do: {rtm_newneigh(), Call.replace()}
  defp type(:delete), do: {rtm_delneigh(), 0}

  # Words for an errno without text.
  defp refusal(:eexist, ip, link), do: "#{ip} is a neighbour on #{inspect(link)} already"
  defp refusal(:enoent, ip, link), do: "#{ip} is no neighbour on #{inspect(link)}"
  defp refusal(_errno, _ip, _link), do: nil

  defp build(index, ip) do
    with {:ok, ip} <- IP.cast(ip),
         do: {:ok, %__MODULE__{family: @families[ip.family], ifindex: index, dst: ip}}
  end
end
