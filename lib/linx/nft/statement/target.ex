defmodule Linx.NFT.Statement.Target do
  @moduledoc false
  # The address and port that NAT, tproxy, dup and fwd send a packet to: parsed, loaded into
  # registers, and written.

  import Linx.NFT.Parser.Tokens, only: [known: 1]

  alias Linx.NFT.Compiler.{Fault, Generate, Load, Operand, Scope, Term, Value}
  alias Linx.NFT.Formatter.{Registers, Rule}
  alias Linx.NFT.Formatter.Term, as: Text
  alias Linx.NFT.Parser.Expression

  @port %Term{kind: :const, type: :inet_service, len: 16, order: :big}
  @written_port %Text{text: nil, type: :inet_service, size: 2}

  # -- parser ------------------------------------------------------------------------------------

  @doc "The family `ip` or `ip6` before the target, nil where none is given."
  # `dnat ip saddr map ...` begins with a field, `dnat ip to ...` with a family.
  def family([{:identifier, family, _}, {:identifier, next, _} | _] = tokens)
      when family in ["ip", "ip6"] do
    if next in ~w(to addr prefix interval),
      do: {known(family), tl(tokens)},
      else: {nil, tokens}
  end

  def family([{:identifier, family, _} | rest]) when family in ["ip", "ip6"],
    do: {known(family), rest}

  def family(rest), do: {nil, rest}

  @doc "`ADDRESS`, `ADDRESS:PORT` or `:PORT`, where the address may be a range or a map."
  @spec address_and_port([tuple()]) :: {keyword(), [tuple()]}
  def address_and_port([{:colon, _} | rest]) do
    {port, rest} = Expression.operand(rest)
    {[addr: nil, port: port], rest}
  end

  def address_and_port(tokens) do
    {addr, rest} = Expression.operand(tokens)

    case rest do
      [{:colon, _} | rest] ->
        {port, rest} = Expression.operand(rest)
        {[addr: addr, port: port], rest}

      rest ->
        {[addr: addr, port: nil], rest}
    end
  end

  # -- compiler ----------------------------------------------------------------------------------

  @doc "The type of an address of a family."
  @spec address_term(:ip | :ip6) :: Term.t()
  def address_term(:ip), do: %Term{kind: :const, type: :ipv4_addr, len: 32, order: :big}
  def address_term(:ip6), do: %Term{kind: :const, type: :ipv6_addr, len: 128, order: :big}

  # The network protocol of a map's key. nft reads it there only for a map to addresses alone.
  def key_network(node, scope) when is_tuple(node) do
    with {:map, key, map, _} <- Scope.resolve(scope, node),
         {%Term{kind: :const}, _} <-
           map_value(Scope.resolve(scope, map), address_term(:ip), nil, scope) do
      {_term, scope} = Load.load(key, %{scope | expect: nil})
      network(scope)
    else
      _ -> nil
    end
  end

  def key_network(_node, _scope), do: nil

  def own_family(%{family: family}) when family in [:ip, :ip6], do: family
  def own_family(_scope), do: nil

  def network(%{layers: %{network: network}}) when network in [:ip, :ip6], do: network
  def network(_scope), do: nil

  # {loads, registers, next word, scope}
  def addr(nil, _family, _shape, _meta, scope), do: {[], [], 0, scope}

  def addr(node, family, shape, meta, scope) do
    like = address_term(family)

    case Scope.resolve(scope, node) do
      {:map, key, map, map_meta} ->
        mapped({:map, key, map, map_meta}, like, shape, meta, scope)

      node when shape == :addr_port ->
        pair(node, pair(like), meta, scope)

      node ->
        {term, scope} = Operand.operand(node, like, scope)
        {low, high} = ends(term, meta)

        if high,
          do:
            {Generate.load(low, 0) ++ Generate.load(high, 4), [reg_addr_min: 1, reg_addr_max: 2],
             8, scope},
          else: {Generate.load(low, 0), [reg_addr_min: 1], 4, scope}
    end
  end

  # The address and its port in consecutive words, as a map to a concatenation leaves them.
  defp pair(node, like, meta, scope) do
    {term, scope} = Operand.operand(node, like, scope)

    unless term.kind == :concat and
             Enum.all?(term.data, &(&1.kind not in [:range, :prefix, :wildcard])),
           do: Fault.fail(meta, "addr . port takes one address and one port")

    if scope.layers.transport == nil, do: no_transport(meta)
    port = div(like.len, 32) - 1
    {Generate.load(term, 0), registers(reg_addr_min: 0, reg_proto_min: port), 4, scope}
  end

  # A map may give an address, a range of them, or an address and a port: what its elements look
  # like decides.
  defp mapped({:map, key, map, _} = node, like, shape, meta, scope) do
    {like, interval?} = map_value(Scope.resolve(scope, map), like, shape, scope)
    {term, scope} = Operand.operand(node, like, scope)

    interval? =
      interval? or match?(%{data: %{data_type: {:interval, _}}}, elem(term.data, 1)) or
        shape in [:prefix, :interval]

    if like.kind == :concat and scope.layers.transport == nil and not protocol?(key, scope),
      do: no_transport(meta)

    loads = Generate.load(term, 0)
    words = div(like_bits(like), 32)

    registers =
      case {like.kind, interval?} do
        {:concat, true} ->
          registers(
            reg_addr_min: 0,
            reg_proto_min: words - 1,
            reg_addr_max: words,
            reg_proto_max: 2 * words - 1
          )

        {:concat, false} ->
          registers(reg_addr_min: 0, reg_proto_min: words - 1)

        {_, true} ->
          registers(reg_addr_min: 0, reg_addr_max: words)

        {_, false} ->
          [reg_addr_min: 1]
      end

    {loads, registers, 4, scope}
  end

  defp registers(words), do: Enum.map(words, fn {key, word} -> {key, Generate.register(word)} end)

  defp like_bits(%Term{kind: :concat, len: len}), do: len
  defp like_bits(%Term{len: len}), do: len

  defp map_value({:set_inline, nodes, _}, like, shape, scope) do
    concat? = shape == :addr_port or Enum.any?(nodes, &concat?(&1, scope))
    {if(concat?, do: pair(like), else: like), false}
  end

  defp map_value({:set_ref, name, _}, like, shape, scope) do
    case Map.get(scope.sets, Value.text_of(name, scope)) do
      %{data: %Term{} = data, data_interval?: interval?} ->
        {%{data | kind: if(data.kind == :concat, do: :concat, else: :const)}, interval?}

      _ ->
        {if(shape == :addr_port, do: pair(like), else: like), false}
    end
  end

  defp map_value(_node, like, _shape, _scope), do: {like, false}

  defp concat?({:mapping, _, data, _}, scope),
    do: match?({:concat, _, _}, Scope.resolve(scope, data))

  defp concat?({:variable, _, _} = node, scope), do: concat?(Scope.resolve(scope, node), scope)
  defp concat?({:set_inline, nodes, _}, scope), do: Enum.any?(nodes, &concat?(&1, scope))
  defp concat?(_node, _scope), do: false

  defp pair(like),
    do: %Term{kind: :concat, type: :concat, len: like.len + 32, data: [like, @port]}

  def port(nil, word, _meta, scope), do: {[], [], word, scope}

  def port(node, word, meta, scope) do
    {term, scope} = Operand.operand(node, @port, scope)

    # A port that is looked up by a port has told which transport it is.
    if scope.layers.transport == nil, do: no_transport(meta)

    if match?(%Term{kind: :map, data: {_, %{data: %{data_type: {:interval, _}}}}}, term),
      do: Fault.fail(meta, "a map of ports gives one port a key, not a range")

    {low, high} = ends(term, meta)

    if high,
      do:
        {Generate.load(low, word) ++ Generate.load(high, word + 4),
         [reg_proto_min: Generate.register(word), reg_proto_max: Generate.register(word + 4)],
         word + 8, scope},
      else: {Generate.load(low, word), [reg_proto_min: Generate.register(word)], word + 4, scope}
  end

  @spec no_transport(map()) :: no_return()
  defp no_transport(meta),
    do: Fault.fail(meta, "a port needs a match of the transport protocol before it")

  # A concatenated key with the packet's protocol in it matches the transport itself.
  defp protocol?({:concat, nodes, _}, scope),
    do: Enum.any?(nodes, &protocol_field?(Scope.resolve(scope, &1)))

  defp protocol?(_key, _scope), do: false

  defp protocol_field?({:meta, :l4proto, _}), do: true
  defp protocol_field?({:payload, :ip, "protocol", _}), do: true
  defp protocol_field?({:payload, :ip6, "nexthdr", _}), do: true
  defp protocol_field?(_node), do: false

  # A range of one is the one.
  defp ends(%Term{kind: :range, data: {%Term{data: n} = one, %Term{data: n}}}, _meta),
    do: {one, nil}

  defp ends(%Term{kind: :range, data: {low, high}}, _meta), do: {low, high}

  defp ends(%Term{kind: :prefix, data: {n, bits}, len: len} = term, _meta) do
    last = n + Bitwise.bsl(1, len - bits) - 1
    {%{term | kind: :const, data: n}, %{term | kind: :const, data: last}}
  end

  defp ends(%Term{kind: kind}, meta) when kind in [:wildcard, :concat],
    do: Fault.fail(meta, "expected one address or port, or a range")

  defp ends(term, _meta), do: {term, nil}
  # -- formatter ---------------------------------------------------------------------------------

  @doc "The text of what a register holds as a value of `as`; empty without a register."
  def in_register(_context, nil, _as), do: {:ok, ""}

  def in_register(context, register, as) do
    with {:ok, term} <- Registers.fetch(context.registers, register),
         do: {:ok, Rule.operand(term, as)}
  end

  def address(:ip6), do: %Text{text: nil, type: :ipv6_addr, size: 16}
  def address(_), do: %Text{text: nil, type: :ipv4_addr, size: 4}

  @doc "An address, in brackets where a port follows and it has colons."
  def bracketed("", _port), do: ""

  def bracketed(address, port) do
    if (port != "" and String.contains?(IO.iodata_to_binary(address), "::")) or colons?(address),
      do: ["[", address, "]"],
      else: address
  end

  defp colons?(address),
    do: address |> IO.iodata_to_binary() |> String.match?(~r/^[0-9a-f:.]*:[0-9a-f:.]*:/)

  @doc """
  The port of `reg_proto_min` and `reg_proto_max` with its colon; empty where the expression has
  none.
  """
  def written_port(%{reg_proto_min: min} = data, context) do
    with {:ok, first} <- fetch_port(context, min, data) do
      case first do
        # The register is the second part of a map's value, which has its text already.
        :joined -> {:ok, ""}
        term -> {:ok, [colon(data, context), ports(term, data, context)]}
      end
    end
  end

  def written_port(_data, _context), do: {:ok, ""}

  # "@a4:80" is one word to nft's scanner, which would call it a set.
  defp colon(data, context) do
    with {:ok, %Text{value: nil} = term} <-
           Registers.fetch(context.registers, data[:reg_addr_min]),
         true <- String.match?(IO.iodata_to_binary(term.text), ~r/@[0-9A-Fa-f]{1,4}\z/),
         do: " : ",
         else: (_ -> ":")
  end

  defp fetch_port(context, register, data) do
    case Registers.fetch(context.registers, register) do
      {:ok, term} -> {:ok, term}
      :error -> if data[:reg_addr_min], do: {:ok, :joined}, else: :error
    end
  end

  defp ports(first, data, context) do
    text = Rule.operand(first, @written_port)

    case Registers.fetch(context.registers, data[:reg_proto_max]) do
      {:ok, %Text{value: value} = last} when is_binary(value) and value != first.value ->
        [text, "-", Rule.operand(last, @written_port)]

      _ ->
        text
    end
  end
end
