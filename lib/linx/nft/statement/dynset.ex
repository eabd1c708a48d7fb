defmodule Linx.NFT.Statement.Dynset do
  @moduledoc false
  # Elements of a set that the packet adds, refreshes or deletes: `add @SET { KEY [timeout TIME]
  # [STATEMENT] [: DATA] }`, also `update` and `delete`; the older form `set add KEY @SET`; and
  # `meter NAME { KEY STATEMENT }`, which has a set of its own.
  #
  # Source: nft(8), "SET STATEMENT"; net/netfilter/nft_dynset.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, except: [fail: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Elements, Fault, Generate, Load, MapTerm, Operand, Term, Typeof, Value}
  alias Linx.NFT.Formatter.{Context, Lookup, Match, Text}
  alias Linx.NFT.Formatter.Value, as: Written
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.Kinds

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, op, meta}, {:at, _} | rest])
      when op in ["add", "update", "delete"] do
    {name, rest} = name(rest, "set")
    {key, data, opts, rest} = dynamic_element(rest)
    {{:dynset, known(op), name, key, data, opts, meta}, rest}
  end

  # The older form: set add ip saddr @s
  def parse([{:identifier, kind, meta}, {:identifier, op, _} | rest])
      when kind in ["set", "map"] and op in ["add", "update", "delete"] do
    {key, rest} = Expression.operand(rest)
    {opts, rest} = dynamic_options(rest)

    {data, rest} =
      case rest do
        [{:colon, _} | rest] -> Expression.operand(rest)
        rest -> {nil, rest}
      end

    {{:set_ref, name, _}, rest} = Expression.set_ref(rest)
    {{:dynset, known(op), name, key, data, opts, meta}, rest}
  end

  def parse([{:identifier, "meter", meta} | rest]) do
    {name, rest} = name(rest, "meter")

    {size, rest} =
      case rest do
        [{:identifier, "size", _} | rest] -> integer(rest)
        rest -> {nil, rest}
      end

    case dynamic_element(rest) do
      {key, nil, opts, rest} -> {{:meter, name, size, key, opts, meta}, rest}
      {_key, data, _opts, _rest} -> Fault.fail(data, "a meter has keys alone, no values")
    end
  end

  # { key [timeout T] [statement] [: data] } -> {key, data, options, rest}
  defp dynamic_element([{:lbrace, _} | rest]) do
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

  defp dynamic_element(tokens), do: unexpected(tokens, "'{'")

  defp dynamic_options(tokens), do: dynamic_options(tokens, [])

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
    case Kinds.stateful(tokens) do
      {statement, rest} -> dynamic_options(rest, [{:stmt, statement} | acc])
      nil -> {Enum.reverse(acc), tokens}
    end
  end

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:dynset, op, name, key, data, opts, meta}, scope) do
    name = Value.text_of(name, scope)
    declared = Map.get(scope.sets, name)
    {key, scope} = key(key, declared, meta, scope)
    MapTerm.check_key(key, declared, name, meta, :set)
    key = counted(key, declared)
    word = if key.kind == :concat, do: div(key.len, 32), else: 4
    {data, scope} = data(data, declared, name, meta, scope)

    fields =
      %{op: op, set: name, sreg_key: 1}
      |> put(:sreg_data, data && Generate.register(word))
      |> put(:timeout, Elements.duration(opts[:timeout], scope))
      |> put(:exprs, exprs(opts, scope))

    loads = Generate.load(key, 0) ++ if(data, do: Generate.load(data, word), else: [])
    {[{:fixed, loads ++ [Expr.new(:dynset, fields)]}], scope}
  end

  def compile({:meter, name, size, key, opts, meta}, scope) do
    name = Value.text_of(name, scope)
    {key, scope} = Load.load(key, scope)
    timeout = Elements.duration(opts[:timeout], scope)
    op = if timeout, do: :update, else: :add
    flags = [:anonymous] ++ if(timeout, do: [:timeout], else: []) ++ [:dynamic]
    flags = Enum.filter([:anonymous, :constant, :dynamic, :timeout], &(&1 in flags))
    size = Value.number_within(size, 0xFFFFFFFF, "a size", meta, scope)
    exprs = exprs(opts, scope)
    if exprs == [], do: Fault.fail(meta, "a meter needs a statement: limit, counter, ...")
    dynset = %{op: op, sreg_key: 1} |> put(:timeout, timeout) |> put(:exprs, exprs)

    fields =
      %{
        elements: [],
        key_type: MapTerm.key_type(key),
        flags: flags,
        name: name,
        via: {:dynset, dynset}
      }
      |> put(:size, size)
      |> put(:typeof, Typeof.record(key, nil))

    {[{:fixed, Generate.load(key, 0) ++ [Expr.new(:__anon_set, fields)]}], scope}
  end

  # nft turns a number that counts or is drawn into an address where it is the whole key, and not
  # where it is a part of one.
  defp counted(%Term{generated: :counted} = key, %{key: %Term{} = declared}),
    do: Operand.order(key, declared)

  defp counted(%Term{kind: :concat, data: parts} = key, _declared) do
    parts =
      for part <- parts do
        case part do
          %Term{kind: :order, data: %Term{generated: kind} = number} when kind != nil -> number
          part -> part
        end
      end

    %{key | data: parts}
  end

  defp counted(key, _declared), do: key

  # A constant key takes its type from the set.
  defp key(node, declared, meta, scope) do
    cond do
      declared && match?({:concat, _, _}, node) -> Operand.operand(node, declared.key, scope)
      Operand.load?(node, scope) -> Load.load(node, scope)
      declared -> {Value.constant(node, declared.key, scope), scope}
      true -> Fault.fail(meta, "a constant key needs a set declared before it")
    end
  end

  defp data(nil, declared, name, meta, _scope)
       when declared != nil and is_map_key(declared, :data) and declared.data != nil,
       do: Fault.fail(meta, "#{name} is a map: its elements need a value")

  defp data(nil, _declared, _name, _meta, scope), do: {nil, scope}

  defp data(node, declared, name, meta, scope) do
    case declared do
      %{data: %Term{} = like} ->
        Operand.operand(node, %{like | kind: const_kind(like)}, scope)

      nil ->
        Load.load(node, scope)

      _ ->
        Fault.fail(meta, "#{name} has no values that a rule can add")
    end
  end

  defp const_kind(%Term{kind: :concat}), do: :concat
  defp const_kind(_term), do: :const

  defp exprs(opts, scope),
    do: for({:stmt, node} <- opts, expr <- Kinds.exprs(node, scope), do: expr)

  defp put(map, _key, value) when value in [nil, []], do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: %{set: name} = data}, context) do
    element(data, Context.set(context, name) || %{name: name, flags: [], key_type: nil}, context)
  end

  def text(_expr, _context), do: :error

  @doc "A meter: the set is the rule's own, and the rule fills it."
  @spec meter_text(map(), map(), Context.t()) :: {:ok, iodata()} | :error
  def meter_text(dynset, set, context) do
    set = %{
      name: set[:name] || "m",
      flags: set.flags,
      size: set[:size],
      key_type: set.key_type
    }

    element(dynset, set, context)
  end

  defp element(%{op: op} = data, set, context) do
    with {:ok, key} <-
           Lookup.key(context, data[:sreg_key] || 1, set && set.key_type, data[:sreg_data]),
         {:ok, value} <- value(context, data[:sreg_data], set),
         {:ok, statements} <- statements(data[:exprs] || []) do
      timeout =
        if data[:timeout] in [nil, 0], do: "", else: [" timeout ", Written.duration(data.timeout)]

      head =
        if meter?(set), do: meter(set), else: [Atom.to_string(op), " @", Text.name(set.name)]

      {:ok,
       [
         head,
         " { ",
         Match.text(key),
         timeout,
         statements,
         value,
         " }"
       ]}
    end
  end

  # A set that a rule made for itself by `meter` has the rule's flag of anonymous sets, but a
  # name.
  defp meter?(set), do: :anonymous in set.flags

  defp meter(set) do
    size = if set.size, do: [" size ", Integer.to_string(set.size)], else: ""
    ["meter ", Text.name(set.name), size]
  end

  defp value(_context, nil, _set), do: {:ok, ""}

  defp value(context, register, set) do
    type = set && Map.get(set, :data_type)

    with {:ok, term} <- Lookup.key(context, register, type) do
      text = if term.value, do: Lookup.constant(term, type), else: Match.text(term)
      {:ok, [" : ", text]}
    end
  end

  defp statements(exprs) do
    Enum.reduce_while(exprs, {:ok, []}, fn expr, {:ok, acc} ->
      case Kinds.stateful_text(expr) do
        {:ok, text} -> {:cont, {:ok, [acc, " ", text]}}
        :error -> {:halt, :error}
      end
    end)
  end
end
