defmodule Linx.Netlink.Rtnl.Address.Options do
  @moduledoc false
  # The options of Linx.Netlink.Rtnl.Address onto its struct. Values only.

  import Bitwise

  alias Linx.IP
  alias Linx.Netlink.Rtnl.{Address, Lifetime}

  @flags %{
    nodad: 0x02,
    optimistic: 0x04,
    home: 0x10,
    mngtmpaddr: 0x100,
    noprefixroute: 0x200,
    autojoin: 0x400
  }

  @spec set(keyword(), Address.t()) :: {:ok, Address.t()} | {:error, term()}
  def set(opts, address) do
    with {:ok, address} <- each(opts, address, &option/2), do: {:ok, preferred(address, opts)}
  end

  @doc "The options that are part of an address's identity, for its deletion."
  @spec identity(keyword(), Address.t()) :: {:ok, Address.t()} | {:error, term()}
  def identity(opts, address) do
    each(opts, address, fn
      {key, _value} = option, address when key in [:peer, :label] -> option(option, address)
      _option, _address -> :error
    end)
  end

  defp each(opts, address, set) when is_list(opts) do
    Enum.reduce_while(opts, {:ok, address}, fn option, {:ok, address} ->
      case set.(option, address) do
        {:ok, address} -> {:cont, {:ok, address}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  defp each(opts, _address, _set), do: {:error, {:bad_option, opts}}

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
         %{
           address
           | lifetime: put_elem(address.lifetime || {:forever, :forever}, place, seconds)
         }},
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
end
