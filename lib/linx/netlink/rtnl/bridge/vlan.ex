defmodule Linx.Netlink.Rtnl.Bridge.Vlan do
  @moduledoc """
  The VLANs of a bridge's ports, and of the bridge as a port of its own.

      :ok = Link.create(socket, "br0", :bridge, vlan_filtering: 1)
      :ok = Vlan.add(socket, "veth0", 10, pvid: true, untagged: true)
      :ok = Vlan.add(socket, "veth0", 100..199)
      :ok = Vlan.add(socket, "br0", 10, self: true)
      {:ok, vlans} = Vlan.list(socket, "veth0")

  A port takes in and sends out the VLANs that it has, as soon as its bridge filters
  (`vlan_filtering: 1`). Frames without a tag belong to the VLAN with `:pvid`; those of a VLAN
  with `:untagged` leave without their tag. A new port has VLAN 1, as PVID and untagged.

  ## Fields

  `ifindex` and `name` are the port's, `vids` is a range (`10..10` where it is one), `flags` holds
  `:pvid` and `:untagged`.

  Source: bridge(8), include/uapi/linux/if_bridge.h at 7.2, `struct bridge_vlan_info`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Netlink.Error{}}`. Match on its `errno`: `:eperm`
  without CAP_NET_ADMIN over the namespace, `:enodev` for a link that is not there, `:eopnotsupp`
  for a link that is no port, or a bridge without `self: true`, or a kernel without VLAN
  filtering. VLANs that are none are `{:error, {:invalid_vids, vids}}`, an option that makes no
  sense `{:error, {:bad_option, option}}`, before anything is sent.
  """

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.Bridge.Message
  alias Linx.Netlink.Rtnl.{Call, Link, Read, Verb}
  alias Linx.Netlink.Rtnl.Link.Index
  alias __MODULE__.{Attributes, Info, Tunnel, TunnelInfo}

  @type t :: %__MODULE__{
          ifindex: pos_integer(),
          name: String.t() | nil,
          vids: Range.t(),
          flags: [atom() | pos_integer()]
        }

  @typedoc "One VLAN or a range of them, 1..4094."
  @type vids :: 1..4094 | Range.t()

  @enforce_keys [:ifindex, :vids]
  defstruct [:ifindex, :name, :vids, flags: []]

  # -- reading -------------------------------------------------------------------------------

  @doc """
  The VLANs of every port and bridge, or of one link (by name or index), in order. Neighbouring
  VLANs with the same flags are one range.
  """
  @spec list(Socket.t(), Link.ref() | nil) :: {:ok, [t()]} | {:error, Error.t() | term()}
  def list(socket, ref \\ nil) do
    with {:ok, messages} <- messages(socket, ref) do
      vlans =
        for message <- messages,
            {first, last} <- ranges(message.vlans.vlans),
            do: %__MODULE__{
              ifindex: message.index,
              name: message.name,
              vids: first.vid..last.vid//1,
              flags: Enum.reject(last.flags, &(&1 in [:range_begin, :range_end, :brentry]))
            }

      {:ok, vlans}
    end
  end

  @doc """
  The tunnel ids of every port's VLANs, or of one port's; see `add/4`.
  """
  @spec tunnels(Socket.t(), Link.ref() | nil) ::
          {:ok, [Tunnel.t()]} | {:error, Error.t() | term()}
  def tunnels(socket, ref \\ nil) do
    with {:ok, messages} <- messages(socket, ref) do
      tunnels =
        for message <- messages,
            {first, last} <- ranges(message.vlans.tunnels),
            do: %Tunnel{
              ifindex: message.index,
              name: message.name,
              vids: first.vid..last.vid//1,
              ids: first.id..last.id//1
            }

      {:ok, tunnels}
    end
  end

  # The kernel has no filter by link.
  defp messages(socket, ref) do
    with {:ok, index} <- if(ref, do: Index.of(socket, ref), else: {:ok, nil}),
         request = %Message{ext_mask: [:brvlan_compressed]},
         {:ok, messages} <- Read.dump(socket, rtm_getlink(), request, Message),
         do: {:ok, for(m <- messages, m.vlans, index in [nil, m.index], do: m)}
  end

  # A range is two elements, of which the second has the number of the last VLAN.
  defp ranges([first, last | rest]) do
    if :range_begin in first.flags and :range_end in last.flags,
      do: [{first, last} | ranges(rest)],
      else: [{first, first} | ranges([last | rest])]
  end

  defp ranges(rest), do: for(one <- rest, do: {one, one})

  # -- changing ------------------------------------------------------------------------------

  @doc """
  Gives a port VLANs, or changes the flags of those that it has.

    * `:pvid` - `true`: frames without a tag belong to it; of one VLAN only, which takes it from
      the one before;
    * `:untagged` - `true`: its frames leave without their tag;
    * `:tunnel` - the tunnel id of a single VLAN, or a range of as many ids as VLANs, for a port
      with `vlan_tunnel: true` (`Linx.Netlink.Rtnl.Bridge.Port`), such as a VXLAN with `external:
      true`;
    * `:self` - `true`: the link itself, which for a bridge is needed; `:master` - `true`: the
      bridge of the port (the default).
  """
  @spec add(Socket.t(), Link.ref(), vids(), keyword()) :: :ok | {:error, term()}
  def add(socket, dev, vids, opts \\ []), do: run(socket, :add, [dev, vids, opts])

  @doc """
  Takes VLANs from a port. The kernel passes over those that it does not have. With `tunnel:` (an
  id, or a range) only the tunnel ids go. `:self` and `:master` as for `add/4`.
  """
  @spec delete(Socket.t(), Link.ref(), vids(), keyword()) :: :ok | {:error, term()}
  def delete(socket, dev, vids, opts \\ []), do: run(socket, :delete, [dev, vids, opts])

  @doc "Adds many: `{dev, vids, opts}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec add_many(Socket.t(), [tuple()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def add_many(socket, vlans), do: Verb.many(socket, __MODULE__, :add, vlans)

  @doc "Deletes many: `{dev, vids, opts}` each. See `Linx.Netlink.Rtnl.batch/2`."
  @spec delete_many(Socket.t(), [tuple()]) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def delete_many(socket, vlans), do: Verb.many(socket, __MODULE__, :delete, vlans)

  defp run(socket, verb, args), do: Verb.run(socket, __MODULE__, verb, args)

  # -- the verbs as values -------------------------------------------------------------------

  @doc false
  @spec __names__(atom(), [term()]) :: [Link.ref()]
  def __names__(_verb, [dev | _]), do: [dev]
  def __names__(_verb, _args), do: []

  @doc false
  @spec __op__(atom(), [term()], Index.index()) :: Call.op()
  def __op__(verb, [dev, vids], index), do: __op__(verb, [dev, vids, []], index)

  def __op__(verb, [dev, vids, opts], index) when verb in [:add, :delete] do
    with {:ok, ifindex} <- index.(dev),
         {:ok, range} <- range(vids),
         {:ok, opts} <- options(opts, verb, range) do
      request = %Message{index: ifindex, vlans: attributes(verb, range, opts)}
      type = if verb == :add, do: rtm_setlink(), else: rtm_dellink()
      Call.op(type, 0, request, Call.no_such("interface", dev, &refusal(&1, dev)))
    end
  end

  def __op__(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({__MODULE__, verb, args})}")

  defp range(vid) when is_integer(vid) and vid in 1..4094, do: {:ok, vid..vid//1}

  defp range(first..last//1 = range) when first in 1..4094 and last in 1..4094 and first <= last,
    do: {:ok, range}

  defp range(other), do: {:error, {:invalid_vids, other}}

  defp options(opts, verb, range) when is_list(opts) do
    empty = %{flags: [], target: [], tunnel: nil}

    Enum.reduce_while(opts, {:ok, empty}, fn option, {:ok, seen} ->
      case option(option, seen, verb, range) do
        :error -> {:halt, {:error, {:bad_option, option}}}
        seen -> {:cont, {:ok, seen}}
      end
    end)
  end

  defp options(opts, _verb, _range), do: {:error, {:bad_option, opts}}

  # The kernel refuses a PVID that is a range, without a word.
  defp option({:pvid, true}, _seen, :add, range) when range.first != range.last, do: :error

  defp option({flag, on?}, seen, :add, _range)
       when flag in [:pvid, :untagged] and is_boolean(on?),
       do: %{seen | flags: switch(seen.flags, flag, on?)}

  defp option({target, on?}, seen, _verb, _range)
       when target in [:self, :master] and is_boolean(on?),
       do: %{seen | target: switch(seen.target, target, on?)}

  defp option({:tunnel, id}, seen, _verb, range)
       when is_integer(id) and id in 0..0xFFFFFFFF and range.first == range.last,
       do: %{seen | tunnel: id..id//1}

  defp option({:tunnel, first..last//1 = ids}, seen, _verb, range)
       when first in 0..0xFFFFFFFF and last in 0..0xFFFFFFFF and
              last - first == range.last - range.first,
       do: %{seen | tunnel: ids}

  defp option(_option, _seen, _verb, _range), do: :error

  defp switch(flags, flag, true), do: [flag | List.delete(flags, flag)]
  defp switch(flags, flag, false), do: List.delete(flags, flag)

  defp attributes(verb, range, opts) do
    %Attributes{
      target: if(opts.target != [], do: opts.target),
      vlans: if(verb == :delete and opts.tunnel, do: [], else: infos(range, opts.flags)),
      tunnels: if(opts.tunnel, do: tunnel_infos(range, opts.tunnel), else: [])
    }
  end

  defp infos(first..last//1, flags) do
    for {vid, ends} <- ends(first, last), do: %Info{vid: vid, flags: flags ++ ends}
  end

  defp tunnel_infos(first..last//1, ids) do
    for {vid, ends} <- ends(first, last),
        do: %TunnelInfo{vid: vid, id: ids.first + vid - first, flags: ends}
  end

  defp ends(vid, vid), do: [{vid, []}]
  defp ends(first, last), do: [{first, [:range_begin]}, {last, [:range_end]}]

  # Words for an errno that the kernel sends without any.
  defp refusal(:eopnotsupp, dev),
    do: "#{inspect(dev)} is no port, or a bridge (self: true), or this kernel filters no VLANs"

  defp refusal(_errno, _dev), do: nil

  defimpl Inspect do
    def inspect(%{vids: vids} = vlan, _opts) do
      range = if vids.first == vids.last, do: "#{vids.first}", else: "#{vids.first}-#{vids.last}"

      parts = [
        range,
        vlan.name && "dev=#{vlan.name}",
        "ifindex=#{vlan.ifindex}",
        vlan.flags != [] && Enum.join(vlan.flags, ",")
      ]

      "#Linx.Netlink.Rtnl.Bridge.Vlan<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
    end
  end
end
