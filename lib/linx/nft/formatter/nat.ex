defmodule Linx.NFT.Formatter.Nat do
  @moduledoc false
  # Statements that take addresses, ports and devices from registers: NAT in all its forms, tproxy, dup
  # and fwd.

  import Bitwise

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Formatter.{Context, Registers, Rule, Term, Value}

  @flags [random: "random", fully_random: "fully-random", persistent: "persistent"]
  @port %Term{text: nil, type: :inet_service, size: 2}
  @device %Term{text: nil, type: :iface_index, size: 4, order: :host}

  @spec step(Expr.t(), Context.t()) :: {:ok, Context.t()} | :error
  def step(%Expr{name: :nat, data: %{type: type} = data}, context) do
    case pair(data, context) do
      {:ok, target} ->
        Context.emit(context, [Atom.to_string(type), " ip addr . port to ", target, flags(data)])

      :error ->
        target(data, context)
    end
  end

  def step(%Expr{name: name, data: data}, context) when name in [:masq, :redir] do
    data = data || %{}
    word = if name == :masq, do: "masquerade", else: "redirect"

    with {:ok, port} <- port(data, context) do
      target = if port == "", do: "", else: [" to ", port]
      Context.emit(context, [word, target, flags(data)])
    end
  end

  def step(%Expr{name: :tproxy, data: data}, context) do
    with {:ok, address} <-
           optional(context, data[:reg_addr], sized(data[:family] || context.family)),
         {:ok, port} <- optional(context, data[:reg_port], @port) do
      family =
        if data[:family] in [:ip, :ip6] and context.family not in [:ip, :ip6],
          do: [Atom.to_string(data.family), " "],
          else: ""

      port = if port == "", do: "", else: [":", port]
      Context.emit(context, ["tproxy ", family, "to ", bracketed(address, port), port])
    end
  end

  def step(%Expr{name: :dup, data: data}, context) do
    family = if context.family == :ip6, do: :ip6, else: :ip

    with {:ok, address} <- optional(context, data[:sreg_addr], sized(family)),
         {:ok, device} <- optional(context, data[:sreg_dev], @device) do
      case {address, device} do
        {"", device} -> Context.emit(context, ["dup to ", device])
        {address, ""} -> Context.emit(context, ["dup to ", address])
        {address, device} -> Context.emit(context, ["dup to ", address, " device ", device])
      end
    end
  end

  def step(%Expr{name: :fwd, data: data}, context) do
    with {:ok, device} <- optional(context, data[:sreg_dev], @device),
         {:ok, address} <- optional(context, data[:sreg_addr], sized(data[:nfproto])) do
      if address == "",
        do: Context.emit(context, ["fwd to ", device]),
        else:
          Context.emit(context, [
            "fwd ",
            Atom.to_string(data[:nfproto] || :ip),
            " to ",
            address,
            " device ",
            device
          ])
    end
  end

  def step(_expr, _context), do: :error

  # An IPv4 address and a port, loaded one by one into consecutive words. Of IPv6 both forms have these registers.
  defp pair(%{reg_addr_min: 1, reg_proto_min: 9} = data, context)
       when not is_map_key(data, :reg_addr_max) and not is_map_key(data, :reg_proto_max) do
    with {:ok, address} <- Registers.fetch(context.registers, 1),
         {:ok, port} <- Registers.fetch(context.registers, 9),
         do: {:ok, [Rule.operand(address, sized(:ip)), " . ", Rule.operand(port, @port)]}
  end

  defp pair(_data, _context), do: :error

  defp target(%{type: type} = data, context) do
    with {:ok, address, prefix?} <- address(data, context),
         {:ok, port} <- port(data, context) do
      family =
        if context.family in [:ip, :ip6] or address == "",
          do: "",
          else: [Atom.to_string(data[:family] || :ip), " "]

      prefix = if prefix?, do: "prefix ", else: ""

      target =
        if address == "" and port == "", do: "", else: [" ", family, prefix, "to ", address, port]

      Context.emit(context, [Atom.to_string(type), target, flags(data)])
    end
  end

  defp optional(_context, nil, _as), do: {:ok, ""}

  defp optional(context, register, as) do
    with {:ok, term} <- Registers.fetch(context.registers, register),
         do: {:ok, Rule.operand(term, as)}
  end

  defp sized(:ip6), do: %Term{text: nil, type: :ipv6_addr, size: 16}
  defp sized(_), do: %Term{text: nil, type: :ipv4_addr, size: 4}

  # `{:ok, text, prefix?}`. A map may give both ends, or the port as well.
  defp address(%{reg_addr_min: min} = data, context) do
    as = sized(data[:family] || context.family)
    netmap? = :netmap in List.wrap(data[:flags])

    with {:ok, first} <- Registers.fetch(context.registers, min) do
      case first.value && last(data, context) do
        # NAT forms whose map gives a range or an address with its port take everything from one load.
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

  defp bracketed("", _port), do: ""

  defp bracketed(address, port) do
    if (port != "" and String.contains?(IO.iodata_to_binary(address), "::")) or colons?(address),
      do: ["[", address, "]"],
      else: address
  end

  defp colons?(address),
    do: address |> IO.iodata_to_binary() |> String.match?(~r/^[0-9a-f:.]*:[0-9a-f:.]*:/)

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

  defp port(%{reg_proto_min: min} = data, context) do
    with {:ok, first} <- fetch_port(context, min, data) do
      case first do
        # The register is the second part of a map's value, which has its text already.
        :joined -> {:ok, ""}
        term -> {:ok, [colon(data, context), ports(term, data, context)]}
      end
    end
  end

  defp port(_data, _context), do: {:ok, ""}

  # "@a4:80" is one word to nft's scanner, which would call it a set.
  defp colon(data, context) do
    with {:ok, %Term{value: nil} = term} <-
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
    text = Rule.operand(first, @port)

    case Registers.fetch(context.registers, data[:reg_proto_max]) do
      {:ok, %Term{value: value} = last} when is_binary(value) and value != first.value ->
        [text, "-", Rule.operand(last, @port)]

      _ ->
        text
    end
  end

  defp flags(data) do
    given = List.wrap(data[:flags])

    case for({flag, word} <- @flags, flag in given, do: word) do
      [] -> ""
      words -> [" ", Enum.intersperse(words, ",")]
    end
  end
end
