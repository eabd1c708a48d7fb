defmodule Linx.NFT.Statement.Objref do
  @moduledoc false
  # The use of a named object: `counter name "c"`, `ct helper set "ftp"`, or by a map from a key
  # to names: `counter name tcp dport map { 22 : "ssh" }`. The words of a kind of object are in
  # Linx.NFT.Object.Kinds.
  #
  # Source: nft(8), "STATEFUL OBJECTS"; net/netfilter/nft_objref.c.

  @behaviour Linx.NFT.Statement

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Generate, Interpolated, Load, MapTerm, Scope, Term}
  alias Linx.NFT.Formatter.{Context, Lookup, Match, Text}
  alias Linx.NFT.Object
  alias Linx.NFT.Parser.Expression

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, _, meta} | _] = tokens) do
    {kind, rest} = Object.reference(tokens)
    {value, rest} = Expression.operand(rest)
    {{:objref, kind, value, meta}, rest}
  end

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:objref, kind, value, meta}, scope),
    do: reference(kind, Scope.resolve(scope, value), meta, scope)

  defp reference(kind, {word, name, _}, _meta, scope) when word in [:string, :identifier],
    do: {[{:fixed, [Expr.objref(kind, name)]}], scope}

  defp reference(kind, {:elixir_value, name, _}, _meta, scope),
    do: {[{:fixed, [Expr.objref(kind, Interpolated.text!(name))]}], scope}

  defp reference(kind, {:map, key, map, _}, meta, scope) do
    {key, scope} = Load.load(key, scope)

    {looked_up, lookup, _} =
      MapTerm.lookup(shifted(key), Scope.resolve(scope, map), {:object, kind}, meta, scope)

    key = if key.kind == :part, do: key, else: looked_up

    expr =
      case lookup do
        # The kind of a map that is declared stands there.
        %Expr{name: :lookup, data: %{set: name}} when is_map_key(scope.sets, name) ->
          Expr.objref_map(name)

        %Expr{name: :lookup, data: %{set: name}} ->
          map = Expr.objref_map(name)
          %{map | data: Map.put(map.data, :kind, kind)}

        %Expr{data: data} = anonymous ->
          %{anonymous | data: Map.merge(data, %{sreg: 1, via: :objref})}
      end

    loads = Generate.load(key, 0, byte?(key) or not Generate.transferred?(expr, key))
    {[{:fixed, loads ++ [expr]}], scope}
  end

  defp reference(_kind, node, _meta, _scope),
    do: Fault.fail(node, "expected the name of an object, or a map to names")

  # A field of part of one byte is shifted down before the look-up, as nft has it: the elements
  # are its values. The kernel shifts numbers of the host's order, so the elements of a field in
  # several bytes stand where the field does.
  defp shifted(key), do: if(byte?(key), do: %{key | shift: 0}, else: key)

  defp byte?(%Term{kind: :part, data: {_source, _mask, bytes}}), do: bytes == 1
  defp byte?(_key), do: false

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: %{set_name: name} = data}, context) when is_binary(name) do
    set = Context.set(context, name)

    with {:ok, key} <- Lookup.key(context, data[:set_sreg] || 1, set && set.key_type),
         {:ok, kind} <- kind(set, data),
         {:ok, words} <- Object.reference_words(kind) do
      {:ok, [words, " ", Match.text(key), " map @", Text.name(name)]}
    else
      :undeclared ->
        Text.at("the map #{Text.shown(name)}", fn ->
          Text.unwritable("is not declared, so that the kind of its objects is not known")
        end)

      _ ->
        :error
    end
  end

  def text(%Expr{data: %{imm_type: kind, imm_name: name}}, _context) do
    with {:ok, words} <- Object.reference_words(kind),
         do: {:ok, [words, " ", Text.quoted(name)]}
  end

  def text(_expr, _context), do: :error

  defp kind(%{data_type: {:object, kind}}, _data), do: {:ok, kind}
  defp kind(nil, %{kind: kind}), do: {:ok, kind}
  defp kind(nil, _data), do: :undeclared
  defp kind(_other, _data), do: :error
end
