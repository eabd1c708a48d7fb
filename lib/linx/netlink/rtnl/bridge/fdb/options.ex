defmodule Linx.Netlink.Rtnl.Bridge.Fdb.Options do
  @moduledoc false
  # The options of an FDB's verbs onto a request. Values only: `index` turns a link's name into
  # `{:ok, index}`.

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Bridge.Fdb
  alias Linx.Netlink.Rtnl.Bridge.Fdb.Attributes

  # As bridge(8): a static entry neither ages nor is local, a dynamic one ages.
  @states %{permanent: [:noarp, :permanent], static: [:noarp, :reachable], dynamic: [:reachable]}
  @flags [:self, :master, :router, :use, :extern_learn, :sticky]
  @max_values %{port: 0xFFFF, vni: 0xFFFFFF, src_vni: 0xFFFFFF, nh_id: 0xFFFFFFFF}

  # The state that a bulk deletion compares: {bits, mask}.
  @bulk_states %{
    permanent: {[:permanent], [:permanent]},
    static: {[:noarp], [:noarp, :permanent]},
    dynamic: {[], [:noarp, :permanent]}
  }
  @bulk_flags %{
    added_by_user: :use,
    extern_learn: :extern_learn,
    sticky: :sticky,
    offloaded: :offloaded
  }

  @type index :: (term() -> {:ok, pos_integer()} | {:error, term()})

  @spec names(term()) :: [String.t()]
  def names(opts) when is_list(opts),
    do: for({key, ref} <- opts, key in [:via, :brport], is_binary(ref), do: ref)

  def names(_opts), do: []

  @doc "Options of an entry to be made."
  @spec entry(term(), struct(), index()) :: {:ok, struct()} | {:error, term()}
  def entry(opts, fdb, index),
    do: each(opts, %{fdb | state: @states.permanent}, index, &made/3)

  @doc "Options that say which entry is meant."
  @spec key(term(), struct(), index()) :: {:ok, struct()} | {:error, term()}
  def key(opts, fdb, index), do: each(opts, fdb, index, &named/3)

  @doc "Options of a bulk deletion."
  @spec bulk(term(), struct(), index()) :: {:ok, struct()} | {:error, term()}
  def bulk(opts, fdb, index), do: each(opts, fdb, index, &bulked/3)

  defp each(opts, fdb, index, option) when is_list(opts) do
    result =
      Enum.reduce_while(opts, {:ok, fdb}, fn pair, {:ok, fdb} ->
        case option.(pair, fdb, index) do
          {:ok, fdb} -> {:cont, {:ok, fdb}}
          :error -> {:halt, {:error, {:bad_option, pair}}}
          error -> {:halt, error}
        end
      end)

    with {:ok, fdb} <- result, do: {:ok, targeted(fdb)}
  end

  defp each(opts, _fdb, _index, _option), do: {:error, {:bad_option, opts}}

  # As bridge(8): the device's own table, unless the master's is meant.
  defp targeted(%Fdb{flags: flags} = fdb) do
    if :self in flags or :master in flags, do: fdb, else: %{fdb | flags: [:self | flags]}
  end

  defp made({:state, state}, fdb, _index) when is_map_key(@states, state),
    do: {:ok, %{fdb | state: @states[state]}}

  defp made({flag, on?}, fdb, _index) when flag in @flags and is_boolean(on?),
    do: {:ok, flag(fdb, flag, on?)}

  defp made({:activity_notify, on?}, fdb, _index) when is_boolean(on?),
    do: extended(fdb, :activity_notify, if(on?, do: [:notify], else: []))

  defp made({:activity_notify, :inactive}, fdb, _index),
    do: extended(fdb, :activity_notify, [:notify, :inactive])

  defp made({:norefresh, on?}, fdb, _index) when is_boolean(on?),
    do: extended(fdb, :norefresh, on?)

  defp made(option, fdb, index), do: named(option, fdb, index)

  defp named({flag, on?}, fdb, _index) when flag in [:self, :master] and is_boolean(on?),
    do: {:ok, flag(fdb, flag, on?)}

  defp named({:vlan, vid}, fdb, _index) when is_integer(vid) and vid in 1..4094,
    do: {:ok, %{fdb | vlan: vid}}

  defp named({:dst, ip}, fdb, _index) do
    with {:ok, ip} <- IP.cast(ip), do: {:ok, %{fdb | dst: ip}}
  end

  defp named({:via, ref}, fdb, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{fdb | via: n}}
  end

  defp named({key, n}, fdb, _index)
       when is_map_key(@max_values, key) and is_integer(n) and n >= 0 do
    if n <= @max_values[key], do: {:ok, Map.replace!(fdb, key, n)}, else: :error
  end

  defp named(_option, _fdb, _index), do: :error

  defp bulked({:state, state}, fdb, _index) when is_map_key(@bulk_states, state) do
    {bits, mask} = @bulk_states[state]
    {:ok, %{fdb | state: bits, state_mask: mask}}
  end

  defp bulked({key, on?}, fdb, _index) when is_map_key(@bulk_flags, key) and is_boolean(on?) do
    flag = @bulk_flags[key]
    {:ok, %{flag(fdb, flag, on?) | flags_mask: [flag | fdb.flags_mask || []]}}
  end

  defp bulked({:brport, ref}, fdb, index), do: named({:via, ref}, fdb, index)
  defp bulked({:via, _ref}, _fdb, _index), do: :error
  defp bulked(option, fdb, index), do: named(option, fdb, index)

  defp flag(fdb, flag, true), do: %{fdb | flags: [flag | List.delete(fdb.flags, flag)]}
  defp flag(fdb, flag, false), do: %{fdb | flags: List.delete(fdb.flags, flag)}

  defp extended(fdb, key, value),
    do: {:ok, %{fdb | attributes: Map.replace!(fdb.attributes || %Attributes{}, key, value)}}
end
