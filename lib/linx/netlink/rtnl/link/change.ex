defmodule Linx.Netlink.Rtnl.Link.Change do
  @moduledoc false
  # The verbs of Linx.Netlink.Rtnl.Link that change something, as values: see Linx.Netlink.Rtnl.Call.

  alias Linx.Netlink.Rtnl.{Call, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Link.{Index, Options, Refusal}

  @rtm_newlink 16
  @rtm_dellink 17
  @rtm_setlink 19

  @spec names(atom(), [term()]) :: [Link.ref()]
  def names(:create, [_name, _kind, opts]), do: links(opts)

  def names(verb, [_, _, parent | _])
      when verb in [:create_macvlan, :create_ipvlan, :create_vlan], do: [parent]

  def names(verb, [_, parent | _])
      when verb in [:create_macvlan, :create_ipvlan, :create_vlan], do: [parent]

  def names(:set, [_ref, opts]), do: links(opts)
  def names(:set_master, [_ref, master]) when master != nil, do: [master]
  def names(_verb, _args), do: []

  defp links([{key, ref} | opts]) when key in [:link, :master] and is_binary(ref),
    do: [ref | links(opts)]

  defp links([_ | opts]), do: links(opts)
  defp links(_end), do: []

  @spec op(atom(), [term()], Index.index() | nil) :: Call.op()
  def op(:create, [name, kind], index), do: op(:create, [name, kind, []], index)

  def op(:create, [name, kind, opts], index) do
    with {:ok, name} <- Options.new_name(name),
         {:ok, kind} <- Options.kind(kind),
         {:ok, link, own} <- Options.set(opts, %Link{name: name}, index),
         {:ok, data} <- LinkInfo.data(kind, own) do
      link = %{link | linkinfo: %LinkInfo{kind: kind, info_data: data}}

      explain =
        Call.no_such("parent interface", link.link, &Refusal.taken(&1, name, link.linkinfo))

      Call.op(@rtm_newlink, Call.create(), link, explain)
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
      Call.op(@rtm_dellink, 0, request, explain)
    end
  end

  def op(:set, [ref, opts], index) do
    with {:ok, request} <- Options.identify(ref),
         :ok <- Options.no_index(opts),
         {:ok, request, []} <- Options.set(opts, request, index) do
      Call.op(@rtm_setlink, 0, request, Call.no_such("interface", ref))
    else
      {:ok, _request, [option | _]} -> {:error, {:bad_option, option}}
      error -> error
    end
  end

  def op(:set_up, [ref], index), do: op(:set, [ref, [up: true]], index)
  def op(:set_down, [ref], index), do: op(:set, [ref, [up: false]], index)
  def op(:set_mtu, [ref, mtu], index), do: op(:set, [ref, [mtu: mtu]], index)
  def op(:set_address, [ref, mac], index), do: op(:set, [ref, [address: mac]], index)
  def op(:set_master, [ref, master], index), do: op(:set, [ref, [master: master]], index)

  def op(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({Link, verb, args})}")
end
