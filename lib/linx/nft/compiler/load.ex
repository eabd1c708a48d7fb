defmodule Linx.NFT.Compiler.Load do
  @moduledoc false
  # Loads from the packet and its context: a node of the tree to a typed term. The scope collects
  # the implicit dependencies of header fields, in the order of evaluation.

  alias Linx.Netfilter.Field
  alias Linx.Netfilter.Guard.Layers

  alias Linx.NFT.Compiler.{
    Arithmetic,
    Fault,
    Inner,
    Interpolated,
    MapTerm,
    Scope,
    Term,
    Value
  }

  alias Linx.NFT.Expr.{Ct, Kinds}

  @doc false
  # {term, scope}; the scope's `pending` has the guards.
  @spec load(tuple(), Scope.t()) :: {Term.t(), Scope.t()}
  def load({:payload, protocol, text, meta}, scope) do
    {:ok, field} = Field.fetch(protocol, text)
    scope = scope |> guard(protocol, field.base, meta) |> type_guard(field, meta)
    {offset, len} = Field.bytes(field)
    offset = if protocol == :vlan, do: offset + 4 * max(scope.layers.tags - 1, 0), else: offset
    data = {:payload, %{base: field.base, offset: offset, len: len}}
    {field_term(field, data, meta), scope}
  end

  def load({:raw_payload, base, offset, len, meta}, scope) do
    offset = Value.number_of(offset, scope)
    len = Value.number_of(len, scope)

    if len < 1 or len > 512 or offset < 0 or offset + len > 0xFFFF * 8,
      do: Fault.fail(meta, "raw payload must be 1 to 512 bits within the packet")

    field = raw_field(base, offset, len)
    {first, count} = Field.bytes(field)
    {field_term(field, {:payload, %{base: base, offset: first, len: count}}, meta), scope}
  end

  def load({:exthdr, header, text, meta}, scope) do
    {:ok, field} = Field.fetch(header, text)
    scope = guard(scope, header, field.base, meta)
    {offset, len} = Field.bytes(field)
    data = {:exthdr, %{op: field.base, type: field.header, offset: offset, len: len}}
    {field_term(field, data, meta), scope}
  end

  def load({:raw_option, op, type, offset, len, meta}, scope) do
    if len < 1 or len > 512 or type not in 0..255,
      do: Fault.fail(meta, "an option has a kind of 8 bits and 1 to 512 bits")

    field = %Field{base: op, offset: offset, length: len, type: :integer}
    {first, count} = Field.bytes(field)
    {field_term(field, {:exthdr, %{op: op, type: type, offset: first, len: count}}, meta), scope}
  end

  def load({:option_exists, op, type, meta}, scope) do
    type = Value.number_within(type, 0xFF, "the kind of an option", meta, scope)
    scope = guard(scope, op, op, meta)
    data = {:exthdr, %{op: op, type: type, offset: 0, len: 1, flags: [:present]}}
    {%Term{kind: :load, type: :boolean, len: 8, order: :host, data: data, meta: meta}, scope}
  end

  def load({:concat, nodes, meta}, scope) do
    {parts, scope} = Enum.map_reduce(nodes, scope, &load/2)

    for part <- parts, do: Ct.named_address!(part)

    for part <- parts,
        part.type == nil or part.len == 0,
        do: Fault.fail(part.meta, "a part of a concatenation needs a type")

    len = Enum.reduce(parts, 0, &(&2 + 32 * div(&1.len + 31, 32)))

    if len > 512,
      do: Fault.fail(meta, "a concatenation has at most 64 bytes, this one #{div(len, 8)}")

    {%Term{kind: :concat, type: :concat, len: len, data: parts, meta: meta}, scope}
  end

  def load({:binop, _, _, _, _} = node, scope), do: Arithmetic.load(node, scope)

  def load({:map, key, map, meta}, scope), do: MapTerm.load(key, map, meta, scope)

  def load({:variable, _, meta} = node, scope) do
    case Scope.resolve(scope, node) do
      {kind, _, _} = value when kind in [:integer, :string, :identifier] ->
        Fault.fail(meta, "#{inspect(elem(value, 1))} is a constant: nothing is loaded")

      value ->
        load(value, scope)
    end
  end

  def load({:elixir_value, value, meta}, _scope), do: Interpolated.no_load!(value, meta)

  def load({:inner, tunnel, node, meta}, scope), do: Inner.load(tunnel, node, meta, scope)

  def load(node, scope) do
    Kinds.compile(node, scope) ||
      Fault.fail(node, "a constant stands where something must be loaded")
  end

  # Where every transport has its ports, they are ports.
  defp raw_field(:transport, offset, 16) when offset in [0, 16] do
    {:ok, field} = Field.fetch(:th, if(offset == 0, do: "sport", else: "dport"))
    field
  end

  defp raw_field(base, offset, len),
    do: %Field{base: base, offset: offset, length: len, type: :integer}

  # A raw payload that is not whole bytes keeps its offset and length in bits, which nothing else
  # records.
  defp bits({name, data}, %Field{offset: offset, length: length}),
    do: Term.source({name, Map.put(data, :bits, {offset, length})}, nil)

  defp field_term(%Field{length: length, type: type} = field, data, meta) do
    {mask, shift} = Field.mask(field)
    {_offset, count} = Field.bytes(field)
    whole? = length == count * 8

    term = %Term{
      kind: :load,
      type: type,
      len: length,
      order: :big,
      data: data,
      source:
        if(whole? or field.name, do: Term.source(data, field.name), else: bits(data, field)),
      meta: meta
    }

    if whole?, do: term, else: %{term | kind: :part, data: {data, mask, count}, shift: shift}
  end

  # -- guards ------------------------------------------------------------------------------------

  @doc false
  # The scope with the guards before a field of this protocol. A type asks nothing of the packet.
  @spec guard(Scope.t(), atom(), atom(), map()) :: Scope.t()
  def guard(%Scope{typeof?: true} = scope, _protocol, _base, _meta), do: scope

  def guard(scope, protocol, base, meta) do
    case Layers.require(scope.layers, protocol, base) do
      {:ok, guards, layers} ->
        %{scope | layers: layers, pending: scope.pending ++ guards}

      {:error, {there, wanted}} ->
        Fault.fail(meta, "conflicting protocols: #{layer(there)} before, #{wanted} here")
    end
  end

  defp layer({:one_of, protocols}), do: Enum.map_join(protocols, " or ", &layer/1)
  defp layer(nil), do: "nothing"
  defp layer(:unknown), do: "another protocol"
  defp layer(name), do: Atom.to_string(name)

  defp type_guard(%Scope{typeof?: true} = scope, _field, _meta), do: scope

  defp type_guard(scope, field, meta) do
    case Layers.require_type(scope.layers, field, :last) do
      {:ok, guards, layers} ->
        %{scope | layers: layers, pending: scope.pending ++ guards}

      {:error, type} ->
        Fault.fail(
          meta,
          "#{field.protocol} #{field.field} does not exist in #{field.protocol} type #{type}"
        )
    end
  end
end
