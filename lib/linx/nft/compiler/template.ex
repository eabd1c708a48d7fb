defmodule Linx.NFT.Compiler.Template do
  @moduledoc false
  # Rules that differ in their values alone: the first two of a shape are compiled, the others are
  # the second with other values in it.
  #
  # A value is left open where nothing but the bytes of one comparison depends on it: the field is
  # whole bytes, no flags, and no test of a protocol (Linx.Netfilter.Dependencies.significant/1),
  # so that dependencies, joins and names are the same for every value. All else of a rule is part
  # of its shape. A template that does not give the very rule that it was made of is not used, and
  # what does not fit, a mistake above all, is compiled as ever.

  alias Linx.Netfilter.{Datatype, Dependencies, Expr, Field, Protocol, Rule}
  alias Linx.NFT.Compiler.{Chains, Load, Match, Scope, Statement, Value}
  alias Linx.NFT.Statement.Log

  # `lines` has the templates of lines that are text (Linx.NFT.Compiler.RuleText).
  defstruct context: nil, rules: %{}, lines: %{}

  @type t :: %__MODULE__{}

  # Shapes that are kept: a bound for a text in which no two rules are alike.
  @max_shapes 256

  @equal [:implicit, :eq, :neq]
  @transports [:tcp, :udp, :udplite, :sctp, :dccp]
  @meta_keys [:mark, :iifname, :oifname]
  @addresses [:ipv4, :ipv6, :mac]
  @prefixes [:cidr_v4, :cidr_v6]

  # The nodes that a template may contain: those without rules, sets, variables or interpolations
  # in them.
  @nodes [
    :address,
    :binop,
    :classid,
    :concat,
    :counter,
    :ct,
    :exthdr,
    :flags,
    :identifier,
    :integer,
    :last,
    :limit,
    :list,
    :log,
    :match,
    :meta,
    :notrack,
    :objref,
    :payload,
    :prefix,
    :quota,
    :range,
    :reject,
    :rt,
    :set_ref,
    :string,
    :verdict
  ]

  @doc "Nothing compiled yet."
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "The rule as `Chains.rule/3` gives it, and what has been compiled so far."
  @spec rule(tuple(), String.t(), Scope.t(), t()) :: {Rule.t(), t()}
  def rule({:rule, statements, opts, _meta} = node, chain, scope, memo) do
    memo = within(memo, scope)

    case shape(statements) do
      nil -> {Chains.rule(node, chain, scope), memo}
      {shape, open} -> known(memo.rules, shape, open, opts, node, chain, scope, memo)
    end
  end

  @doc "The memo for rules of this scope: empty unless all that a rule refers to is the same."
  @spec within(t(), Scope.t()) :: t()
  def within(%__MODULE__{context: context} = memo, scope) do
    case {scope.family, scope.table, scope.chain, scope.sets, scope.variables} do
      ^context -> memo
      context -> %__MODULE__{context: context}
    end
  end

  defp known(rules, shape, open, opts, node, chain, scope, memo) do
    case rules do
      %{^shape => {forms, pieces}} ->
        {filled(forms, pieces, open, opts, chain, scope) || Chains.rule(node, chain, scope), memo}

      %{^shape => :once} ->
        rule = Chains.rule(node, chain, scope)
        {rule, put(memo, shape, template(node, open, rule, chain, scope))}

      %{^shape => :none} ->
        {Chains.rule(node, chain, scope), memo}

      rules when map_size(rules) < @max_shapes ->
        {Chains.rule(node, chain, scope), put(memo, shape, :once)}

      _full ->
        {Chains.rule(node, chain, scope), memo}
    end
  end

  defp put(memo, shape, entry), do: %{memo | rules: Map.put(memo.rules, shape, entry)}

  # -- shapes ------------------------------------------------------------------------------------

  # {shape, statements with a value left open}, or nil.
  defp shape(statements), do: shape(statements, [], [])

  defp shape([], shapes, open), do: {shapes, Enum.reverse(open)}

  defp shape([statement | rest], shapes, open) do
    case opening(statement) do
      nil -> shape(rest, [stripped(statement) | shapes], open)
      shape -> shape(rest, [shape | shapes], [statement | open])
    end
  catch
    :varied -> nil
  end

  @doc """
  The rule's statements whose values are left open, in order; nil for a rule without a shape.
  """
  @spec open(tuple()) :: [tuple()] | nil
  def open({:rule, statements, _opts, _meta}) do
    case shape(statements) do
      nil -> nil
      {_shape, open} -> open
    end
  end

  # The shape of a statement whose value is left open.
  defp opening({:match, {:payload, protocol, field, _}, op, value, _}) when op in @equal do
    if open_field?(protocol, field), do: opened(value, {:payload, protocol, field, op})
  end

  defp opening({:match, {:meta, key, _}, op, value, _}) when op in @equal and key in @meta_keys,
    do: opened(value, {:meta, key, op})

  defp opening({:log, [prefix: text], _}) when is_binary(text), do: :log
  defp opening(_statement), do: nil

  defp opened({:integer, _, _}, left), do: {:integer, left}
  defp opened({:string, _, _}, left), do: {:string, left}
  defp opened({:address, kind, _, _}, left) when kind in @addresses, do: {kind, left}

  defp opened({:address, kind, raw, _}, left) when kind in @prefixes do
    [_, bits] = :binary.split(raw, "/")
    {kind, bits, left}
  end

  defp opened(_value, _left), do: nil

  @open_fields for field <- Protocol.fields(),
                   field.base in [:link, :network, :transport],
                   field.types == nil,
                   field.length == 8 * elem(Field.bytes(field), 1),
                   not Datatype.bitmask?(field.type),
                   # A field at the first bytes of another transport may be the type of ICMP.
                   field.base != :transport or field.protocol in @transports,
                   Dependencies.significant(%Expr{
                     name: :payload,
                     data: %{
                       base: field.base,
                       offset: elem(Field.bytes(field), 0),
                       len: elem(Field.bytes(field), 1),
                       field: field.name
                     }
                   }) == nil,
                   into: %{},
                   do: {{field.protocol, field.field}, true}

  defp open_field?(protocol, field), do: is_map_key(@open_fields, {protocol, field})

  # A node without its places.
  defp stripped(%{line: _}), do: nil
  defp stripped(list) when is_list(list), do: Enum.map(list, &stripped/1)
  defp stripped(leaf) when is_atom(leaf) or is_binary(leaf) or is_number(leaf), do: leaf
  defp stripped({a, b}), do: {stripped(a), stripped(b)}

  defp stripped({kind, a, b}) when kind in @nodes or is_integer(kind),
    do: {kind, stripped(a), stripped(b)}

  defp stripped(node) when is_tuple(node) and elem(node, 0) in @nodes,
    do: node |> Tuple.to_list() |> Enum.map(&stripped/1)

  defp stripped(_other), do: throw(:varied)

  # -- templates ---------------------------------------------------------------------------------

  @doc """
  `{forms, pieces}` of the rule that the node gives: how each open value becomes what its
  expression holds, and the expressions, those with an open value in a tuple with their data.
  `:none` for a rule that is no template.
  """
  @spec template(tuple(), [tuple()], Rule.t(), String.t(), Scope.t()) :: {list(), list()} | :none
  def template({:rule, statements, opts, _meta}, open, rule, chain, scope) do
    {segments, {after_all, forms}} =
      Enum.flat_map_reduce(statements, {Scope.rule(scope), []}, &marked/2)

    forms = Enum.reverse(forms)

    with {:ok, %Rule{expressions: exprs}} <- Rule.build(Chains.joined(segments, after_all)),
         pieces when is_list(pieces) <- pieces(exprs, nil, 0, length(forms)),
         ^rule <- filled(forms, pieces, open, opts, chain, scope) do
      {forms, pieces}
    else
      _ -> :none
    end
  catch
    :varied -> :none
  end

  # The statement's segments; what decides in them is marked where its value is left open.
  defp marked(statement, {scope, forms}) do
    {segments, after_it} = Statement.statement(statement, scope)

    if opening(statement),
      do: {mark(segments, length(forms)), {after_it, [form(statement, scope) | forms]}},
      else: {segments, {after_it, forms}}
  end

  defp mark(segments, at) do
    List.update_at(segments, -1, fn
      {:fixed, segment} -> {:fixed, mark_last(segment, at)}
      segment -> mark_last(segment, at)
    end)
  end

  defp mark_last(segment, at),
    do: List.update_at(segment, -1, &%{&1 | data: Map.put(&1.data, :open, at)})

  # How the value of a statement becomes what the kernel compares with.
  defp form({:log, _, _}, _scope), do: :log

  defp form({:match, left, op, value, _}, scope) do
    {term, _} = Load.load(left, %{scope | pending: []})
    plain = Match.plain(term)
    if term.kind != :load, do: throw(:varied)

    case Value.constant(value, plain, scope) do
      %{kind: :const} -> {:const, term, plain}
      %{kind: :prefix, data: {_, bits}} -> {:prefix, term, plain, op, bits}
      _ -> throw(:varied)
    end
  end

  # The expressions, those with an open value in a tuple with their data. Each has to be there
  # once and in its place, behind its load: what was joined or turned is no template.
  defp pieces([], _before, count, count), do: []
  defp pieces([], _before, _at, _count), do: :none

  defp pieces([%Expr{name: name, data: %{open: at} = data} = expr | rest], before, at, count)
       when name == :log or (name == :cmp and before in [:payload, :meta, :bitwise]) do
    data = Map.delete(data, :open)
    then_(pieces(rest, name, at + 1, count), {%{expr | data: data}, data})
  end

  defp pieces([%Expr{data: %{open: _}} | _], _before, _at, _count), do: :none

  defp pieces([%Expr{name: name} = expr | rest], _before, at, count),
    do: then_(pieces(rest, name, at, count), expr)

  defp then_(:none, _piece), do: :none
  defp then_(pieces, piece), do: [piece | pieces]

  # -- rules -------------------------------------------------------------------------------------

  # The rule with the values of these statements, or nil where they do not fit.
  defp filled(forms, pieces, open, opts, chain, scope) do
    exprs = put_values(pieces, forms, open, scope)

    case opts do
      [] ->
        %Rule{expressions: exprs, chain: chain}

      [comment: comment] when is_binary(comment) ->
        case Rule.build([], chain: chain, comment: comment) do
          {:ok, rule} -> %{rule | expressions: exprs}
          {:error, _} -> nil
        end

      _ ->
        nil
    end
  catch
    :varied -> nil
    {:syntax, _meta, _message} -> nil
  end

  defp put_values([{expr, data} | pieces], [form | forms], [statement | open], scope) do
    data =
      case expr.name do
        :log -> %{data | prefix: value(form, statement, scope)}
        :cmp -> %{data | data: value(form, statement, scope)}
      end

    [%{expr | data: data} | put_values(pieces, forms, open, scope)]
  end

  defp put_values([expr | pieces], forms, open, scope),
    do: [expr | put_values(pieces, forms, open, scope)]

  defp put_values([], [], [], _scope), do: []

  @doc """
  What the expression of a form holds for the value of this statement; throws `:varied` where the
  value has another form.
  """
  @spec value(term(), tuple(), Scope.t()) :: binary() | tuple()
  def value(:log, {:log, [prefix: text], meta}, scope), do: Log.prefix(text, meta, scope)

  def value({:const, term, plain}, {:match, _, _, value, _}, scope) do
    case Value.constant(value, plain, scope) do
      %{kind: :const} = constant -> Match.place(term, constant)
      _ -> throw(:varied)
    end
  end

  def value({:prefix, term, plain, op, bits}, {:match, _, _, value, meta}, scope) do
    case Value.constant(value, plain, scope) do
      %{kind: :prefix, data: {_, ^bits}} = prefix -> Match.compared(term, op, prefix, meta)
      _ -> throw(:varied)
    end
  end
end
