defmodule Linx.Netlink.Rtnl.Link.Options do
  @moduledoc false
  # A caller's options of a link, put into the struct: index or name, kind and the kind's options.
  # Values only.

  import Bitwise

  alias Linx.{MAC, Target}
  alias Linx.Netlink.Rtnl.Link

  @iff_up 1

  # IFF_*: the flag of a switch, and whether the flag means that the switch is off.
  @switches %{
    arp: {0x80, true},
    promisc: {0x100, false},
    allmulticast: {0x200, false},
    multicast: {0x1000, false}
  }

  @general [:link, :master, :mtu, :address, :txqlen, :group, :index, :alias, :netns, :up] ++
             Map.keys(@switches)

  # `{:ok, link, own}` with the options that are not for links in general. `index` turns a link's
  # name into `{:ok, index}`.
  @spec set(term(), struct(), (term() -> {:ok, pos_integer()} | {:error, term()})) ::
          {:ok, struct(), keyword()} | {:error, term()}
  def set(opts, link, index) when is_list(opts) do
    Enum.reduce_while(opts, {:ok, link, []}, fn option, {:ok, link, own} ->
      case option(option, link, index) do
        {:ok, link} -> {:cont, {:ok, link, own}}
        :own -> {:cont, {:ok, link, own ++ [option]}}
        error -> {:halt, error}
      end
    end)
  end

  def set(opts, _link, _index), do: {:error, {:bad_option, opts}}

  defp option({:link, ref}, link, index) do
    with {:ok, parent} <- index.(ref), do: {:ok, %{link | link: parent}}
  end

  defp option({:master, nil}, link, _index), do: {:ok, %{link | master: 0}}

  defp option({:master, ref}, link, index) do
    with {:ok, master} <- index.(ref), do: {:ok, %{link | master: master}}
  end

  defp option({:mtu, mtu}, link, _index) when mtu in 1..0xFFFFFFFF, do: {:ok, %{link | mtu: mtu}}

  defp option({:address, mac}, link, _index) do
    with {:ok, mac} <- MAC.cast(mac), do: {:ok, %{link | address: mac}}
  end

  defp option({:txqlen, n}, link, _index) when n in 0..0xFFFFFFFF, do: {:ok, %{link | txqlen: n}}
  defp option({:group, n}, link, _index) when n in 0..0xFFFFFFFF, do: {:ok, %{link | group: n}}
  defp option({:index, n}, link, _index) when n in 1..0x7FFFFFFF, do: {:ok, %{link | index: n}}

  defp option({:alias, text}, link, _index) when is_binary(text) and byte_size(text) < 256 do
    if String.contains?(text, "\0"),
      do: {:error, {:bad_option, {:alias, text}}},
      else: {:ok, %{link | alias: text}}
  end

  defp option({:netns, pid}, link, _index) when pid in 1..0x7FFFFFFF,
    do: {:ok, %{link | net_ns_pid: pid}}

  defp option({:netns, {:pid, pid}}, link, _index) when pid in 1..0x7FFFFFFF,
    do: {:ok, %{link | net_ns_pid: pid}}

  defp option({:up, true}, link, _index),
    do: {:ok, %{link | flags: link.flags ||| @iff_up, change: link.change ||| @iff_up}}

  defp option({:up, false}, link, _index), do: {:ok, %{link | change: link.change ||| @iff_up}}

  defp option({key, on?}, link, _index) when is_map_key(@switches, key) and is_boolean(on?) do
    {flag, off?} = @switches[key]
    flags = if on? == off?, do: link.flags &&& bnot(flag), else: link.flags ||| flag
    {:ok, %{link | flags: flags, change: link.change ||| flag}}
  end

  defp option({key, _value} = option, _link, _index) when is_map_key(@switches, key),
    do: {:error, {:bad_option, option}}

  defp option({key, _value} = option, _link, _index)
       when key in [:mtu, :txqlen, :group, :index, :alias, :netns, :up],
       do: {:error, {:bad_option, option}}

  defp option({key, _value}, _link, _index) when is_atom(key), do: :own
  defp option(option, _link, _index), do: {:error, {:bad_option, option}}

  # Whether it is an option of kinds, not of links in general.
  @spec own?(term()) :: boolean()
  def own?(key), do: is_atom(key) and key not in @general

  @doc """
  The namespace that options ask for, if it is one that a request names by descriptor, and the
  other options.
  """
  @spec elsewhere(term()) :: {term(), term()}
  def elsewhere(opts) do
    case netns(opts) do
      pid when is_integer(pid) or pid == nil -> {nil, opts}
      netns -> if(netns?(netns), do: {netns, List.keydelete(opts, :netns, 0)}, else: {nil, opts})
    end
  end

  @spec netns(term()) :: term()
  def netns([{:netns, netns} | _]), do: netns
  def netns([_ | opts]), do: netns(opts)
  def netns(_end), do: nil

  # A value of another shape is refused before any session is asked.
  defp netns?(netns) when is_pid(netns) or netns in [:host, :self], do: true
  defp netns?(netns), do: match?({:ok, _}, Target.resolve(netns))

  # A link that is there has its index: beside a name it would say which link is to get that name.
  @spec no_index(term()) :: :ok | {:error, term()}
  def no_index([{:index, _} = option | _]), do: {:error, {:bad_option, option}}
  def no_index([_ | opts]), do: no_index(opts)
  def no_index(_end), do: :ok

  @spec kind(term()) :: {:ok, String.t()} | {:error, term()}
  def kind(kind) when is_atom(kind) and kind != nil, do: {:ok, Atom.to_string(kind)}

  def kind(kind) when is_binary(kind) and byte_size(kind) in 1..31 do
    if String.contains?(kind, "\0"), do: {:error, {:invalid_kind, kind}}, else: {:ok, kind}
  end

  def kind(kind), do: {:error, {:invalid_kind, kind}}

  # A request that names a link. The kernel finds it by either sort of name in IFLA_IFNAME, which
  # holds 15 bytes.
  @spec identify(term()) :: {:ok, struct()} | {:error, term()}
  def identify(index) when is_integer(index) and index in 1..0x7FFFFFFF,
    do: {:ok, %Link{index: index}}

  def identify(name) when is_binary(name) and byte_size(name) in 1..127 do
    cond do
      String.contains?(name, "\0") -> {:error, {:invalid_name, name}}
      byte_size(name) <= 15 -> {:ok, %Link{name: name}}
      true -> {:ok, %Link{altname: name}}
    end
  end

  def identify(name), do: {:error, {:invalid_name, name}}

  # The names that the kernel's dev_valid_name() accepts.
  @spec new_name(term()) :: {:ok, String.t()} | {:error, term()}
  def new_name(name)
      when is_binary(name) and byte_size(name) in 1..15 and name not in [".", ".."] do
    if for(<<c <- name>>, c in [0, ?/, ?:, ?\s] or c in 9..13 or c == 0xA0, do: c) == [],
      do: {:ok, name},
      else: {:error, {:invalid_name, name}}
  end

  def new_name(name), do: {:error, {:invalid_name, name}}
end
