defmodule Linx.Netlink.Rtnl.Neighbour do
  @moduledoc """
  Neighbours: which hardware address an IP address has on a link, ARP's and NDP's table.

      :ok = Neighbour.add(socket, "eth0", "192.0.2.1", "02:00:5e:10:00:01")
      {:ok, neighbours} = Neighbour.list(socket, "eth0")

  What is added here is permanent: the kernel neither checks nor forgets it.

  ## Fields

  `family`, `ifindex`, `dst` (a `Linx.IP`), `lladdr` (a `Linx.MAC`, or bytes where it is none), `state` (`NUD_*`: 1
  incomplete, 2 reachable, 4 stale, 8 delay, 16 probe, 32 failed, 64 no arp, 128 permanent), `flags` (NTF_*), `type`
  (RTN_*). Beyond those `protocol`, `master`, `vlan`, and `extra` for what a newer kernel adds.

  Source: rtnetlink(7), include/uapi/linux/neighbour.h, `struct ndmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm` without CAP_NET_ADMIN over
  the namespace, `:enodev` for a link that is not there, `:eexist` for an entry that is, `:enoent` for the
  deletion of one that is not. What could not be put into a request (a text that is no address, an unknown option) is refused
  before anything is sent.
  """

  use Linx.Netlink.Codec

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call, HardwareAddress, Link}
  alias Linx.Netlink.Rtnl.Link.Index

  codec do
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
    # Only asked with: what comes back carries the index in its header.
    attr(8, :filter_ifindex, :u32)
    rest(:extra, skip: [3, 4])
  end

  @rtm_newneigh 28
  @rtm_delneigh 29
  @rtm_getneigh 30

  @nud_permanent 0x80
  @ntf_proxy 0x08
  @families %{inet: 2, inet6: 10}

  @doc """
  Every neighbour of the namespace, IPv4 and IPv6.
  """
  @spec list(Socket.t()) :: {:ok, [t()]} | {:error, Error.t()}
  def list(socket), do: list(socket, [])

  @doc """
  The neighbours on one link (by name, alternative name or index), or those that a filter keeps: `:link`, `:family`, and
  `proxy: true` for the addresses that are answered for. The kernel does the filtering.
  """
  @spec list(Socket.t(), Link.ref() | keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter) when is_list(filter) do
    with {:ok, request} <- filter(socket, filter, %__MODULE__{}),
         {:ok, neighbours} <- Call.dump(socket, @rtm_getneigh, request) do
      # A kernel without strict checking dumps them all.
      {:ok, Enum.filter(neighbours, &(request.filter_ifindex in [nil, &1.ifindex]))}
    end
  end

  def list(socket, ref), do: list(socket, link: ref)

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
  Adds a permanent entry. An entry for that address, learned or added, is `errno: :eexist`; `replace/4` overwrites it.
  """
  @spec add(Socket.t(), Link.ref(), binary() | IP.t(), binary() | MAC.t()) ::
          :ok | {:error, term()}
  def add(socket, link_name, ip, mac), do: run(socket, :add, link_name, [ip, mac])

  @doc """
  Adds a permanent entry, or makes one of what is there.
  """
  @spec replace(Socket.t(), Link.ref(), binary() | IP.t(), binary() | MAC.t()) ::
          :ok | {:error, term()}
  def replace(socket, link_name, ip, mac), do: run(socket, :replace, link_name, [ip, mac])

  @doc """
  Removes an entry. One that is not there is `errno: :enoent`.
  """
  @spec delete(Socket.t(), Link.ref(), binary() | IP.t()) :: :ok | {:error, term()}
  def delete(socket, link_name, ip), do: run(socket, :delete, link_name, [ip])

  @doc "Adds many: `{link, ip, mac}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [tuple()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, neighbours), do: many(socket, :add, neighbours)

  @doc "Removes many: `{link, ip}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec delete_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, neighbours), do: many(socket, :delete, neighbours)

  defp many(socket, verb, neighbours) do
    with {:ok, index} <- Index.all(socket, Enum.map(neighbours, &elem(&1, 0))),
         do: Batch.run(socket, neighbours, &__op__(verb, Tuple.to_list(&1), index))
  end

  defp run(socket, verb, ref, args),
    do: Call.change(socket, Index.named(socket, [ref], &__op__(verb, [ref | args], &1)))

  @doc false
  def __names__(_verb, [name | _]), do: [name]
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [link, ip, mac], index) when verb in [:add, :replace] do
    flags = if verb == :add, do: Call.create(), else: Call.replace()

    with {:ok, index} <- index.(link),
         {:ok, neighbour} <- build(index, ip),
         {:ok, mac} <- MAC.cast(mac) do
      neighbour = %{neighbour | lladdr: mac, state: @nud_permanent}
      op(@rtm_newneigh, flags, neighbour, link)
    end
  end

  def __op__(:delete, [link, ip], index) do
    with {:ok, index} <- index.(link),
         {:ok, neighbour} <- build(index, ip),
         do: op(@rtm_delneigh, 0, neighbour, link)
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp op(type, flags, neighbour, link) do
    explain = Call.no_such("interface", link, &refusal(&1, neighbour.dst, link))
    Call.op(type, flags, neighbour, explain)
  end

  # What an errno says where the kernel says no more.
  defp refusal(:eexist, ip, link), do: "#{ip} is a neighbour on #{inspect(link)} already"
  defp refusal(:enoent, ip, link), do: "#{ip} is no neighbour on #{inspect(link)}"
  defp refusal(_errno, _ip, _link), do: nil

  defp build(index, ip) do
    with {:ok, ip} <- IP.cast(ip),
         do: {:ok, %__MODULE__{family: @families[ip.family], ifindex: index, dst: ip}}
  end
end
