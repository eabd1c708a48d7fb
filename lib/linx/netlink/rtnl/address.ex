defmodule Linx.Netlink.Rtnl.Address do
  @moduledoc """
  The IP addresses of interfaces.

      :ok = Address.add(socket, "eth0", "192.0.2.10", 24)
      :ok = Address.add(socket, "eth0", "2001:db8::10", 64)
      {:ok, addresses} = Address.list(socket, "eth0")

  The family follows from the address. A new IPv6 address is first checked for duplicates on the link, and until that
  is over (a second or so) nothing can be sent from it; `flags: [:nodad]` leaves the check out.

  ## Fields

  `family` (2 or 10), `prefixlen`, `scope` (0 global, 253 link, 254 host), `index` of the link, `address`, `local`,
  `flags` (the low eight bits of `IFA_F_*`; all 32 in `flags_ext`). On IPv4 `local` is the interface's own address, and
  `address` is the same, or the far end of a point-to-point link. On IPv6 `local` is there for point-to-point only.
  Beyond those: `label`, `broadcast`, `lifetime` as `{preferred, valid}` in seconds or `:forever`, `priority`, `proto`, and
  `extra` for what a newer kernel adds.

  Source: rtnetlink(7), include/uapi/linux/if_addr.h, `struct ifaddrmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm` without CAP_NET_ADMIN over
  the namespace, `:enodev` for a link that is not there, `:eexist` for an address that is, `:eaddrnotavail`
  for the deletion of one that is not. What could not be put into a request (a text that is no address, an unknown option) is refused
  before anything is sent.
  """

  use Linx.Netlink.Codec

  import Bitwise

  alias Linx.IP
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call, Lifetime, Link}
  alias Linx.Netlink.Rtnl.Link.Index

  codec do
    header do
      field(:family, :u8)
      field(:prefixlen, :u8)
      field(:flags, :u8)
      field(:scope, :u8)
      field(:index, :u32)
    end

    attr(1, :address, IP)
    attr(2, :local, IP)
    attr(3, :label, :string)
    attr(4, :broadcast, IP)
    attr(6, :lifetime, Lifetime)
    attr(8, :flags_ext, :u32)
    attr(9, :priority, :u32)
    attr(11, :proto, :u8)
    rest(:extra)
  end

  @typedoc """
  Options of `add/5` and `replace/5`: `:peer` (the far end's address), `:label`, `:broadcast`, `:scope` (a number),
  `:valid` and `:preferred` (seconds or `:forever`; preferred as long as valid unless given), `:flags` (`:nodad`, `:noprefixroute`, `:home`, `:mngtmpaddr`,
  `:optimistic`, `:autojoin`), `:priority` (the metric of the prefix route), `:proto`.
  """
  @type opts :: keyword()

  @rtm_newaddr 20
  @rtm_deladdr 21
  @rtm_getaddr 22

  @families %{inet: 2, inet6: 10}

  @flags %{
    nodad: 0x02,
    optimistic: 0x04,
    home: 0x10,
    mngtmpaddr: 0x100,
    noprefixroute: 0x200,
    autojoin: 0x400
  }

  @doc """
  Every address of the namespace.
  """
  @spec list(Socket.t()) :: {:ok, [t()]} | {:error, Error.t()}
  def list(socket), do: list(socket, [])

  @doc """
  The addresses of one link (by name, alternative name or index), or those that a filter keeps: `:link` and `:family`
  (`:inet`, `:inet6`). The kernel does the filtering.
  """
  @spec list(Socket.t(), Link.ref() | keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter) when is_list(filter) do
    with {:ok, request} <- filter(socket, filter, %__MODULE__{}),
         {:ok, addresses} <- Call.dump(socket, @rtm_getaddr, request) do
      # A kernel without strict checking dumps them all.
      {:ok, Enum.filter(addresses, &(request.index in [0, &1.index]))}
    end
  end

  def list(socket, ref), do: list(socket, link: ref)

  defp filter(_socket, [], request), do: {:ok, request}

  defp filter(socket, [{:link, ref} | rest], request) do
    with {:ok, index} <- Index.of(socket, ref),
         do: filter(socket, rest, %{request | index: index})
  end

  defp filter(socket, [{:family, family} | rest], request) when is_map_key(@families, family),
    do: filter(socket, rest, %{request | family: @families[family]})

  defp filter(_socket, [other | _], _request), do: {:error, {:bad_option, other}}

  @doc """
  Gives a link an address, text or a `Linx.IP`. One that it has already is `errno: :eexist`.

  Text that is no address is `{:error, {:invalid_ip, text}}`, a prefix that the family has not
  `{:error, {:invalid_prefix, prefix}}`.
  """
  @spec add(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  def add(socket, link_name, ip, prefix, opts \\ []),
    do: run(socket, :add, link_name, [ip, prefix, opts])

  @doc """
  Gives a link an address, or changes the lifetimes, flags and metric of one that it has.
  """
  @spec replace(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  def replace(socket, link_name, ip, prefix, opts \\ []),
    do: run(socket, :replace, link_name, [ip, prefix, opts])

  @doc """
  Takes an address from a link. One that it has not is `errno: :eaddrnotavail`.
  """
  @spec delete(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer()) ::
          :ok | {:error, term()}
  def delete(socket, link_name, ip, prefix), do: run(socket, :delete, link_name, [ip, prefix])

  @doc """
  Adds many: `{link, ip, prefix}` or `{link, ip, prefix, opts}` each. See `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, addresses), do: many(socket, :add, addresses)

  @doc "Deletes many: `{link, ip, prefix}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec delete_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, addresses), do: many(socket, :delete, addresses)

  defp many(socket, verb, addresses) do
    with {:ok, index} <- Index.all(socket, Enum.map(addresses, &elem(&1, 0))),
         do: Batch.run(socket, addresses, &__op__(verb, Tuple.to_list(&1), index))
  end

  defp run(socket, verb, ref, args),
    do: Call.change(socket, Index.named(socket, [ref], &__op__(verb, [ref | args], &1)))

  @doc false
  def __names__(_verb, [name | _]), do: [name]
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [link, ip, prefix], index), do: __op__(verb, [link, ip, prefix, []], index)

  def __op__(verb, [link, ip, prefix, opts], index) when verb in [:add, :replace, :delete] do
    with {:ok, index} <- index.(link),
         {:ok, address} <- build(index, ip, prefix),
         {:ok, address} <- options(opts, address),
         address = preferred(address, opts) do
      {type, flags} = type(verb)
      Call.op(type, flags, address, Call.no_such("interface", link, &refusal(&1, ip, prefix)))
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  # What an errno says where the kernel says no more: before 6.3 it had no words here.
  defp refusal(:eexist, ip, prefix), do: "#{ip}/#{prefix} exists already"
  defp refusal(:eaddrnotavail, ip, prefix), do: "no such address #{ip}/#{prefix}"
  defp refusal(_errno, _ip, _prefix), do: nil

  # An address that is a struct already.
  @doc false
  @spec change(:add | :delete, t()) :: Call.op()
  def change(:add, address), do: Call.op(@rtm_newaddr, Call.create(), address)

  def change(:delete, address) do
    kept = Map.take(address, [:family, :prefixlen, :index, :address, :local])
    Call.op(@rtm_deladdr, 0, struct(__MODULE__, kept))
  end

  defp type(:add), do: {@rtm_newaddr, Call.create()}
  defp type(:replace), do: {@rtm_newaddr, Call.replace()}
  defp type(:delete), do: {@rtm_deladdr, 0}

  # An address on the link `index`, as the kernel wants it: IPv4 finds it by IFA_LOCAL.
  @doc false
  def build(index, ip, prefix) do
    with {:ok, ip} <- IP.cast(ip),
         {:ok, prefix} <- prefix(ip, prefix) do
      {:ok,
       %__MODULE__{
         family: @families[ip.family],
         prefixlen: prefix,
         index: index,
         address: ip,
         local: ip
       }}
    end
  end

  @doc false
  def prefix(%IP{bytes: bytes}, prefix) when prefix in 0..bit_size(bytes)//1, do: {:ok, prefix}
  def prefix(_ip, prefix), do: {:error, {:invalid_prefix, prefix}}

  defp options(opts, address) when is_list(opts) do
    Enum.reduce_while(opts, {:ok, address}, fn option, {:ok, address} ->
      case option(option, address) do
        {:ok, address} -> {:cont, {:ok, address}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  defp options(opts, _address), do: {:error, {:bad_option, opts}}

  defp option({:peer, ip}, address) do
    with {:ok, ip} <- same_family(ip, address), do: {:ok, %{address | address: ip}}
  end

  defp option({:broadcast, ip}, address) do
    with {:ok, ip} <- same_family(ip, address), do: {:ok, %{address | broadcast: ip}}
  end

  defp option({:label, label}, address) when is_binary(label) and byte_size(label) in 1..15 do
    if String.contains?(label, "\0"), do: :error, else: {:ok, %{address | label: label}}
  end

  defp option({:scope, scope}, address) when scope in 0..255, do: {:ok, %{address | scope: scope}}
  defp option({:proto, proto}, address) when proto in 0..255, do: {:ok, %{address | proto: proto}}

  defp option({:priority, n}, address) when n in 0..0xFFFFFFFF,
    do: {:ok, %{address | priority: n}}

  defp option({:preferred, seconds}, address), do: lifetime(address, 0, seconds)
  defp option({:valid, seconds}, address), do: lifetime(address, 1, seconds)

  defp option({:flags, flags}, address) when is_list(flags) do
    if Enum.all?(flags, &is_map_key(@flags, &1)) do
      bits = Enum.reduce(flags, 0, &(@flags[&1] ||| &2))
      {:ok, %{address | flags_ext: bits, flags: bits &&& 0xFF}}
    else
      :error
    end
  end

  defp option(_option, _address), do: :error

  defp lifetime(address, place, seconds) do
    if Lifetime.seconds?(seconds),
      do:
        {:ok,
         %{address | lifetime: put_elem(address.lifetime || {:forever, :forever}, place, seconds)}},
      else: :error
  end

  # An address cannot be preferred for longer than it is valid.
  defp preferred(%{lifetime: {_, valid}} = address, opts) do
    if Keyword.has_key?(opts, :preferred),
      do: address,
      else: %{address | lifetime: {valid, valid}}
  end

  defp preferred(address, _opts), do: address

  defp same_family(ip, address) do
    with {:ok, ip} <- IP.cast(ip) do
      if ip.family == address.local.family,
        do: {:ok, ip},
        else: {:error, {:unlike_families, address.local, ip}}
    end
  end

  defimpl Inspect do
    def inspect(address, _opts) do
      "#Linx.Netlink.Rtnl.Address<#{text(address)}/#{address.prefixlen} ifindex=#{address.index}>"
    end

    defp text(%{local: local, address: peer}) when local != nil and peer != nil and local != peer,
      do: "#{local} peer #{peer}"

    defp text(%{address: nil, local: nil}), do: "?"
    defp text(%{address: address, local: local}), do: "#{address || local}"
  end
end
