defmodule Linx.Netlink.Rtnl.Neighbour.Options do
  @moduledoc false
  # The options of Linx.Netlink.Rtnl.Neighbour onto its struct. Values only.

  import Bitwise

  alias Linx.MAC
  alias Linx.Netlink.Rtnl.{Neighbour, Route}
  alias Linx.Netlink.Rtnl.Neighbour.Bits

  # NUD_NONE is no bit.
  @states Map.put(Bits.__codec__().kinds.state.numbers, :none, 0)

  # The states in which the kernel has no address.
  @addressless [:none, :incomplete, :failed]

  @bits Bits.__codec__().kinds.flags.numbers
  @flags Map.take(@bits, [:use, :extern_learn, :router])
  @use @bits.use
  @proxy @bits.proxy
  @settable @proxy ||| @bits.extern_learn ||| @bits.router
  # NTF_EXT_MANAGED is in the flags that are an attribute.
  @managed Bits.__codec__().kinds.flags_ext.numbers.managed

  @doc "The request with those flags of a listed entry that a request may set."
  @spec flags(Neighbour.t(), Neighbour.t()) :: Neighbour.t()
  def flags(request, listed) do
    managed = (listed.flags_ext || 0) &&& @managed
    flags_ext = if managed != 0, do: managed
    %{request | flags: listed.flags &&& @settable, flags_ext: flags_ext}
  end

  @spec set(keyword(), term(), Neighbour.t()) :: {:ok, Neighbour.t()} | {:error, term()}
  def set(opts, mac, neighbour) when is_list(opts) do
    start = %{neighbour | state: @states.permanent}

    with {:ok, neighbour} <- each(opts, start), do: address(mac, neighbour, opts)
  end

  def set(opts, _mac, _neighbour), do: {:error, {:bad_option, opts}}

  @doc "The option that is part of an entry's identity, for its deletion."
  @spec identity(keyword(), Neighbour.t()) :: {:ok, Neighbour.t()} | {:error, term()}
  def identity([], neighbour), do: {:ok, neighbour}

  def identity([{:proxy, proxy?} | opts], neighbour) when is_boolean(proxy?),
    do: identity(opts, proxy(neighbour, proxy?))

  def identity([option | _], _neighbour), do: {:error, {:bad_option, option}}
  def identity(opts, _neighbour), do: {:error, {:bad_option, opts}}

  defp each([], neighbour), do: {:ok, neighbour}

  defp each([option | opts], neighbour) do
    case option(option, neighbour) do
      {:ok, neighbour} -> each(opts, neighbour)
      :error -> {:error, {:bad_option, option}}
      error -> error
    end
  end

  defp option({:state, state}, neighbour) when is_map_key(@states, state),
    do: {:ok, %{neighbour | state: @states[state]}}

  defp option({:flags, flags}, neighbour) when is_list(flags) do
    if Enum.all?(flags, &(&1 == :managed or is_map_key(@flags, &1))) do
      bits = Enum.reduce(flags, neighbour.flags, &(Map.get(@flags, &1, 0) ||| &2))
      {:ok, %{neighbour | flags: bits, flags_ext: if(:managed in flags, do: @managed)}}
    else
      :error
    end
  end

  defp option({:protocol, protocol}, neighbour) do
    with {:ok, n} <- Route.protocol(protocol), do: {:ok, %{neighbour | protocol: n}}
  end

  defp option({:proxy, proxy?}, neighbour) when is_boolean(proxy?),
    do: {:ok, proxy(neighbour, proxy?)}

  defp option(_option, _neighbour), do: :error

  defp proxy(neighbour, true), do: %{neighbour | flags: neighbour.flags ||| @proxy}
  defp proxy(neighbour, false), do: neighbour

  # A proxy entry has neither address nor state.
  defp address(nil, %{flags: flags} = neighbour, opts) when (flags &&& @proxy) != 0 do
    case Keyword.take(opts, [:state]) do
      [] -> {:ok, %{neighbour | state: 0}}
      [option | _] -> {:error, {:bad_option, option}}
    end
  end

  defp address(mac, %{flags: flags}, _opts) when (flags &&& @proxy) != 0,
    do: {:error, {:invalid_mac, mac}}

  defp address(nil, neighbour, opts) do
    looked_up? = (neighbour.flags &&& @use) != 0 or neighbour.flags_ext == @managed

    cond do
      Keyword.get(opts, :state) in @addressless -> {:ok, neighbour}
      looked_up? and not Keyword.has_key?(opts, :state) -> {:ok, %{neighbour | state: 0}}
      true -> {:error, {:invalid_mac, nil}}
    end
  end

  defp address(mac, neighbour, _opts) do
    with {:ok, mac} <- MAC.cast(mac), do: {:ok, %{neighbour | lladdr: mac}}
  end
end
