defmodule Linx.Netlink.Rtnl.Link do
  @moduledoc """
  Network links, which most call interfaces.

      {:ok, socket} = Linx.Netlink.Rtnl.open()
      :ok = Link.create_veth(socket, "ct0", "eth0")
      :ok = Link.move_to_netns(socket, "eth0", container_pid)
      :ok = Link.set_up(socket, "ct0")

  Verbs name a link by its name, by an alternative name, or by its index. The kernel is asked for
  that one link, so a lookup costs the same among ten links and ten thousand.

  ## Making links

  Each documented kind has a constructor, `create_veth/3` and its like. `create/4` makes a link of
  any kind that the kernel has, with options; what it does not know as an option of links in
  general belongs to the kind:

      :ok =
        Link.create(socket, "vx42", :vxlan,
          id: 42,
          remote: "192.0.2.9",
          port: 4789,
          mtu: 1450,
          up: true
        )
      :ok = Link.create(socket, "blue", :vrf, table: 100)

  ## Fields

  `index`, `name`, `type` (`ARPHRD_*`, 1 for Ethernet), `flags` (`IFF_*`), `mtu`, `address` (a
  `Linx.MAC`, or bytes where the hardware address is no MAC), `link` (the index of the parent or
  of the far end; where `link_netnsid` is set it is an index in that namespace, and another link's
  here), `master` (of the bridge, bond or VRF it belongs to) and `linkinfo` (kind and what belongs
  to the kind: `Linx.Netlink.Rtnl.LinkInfo`). Beyond those: `broadcast`, `qdisc`, `txqlen`,
  `operstate` (RFC 2863, 6 is up), `alias`, `group`, `carrier`, `link_netnsid`, `altnames`,
  `min_mtu` and `max_mtu`, between which an MTU may be set (a `max_mtu` of 0 is no limit), and
  `perm_address`, the hardware address that the device has from its maker, whatever `address` was
  set to (nil for a link that has none: most virtual ones).
  Attributes that a newer kernel sends, or that are not as expected, are in `extra` as
  `{type, bytes}`.

  Source: rtnetlink(7), include/uapi/linux/if_link.h, `struct ifinfomsg`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eexist` for
  a name that is taken, `:eopnotsupp` for a kind that the kernel does not have. An argument that
  could not be put into a request (a text that is no address, an unknown option) is refused before
  anything is sent.
  """

  use Linx.Netlink.Codec

  import Bitwise
  import Linx.Netlink.Rtnl.Constants

  alias Linx.MAC
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{AltNames, Call, HardwareAddress, LinkInfo}
  alias Linx.Netlink.Rtnl.Link.{Alias, Change, Elsewhere, Ensure, Group}
  alias Linx.Netlink.Rtnl.Link.{Index, Options, Refusal}

  codec native: 18 do
    header do
      field(:family, :u8)
      pad(1)
      field(:type, :u16)
      field(:index, :s32)
      field(:flags, :u32)
      field(:change, :u32)
    end

    attr(1, :address, HardwareAddress)
    attr(3, :name, :string)
    attr(4, :mtu, :u32)
    attr(5, :link, :u32)
    attr(10, :master, :u32)
    attr(18, :linkinfo, LinkInfo)
    attr(19, :net_ns_pid, :u32)
    attr(2, :broadcast, HardwareAddress)
    attr(6, :qdisc, :string)
    attr(13, :txqlen, :u32)
    attr(16, :operstate, :u8)
    attr(20, :alias, Alias)
    attr(27, :group, :u32)
    attr(33, :carrier, :u8)
    attr(37, :link_netnsid, :s32)
    attr(52, :altnames, {:nested, AltNames})
    attr(50, :min_mtu, :u32)
    attr(51, :max_mtu, :u32)
    attr(28, :net_ns_fd, :u32)
    attr(29, :ext_mask, :u32)
    attr(53, :altname, :string)
    attr(54, :perm_address, HardwareAddress)

    # Statistics, per-family configuration and offload limits: most of a link's bytes, and known
    # not to be wanted.
    rest(:extra, skip: [7..9, 11..12, 14..15, 17, 21..26, 30..32, 34..36, 38..49, 55..69])
  end

  @typedoc "How a verb names a link: name, alternative name, or index."
  @type ref :: binary() | pos_integer()

  @iff_up 1
  @skip_stats 8

  # -- reading -----------------------------------------------------------------------------------

  @doc """
  Every link of the namespace, or those that a filter keeps.

    * `:master` - those that belong to this bridge, bond or VRF (name or index);
    * `:kind` - those of a kind, such as `:veth` or `"wireguard"`.

  The kernel does the filtering.
  """
  @spec list(Socket.t(), keyword()) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, filter \\ []) do
    with {:ok, request} <- filter(socket, filter, %__MODULE__{ext_mask: @skip_stats}),
         {:ok, links} <- Call.dump(socket, rtm_getlink(), request) do
      # A kernel without strict checking dumps them all.
      {:ok, Enum.filter(links, &keep?(&1, request))}
    end
  end

  defp filter(_socket, [], request), do: {:ok, request}

  defp filter(socket, [{:master, ref} | rest], request) do
    with {:ok, index} <- Index.of(socket, ref),
         do: filter(socket, rest, %{request | master: index})
  end

  defp filter(socket, [{:kind, kind} | rest], request) do
    with {:ok, kind} <- Options.kind(kind),
         do: filter(socket, rest, %{request | linkinfo: %LinkInfo{kind: kind}})
  end

  defp filter(_socket, [other | _], _request), do: {:error, {:bad_option, other}}

  defp keep?(link, request) do
    (request.master == nil or link.master == request.master) and
      (request.linkinfo == nil or
         (link.linkinfo != nil and link.linkinfo.kind == request.linkinfo.kind))
  end

  @doc """
  One link, by name, alternative name or index. An absent one is `errno: :enodev`.
  """
  @spec get(Socket.t(), ref()) :: {:ok, t()} | {:error, Error.t() | term()}
  def get(socket, ref) do
    with {:ok, request} <- Options.identify(ref) do
      request = %{request | ext_mask: @skip_stats}
      Call.get(socket, rtm_getlink(), request, Call.no_such("interface", ref))
    end
  end

  @doc """
  Whether the link is administratively up (IFF_UP). Whether it can carry packets is another
  matter: `operstate`.
  """
  @spec up?(t()) :: boolean()
  def up?(%__MODULE__{flags: flags}), do: (flags &&& @iff_up) != 0

  # -- making and removing -----------------------------------------------------------------------

  @doc """
  Makes a link of `kind`, with options.

  For any link: `:link` (the parent, by name or index; refused for a kind that has none),
  `:master`, `:mtu`, `:address`, `:txqlen`, `:group`, `:alias`, `:index`, `:netns` (where
  `move_to_netns/4` could move it), `:up`, and the switches of `set/3`. All others are fields of
  the kind's module (`Linx.Netlink.Rtnl.LinkInfo` lists them); a kind without one has no options
  of its own.

  A kind that the kernel has not is `errno: :eopnotsupp`, and so is an option that its links of
  the kind do not have, as for `set/3`: such a link is deleted again. An option that is off (0 or
  `false`) is as none. `Linx.Netlink.Rtnl.batch/2` cannot look, and there the kernel passes over
  the option.

  With `:netns` the link is made in that namespace, with its name there, while `:link` and the far
  end of a veth pair are of the socket's: no transient name, and nothing to rename.

      :ok = Link.create(socket, "eth0", :veth, peer: "ct0", netns: session, up: true)

  The kernel takes no alias for a link that it makes: it is set in a request of its own, and
  refused beside `:netns` and in `Linx.Netlink.Rtnl.batch/2`. There `:netns` is a pid or
  `{:pid, pid}`.
  """
  @spec create(Socket.t(), binary(), atom() | binary(), keyword()) :: :ok | {:error, term()}
  def create(socket, name, kind, opts \\ []) do
    {netns, opts} = Options.elsewhere(opts)
    Elsewhere.create(socket, named(socket, :create, [name, kind, opts]), netns)
  end

  @doc """
  Makes a link unless it is there as asked for. Arguments as `create/4`, without `:netns`.

  One that is there as something else is `errno: :eexist`, with the fields that differ in `at`:
  the kind, or any option that is given. An option that is not given is not compared. A veth
  pair's far end in another namespace cannot be compared, and differs.
  """
  @spec ensure(Socket.t(), binary(), atom() | binary(), keyword()) :: :ok | {:error, term()}
  def ensure(socket, name, kind, opts \\ []) do
    case Options.netns(opts) do
      nil -> Ensure.run(socket, named(socket, :create, [name, kind, opts]))
      netns -> {:error, {:bad_option, {:netns, netns}}}
    end
  end

  @doc """
  A macvlan `name` on `parent`, in mode `:bridge` or `:private` (also `:vepa`, `:passthru`,
  `:source`).
  """
  @spec create_macvlan(Socket.t(), binary(), ref(), atom()) :: :ok | {:error, term()}
  def create_macvlan(socket, name, parent, mode \\ :bridge),
    do: on_parent(socket, name, :macvlan, parent, mode: mode)

  @doc """
  An ipvlan `name` on `parent`, in mode `:l3` or `:l2` (also `:l3s`).
  """
  @spec create_ipvlan(Socket.t(), binary(), ref(), atom()) :: :ok | {:error, term()}
  def create_ipvlan(socket, name, parent, mode \\ :l3),
    do: on_parent(socket, name, :ipvlan, parent, mode: mode)

  @doc """
  A VLAN `name` on `parent` for the 802.1Q tag `vlan_id`.
  """
  @spec create_vlan(Socket.t(), binary(), ref(), 1..4094) :: :ok | {:error, term()}
  def create_vlan(socket, name, parent, vlan_id),
    do: on_parent(socket, name, :vlan, parent, id: vlan_id)

  defp on_parent(socket, name, kind, parent, opts) do
    build = &__op__(:create, [name, kind, [{:link, parent} | opts]], &1)
    Call.change(socket, Index.named(socket, [parent], build, "parent interface"))
  end

  @doc """
  A veth pair: two links, each the far end of the other.
  """
  @spec create_veth(Socket.t(), binary(), binary()) :: :ok | {:error, term()}
  def create_veth(socket, name, peer_name), do: create(socket, name, :veth, peer: peer_name)

  @doc """
  A bridge without ports.
  """
  @spec create_bridge(Socket.t(), binary()) :: :ok | {:error, term()}
  def create_bridge(socket, name), do: create(socket, name, :bridge)

  @doc """
  A dummy: a link that drops what is sent to it, good for holding addresses.
  """
  @spec create_dummy(Socket.t(), binary()) :: :ok | {:error, term()}
  def create_dummy(socket, name), do: create(socket, name, :dummy)

  @doc """
  Removes a link. One end of a veth pair takes the other with it. Hardware cannot be removed
  (`errno: :eopnotsupp`).

  The kernel waits for every user of the link to let go, about 20 ms; for many links see
  `delete_many/2`.
  """
  @spec delete(Socket.t(), ref()) :: :ok | {:error, term()}
  def delete(socket, ref), do: Call.change(socket, __op__(:delete, [ref], nil))

  @doc """
  Removes many links with one wait: they are put into a group that nobody uses, and the group is
  removed. For 500 veth pairs that is 0.2 s instead of 10.

  One result for each, in order. If some of them cannot be removed this way, each is removed by
  itself and in its own group again when that fails. A caller that dies half-way leaves the links
  in the new group.
  """
  @spec delete_many(Socket.t(), [ref()]) :: {:ok, [:ok | {:error, term()}]} | {:error, term()}
  def delete_many(socket, refs), do: Group.delete(socket, refs)

  # -- changing ----------------------------------------------------------------------------------

  @doc """
  Changes several things of a link in one request: `:up` (boolean), `:mtu`, `:address`, `:master`
  (name, index, or `nil` for none), `:group`, `:txqlen`, `:alias` (of up to 255 bytes, "" for
  none), the switches `:arp`, `:promisc`, `:multicast` and `:allmulticast` (booleans), and the
  options of its kind, as for `create/4`:

      :ok = Link.set(socket, "br0", vlan_filtering: 1, up: true)

  The kind is looked up for those. An option that the kind does not have, or that cannot change,
  is `{:error, {:bad_option, {kind, option}}}` (`{:bad_option, option}` where no kind has it); one
  that this kernel does not have, where links of the kind show that, or that its driver cannot
  change, is `errno: :eopnotsupp`. Nothing is changed then.
  """
  @spec set(Socket.t(), ref(), keyword()) :: :ok | {:error, term()}
  def set(socket, ref, opts) do
    change(socket, :set, [ref, opts])
  end

  @doc "Brings a link up (sets IFF_UP)."
  @spec set_up(Socket.t(), ref()) :: :ok | {:error, term()}
  def set_up(socket, ref), do: set(socket, ref, up: true)

  @doc "Takes a link down (clears IFF_UP). Its routes go, and on IPv6 its addresses."
  @spec set_down(Socket.t(), ref()) :: :ok | {:error, term()}
  def set_down(socket, ref), do: set(socket, ref, up: false)

  @doc "Sets the MTU, in bytes. The kernel knows each kind's limits (`errno: :einval`)."
  @spec set_mtu(Socket.t(), ref(), pos_integer()) :: :ok | {:error, term()}
  def set_mtu(socket, ref, mtu), do: set(socket, ref, mtu: mtu)

  @doc "Sets the hardware address, text or a `Linx.MAC`."
  @spec set_address(Socket.t(), ref(), binary() | MAC.t()) :: :ok | {:error, term()}
  def set_address(socket, ref, mac), do: set(socket, ref, address: mac)

  @doc "Makes a link a port of a bridge, a slave of a bond, or part of a VRF; `nil` takes it out."
  @spec set_master(Socket.t(), ref(), ref() | nil) :: :ok | {:error, term()}
  def set_master(socket, ref, nil), do: set(socket, ref, master: nil)

  def set_master(socket, ref, master) do
    build = &__op__(:set, [ref, [master: master]], &1)
    Call.change(socket, Index.named(socket, [master], build, "master interface"))
  end

  @doc """
  Renames a link. Kernels before 6.1 refuse that while it is up (`errno: :ebusy`).
  """
  @spec set_name(Socket.t(), ref(), binary()) :: :ok | {:error, term()}
  def set_name(socket, ref, new_name) do
    with {:ok, new_name} <- Options.new_name(new_name),
         # Looked up first: a name in the request is the new one, not the one to look for.
         {:ok, index} <- Index.of(socket, ref) do
      explain = Call.no_such("interface", ref, &Refusal.taken(&1, new_name))
      request = %__MODULE__{index: index, name: new_name}
      Call.change(socket, Call.op(rtm_setlink(), 0, request, explain))
    end
  end

  @doc """
  Moves a link into another network namespace: a pid's, `{:path, file}`, or that of a
  `Linx.Process` session.

  It is down there and has lost its addresses. It keeps its name, or with `name:` has another one
  there, which takes no second request and works also where its own name is taken. A name that is
  taken there is `errno: :eexist`, and the link stays; should it be taken in the very moment of
  the move, the link is there under its old name. Some links cannot move (`errno: :einval`).

      :ok = Link.move_to_netns(socket, "eth9", session, name: "eth0")
  """
  @spec move_to_netns(Socket.t(), ref(), pos_integer() | Socket.netns(), name: binary()) ::
          :ok | {:error, term()}
  def move_to_netns(socket, ref, netns, opts \\ []),
    do: Elsewhere.move(socket, ref, netns, opts)

  @doc """
  Gives a link a further name, of up to 127 bytes. Every verb here finds it by that name too.
  """
  @spec add_altname(Socket.t(), ref(), binary()) :: :ok | {:error, term()}
  def add_altname(socket, ref, name), do: altname(socket, rtm_newlinkprop(), ref, name)

  @doc "Takes a further name away."
  @spec delete_altname(Socket.t(), ref(), binary()) :: :ok | {:error, term()}
  def delete_altname(socket, ref, name), do: altname(socket, rtm_dellinkprop(), ref, name)

  defp altname(socket, type, ref, name) do
    with {:ok, _} <- Options.identify(name),
         {:ok, index} <- Index.of(socket, ref) do
      flags = if type == rtm_newlinkprop(), do: Call.create(), else: 0
      explain = Call.no_such("interface", ref, &Refusal.altname(&1, name))
      request = %__MODULE__{index: index, altnames: [name]}
      Call.change(socket, Call.op(type, flags, request, explain))
    end
  end

  defp change(socket, verb, args), do: Call.change(socket, named(socket, verb, args))

  defp named(socket, verb, args),
    do: Index.named(socket, __names__(verb, args), &Change.op(verb, args, &1))

  # -- the verbs as values -----------------------------------------------------------------------

  @doc false
  defdelegate __names__(verb, args), to: Change, as: :names

  @doc false
  defdelegate __op__(verb, args, index), to: Change, as: :batched
end
