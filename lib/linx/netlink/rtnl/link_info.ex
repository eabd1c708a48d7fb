defmodule Linx.Netlink.Rtnl.LinkInfo do
  @moduledoc """
  What kind of link it is, and what belongs to the kind (`IFLA_LINKINFO`).

  `kind` is the kernel's name, `info_data` a struct of the kind's module:

  | kind | module | options for `Linx.Netlink.Rtnl.Link.create/4` and `set/3` |
  |---|---|---|
  | `"veth"` | `Veth` | `peer:` the other end's name |
  | `"macvlan"`, `"macvtap"` | `Macvlan` | `mode:` `:bridge`, `:private`, `:vepa`, `:passthru`, `:source` |
  | `"ipvlan"`, `"ipvtap"` | `Ipvlan` | `mode:` `:l3`, `:l2`, `:l3s` |
  | `"vlan"` | `Vlan` | `id:` 1..4094, `protocol:` 0x8100 or 0x88A8, `reorder_hdr:`, `egress_qos:`, ... |
  | `"vxlan"` | `Vxlan` | `id:`, `remote:` or `group:`, `local:`, `port:`, `ttl:`, `learning:`, `external:`, ... |
  | `"bridge"` | `Bridge` | `stp_state:`, `ageing_time:`, `vlan_filtering:`, ... |
  | `"bond"` | `Bond` | `mode:` a name or a number, `miimon:`, ... |
  | `"vrf"` | `Vrf` | `table:` |
  | `"geneve"` | `Geneve` | `id:`, `remote:`, `port:`, `ttl:`, `df:`, `external:`, ... |
  | `"bareudp"` | `Bareudp` | `port:`, `ethertype:`, `srcport_min:`, `multiproto:` |
  | `"tun"` | `Tun` | not made by netlink |

  Kinds without a module (`"dummy"`, `"ifb"`, `"wireguard"`) have no options here; what the kernel
  says of them stays in `info_data` as bytes, and `nil` is not sent.

  Source: `include/uapi/linux/if_link.h`, `IFLA_INFO_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.Fields

  alias Linx.Netlink.Rtnl.LinkInfo.{
    Bareudp,
    Bond,
    Bridge,
    Geneve,
    Ipvlan,
    Macvlan,
    Tun,
    Veth,
    Vlan,
    Vrf,
    Vxlan
  }

  codec do
    attr(1, :kind, :string)

    attr(
      2,
      :info_data,
      {:dispatch, :kind,
       %{
         "bareudp" => Bareudp,
         "bond" => Bond,
         "bridge" => Bridge,
         "geneve" => Geneve,
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
    case kinds() do
      %{^kind => module} -> fill(module, opts)
      %{} -> {:error, {:bad_option, hd(opts)}}
    end
  end

  @doc false
  # The options of a kind onto a link that is there, and reads as `info`. The kernel passes over
  # an attribute that it does not know, so an option that the link does not have is refused here.
  @spec change(t() | nil, keyword()) :: {:ok, t()} | {:error, term()}
  def change(%__MODULE__{kind: kind, info_data: current}, opts) when is_binary(kind) do
    with {:ok, data} <- data(kind, opts), :ok <- changeable(kind, data, current, opts) do
      {:ok, %__MODULE__{kind: kind, info_data: data}}
    else
      {:error, {:bad_option, option}} -> {:error, {:bad_option, {kind, option}}}
      error -> error
    end
  end

  def change(_info, [option | _]), do: {:error, {:bad_option, option}}

  @doc false
  # The fields of the kind that are set in `wanted` and differ in a link that reads as `seen`. The
  # far end of a veth pair is not sent back.
  @spec differing(t(), t()) :: [atom()]
  def differing(%{info_data: %module{} = wanted}, %{info_data: seen}) do
    # As the kernel would send it back.
    wanted = wanted |> module.encode() |> module.decode()

    for {field, value} <- Map.from_struct(wanted),
        field != :peer and value not in [nil, []],
        not is_struct(seen, module) or not same?(field, value, Map.fetch!(seen, field)),
        do: field
  end

  def differing(_wanted, _seen), do: []

  # A command, which leaves nothing to compare.
  defp same?(:fdb_flush, true, _seen), do: true

  # Switches that share an attribute: those of the mask are compared.
  defp same?(_field, %{value: on, mask: mask}, %{value: seen, mask: known}),
    do: Enum.all?(mask, &(&1 in on == (&1 in seen and &1 in known)))

  # A link that does not list an option is as one with the option off.
  defp same?(_field, %{value: on}, nil), do: on == []
  defp same?(_field, 0, nil), do: true

  # The priorities of a VLAN: the kernel lists none that is mapped to 0.
  defp same?(_field, map, seen) when is_map(map) and not is_struct(map),
    do: Enum.all?(map, fn {from, to} -> Map.get(seen || %{}, from, 0) == to end)

  defp same?(_field, value, seen), do: seen == value

  @doc false
  # The first option that no kind has.
  @spec unknown(keyword()) :: {atom(), term()} | nil
  def unknown(opts) do
    Enum.find(opts, fn {key, _} -> not Enum.any?(kinds(), &has?(elem(&1, 1), key)) end)
  end

  # Options without a field of their name are those of `__names__/0`.
  defp has?(module, key) do
    Code.ensure_loaded!(module)

    Enum.any?(module.__codec__().attrs, &(elem(&1, 1) == key)) or
      (function_exported?(module, :__names__, 0) and key in module.__names__())
  end

  defp kinds do
    {2, :info_data, {:dispatch, :kind, kinds}} = List.keyfind(__codec__().attrs, 2, 0)
    kinds
  end

  defp changeable(_kind, %module{}, current, opts) do
    fixed = if function_exported?(module, :__fixed__, 0), do: module.__fixed__(), else: []

    Enum.find_value(opts, :ok, fn {key, _} = option ->
      cond do
        key in fixed -> {:error, {:bad_option, option}}
        known?(module, key, current) -> nil
        true -> {:error, unknown_to_kernel(key)}
      end
    end)
  end

  @doc false
  @spec unknown_to_kernel(atom()) :: Error.t()
  def unknown_to_kernel(key),
    do: Error.from_errno(95, "this kernel's links of the kind have no #{key}")

  @doc false
  # An option that is set in `wanted` and that a link which reads as `seen` does not have; by
  # default one that some kernels do not have. A link without an option is as one with the option
  # off.
  @spec lacking(t(), t() | nil) :: atom() | nil
  def lacking(wanted, seen \\ nil)
  def lacking(%{info_data: nil}, _seen), do: nil

  def lacking(%{info_data: %module{} = wanted}, seen) do
    current = if seen, do: seen.info_data, else: struct(module)
    Enum.find(on(wanted), &(not known?(module, &1, current)))
  end

  defp on(data) do
    Enum.flat_map(Map.from_struct(data), fn
      {_field, off} when off in [nil, 0, false] -> []
      {_field, %{value: switches, mask: _}} -> switches
      {field, _value} -> [field]
    end)
  end

  defp known?(module, key, %module{} = current),
    do: not function_exported?(module, :__has__, 2) or module.__has__(key, current)

  defp known?(_module, _key, _current), do: true

  defp fill(module, opts) do
    Enum.reduce_while(opts, {:ok, struct(module)}, fn option, {:ok, data} ->
      case option(module, option, data) do
        {:ok, data} -> {:cont, {:ok, data}}
        :error -> {:halt, {:error, {:bad_option, option}}}
        error -> {:halt, error}
      end
    end)
  end

  # A module may have its own reading of an option; otherwise the option is a field and its value
  # what the field holds.
  defp option(module, {key, value}, data) do
    Code.ensure_loaded!(module)

    own =
      if function_exported?(module, :__option__, 3),
        do: module.__option__(key, value, data),
        else: :field

    case own do
      :field -> Fields.put(data, key, value)
      result -> result
    end
  end
end
