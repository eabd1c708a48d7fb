defmodule Linx.NFT.RuntimeCompiler do
  @moduledoc """
  Compiles sigils that have interpolations: the tree to Elixir code that builds the ruleset.

  The code evaluates the interpolated expressions, in the order of the text and in the scope of
  the sigil, puts their values in the tree and compiles it, so that a sigil with interpolations
  means exactly what the same text with the values written out means. Everything that can be wrong
  without the values (names, syntax, types of the rest) shows when the module is compiled only as
  far as the parser sees it; the rest raises `Linx.NFT.ParseError` when the code runs.

  Source: none of nft's; the language has no interpolation.
  """

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.{Compiler, ParseError, Parser}

  @doc """
  Elixir code that evaluates to the `%Linx.Netfilter.Ruleset{}`.

  Options as `Linx.NFT.Compiler.compile/2`. Returns `{:error, %Linx.NFT.ParseError{}}` when an
  interpolation is no Elixir.
  """
  @spec emit([tuple()], keyword()) :: {:ok, Macro.t()} | {:error, ParseError.t()}
  def emit(ast_items, opts \\ []) when is_list(ast_items) do
    {items, {_count, sources}} = slots(ast_items, {0, []})
    values = sources |> Enum.reverse() |> Enum.map(&quoted(&1, opts))
    opts = Keyword.take(opts, [:file, :source, :first_line])

    {:ok,
     quote do
       unquote(__MODULE__).__build__(unquote(Macro.escape(items)), unquote(values), unquote(opts))
     end}
  catch
    {:syntax, meta, message} -> {:error, Parser.error(meta, message, opts)}
  end

  @doc false
  # The function that the emitted code calls.
  @spec __build__([tuple()], [term()], keyword()) :: Ruleset.t()
  def __build__(items, values, opts) do
    case items |> fill(List.to_tuple(values)) |> Compiler.compile(opts) do
      {:ok, ruleset} -> ruleset
      {:error, error} -> raise error
    end
  end

  # Each interpolation becomes a numbered slot.
  defp slots({:elixir_expr, {source, factor}, meta}, {n, sources}),
    do:
      {{:elixir_value, {{:slot, n}, factor}, interpolated(meta)},
       {n + 1, [{source, meta} | sources]}}

  defp slots({:elixir_expr, source, meta}, {n, sources}),
    do: {{:elixir_value, {:slot, n}, interpolated(meta)}, {n + 1, [{source, meta} | sources]}}

  defp slots(%{} = map, acc), do: {map, acc}

  defp slots([head | tail], acc) do
    {head, acc} = slots(head, acc)
    {tail, acc} = slots(tail, acc)
    {[head | tail], acc}
  end

  defp slots(tuple, acc) when is_tuple(tuple) do
    {list, acc} = tuple |> Tuple.to_list() |> Enum.map_reduce(acc, &slots/2)
    {List.to_tuple(list), acc}
  end

  defp slots(other, acc), do: {other, acc}

  # Marks an interpolation: a fault of its value is raised as ArgumentError.
  defp interpolated(meta), do: Map.put(meta, :interpolated, true)

  defp quoted({source, meta}, opts) do
    # The expression begins after "\#{".
    options = [file: Keyword.get(opts, :file, "nofile"), line: meta.line, column: meta.column + 2]

    case Code.string_to_quoted(source, options) do
      {:ok, {:__block__, _, []}} ->
        throw({:syntax, meta, "the interpolation is empty"})

      {:ok, quoted} ->
        quoted

      {:error, {_place, message, token}} ->
        throw({:syntax, meta, "in the interpolation: #{text(message)}#{text(token)}"})
    end
  end

  defp text({a, b}), do: "#{a}#{b}"
  defp text(text), do: to_string(text)

  defp fill({:elixir_value, {{:slot, n}, factor}, meta}, values),
    do: {:elixir_value, {elem(values, n), factor}, meta}

  defp fill({:elixir_value, {:slot, n}, meta}, values), do: {:elixir_value, elem(values, n), meta}
  defp fill(%{} = map, _values), do: map
  defp fill([head | tail], values), do: [fill(head, values) | fill(tail, values)]

  defp fill(tuple, values) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> Enum.map(&fill(&1, values)) |> List.to_tuple()

  defp fill(other, _values), do: other
end
