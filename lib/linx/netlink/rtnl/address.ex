defmodule Linx.Netlink.Rtnl.Address do
  @moduledoc """
  The IP addresses of interfaces.

      :ok = Address.add(socket, "eth0", "192.0.2.10", 24)
      :ok = Address.add(socket, "eth0", "2001:db8::10", 64)
      {:ok, addresses} = Address.list(socket, "eth0")

  An address and its prefix length are two arguments, or one: text with a `/`, or a
  `Linx.IP.Subnet`. Options come after either. A tuple of the `*_many` verbs and a change of
  `Linx.Netlink.Rtnl.batch/2` are written alike.

      :ok = Address.add(socket, "eth0", "192.0.2.10/24")
      :ok = Address.add(socket, "eth0", ~IP"192.0.2.11/24", label: "eth0:1")

  Text without a length where it is the only argument is `{:error, {:invalid_subnet, text}}`: no
  length is guessed.

  The family follows from the address. A new IPv6 address is first checked for duplicates on the
  link, and until that is over (a second or so) nothing can be sent from it; `flags: [:nodad]`
  leaves the check out.

  ## Fields

  `family` (2 or 10), `prefixlen`, `scope` (0 global, 253 link, 254 host), `index` of the link,
  `address`, `local`, `flags` (the low eight bits of `IFA_F_*`; all 32 in `flags_ext`). On IPv4
  `local` is the interface's own address, and `address` is the same, or the far end of a
  point-to-point link. On IPv6 `local` is there for point-to-point only. Beyond those: `label`,
  `broadcast`, `lifetime` as `{preferred, valid}` in seconds or `:forever`, `priority`, `proto`,
  and `extra` for what a newer kernel adds.

  Source: rtnetlink(7), include/uapi/linux/if_addr.h, `struct ifaddrmsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eexist` for
  an address that is, `:eaddrnotavail` for the deletion of one that is not. What could not be put
  into a request (a text that is no address, an unknown option) is refused before anything is
  sent.
  """

  use Linx.Netlink.Codec

  import Linx.Netlink.Rtnl.Constants

  alias Linx.IP
  alias Linx.IP.Subnet
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.Address.{Ensure, Options}
  alias Linx.Netlink.Rtnl.{Call, Lifetime, Link, Verb}
  alias Linx.Netlink.Rtnl.Link.Index

  codec native: 7 do
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
    attr(8, :flags_ext, :u32)
    attr(9, :priority, :u32)
    attr(11, :proto, :u8)
    attr(6, :lifetime, Lifetime)
    rest(:extra)
  end

  @typedoc "An address with its prefix length: `\"192.0.2.10/24\"`, or a `Linx.IP.Subnet`."
  @type subnet :: binary() | Subnet.t()

  @typedoc """
  Options of `add/5` and `replace/5`: `:peer` (the far end's address), `:label`, `:broadcast`,
  `:scope` (a number), `:valid` and `:preferred` (seconds or `:forever`; preferred as long as
  valid unless given), `:flags` (`:nodad`, `:noprefixroute`, `:home`, `:mngtmpaddr`,
  `:optimistic`, `:autojoin`), `:priority` (the metric of the prefix route), `:proto`.
  """
  @type opts :: keyword()

  @families %{inet: 2, inet6: 10}

  # RT_SCOPE_HOST
  @host 254
  @eexist 17

  @doc """
  Every address of the namespace.
  """
  @spec list(Socket.t()) :: {:ok, [t()]} | {:error, Error.t()}
  def list(socket), do: list(socket, [])

  @doc """
  The addresses of one link (by name, alternative name or index), or those that a filter keeps:
  `:link` and `:family` (`:inet`, `:inet6`). The kernel does the filtering.
  """
  @spec list(Socket.t(), Link.ref() | keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter) when is_list(filter) do
    with {:ok, request} <- filter(socket, filter, %__MODULE__{}),
         {:ok, addresses} <- Call.dump(socket, rtm_getaddr(), request) do
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
  Gives a link an address as `list/2` gives it, for instance in another namespace with its `index`
  there.
  """
  @spec add(Socket.t(), t()) :: :ok | {:error, term()}
  def add(socket, %__MODULE__{} = address), do: Call.change(socket, change(:add, address))

  @doc """
  Gives a link an address, text or a `Linx.IP`. One that it has already is `errno: :eexist`.

  The scope is global unless `:scope` says otherwise, and that of the host for an address of
  127.0.0.0/8.

  Text that is no address is `{:error, {:invalid_ip, text}}`, as is 0.0.0.0, which no link can
  have; a prefix that the family has not `{:error, {:invalid_prefix, prefix}}`.
  """
  @spec add(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  @spec add(Socket.t(), Link.ref(), subnet(), opts()) :: :ok | {:error, term()}
  def add(socket, link_name, ip, prefix, opts \\ []),
    do: run(socket, :add, [link_name, ip, prefix, opts])

  @doc """
  As `add/5`, of an address with its prefix length. Text that is none is
  `{:error, {:invalid_subnet, text}}`.
  """
  @spec add(Socket.t(), Link.ref(), subnet()) :: :ok | {:error, term()}
  def add(socket, link, subnet), do: add(socket, link, subnet, [])

  @doc """
  Gives a link an address, or changes the lifetimes and metric of one that it has.

  Both are set to what the options say, and without options to forever and none. On IPv4 the flags
  of an address that is there stay as they are. On IPv6 the prefix length does: the kernel knows
  the address by link and address alone, and a `replace/5` with another length is `:ok` and
  changes nothing of it. `delete/5` and `add/5` change either.
  """
  @spec replace(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  @spec replace(Socket.t(), Link.ref(), subnet(), opts()) :: :ok | {:error, term()}
  def replace(socket, link_name, ip, prefix, opts \\ []),
    do: run(socket, :replace, [link_name, ip, prefix, opts])

  @doc """
  As `replace/5`, of an address with its prefix length: errors as `add/3`.
  """
  @spec replace(Socket.t(), Link.ref(), subnet()) :: :ok | {:error, term()}
  def replace(socket, link, subnet), do: replace(socket, link, subnet, [])

  @doc """
  Gives a link an address unless it has it as asked for. Arguments as `add/5`.

  An address that is there as something else is `errno: :eexist`, with the fields that differ in
  `at`: another prefix length, peer, or any option that is given; a lifetime that ends where none
  was asked for; a duplicate on the link (IFA_F_DADFAILED). Of the options `:nodad` and
  `:optimistic` are not compared, and a lifetime that is asked for is the longest that may be
  left.
  """
  @spec ensure(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  @spec ensure(Socket.t(), Link.ref(), subnet(), opts()) :: :ok | {:error, term()}
  def ensure(socket, link, ip, prefix, opts \\ [])

  def ensure(socket, link, subnet, opts, []) when is_list(opts) do
    with {:ok, %Subnet{address: ip, prefix: prefix}} <- Subnet.cast(subnet),
         do: ensure(socket, link, ip, prefix, opts)
  end

  def ensure(socket, link, ip, prefix, opts) do
    with {:ok, wanted} <- new(1, ip, prefix, opts),
         {:ok, index} <- Index.of(socket, link),
         do: ensured(socket, %{wanted | index: index}, link, true)
  end

  @doc """
  As `ensure/5`, of an address with its prefix length: errors as `add/3`.
  """
  @spec ensure(Socket.t(), Link.ref(), subnet()) :: :ok | {:error, term()}
  def ensure(socket, link, subnet), do: ensure(socket, link, subnet, [])

  defp ensured(socket, wanted, link, again?) do
    with {:ok, addresses} <- list(socket, wanted.index) do
      case Ensure.compare(wanted, addresses) do
        :there -> :ok
        {:differs, fields} -> {:error, other(wanted, fields)}
        :absent -> made(socket, wanted, link, again?)
      end
    end
  end

  # EEXIST: made by someone else since the list was read.
  defp made(socket, wanted, link, again?) do
    case Call.change(socket, op(:add, wanted, link)) do
      {:error, %Error{errno: :eexist, stage: nil}} when again? ->
        ensured(socket, wanted, link, false)

      result ->
        result
    end
  end

  defp other(wanted, fields) do
    text = "#{text(wanted)} is there with another #{Enum.join(fields, ", ")}"
    %{Error.from_errno(@eexist, text) | at: fields}
  end

  @doc """
  Takes an address from a link. One that it has not is `errno: :eaddrnotavail`.

  `peer:` is part of an IPv4 address's identity: one that was added with it is deleted with it. A
  `label:` is compared by the kernel where it is given.

  **A primary IPv4 address takes its secondaries along**, the other addresses of its subnet on the
  link, whoever made them, unless `net.ipv4.conf.*.promote_secondaries` is 1. Routes whose source
  address it was go too.

  Source: ip-sysctl.rst, "promote_secondaries".
  """
  @spec delete(Socket.t(), Link.ref(), binary() | IP.t(), non_neg_integer(), opts()) ::
          :ok | {:error, term()}
  @spec delete(Socket.t(), Link.ref(), subnet(), opts()) :: :ok | {:error, term()}
  def delete(socket, link_name, ip, prefix, opts \\ []),
    do: run(socket, :delete, [link_name, ip, prefix, opts])

  @doc """
  As `delete/5`, of an address with its prefix length: errors as `add/3`.
  """
  @spec delete(Socket.t(), Link.ref(), subnet()) :: :ok | {:error, term()}
  def delete(socket, link, subnet), do: delete(socket, link, subnet, [])

  @doc """
  Takes away an address as `list/2` gives it. See `delete/5`.
  """
  @spec delete(Socket.t(), t()) :: :ok | {:error, term()}
  def delete(socket, %__MODULE__{} = address),
    do: Call.change(socket, change(:delete, address))

  @doc """
  Adds many: `{link, ip, prefix}` or `{link, subnet}`, either with `opts` behind it, or a struct
  each. See `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec add_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, addresses), do: Verb.many(socket, __MODULE__, :add, addresses)

  @doc """
  Deletes many: `{link, ip, prefix}` or `{link, subnet}`, either with the options of `delete/5`
  behind it, or a struct each. See `Linx.Netlink.Rtnl.batch/2`.
  """
  @spec delete_many(Socket.t(), [tuple() | t()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, addresses), do: Verb.many(socket, __MODULE__, :delete, addresses)

  @doc """
  The address as a value, as `add/5` would send it, on the link of an index.
  """
  @spec new(pos_integer(), binary() | IP.t(), non_neg_integer(), opts()) ::
          {:ok, t()} | {:error, term()}
  @spec new(pos_integer(), subnet(), opts()) :: {:ok, t()} | {:error, term()}
  def new(index, ip, prefix, opts \\ [])

  def new(index, subnet, opts, []) when is_list(opts) do
    with {:ok, %Subnet{address: ip, prefix: prefix}} <- Subnet.cast(subnet),
         do: new(index, ip, prefix, opts)
  end

  def new(index, ip, prefix, opts) when index in 1..0x7FFFFFFF do
    with {:ok, address} <- build(index, ip, prefix), do: Options.set(opts, address)
  end

  def new(index, _ip, _prefix, _opts), do: {:error, {:invalid_name, index}}

  @doc """
  As `new/4`, of an address with its prefix length: errors as `add/3`.
  """
  @spec new(pos_integer(), subnet()) :: {:ok, t()} | {:error, term()}
  def new(index, subnet), do: new(index, subnet, [])

  defp run(socket, verb, [ref, subnet, opts, []]) when is_list(opts),
    do: run(socket, verb, [ref, subnet, opts])

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  @doc false
  def __names__(_verb, [%__MODULE__{} | _]), do: []
  def __names__(_verb, [name | _]), do: [name]
  def __names__(_verb, _args), do: []

  @doc false
  def __op__(verb, [%__MODULE__{} = address], _index) when verb in [:add, :replace, :delete],
    do: change(verb, address)

  def __op__(verb, [link, subnet], index), do: __op__(verb, [link, subnet, []], index)

  # Options in the place of a prefix length: the address has it.
  def __op__(verb, [link, subnet, opts], index) when is_list(opts) do
    with {:ok, %Subnet{address: ip, prefix: prefix}} <- Subnet.cast(subnet),
         do: __op__(verb, [link, ip, prefix, opts], index)
  end

  def __op__(verb, [link, ip, prefix], index), do: __op__(verb, [link, ip, prefix, []], index)

  def __op__(verb, [link, ip, prefix, opts], index) when verb in [:add, :replace, :delete] do
    with {:ok, index} <- index.(link),
         {:ok, address} <- build(index, ip, prefix),
         {:ok, address} <- options(verb, opts, address),
         do: op(verb, address, link)
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp options(:delete, opts, address), do: Options.identity(opts, address)
  defp options(_verb, opts, address), do: Options.set(opts, address)

  # The deletion of an address that is a struct already, or its making elsewhere. The kernel
  # compares a label where it is given, and IFA_ADDRESS with the prefix length.
  @doc false
  @spec change(:add | :replace | :delete, t()) :: Call.op()
  def change(:delete, address) do
    kept = Map.take(address, [:family, :prefixlen, :index, :address, :local])
    op(:delete, struct(__MODULE__, kept), address.index)
  end

  def change(verb, address), do: op(verb, address, address.index)

  defp op(verb, address, link) do
    {type, flags} = type(verb)
    Call.op(type, flags, address, Call.no_such("interface", link, &refusal(&1, address)))
  end

  # Words for an errno without text: before 6.3 the kernel had none here.
  defp refusal(:eexist, address), do: "#{text(address)} exists already"
  defp refusal(:eaddrnotavail, address), do: "no such address #{text(address)}"
  defp refusal(_errno, _address), do: nil

  defp text(%{local: own, address: far, prefixlen: length}) when own == nil or own == far,
    do: "#{far}/#{length}"

  defp text(%{local: own, address: far, prefixlen: length}), do: "#{own} peer #{far}/#{length}"

  defp type(:add), do: {rtm_newaddr(), Call.create()}
  defp type(:replace), do: {rtm_newaddr(), Call.replace()}
  defp type(:delete), do: {rtm_deladdr(), 0}

  # An address on the link `index`, as the kernel wants it: IPv4 finds it by IFA_LOCAL.
  @spec build(pos_integer(), term(), term()) :: {:ok, t()} | {:error, term()}
  defp build(index, ip, prefix) do
    with {:ok, ip} <- IP.cast(ip),
         :ok <- assignable(ip),
         {:ok, prefix} <- prefix(ip, prefix) do
      {:ok,
       %__MODULE__{
         family: @families[ip.family],
         prefixlen: prefix,
         scope: scope(ip),
         index: index,
         address: ip,
         local: ip
       }}
    end
  end

  # The kernel answers success for 0.0.0.0 and adds nothing (__inet_insert_ifa); `::` it refuses.
  defp assignable(%IP{bytes: <<0::32>>} = ip), do: {:error, {:invalid_ip, ip}}
  defp assignable(%IP{}), do: :ok

  # As ip-address(8) chooses it: a global address of 127.0.0.0/8 would be a candidate for a source
  # address.
  defp scope(%IP{bytes: <<127, _::24>>}), do: @host
  defp scope(%IP{}), do: 0

  @doc false
  def prefix(%IP{bytes: bytes}, prefix) when prefix in 0..bit_size(bytes)//1, do: {:ok, prefix}
  def prefix(_ip, prefix), do: {:error, {:invalid_prefix, prefix}}

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
