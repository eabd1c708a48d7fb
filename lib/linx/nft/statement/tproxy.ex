defmodule Linx.NFT.Statement.Tproxy do
  @moduledoc false
  # `tproxy [ip|ip6] to ADDRESS[:PORT]`, or `to :PORT`.
  #
  # Source: nft(8), "TPROXY STATEMENT"; net/netfilter/nft_tproxy.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [word: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.Formatter.{Context, Term}
  alias Linx.NFT.Statement.Target

  @port %Term{text: nil, type: :inet_service, size: 2}

  @impl true
  def parse([{:identifier, "tproxy", meta} | rest]) do
    {family, rest} = Target.family(rest)
    {target, rest} = rest |> word("to") |> Target.address_and_port()
    {{:tproxy, target, [family: family], meta}, rest}
  end

  @impl true
  def compile({:tproxy, target, opts, meta}, scope) do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "tproxy works in ip, ip6 and inet tables")

    if scope.layers.transport == nil,
      do: Fault.fail(meta, "tproxy needs a match of the transport protocol before it")

    family = opts[:family] || Target.own_family(scope)

    if Target.own_family(scope) && family != Target.own_family(scope),
      do: Fault.fail(meta, "the address is of another family than the table")

    family =
      if family == nil and target[:addr] != nil,
        do:
          Target.network(scope) || Target.key_network(target[:addr], scope) ||
            Fault.fail(meta, "write tproxy ip to or tproxy ip6 to in an inet table"),
        else: family

    {addr_loads, addr, word, scope} = Target.addr(target[:addr], family, nil, meta, scope)
    {port_loads, port, _word, scope} = Target.port(target[:port], word, meta, scope)

    if addr[:reg_addr_max] || port[:reg_proto_max],
      do: Fault.fail(meta, "tproxy takes one address and one port, no range")

    # A port alone is for both families of an inet table, which the kernel wants said
    # (nft_tproxy_init).
    data =
      %{}
      |> put(:family, family || :unspec)
      |> put(:reg_addr, addr[:reg_addr_min])
      |> put(:reg_port, port[:reg_proto_min])

    {[{:fixed, addr_loads ++ port_loads ++ [Expr.new(:tproxy, data)]}], scope}
  end

  defp put(map, _key, nil), do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  @impl true
  def text(%Expr{data: data}, context) do
    with {:ok, address} <-
           Target.in_register(
             context,
             data[:reg_addr],
             Target.address(data[:family] || context.family)
           ),
         {:ok, port} <- Target.in_register(context, data[:reg_port], @port) do
      family =
        if data[:family] in [:ip, :ip6] and context.family not in [:ip, :ip6],
          do: [Atom.to_string(data.family), " "],
          else: ""

      port = if port == "", do: "", else: [":", port]
      transport = Context.transport(context, port)
      {:ok, [transport, "tproxy ", family, "to ", Target.bracketed(address, port), port]}
    end
  end
end
