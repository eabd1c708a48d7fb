defmodule Linx.Netfilter.Expr.CtState do
  @moduledoc false
  # Conntrack's states are a bit mask in the host's byte order, and are also written in network
  # order:
  #
  #   [Expr.ct(:state), Expr.bitwise(<<6::big-32>>, <<0::big-32>>), Expr.cmp(:neq, <<0::big-32>>)]
  #
  # On a little-endian host those are bits 25 and 26, which no state has (NF_CT_STATE_BIT,
  # include/uapi/linux/netfilter/ nf_conntrack_common.h: bits 0 to 6). The rule would match
  # nothing, so it is taken for what it says.

  alias Linx.Netfilter.Expr

  @doc """
  The expressions with the masks and values that states are compared with in the host's order.
  """
  @spec host_order([Expr.t()]) :: [Expr.t()]
  def host_order([%Expr{name: :ct, data: %{key: :state, dreg: register}} = load | rest]),
    do: [load | compared(rest, register)]

  def host_order([expr | rest]), do: [expr | host_order(rest)]
  def host_order([]), do: []

  defp compared(
         [
           %Expr{name: :bitwise, data: %{sreg: register, mask: mask, xor: xor} = data} = expr
           | rest
         ],
         register
       ) do
    data = %{data | mask: host(mask), xor: host(xor)}
    [%{expr | data: data} | compared(rest, Map.get(data, :dreg, register))]
  end

  defp compared(
         [%Expr{name: :cmp, data: %{sreg: register, data: value} = data} = expr | rest],
         register
       ),
       do: [%{expr | data: %{data | data: host(value)}} | compared(rest, register)]

  defp compared(rest, _register), do: host_order(rest)

  defp host(<<0, 0, 0, bits>>) when bits in 1..0x7F, do: <<bits::native-32>>
  defp host(value), do: value
end
