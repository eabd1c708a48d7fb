defmodule Linx.NFT.Parser.Action do
  @moduledoc false
  # Statements that act on the packet and are neither matches nor verdicts.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.{Expression, Header, Primary}
  alias Linx.NFT.Statement

  @doc false
  def action([{:identifier, "reject", meta} | rest]), do: reject(rest, meta)
  def action([{:identifier, "snat", meta} | rest]), do: nat(:snat, rest, meta)
  def action([{:identifier, "dnat", meta} | rest]), do: nat(:dnat, rest, meta)
  def action([{:identifier, "notrack", meta} | rest]), do: {{:notrack, meta}, rest}

  def action([{:identifier, "xt", meta} | _]),
    do: fail(meta, "xtables extensions have no text form that can be loaded")

  def action([{:identifier, "masquerade", meta} | rest]) do
    {target, rest} = port_target(rest)
    {flags, rest} = nat_flags(rest)
    {{:nat, :masquerade, target, [flags: flags], meta}, rest}
  end

  def action([{:identifier, "redirect", meta} | rest]) do
    {target, rest} = port_target(rest)
    {flags, rest} = nat_flags(rest)
    {{:nat, :redirect, target, [flags: flags], meta}, rest}
  end

  def action([{:identifier, "dup", meta} | rest]) do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {device, rest} = device(rest)
    {{:dup, [to: to, device: device], meta}, rest}
  end

  def action([{:identifier, "fwd", meta}, {:identifier, family, _} | rest])
      when family in ["ip", "ip6"] do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {device, rest} = device(rest)
    {{:fwd, [family: Primary.family(family), to: to, device: device], meta}, rest}
  end

  def action([{:identifier, "fwd", meta} | rest]) do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {{:fwd, [device: to], meta}, rest}
  end

  def action([{:identifier, "tproxy", meta} | rest]) do
    {family, rest} = nat_family(rest)
    {target, rest} = rest |> word("to") |> address_and_port()
    {{:tproxy, target, [family: family], meta}, rest}
  end

  def action([{:identifier, "flow", meta}, {:identifier, op, _} | rest])
      when op in ["add", "offload"] do
    {{:set_ref, name, _}, rest} = Expression.set_ref(rest)
    {{:flow_offload, name, meta}, rest}
  end

  def action([{:identifier, "flow", _} | rest]), do: unexpected(rest, "add @flowtable", ["add"])

  def action([
        {:identifier, "reset", meta},
        {:identifier, "tcp", _},
        {:identifier, "option", _} | rest
      ]) do
    case rest do
      [{:integer, n, _} | rest] ->
        {{:reset, n, meta}, rest}

      [{:identifier, name, _} | more] ->
        case Header.tcp_option(name) do
          {:ok, n} -> {{:reset, n, meta}, more}
          :error -> unexpected(rest, "a TCP option", Header.tcp_options())
        end

      rest ->
        unexpected(rest, "a TCP option")
    end
  end

  def action([{:identifier, "reset", _} | rest]), do: unexpected(rest, "tcp option NAME")

  # -- reject -----------------------------------------------------------------------------------------------------------

  defp reject([{:identifier, "with", _}, {:identifier, "tcp", _} | rest], meta),
    do: {{:reject, [type: :tcp_reset], meta}, word(rest, "reset")}

  defp reject([{:identifier, "with", _}, {:identifier, kind, _} | rest], meta)
       when kind in ["icmp", "icmpv6", "icmpx"] do
    {_, rest} = optional(rest, "type")
    {code, rest} = Expression.single(rest)
    {{:reject, [type: known(kind), code: code], meta}, rest}
  end

  defp reject([{:identifier, "with", _} | rest], _meta),
    do: unexpected(rest, "icmp, icmpv6, icmpx or tcp reset", ~w(icmp icmpv6 icmpx tcp))

  defp reject(rest, meta), do: {{:reject, [], meta}, rest}

  # -- nat -------------------------------------------------------------------------------------------------------------

  # dnat [ip|ip6] [prefix|interval|addr . port] to TARGET [flags]
  defp nat(kind, tokens, meta) do
    {family, rest} = nat_family(tokens)
    {shape, rest} = nat_shape(rest)
    {target, rest} = rest |> nat_to(family, shape) |> nat_target(shape)
    {flags, rest} = nat_flags(rest)
    {{:nat, kind, target, [family: family, shape: shape, flags: flags], meta}, rest}
  end

  # `to` is optional where neither a family nor a shape precedes the target.
  defp nat_to([{:identifier, "to", _} | rest], _family, _shape), do: rest
  defp nat_to(tokens, nil, nil), do: tokens
  defp nat_to(tokens, _family, _shape), do: word(tokens, "to")

  # `dnat ip saddr map ...` begins with a field, `dnat ip to ...` with a family.
  defp nat_family([{:identifier, family, _}, {:identifier, next, _} | _] = tokens)
       when family in ["ip", "ip6"] do
    if next in ~w(to addr prefix interval),
      do: {Primary.family(family), tl(tokens)},
      else: {nil, tokens}
  end

  defp nat_family([{:identifier, family, _} | rest]) when family in ["ip", "ip6"],
    do: {Primary.family(family), rest}

  defp nat_family(rest), do: {nil, rest}

  defp nat_shape([{:identifier, "prefix", _} | rest]), do: {:prefix, rest}

  defp nat_shape([{:identifier, "addr", _}, {:dot, _}, {:identifier, "port", _} | rest]),
    do: {:addr_port, rest}

  defp nat_shape([{:identifier, "interval", _} | rest]), do: {:interval, rest}
  defp nat_shape(rest), do: {nil, rest}

  # `addr . port` is one operand, a concatenation: no colon separates its port.
  defp nat_target(tokens, :addr_port) do
    {pair, rest} = Expression.operand(tokens)
    {[addr: pair, port: nil], rest}
  end

  defp nat_target(tokens, _shape), do: address_and_port(tokens)

  defp address_and_port([{:colon, _} | rest]) do
    {port, rest} = Expression.operand(rest)
    {[addr: nil, port: port], rest}
  end

  defp address_and_port(tokens) do
    {addr, rest} = Expression.operand(tokens)

    case rest do
      [{:colon, _} | rest] ->
        {port, rest} = Expression.operand(rest)
        {[addr: addr, port: port], rest}

      rest ->
        {[addr: addr, port: nil], rest}
    end
  end

  # "to :PORT" of masquerade and redirect; redirect's colon may be left out.
  defp port_target([{:identifier, "to", _}, {:colon, _} | rest]) do
    {port, rest} = Expression.operand(rest)
    {[addr: nil, port: port], rest}
  end

  defp port_target([{:identifier, "to", _} | rest]) do
    {port, rest} = Expression.operand(rest)
    {[addr: nil, port: port], rest}
  end

  defp port_target(rest), do: {[addr: nil, port: nil], rest}

  @nat_flags %{"random" => :random, "fully-random" => :fully_random, "persistent" => :persistent}

  defp nat_flags([{:identifier, flag, _} | _] = tokens) when is_map_key(@nat_flags, flag),
    do: commas(tokens, &nat_flag/1)

  defp nat_flags(rest), do: {[], rest}

  defp nat_flag([{:identifier, flag, _} | rest]) when is_map_key(@nat_flags, flag),
    do: {@nat_flags[flag], rest}

  defp nat_flag(tokens),
    do: unexpected(tokens, "random, fully-random or persistent", Map.keys(@nat_flags))

  defp device([{:identifier, "device", _} | rest]), do: Expression.operand(rest)
  defp device(rest), do: {nil, rest}

  # -- dynamic sets ----------------------------------------------------------------------------------------------------

  @doc false
  # { key [timeout T] [statement] [: data] } -> {key, data, options, rest}
  def dynamic_element([{:lbrace, _} | rest]) do
    {key, rest} = rest |> skip_separators() |> Expression.operand()
    {opts, rest} = dynamic_options(rest)

    {data, more, rest} =
      case rest do
        [{:colon, _} | rest] ->
          {data, rest} = Expression.operand(rest)
          {more, rest} = dynamic_options(rest)
          {data, more, rest}

        rest ->
          {nil, [], rest}
      end

    {key, data, opts ++ more, rest |> skip_separators() |> expect(:rbrace)}
  end

  def dynamic_element(tokens), do: unexpected(tokens, "'{'")

  @doc false
  def dynamic_options(tokens), do: dynamic_options(tokens, [])

  defp dynamic_options([{:identifier, "timeout", _} | rest], acc) do
    {ms, rest} = duration(rest)
    dynamic_options(rest, [{:timeout, ms} | acc])
  end

  defp dynamic_options([{:identifier, "expires", _} | rest], acc) do
    {ms, rest} = duration(rest)
    dynamic_options(rest, [{:expires, ms} | acc])
  end

  defp dynamic_options([{:identifier, "comment", _} | rest], acc) do
    {text, rest} = string(rest, "a comment")
    dynamic_options(rest, [{:comment, text} | acc])
  end

  defp dynamic_options(tokens, acc) do
    case Statement.stateful(tokens) do
      {statement, rest} -> dynamic_options(rest, [{:stmt, statement} | acc])
      nil -> {Enum.reverse(acc), tokens}
    end
  end
end
