defmodule Linx.NFT.Statement.Nat do
  @moduledoc false
  # `snat` and `dnat`: `dnat [ip|ip6] [prefix|interval|addr . port] to TARGET
  # [random,fully-random,persistent]`.
  #
  # Source: nft(8), "NAT STATEMENTS"; net/netfilter/nft_nat.c.

  @behaviour Linx.NFT.Statement

  import Bitwise, only: [bxor: 2, &&&: 2]
  import Linx.NFT.Parser.Tokens, only: [commas: 2, unexpected: 3, word: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.Formatter.{Context, Registers, Rule, Term, Value}
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.{Masquerade, Target}

  @port %Term{text: nil, type: :inet_service, size: 2}

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "snat", meta} | rest]), do: nat(:snat, rest, meta)
  def parse([{:identifier, "dnat", meta} | rest]), do: nat(:dnat, rest, meta)

  # dnat [ip|ip6] [prefix|interval|addr . port] to TARGET [flags]
  defp nat(kind, tokens, meta) do
    {family, rest} = Target.family(tokens)
    {shape, rest} = shape(rest)
    {target, rest} = rest |> to(family, shape) |> target(shape)
    {flags, rest} = flags(rest)
    {{:nat, kind, target, [family: family, shape: shape, flags: flags], meta}, rest}
  end

  # `to` is optional where neither a family nor a shape precedes the target.
  defp to([{:identifier, "to", _} | rest], _family, _shape), do: rest
  defp to(tokens, nil, nil), do: tokens
  defp to(tokens, _family, _shape), do: word(tokens, "to")

  defp shape([{:identifier, "prefix", _} | rest]), do: {:prefix, rest}

  defp shape([{:identifier, "addr", _}, {:dot, _}, {:identifier, "port", _} | rest]),
    do: {:addr_port, rest}

  defp shape([{:identifier, "interval", _} | rest]), do: {:interval, rest}
  defp shape(rest), do: {nil, rest}

  # `addr . port` is one operand, a concatenation: no colon separates its port.
  defp target(tokens, :addr_port) do
    {pair, rest} = Expression.operand(tokens)
    {[addr: pair, port: nil], rest}
  end

  defp target(tokens, _shape), do: Target.address_and_port(tokens)

  @words %{"random" => :random, "fully-random" => :fully_random, "persistent" => :persistent}

  def flags([{:identifier, flag, _} | _] = tokens) when is_map_key(@words, flag),
    do: commas(tokens, &flag/1)

  def flags(rest), do: {[], rest}

  defp flag([{:identifier, flag, _} | rest]) when is_map_key(@words, flag),
    do: {@words[flag], rest}

  defp flag(tokens),
    do: unexpected(tokens, "random, fully-random or persistent", Map.keys(@words))

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:nat, kind, _, _, _} = node, scope) when kind in [:masquerade, :redirect],
    do: Masquerade.compile(node, scope)

  def compile({:nat, kind, target, opts, meta}, scope) do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "#{kind} works in ip, ip6 and inet tables")

    family = family(opts[:family], target[:addr], meta, scope)

    {addr_loads, addr_registers, word, scope} =
      Target.addr(target[:addr], family, opts[:shape], meta, scope)

    {port_loads, port_registers, _word, scope} = Target.port(target[:port], word, meta, scope)

    data =
      %{type: kind}
      |> put(:family, family || scope.family)
      |> Map.merge(Map.new(addr_registers ++ port_registers))
      |> put_flags(opts[:flags] ++ if(opts[:shape] == :prefix, do: [:netmap], else: []))

    {[{:fixed, addr_loads ++ port_loads ++ [Expr.new(:nat, data)]}], scope}
  end

  defp family(nil, addr, meta, scope) do
    Target.own_family(scope) || Target.network(scope) || Target.key_network(addr, scope) ||
      if(addr, do: Fault.fail(meta, "write ip or ip6 before the address in an inet table"))
  end

  defp family(given, _addr, meta, scope) do
    known = Target.own_family(scope) || Target.network(scope)

    if known && known != given,
      do: Fault.fail(meta, "#{given} where the rule or its table is #{known}"),
      else: given
  end

  @flag_order [:random, :persistent, :fully_random, :netmap]

  @doc "The data of a NAT expression with its flags, in the order of the kernel's bits."
  @spec put_flags(map(), [atom()]) :: map()
  def put_flags(data, given) do
    case Enum.filter(@flag_order, &(&1 in given)) do
      [] -> data
      flags -> Map.put(data, :flags, flags)
    end
  end

  defp put(map, _key, nil), do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: %{type: type} = data}, context) do
    case pair(data, context) do
      {:ok, target} ->
        {:ok, [Atom.to_string(type), " ip addr . port to ", target, written_flags(data)]}

      :error ->
        target_text(data, context)
    end
  end

  def text(_expr, _context), do: :error

  # An IPv4 address and a port, loaded one by one into consecutive words. Of IPv6 both forms have
  # these registers.
  defp pair(%{reg_addr_min: 1, reg_proto_min: 9} = data, context)
       when not is_map_key(data, :reg_addr_max) and not is_map_key(data, :reg_proto_max) do
    # A port that was loaded before the address is a part of the key that the address comes from.
    with {:ok, [address, port | _]} <- Registers.loaded(context.registers, 1, nil) do
      {:ok, [Rule.operand(address, Target.address(:ip)), " . ", Rule.operand(port, @port)]}
    else
      _ -> :error
    end
  end

  defp pair(_data, _context), do: :error

  defp target_text(%{type: type} = data, context) do
    with {:ok, address, prefix?} <- address(data, context),
         joined? = joined?(data, context),
         {:ok, port} <- if(joined?, do: {:ok, ""}, else: Target.written_port(data, context)) do
      family =
        if (context.family in [:ip, :ip6] and not joined?) or address == "",
          do: "",
          else: [Atom.to_string(data[:family] || :ip), " "]

      prefix =
        cond do
          joined? -> "addr . port "
          prefix? -> "prefix "
          true -> ""
        end

      target =
        if address == "" and port == "", do: "", else: [" ", family, prefix, "to ", address, port]

      transport = Context.transport(context, port)
      {:ok, [transport, Atom.to_string(type), target, written_flags(data)]}
    end
  end

  # Whether one load gives the address and its port, of a map whose declaration does not say so:
  # nothing was loaded behind it.
  defp joined?(%{reg_addr_min: register, reg_proto_min: port}, context) do
    match?(
      {:ok, [%Term{source: {:map, nil}}]},
      Registers.loaded(context.registers, register, nil)
    ) and
      not Registers.later?(context.registers, port, register)
  end

  defp joined?(_data, _context), do: false

  # `{:ok, text, prefix?}`. A map may give both ends, or the port as well.
  defp address(%{reg_addr_min: min} = data, context) do
    as = Target.address(data[:family] || context.family)
    netmap? = :netmap in List.wrap(data[:flags])

    with {:ok, first} <- Registers.fetch(context.registers, min) do
      case first.value && last(data, context) do
        # NAT forms whose map gives a range or an address with its port take everything from one
        # load.
        nil ->
          {:ok, port_bracket(Rule.operand(first, as), data, first), netmap?}

        %Term{value: last} when is_binary(last) ->
          {:ok, port_bracket(ends(first.value, last, as, netmap?), data, first), netmap?}

        :none ->
          {:ok, port_bracket(Rule.operand(first, as), data, first), netmap?}

        _ ->
          :error
      end
    end
  end

  defp address(_data, _context), do: {:ok, "", false}

  defp last(data, context) do
    case data[:reg_addr_max] do
      nil ->
        :none

      register when register == :erlang.map_get(:reg_addr_min, data) ->
        :none

      register ->
        with :error <- Registers.fetch(context.registers, register),
             do: :error,
             else: ({:ok, term} -> term)
    end
  end

  # An IPv6 address before a port stands in brackets.
  defp port_bracket(text, data, %Term{value: value}) do
    if data[:reg_proto_min] != nil and is_binary(value) and byte_size(value) == 16,
      do: bracketed_range(text),
      else: text
  end

  defp bracketed_range([first, "-", last]), do: ["[", first, "]-[", last, "]"]
  defp bracketed_range(text), do: ["[", text, "]"]

  defp ends(first, last, as, true),
    do: prefix(first, last) || [Value.constant(as, first), "-", Value.constant(as, last)]

  defp ends(same, same, as, _), do: Value.constant(as, same)
  defp ends(first, last, as, _), do: [Value.constant(as, first), "-", Value.constant(as, last)]

  defp prefix(first, last) do
    span = bxor(:binary.decode_unsigned(first), :binary.decode_unsigned(last))
    free = length(Integer.digits(span, 2))
    free = if span == 0, do: 0, else: free

    if span == Term.ones(free) and (:binary.decode_unsigned(first) &&& span) == 0,
      do: [Value.address(first), "/", Integer.to_string(bit_size(first) - free)]
  end

  @written_flags [random: "random", fully_random: "fully-random", persistent: "persistent"]

  @doc "nft's words for the flags, with a space in front."
  @spec written_flags(map()) :: iodata()
  def written_flags(data) do
    given = List.wrap(data[:flags])

    case for({flag, word} <- @written_flags, flag in given, do: word) do
      [] -> ""
      words -> [" ", Enum.intersperse(words, ",")]
    end
  end
end
