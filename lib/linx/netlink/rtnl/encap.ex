defmodule Linx.Netlink.Rtnl.Encap do
  @moduledoc """
  Lightweight tunnels: what is put before a packet that takes a nexthop.

  As an option (`encap:` of `Linx.Netlink.Rtnl.Nexthop.add/3`):

    * `{:mpls, [100, 200]}` - a stack of labels, outermost first; `{:mpls, labels, ttl: 64}`;
    * `{:ip, dst: "192.0.2.9", id: 5, src: "192.0.2.1", ttl: 64, tos: 0}` - for a tunnel link that
      takes its metadata from the route, such as a vxlan with `external: true`; `{:ip6, ...}` with
      `hoplimit:` and `tc:`; `id` is the tunnel's key of 64 bits, and `flags:` its `TUNNEL_*`
      bits;
    * `{7, bytes}` - any other type, by its `LWTUNNEL_ENCAP_*` number, with its attributes as
      bytes.

  As read, a nexthop has the type as `encap_type` and its attributes as `encap`:
  `Linx.Netlink.Rtnl.Encap.MPLS`, `Encap.IP4`, `Encap.IP6`, or bytes.

  Source: ip-route(8), "ENCAP"; `include/uapi/linux/lwtunnel.h`, `mpls_iptunnel.h`.
  """

  alias Linx.IP
  alias __MODULE__.{IP4, IP6, MPLS}

  @type option ::
          {:mpls, [0..0xFFFFF, ...]}
          | {:mpls, [0..0xFFFFF, ...], keyword()}
          | {:ip | :ip6, keyword()}
          | {0..0xFFFF, binary()}

  # The type and the attributes of an option.
  @doc false
  @spec cast(term()) :: {:ok, atom() | integer(), struct() | binary()} | :error | {:error, term()}
  def cast({:mpls, labels}), do: cast({:mpls, labels, []})

  def cast({:mpls, [_ | _] = labels, opts}) when opts == [] or is_list(opts) do
    with true <- Enum.all?(labels, &(is_integer(&1) and &1 in 0..0xFFFFF)),
         {:ok, ttl} <- ttl(opts) do
      {:ok, :mpls, %MPLS{labels: labels, ttl: ttl}}
    else
      _ -> :error
    end
  end

  def cast({type, [_ | _] = opts}) when type in [:ip, :ip6] do
    {module, family} = if type == :ip, do: {IP4, :inet}, else: {IP6, :inet6}

    with {:ok, data} <- fill(opts, struct(module), family), do: {:ok, type, data}
  end

  def cast({type, bytes}) when is_integer(type) and type in 0..0xFFFF and is_binary(bytes),
    do: {:ok, type, bytes}

  def cast(_other), do: :error

  defp ttl([]), do: {:ok, nil}
  defp ttl(ttl: ttl) when is_integer(ttl) and ttl in 0..255, do: {:ok, ttl}
  defp ttl(_other), do: :error

  defp fill([], data, _family), do: {:ok, data}

  defp fill([{key, ip} | opts], data, family) when key in [:dst, :src] do
    with {:ok, ip} <- IP.cast(ip) do
      if ip.family == family,
        do: fill(opts, Map.replace!(data, key, ip), family),
        else: {:error, {:unlike_families, family, ip}}
    end
  end

  @max_values %{id: 0xFFFFFFFFFFFFFFFF, flags: 0xFFFF, ttl: 255, tos: 255, hoplimit: 255, tc: 255}

  defp fill([{key, n} | opts], data, family)
       when is_map_key(@max_values, key) and is_map_key(data, key) and is_integer(n) and n >= 0 do
    if n <= @max_values[key], do: fill(opts, Map.replace!(data, key, n), family), else: :error
  end

  defp fill(_other, _data, _family), do: :error
end
