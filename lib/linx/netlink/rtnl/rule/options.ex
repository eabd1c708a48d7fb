defmodule Linx.Netlink.Rtnl.Rule.Options do
  @moduledoc false
  # The options of Linx.Netlink.Rtnl.Rule onto its struct. Values only.

  import Bitwise

  alias Linx.IP
  alias Linx.IP.Subnet
  alias Linx.Netlink.Rtnl.{Route, Rule}

  @families %{inet: 2, inet6: 10}
  @to_table 1
  @goto 2
  @actions %{nop: 3, blackhole: 6, unreachable: 7, prohibit: 8}
  # FIB_RULE_INVERT
  @invert 2

  @doc "The rule that `add/2` would make of options."
  @spec rule(term()) :: {:ok, Rule.t()} | {:error, term()}
  def rule(opts) do
    with {:ok, rule} <- each(opts), {:ok, rule} <- action(rule), do: family(rule)
  end

  @doc "The rule that `delete/2` looks for: a field that no option sets is not compared."
  @spec pattern(term()) :: {:ok, Rule.t()} | {:error, term()}
  def pattern(opts), do: with({:ok, rule} <- each(opts), do: family(rule))

  defp each(opts) when is_list(opts) do
    Enum.reduce_while(opts, {:ok, %Rule{}}, fn option, {:ok, rule} ->
      case option(option, rule) do
        {:ok, rule} -> {:cont, {:ok, rule}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  defp each(opts), do: {:error, {:bad_option, opts}}

  defp option({:from, subnet}, rule) do
    with {:ok, ip, length} <- subnet(subnet), do: {:ok, %{rule | src: ip, src_len: length}}
  end

  defp option({:to, subnet}, rule) do
    with {:ok, ip, length} <- subnet(subnet), do: {:ok, %{rule | dst: ip, dst_len: length}}
  end

  # A header's byte for the tables that it holds, and the attribute for all.
  defp option({:table, n}, rule) when n in 1..255,
    do: {:ok, %{rule | table: n, table_ext: n}}

  defp option({:table, n}, rule) when n in 256..0xFFFFFFFF,
    do: {:ok, %{rule | table: 0, table_ext: n}}

  defp option({key, n}, rule)
       when key in [:fwmark, :fwmask, :priority, :suppress_prefixlength, :suppress_ifgroup] and
              n in 0..0xFFFFFFFF,
       do: {:ok, Map.replace!(rule, key, n)}

  defp option({key, name}, rule) when key in [:iif, :oif] and byte_size(name) in 1..15 do
    if String.contains?(name, "\0"), do: :error, else: {:ok, Map.replace!(rule, key, name)}
  end

  defp option({key, n}, rule) when key in [:tos, :ipproto] and n in 0..255,
    do: {:ok, Map.replace!(rule, key, n)}

  defp option({:dscp, n}, rule) when n in 0..63, do: {:ok, %{rule | dscp: n}}
  defp option({:l3mdev, true}, rule), do: {:ok, %{rule | l3mdev: 1}}

  defp option({key, range}, rule) when key in [:sport, :dport],
    do: range(rule, key, range, 0xFFFF)

  defp option({:uid, range}, rule), do: range(rule, :uid, range, 0xFFFFFFFF)

  defp option({:family, family}, rule) when is_map_key(@families, family),
    do: {:ok, %{rule | family: @families[family]}}

  defp option({:invert, true}, rule), do: {:ok, %{rule | flags: rule.flags ||| @invert}}
  defp option({:invert, false}, rule), do: {:ok, rule}

  defp option({:protocol, protocol}, rule) do
    with {:ok, n} <- Route.protocol(protocol), do: {:ok, %{rule | protocol: n}}
  end

  defp option({:action, {:goto, n}}, rule) when n in 0..0xFFFFFFFF,
    do: {:ok, %{rule | action: @goto, goto: n}}

  defp option({:action, name}, rule) when is_map_key(@actions, name),
    do: {:ok, %{rule | action: @actions[name]}}

  defp option(_option, _rule), do: :error

  defp range(rule, key, n, max) when n in 0..max//1, do: {:ok, Map.replace!(rule, key, n..n)}

  defp range(rule, key, first..last//1 = range, max)
       when first in 0..max//1 and last in 0..max//1 and first <= last,
       do: {:ok, Map.replace!(rule, key, range)}

  defp range(_rule, _key, _range, _max), do: :error

  defp subnet(%Subnet{address: ip, prefix: prefix}), do: {:ok, ip, prefix}
  defp subnet(%IP{bytes: bytes} = ip), do: {:ok, ip, bit_size(bytes)}

  defp subnet(text) do
    with {:error, _} <- Subnet.parse(text), {:ok, ip} <- IP.parse(text) do
      subnet(ip)
    else
      {:ok, %Subnet{} = subnet} -> subnet(subnet)
      {:error, _} -> {:error, {:invalid_subnet, text}}
    end
  end

  defp action(%{action: 0, table_ext: nil, l3mdev: nil}), do: {:error, {:missing, :table}}
  defp action(%{action: 0} = rule), do: {:ok, %{rule | action: @to_table}}
  defp action(rule), do: {:ok, rule}

  defp family(%{src: %IP{family: a} = src, dst: %IP{family: b} = dst}) when a != b,
    do: {:error, {:unlike_families, src, dst}}

  defp family(rule) do
    case {rule.src || rule.dst, rule.family} do
      {nil, 0} ->
        {:ok, %{rule | family: 2}}

      {nil, _} ->
        {:ok, rule}

      {ip, 0} ->
        {:ok, %{rule | family: @families[ip.family]}}

      {ip, family} ->
        if @families[ip.family] == family, do: {:ok, rule}, else: {:error, {:bad_option, :family}}
    end
  end
end
