defmodule Linx.Netlink.Rtnl.Nexthop.Options do
  @moduledoc false
  # A nexthop's options onto the struct. Values only: `index` turns a link's name into `{:ok,
  # index}`.

  alias Linx.IP
  alias Linx.Netlink.Rtnl.{Encap, Fields, Nexthop, Protocol}
  alias Linx.Netlink.Rtnl.Nexthop.Resilient

  @families %{inet: 2, inet6: 10}
  @max_id 0xFFFFFFFF

  @spec names(term()) :: [String.t()]
  def names(opts) when is_list(opts), do: for({:oif, ref} <- opts, is_binary(ref), do: ref)
  def names(_opts), do: []

  @spec set(term(), struct(), (term() -> {:ok, pos_integer()} | {:error, term()})) ::
          {:ok, struct()} | {:error, term()}
  def set(opts, nexthop, index) when is_list(opts) do
    with :ok <- together(opts), {:ok, nexthop} <- each(opts, nexthop, index) do
      {:ok, family(nexthop)}
    end
  end

  def set(opts, _nexthop, _index), do: {:error, {:bad_option, opts}}

  defp each([], nexthop, _index), do: {:ok, nexthop}

  defp each([option | opts], nexthop, index) do
    case option(option, nexthop, index) do
      {:ok, nexthop} -> each(opts, nexthop, index)
      :error -> {:error, {:bad_option, option}}
      error -> error
    end
  end

  # A group, a blackhole and a single hop have their options each.
  defp together(opts) do
    allowed =
      cond do
        keyed?(opts, :group) ->
          ~w(group type buckets idle_timer unbalanced_timer fdb hw_stats protocol)a

        keyed?(opts, :blackhole) ->
          [:blackhole, :family, :protocol]

        true ->
          [:gateway, :via, :oif, :onlink, :fdb, :encap, :family, :protocol]
      end

    with :ok <- Fields.only(opts, allowed), do: resilient(opts)
  end

  defp keyed?(opts, key), do: Enum.any?(opts, &match?({^key, _}, &1))

  defp resilient(opts) do
    case {Enum.any?(opts, &(&1 == {:type, :resilient})),
          Enum.find(opts, &(elem(&1, 0) in [:buckets, :idle_timer, :unbalanced_timer]))} do
      {false, {_, _} = option} -> {:error, {:bad_option, option}}
      _ -> missing(opts)
    end
  end

  # A single nexthop needs a link: the kernel refuses it with "Device attribute required".
  defp missing(opts) do
    single = not (keyed?(opts, :group) or keyed?(opts, :blackhole))

    cond do
      single and not keyed?(opts, :oif) and not keyed?(opts, :fdb) -> {:error, {:missing, :oif}}
      true -> :ok
    end
  end

  defp option({key, ip}, nexthop, _index) when key in [:gateway, :via] do
    with {:ok, ip} <- IP.cast(ip), do: {:ok, %{nexthop | gateway: ip}}
  end

  defp option({:oif, ref}, nexthop, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{nexthop | oif: n}}
  end

  defp option({:family, family}, nexthop, _index) when is_map_key(@families, family),
    do: {:ok, %{nexthop | family: @families[family]}}

  defp option({:blackhole, true}, nexthop, _index), do: {:ok, %{nexthop | blackhole: true}}
  defp option({:fdb, on?}, nexthop, _index) when is_boolean(on?), do: {:ok, %{nexthop | fdb: on?}}

  defp option({:onlink, on?}, nexthop, _index) when is_boolean(on?),
    do: {:ok, %{nexthop | flags: if(on?, do: [:onlink], else: [])}}

  defp option({:protocol, protocol}, nexthop, _index) do
    with {:ok, protocol} <- Protocol.cast(protocol), do: {:ok, %{nexthop | protocol: protocol}}
  end

  defp option({:encap, encap}, nexthop, _index) do
    with {:ok, type, data} <- Encap.cast(encap),
         do: {:ok, %{nexthop | encap_type: type, encap: data}}
  end

  defp option({:group, [_ | _] = members}, nexthop, _index) do
    members = Enum.map(members, &member/1)
    if :error in members, do: :error, else: {:ok, %{nexthop | group: members}}
  end

  defp option({:type, type}, nexthop, _index) when type in [:mpath, :resilient],
    do: {:ok, %{nexthop | type: type}}

  defp option({:buckets, n}, nexthop, _index) when is_integer(n) and n in 1..0xFFFF,
    do: resilient(nexthop, :buckets, n)

  defp option({key, n}, nexthop, _index)
       when key in [:idle_timer, :unbalanced_timer] and is_integer(n) and n in 0..@max_id,
       do: resilient(nexthop, key, n)

  defp option({:hw_stats, on?}, nexthop, _index) when is_boolean(on?),
    do: {:ok, %{nexthop | hw_stats_enable: if(on?, do: 1, else: 0)}}

  defp option(_option, _nexthop, _index), do: :error

  defp resilient(nexthop, key, n) do
    resilient = Map.replace!(nexthop.resilient || %Resilient{}, key, n)
    {:ok, %{nexthop | resilient: resilient}}
  end

  defp member({id, weight})
       when is_integer(id) and id in 1..@max_id and is_integer(weight) and weight in 1..0x10000,
       do: {id, weight}

  defp member(id) when is_integer(id) and id in 1..@max_id, do: {id, 1}
  defp member(_other), do: :error

  # A group has none; what is not said is IPv4, as in ip-nexthop(8).
  defp family(%Nexthop{group: [_ | _]} = nexthop), do: nexthop

  defp family(%Nexthop{gateway: %IP{family: family}} = nexthop),
    do: %{nexthop | family: @families[family]}

  defp family(%Nexthop{family: 0} = nexthop), do: %{nexthop | family: 2}
  defp family(nexthop), do: nexthop
end
