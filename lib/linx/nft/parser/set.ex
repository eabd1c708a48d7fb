defmodule Linx.NFT.Parser.Set do
  @moduledoc false
  # The braces of a set or map: what it holds, how, and the elements.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.{Object, Statement}
  alias Linx.NFT.Parser.{Block, Expression}

  @set_words ~w(type typeof flags timeout gc-interval elements size policy auto-merge comment
                counter)

  @doc false
  def body([{:lbrace, _} | rest]), do: set_body(rest, [])
  def body(tokens), do: unexpected(tokens, "'{'")

  defp set_body([{:stmt_sep, _} | rest], opts), do: set_body(rest, opts)
  defp set_body([{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp set_body([{:identifier, "type", meta} | rest], opts) do
    {key, rest} = type(rest)
    {data, rest} = map_data(rest, &type/1)
    set_next(rest, [{:type, {key, data, meta}} | opts])
  end

  defp set_body([{:identifier, "typeof", meta} | rest], opts) do
    {key, rest} = Expression.load(rest)
    {data, rest} = map_data(rest, &Expression.load/1)
    set_next(rest, [{:typeof, {key, data, meta}} | opts])
  end

  defp set_body([{:identifier, "flags", _} | rest], opts) do
    {flags, rest} = commas(rest, &flag(&1, ~w(constant interval timeout dynamic)))
    set_next(rest, [{:flags, flags} | opts])
  end

  defp set_body([{:identifier, "timeout", _} | rest], opts) do
    {ms, rest} = duration(rest)
    set_next(rest, [{:timeout, ms} | opts])
  end

  defp set_body([{:identifier, "gc-interval", _} | rest], opts) do
    {ms, rest} = duration(rest)
    set_next(rest, [{:gc_interval, ms} | opts])
  end

  defp set_body([{:identifier, "size", _} | rest], opts) do
    {n, rest} = integer(rest)
    set_next(rest, [{:size, n} | opts])
  end

  defp set_body([{:identifier, "policy", _}, {:identifier, policy, _} | rest], opts)
       when policy in ["performance", "memory"],
       do: set_next(rest, [{:policy, known(policy)} | opts])

  defp set_body([{:identifier, "auto-merge", _} | rest], opts),
    do: set_next(rest, [{:auto_merge, true} | opts])

  defp set_body([{:identifier, "comment", _} | rest], opts) do
    {text, rest} = comment(rest)
    set_next(rest, [{:comment, text} | opts])
  end

  defp set_body([{:identifier, "elements", _}, {:assign, _} | rest], opts) do
    {elements, rest} =
      case rest do
        [{kind, _, _} = token | rest] when kind in [:variable, :elixir_expr, :element_text] ->
          {token, rest}

        rest ->
          Expression.set(rest)
      end

    set_next(rest, [{:elements, elements} | opts])
  end

  defp set_body([token | _] = tokens, opts) when definition?(token) do
    {item, rest} = Block.definition(tokens)
    set_body(rest, [{:definition, item} | opts])
  end

  defp set_body(tokens, opts) do
    case Statement.Kinds.stateful(tokens) do
      {statement, rest} -> statements(rest, [{:stmt, statement} | opts])
      nil -> unexpected(tokens, "an attribute of the set", @set_words)
    end
  end

  # "counter quota 500 bytes": several on one line.
  defp statements(tokens, opts) do
    case Statement.Kinds.stateful(tokens) do
      {statement, rest} -> statements(rest, [{:stmt, statement} | opts])
      nil -> set_next(tokens, opts)
    end
  end

  defp set_next(tokens, opts), do: tokens |> statement_end() |> set_body(opts)

  # NAME . NAME ...
  defp type(tokens) do
    {first, rest} = type_name(tokens)
    type_rest(rest, [first])
  end

  defp type_rest([{:dot, _} | rest], acc) do
    {next, rest} = type_name(rest)
    type_rest(rest, [next | acc])
  end

  defp type_rest(rest, acc), do: {Enum.reverse(acc), rest}

  defp type_name([{:identifier, name, meta} | rest]), do: {{name, meta}, rest}
  defp type_name(tokens), do: unexpected(tokens, "a datatype", Linx.Netfilter.Datatype.names())

  defp map_data([{:colon, _}, {:identifier, "interval", _} | rest], one) do
    {data, rest} = one.(rest)
    {{:interval, data}, rest}
  end

  defp map_data([{:colon, _}, {:identifier, "verdict", _} | rest], _one), do: {:verdict, rest}

  defp map_data([{:colon, _} | rest], one) do
    case Object.declared(rest) do
      # nft's grammar has no maps to tunnels.
      {kind, rest} when kind != :tunnel -> {{:object, kind}, rest}
      _ -> one.(rest)
    end
  end

  defp map_data(rest, _one), do: {nil, rest}
end
