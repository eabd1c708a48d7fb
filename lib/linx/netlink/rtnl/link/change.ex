defmodule Linx.Netlink.Rtnl.Link.Change do
  @moduledoc false
  # The verbs of Linx.Netlink.Rtnl.Link that change something, as values: see
  # Linx.Netlink.Rtnl.Call.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.Rtnl.{Call, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Link.{Index, Options, Refusal}

  @spec names(atom(), [term()]) :: [Index.wanted()]
  def names(:create, [_name, _kind, opts]), do: links(opts)

  def names(verb, [_, _, parent | _])
      when verb in [:create_macvlan, :create_ipvlan, :create_vlan], do: [parent]

  def names(verb, [_, parent | _])
      when verb in [:create_macvlan, :create_ipvlan, :create_vlan], do: [parent]

  # The kind's own options are of the kind that the link has.
  def names(:set, [ref, opts]) do
    if own?(opts), do: [{Link, ref} | links(opts)], else: links(opts)
  end

  def names(:set_master, [_ref, master]) when master != nil, do: [master]
  def names(_verb, _args), do: []

  defp own?([{key, _value} | opts]), do: key == :link or Options.own?(key) or own?(opts)
  defp own?([_ | opts]), do: own?(opts)
  defp own?(_end), do: false

  defp links([{key, ref} | opts]) when key in [:link, :master] and is_binary(ref),
    do: [ref | links(opts)]

  defp links([_ | opts]), do: links(opts)
  defp links(_end), do: []

  @doc "The op of a verb in a batch, where one change is one request."
  @spec batched(atom(), [term()], Index.index() | nil) :: Call.op()
  def batched(verb, args, index) do
    case op(verb, args, index) do
      {:ok, {rtm_newlink(), _flags, %Link{alias: text}, _explain}} when text not in [nil, ""] ->
        {:error, {:bad_option, {:alias, text}}}

      op ->
        op
    end
  end

  @spec op(atom(), [term()], Index.index() | nil) :: Call.op()
  def op(:create, [name, kind], index), do: op(:create, [name, kind, []], index)

  def op(:create, [name, kind, opts], index) do
    with {:ok, name} <- Options.new_name(name),
         {:ok, kind} <- Options.kind(kind),
         {:ok, link, own} <- Options.set(opts, %Link{name: name}, index),
         :ok <- parented(kind, link, opts),
         {link, own} = if(kind == "vxlan", do: parent(link, own), else: {link, own}),
         {:ok, data} <- LinkInfo.data(kind, own) do
      link = %{link | linkinfo: %LinkInfo{kind: kind, info_data: data}}

      explain =
        Call.no_such(
          "parent interface",
          link.link || opts[:link],
          &Refusal.taken(&1, name, link.linkinfo)
        )

      Call.op(rtm_newlink(), Call.create(), link, explain)
    end
  end

  def op(:create_macvlan, [name, parent | mode], index),
    do: op(:create, [name, :macvlan, [link: parent, mode: List.first(mode) || :bridge]], index)

  def op(:create_ipvlan, [name, parent | mode], index),
    do: op(:create, [name, :ipvlan, [link: parent, mode: List.first(mode) || :l3]], index)

  def op(:create_vlan, [name, parent, id], index),
    do: op(:create, [name, :vlan, [link: parent, id: id]], index)

  def op(:create_veth, [name, peer], index),
    do: op(:create, [name, :veth, [peer: peer]], index)

  def op(:create_bridge, [name], index), do: op(:create, [name, :bridge, []], index)
  def op(:create_dummy, [name], index), do: op(:create, [name, :dummy, []], index)

  def op(:delete, [ref], _index) do
    with {:ok, request} <- Options.identify(ref) do
      explain = Call.no_such("interface", ref, &Refusal.undeletable(&1, ref))
      Call.op(rtm_dellink(), 0, request, explain)
    end
  end

  def op(:set, [ref, opts], index) do
    with {:ok, request} <- Options.identify(ref),
         :ok <- Options.no_index(opts),
         {:ok, request, own} <- Options.set(opts, request, index),
         do: set(ref, request, own, index)
  end

  def op(:set_up, [ref], index), do: op(:set, [ref, [up: true]], index)
  def op(:set_down, [ref], index), do: op(:set, [ref, [up: false]], index)
  def op(:set_mtu, [ref, mtu], index), do: op(:set, [ref, [mtu: mtu]], index)
  def op(:set_address, [ref, mac], index), do: op(:set, [ref, [address: mac]], index)
  def op(:set_master, [ref, master], index), do: op(:set, [ref, [master: master]], index)

  def op(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({Link, verb, args})}")

  defp set(ref, %{link: nil} = request, [], _index),
    do: Call.op(rtm_setlink(), 0, request, Call.no_such("interface", ref))

  # RTM_SETLINK passes over a kind's options; RTM_NEWLINK without NLM_F_CREATE changes them. It
  # passes over a link's parent, which only a kind can change.
  defp set(ref, request, own, index) do
    {request, own} = parent(request, own)

    with nil <- LinkInfo.unknown(own),
         {:ok, link} <- index.({Link, ref}),
         {:ok, info} <-
           if(link == :any, do: {:ok, nil}, else: LinkInfo.change(link.linkinfo, own)) do
      explain = Call.no_such("interface", ref, &Refusal.unchangeable(&1, ref, own))
      Call.op(rtm_newlink(), 0, %{request | linkinfo: info}, explain)
    else
      {key, _value} = option when key != :error -> {:error, {:bad_option, option}}
      {:error, _} = error -> error
    end
  end

  # Kinds whose drivers do not read IFLA_LINK: the kernel would pass over it. A tunnel has its
  # link among its own attributes (IFLA_GRE_LINK and the like).
  @parentless ~w(amt bareudp bond bridge dummy erspan geneve gre gretap gtp ifb ip6erspan ip6gre
                 ip6gretap ip6tnl ipip netkit nlmon sit team tun vcan veth vrf vti vti6 vxcan
                 wireguard xfrm)

  defp parented(kind, %{link: index}, opts) when index != nil and kind in @parentless,
    do: {:error, {:bad_option, {:link, opts[:link]}}}

  defp parented(_kind, _link, _opts), do: :ok

  # A VXLAN has its parent in an attribute of its own.
  defp parent(%{link: nil} = request, own), do: {request, own}
  defp parent(%{link: index} = request, own), do: {%{request | link: nil}, [{:link, index} | own]}
end
