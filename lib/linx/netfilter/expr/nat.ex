defmodule Linx.Netfilter.Expr.Nat do
  @moduledoc false
  # NAT statements take their addresses and ports from registers: the loads before the expression.

  alias Linx.Netfilter.Expr

  @doc "The loads and the `nat` expression."
  @spec to(:snat | :dnat, Expr.addr_input(), pos_integer() | nil, keyword()) :: [Expr.t()]
  def to(type, addr, port, opts) do
    {own, opts} = Keyword.split(opts, [:reg_addr, :reg_port, :addr_max, :port_max])
    {family, bytes} = address(addr)
    addr_reg = Keyword.get(own, :reg_addr, 1)
    port_reg = Keyword.get(own, :reg_port, 2)

    {addr_max, addr_opts} =
      case own[:addr_max] && address(own[:addr_max]) do
        nil -> {[], []}
        {^family, max} -> {[Expr.load(max, 3)], [reg_addr_max: 3]}
        {_other, _} -> raise ArgumentError, "both ends of a range need the same family"
      end

    {port_loads, port_opts} = port_loads(port, own[:port_max], port_reg, 4)
    base = [family: family, reg_addr_min: addr_reg] ++ addr_opts ++ port_opts

    [Expr.load(bytes, addr_reg)] ++ addr_max ++ port_loads ++ [Expr.nat(type, base ++ opts)]
  end

  @doc "masq or redir; with ports a list with their loads before it."
  @spec ports(:masq | :redir, integer() | nil, integer() | nil, keyword()) ::
          Expr.t() | [Expr.t()]
  def ports(name, min, max, opts) do
    {loads, registers} = port_loads(min, max, 1, 2)
    expr = Expr.keyed(name, Map.new(registers), opts, [:flags])
    if loads == [], do: expr, else: loads ++ [expr]
  end

  defp port_loads(nil, nil, _min_reg, _max_reg), do: {[], []}

  defp port_loads(min, nil, min_reg, _max_reg),
    do: {[Expr.load(port!(min), min_reg)], [reg_proto_min: min_reg]}

  defp port_loads(min, max, min_reg, max_reg) do
    {[Expr.load(port!(min), min_reg), Expr.load(port!(max), max_reg)],
     [reg_proto_min: min_reg, reg_proto_max: max_reg]}
  end

  defp port!(port) when is_integer(port) and port in 0..65535, do: <<port::16>>
  defp port!(port), do: raise(ArgumentError, "not a port: #{inspect(port)}")

  # A four-byte string is taken as text first only when it parses: "::1" has three bytes, and no
  # IPv4 text is shorter than seven, so four raw bytes that happen to read "::ab" are the one
  # clash; raw bytes win.
  defp address(<<_::32>> = bytes), do: {:ip, bytes}
  defp address(<<_::128>> = text), do: sixteen(text)
  defp address({a, b, c, d}), do: {:ip, bytes!([a, b, c, d], 8)}

  defp address(words) when is_tuple(words) and tuple_size(words) == 8,
    do: {:ip6, bytes!(Tuple.to_list(words), 16)}

  defp address(text) when is_binary(text), do: parsed(text) || not_an_address(text)
  defp address(%Linx.IP{bytes: <<_::32>> = bytes}), do: {:ip, bytes}
  defp address(%Linx.IP{bytes: <<_::128>> = bytes}), do: {:ip6, bytes}
  defp address(other), do: not_an_address(other)

  # Sixteen bytes may be an address or text such as "2001:db8:0:1::22".
  defp sixteen(text), do: (String.printable?(text) && parsed(text)) || {:ip6, text}

  defp parsed(text) do
    case Linx.IP.parse(text) do
      {:ok, ip} -> address(ip)
      {:error, _reason} -> nil
    end
  end

  defp bytes!(parts, bits) do
    if Enum.all?(parts, &(is_integer(&1) and &1 >= 0 and &1 < Bitwise.bsl(1, bits))),
      do: for(part <- parts, into: <<>>, do: <<part::size(bits)>>),
      else: not_an_address(List.to_tuple(parts))
  end

  @spec not_an_address(term()) :: no_return()
  defp not_an_address(term), do: raise(ArgumentError, "not an address: #{inspect(term)}")
end
