defmodule Linx.Netlink.Rtnl.LinkInfo do
  @moduledoc """
  What kind of link it is, and what belongs to the kind (`IFLA_LINKINFO`).

  `kind` is the kernel's name, `info_data` a struct of the kind's module:

  | kind | module | options for `Linx.Netlink.Rtnl.Link.create/4` |
  |---|---|---|
  | `"veth"` | `Veth` | `peer:` the other end's name |
  | `"macvlan"`, `"macvtap"` | `Macvlan` | `mode:` `:bridge`, `:private`, `:vepa`, `:passthru`, `:source` |
  | `"ipvlan"`, `"ipvtap"` | `Ipvlan` | `mode:` `:l3`, `:l2`, `:l3s` |
  | `"vlan"` | `Vlan` | `id:` 1..4094, `protocol:` 0x8100 or 0x88A8 |
  | `"vxlan"` | `Vxlan` | `id:`, `remote:` or `group:`, `local:`, `port:`, `ttl:`, `learning:`, `external:`, ... |
  | `"bridge"` | `Bridge` | `stp_state:`, `ageing_time:`, `vlan_filtering:`, ... |
  | `"bond"` | `Bond` | `mode:` a number, `miimon:`, ... |
  | `"vrf"` | `Vrf` | `table:` |
  | `"tun"` | `Tun` | not made by netlink |

  Kinds without a module (`"dummy"`, `"ifb"`, `"wireguard"`) have no options here; what the kernel says of them stays in
  `info_data` as bytes, and `nil` is not sent.

  Source: `include/uapi/linux/if_link.h`, `IFLA_INFO_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.LinkInfo.{Bond, Bridge, Ipvlan, Macvlan, Tun, Veth, Vlan, Vrf, Vxlan}

  codec do
    attr(1, :kind, :string)

    attr(
      2,
      :info_data,
      {:dispatch, :kind,
       %{
         "bond" => Bond,
         "bridge" => Bridge,
         "ipvlan" => Ipvlan,
         "ipvtap" => Ipvlan,
         "macvlan" => Macvlan,
         "macvtap" => Macvlan,
         "tun" => Tun,
         "veth" => Veth,
         "vlan" => Vlan,
         "vrf" => Vrf,
         "vxlan" => Vxlan
       }}
    )

    attr(4, :slave_kind, :string)
  end

  # A kind's options as its struct: `nil` without any.
  @doc false
  @spec data(String.t(), keyword()) :: {:ok, struct() | nil} | {:error, term()}
  def data(_kind, []), do: {:ok, nil}

  def data(kind, opts) do
    {2, :info_data, {:dispatch, :kind, kinds}} = List.keyfind(__codec__().attrs, 2, 0)

    case kinds do
      %{^kind => module} -> fill(module, opts)
      %{} -> {:error, {:bad_option, hd(opts)}}
    end
  end

  defp fill(module, opts) do
    Enum.reduce_while(opts, {:ok, struct(module)}, fn option, {:ok, data} ->
      case option(module, option, data) do
        {:ok, data} -> {:cont, {:ok, data}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  # A module may have its own reading of an option; otherwise the option is a field and its value what the field holds.
  defp option(module, {key, value}, data) do
    own =
      if function_exported?(module, :__option__, 3),
        do: module.__option__(key, value, data),
        else: :field

    case own do
      :field -> field(module, key, value, data)
      result -> result
    end
  end

  defp field(module, key, value, data) do
    if Enum.any?(module.__codec__().attrs, &(elem(&1, 1) == key)) do
      data = Map.replace!(data, key, value)
      # Encoding is what knows the types' ranges.
      module.encode(struct(module, [{key, value}]))
      {:ok, data}
    else
      :error
    end
  rescue
    _ in [ArgumentError, FunctionClauseError, KeyError] -> :error
  end
end
