defmodule Linx.Netlink.Rtnl.Address.Ensure do
  @moduledoc false
  # Whether an address is on its link as asked for.

  import Bitwise

  alias Linx.Netlink.Rtnl.Address

  @inet 2
  # IFA_F_DADFAILED
  @dadfailed 0x08
  # IFA_F_NODAD and IFA_F_OPTIMISTIC say how an address begins, and nothing of one that is there.
  @beginning 0x06

  @doc """
  `:there`, `:absent`, or the fields in which the address on the link is another than `wanted`.
  `observed` are the addresses of the link.
  """
  @spec compare(Address.t(), [Address.t()]) :: :there | :absent | {:differs, [atom()]}
  def compare(wanted, observed) do
    own = own(wanted)

    case for(address <- observed, own(address) == own, do: differing(wanted, address)) do
      [] -> :absent
      differing -> if [] in differing, do: :there, else: {:differs, hd(differing)}
    end
  end

  # IPv6 has IFA_LOCAL for point-to-point only, and the far end in IFA_ADDRESS then.
  defp own(address), do: {address.family, address.local || address.address}

  defp differing(wanted, address) do
    for {field, false} <- [
          prefixlen: address.prefixlen == wanted.prefixlen,
          address: address.address == wanted.address,
          scope: address.family != @inet or address.scope == wanted.scope,
          label: address.family != @inet or wanted.label in [nil, address.label],
          broadcast: wanted.broadcast in [nil, address.broadcast],
          priority: (wanted.priority || 0) in [0, address.priority],
          proto: (wanted.proto || 0) in [0, address.proto],
          flags: flags?(wanted, address),
          lifetime: lifetime?(wanted.lifetime || {:forever, :forever}, address.lifetime)
        ],
        do: field
  end

  defp flags?(wanted, address) do
    asked = (wanted.flags_ext || 0) &&& bnot(@beginning)
    flags = address.flags_ext || address.flags
    (flags &&& @dadfailed) == 0 and (flags &&& asked) == asked
  end

  # The time left of a lifetime is at most the one asked for, and `:forever` stays `:forever`.
  defp lifetime?(_wanted, nil), do: true

  defp lifetime?({preferred, valid}, {preferred_left, valid_left}),
    do: left?(preferred, preferred_left) and left?(valid, valid_left)

  defp left?(:forever, left), do: left == :forever
  defp left?(seconds, left), do: is_integer(left) and left <= seconds
end
