defmodule Linx.NFT.Compiler.RuleText do
  @moduledoc false
  # The rules of a token `:rule_text`, line by line, without tokens or a tree for most of them.
  #
  # A line's shape is its text with the kinds of its literals in their places
  # (Linx.NFT.Tokenizer.RuleText). The first two lines of a shape are read as every rule is; the
  # second leaves a template (Linx.NFT.Compiler.Template) and says which literals are its open
  # values. Each later line is that template with its own values in it, written straight from the
  # literals. The other literals of a line are closed: they select the template among those of the
  # shape.
  #
  # A template that does not give the rule that it was made of is not used. A value that does not
  # fit sends its line to the tokenizer.

  alias Linx.Netfilter.{Expr, Rule}
  alias Linx.NFT.Compiler.{Chains, Fault, Scope, Template, Term}
  alias Linx.NFT.{Parser, Tokenizer}
  alias Linx.NFT.Statement.Log
  alias Linx.NFT.Parser.Tokens
  alias Linx.NFT.Tokenizer.RuleText

  # A text in which no two lines are alike fills no memory.
  @max_shapes 256
  @max_variants 64

  @start %{line: 1, column: 1}

  @doc """
  The rules of `text` in the chain `name`, and the memo with the templates of its lines. Throws
  `{:syntax, meta, message}` for a line that is no rule; the place is that of the text.
  """
  @spec rules(binary(), map(), String.t(), Scope.t(), Template.t()) :: {[Rule.t()], Template.t()}
  def rules(text, meta, name, scope, memo),
    do: lines(text, {name, scope, meta}, Template.within(memo, scope), [])

  defp lines(text, context, memo, rules) do
    case RuleText.next(text) do
      {shape, values, size, rest} ->
        case known(shape, values, context, memo) do
          nil ->
            {rule, memo} = rule(shape, values, binary_part(text, 0, size), context, memo)
            lines(rest, context, memo, [rule | rules])

          rule ->
            lines(rest, context, memo, [rule | rules])
        end

      {:blank, rest} ->
        lines(rest, context, memo, rules)

      {:other, line, rest} ->
        {rule, memo} = read(line, context, memo)
        lines(rest, context, memo, [rule | rules])

      :done ->
        {Enum.reverse(rules), memo}
    end
  end

  # The rule of a template, nil where there is none or a value does not fit.
  defp known(shape, values, context, %{lines: lines}) do
    with %{^shape => {flags, variants}} <- lines,
         {closed, open} = split(flags, values, [], []),
         %{^closed => template} <- variants do
      filled(template, open, context)
    else
      _ -> nil
    end
  end

  # The rule of a line that is read, and what is learned of it.
  defp rule(shape, values, line, context, %{lines: lines} = memo) do
    case lines do
      %{^shape => {flags, variants}} when map_size(variants) < @max_variants ->
        {closed, _open} = split(flags, values, [], [])

        if is_map_key(variants, closed),
          do: read(line, context, memo),
          else: learn(shape, values, line, context, memo)

      %{^shape => :once} ->
        learn(shape, values, line, context, memo)

      %{^shape => _none_or_full} ->
        read(line, context, memo)

      lines when map_size(lines) < @max_shapes ->
        read(line, context, %{memo | lines: Map.put(lines, shape, :once)})

      _full ->
        read(line, context, memo)
    end
  end

  # Flags and values have the last first.
  defp split([:closed | flags], [value | values], closed, open),
    do: split(flags, values, [value | closed], open)

  defp split([:open | flags], [value | values], closed, open),
    do: split(flags, values, closed, [value | open])

  defp split([], [], closed, open), do: {closed, open}

  # -- by the tokenizer --------------------------------------------------------------------------

  defp read(line, {name, scope, _meta} = context, memo),
    do: line |> node(context) |> Template.rule(name, scope, memo)

  # Strings have no backslash here, so that both forms of strings are one.
  defp tokens(line, {_name, _scope, meta}) do
    case Tokenizer.tokenize(line, strings: :nft) do
      {:ok, tokens} -> tokens
      {:error, _} -> no_rule(meta)
    end
  end

  defp node(line, context), do: line |> tokens(context) |> parsed(context)

  defp parsed(tokens, {_name, _scope, meta}) do
    case Parser.parse_inside(tokens, :chain, []) do
      {:ok, {[], [{:rule, _, _, _} = rule]}} -> rule
      _ -> no_rule(meta)
    end
  end

  @spec no_rule(map()) :: no_return()
  defp no_rule(meta), do: Fault.fail(meta, "expected lines with one rule each")

  # -- templates ---------------------------------------------------------------------------------

  defp learn(shape, values, line, {name, scope, _meta} = context, memo) do
    tokens = tokens(line, context)
    node = parsed(tokens, context)
    rule = Chains.rule(node, name, scope)

    entry =
      with {flags, statements, template} <-
             template(shape, values, tokens, line, node, rule, scope),
           {closed, open} = split(flags, values, [], []),
           template = {setters(template, statements, shape, flags), elem(template, 1), rule},
           ^rule <- filled(template, open, context) do
        variant(memo.lines, shape, flags, closed, template)
      else
        _ -> :none
      end

    {rule, %{memo | lines: Map.put(memo.lines, shape, entry)}}
  end

  defp variant(lines, shape, flags, closed, template) do
    case lines do
      %{^shape => {^flags, variants}} -> {flags, Map.put(variants, closed, template)}
      %{^shape => {_others, _variants}} -> :none
      _ -> {flags, %{closed => template}}
    end
  end

  # {flags, open statements, {forms, pieces}}
  defp template(shape, values, tokens, line, {:rule, _, opts, _} = node, rule, scope) do
    with statements when is_list(statements) <- Template.open(node),
         true <- opts in [[], [comment: rule.comment]],
         {forms, pieces} <- Template.template(node, statements, rule, rule.chain, scope),
         places when is_list(places) <- places(tokens, line, shape, values),
         flags when is_list(flags) <- flags(places, statements, opts, []) do
      comment = if List.last(flags) == :comment, do: [{:comment, opts}], else: []
      flags = for flag <- flags, do: if(flag == :comment, do: :open, else: flag)
      {Enum.reverse(flags), statements ++ comment, {forms, pieces}}
    else
      _ -> :none
    end
  end

  # `{column, words}` of each literal in order, with the tokens before it, the last first; nil
  # unless the tokenizer has the same literals.
  defp places(tokens, line, shape, values) do
    kinds = Enum.reject(shape, &is_binary/1)
    literals = kinds |> Enum.zip_with(values, &literal/2) |> Enum.reverse()
    found = apart(tokens, [], line)

    if :unicode.bin_is_7bit(line) and Enum.map(found, &elem(&1, 0)) == literals,
      do: for({_literal, column, words} <- found, do: {column, words})
  end

  @literals [:integer, :ipv4, :ipv6, :mac, :cidr_v4, :cidr_v6, :string]

  # The tokens that are literals between spaces.
  defp apart([{kind, value, %{column: column}} = token | rest], words, line)
       when kind in @literals do
    if column == 1 or :binary.at(line, column - 2) in [?\s, ?\t, ?\r],
      do: [{{kind, value, @start}, column, words} | apart(rest, [token | words], line)],
      else: apart(rest, [token | words], line)
  end

  defp apart([token | rest], words, line), do: apart(rest, [token | words], line)
  defp apart([], _words, _line), do: []

  # The token of a literal.
  defp literal(:ipv4, n), do: {:ipv4, dotted(n), @start}
  defp literal(bits, n) when is_integer(bits), do: {:cidr_v4, "#{dotted(n)}/#{bits}", @start}
  defp literal({:cidr_v6, _bits}, raw), do: {:cidr_v6, raw, @start}
  defp literal(kind, value), do: {kind, value, @start}

  defp dotted(n) do
    <<a, b, c, d>> = <<n::32>>
    "#{a}.#{b}.#{c}.#{d}"
  end

  # The flag of each literal in order: `:open` for the value of an open statement, `:comment` for
  # the rule's comment. The words before a literal say whether it is one.
  defp flags([{column, words} | places], open, opts, flags) do
    case {open, words, opts} do
      {[{:match, _, _, value, _} | rest], _, _} ->
        if Fault.meta(value).column == column,
          do: flags(places, rest, opts, [:open | flags]),
          else: flags(places, open, opts, [:closed | flags])

      {[{:log, _, %{column: at}} | open],
       [{:identifier, "prefix", _}, {:identifier, "log", %{column: at}} | _], _} ->
        flags(places, open, opts, [:open | flags])

      {[], [{:identifier, "comment", _} | _], [comment: _]} when places == [] ->
        flags([], [], opts, [:comment | flags])

      _ ->
        flags(places, open, opts, [:closed | flags])
    end
  end

  defp flags([], [], _opts, flags), do: Enum.reverse(flags)
  defp flags([], _open, _opts, _flags), do: nil

  # -- values ------------------------------------------------------------------------------------

  # How the literals become what the expressions hold, in their order.
  defp setters({forms, _pieces}, statements, shape, flags) do
    kinds = for kind <- shape, not is_binary(kind), do: kind
    open = for {kind, :open} <- Enum.zip(kinds, flags), do: kind
    setters(forms, statements, Enum.reverse(open))
  end

  defp setters([form | forms], [statement | statements], [kind | kinds]),
    do: [setter(form, kind) || {:any, form, statement, kind} | setters(forms, statements, kinds)]

  defp setters([], [{:comment, _}], [:string]), do: [:comment]
  defp setters([], [], []), do: []
  defp setters(_forms, _statements, _kinds), do: [:none]

  # Types whose numbers are no plain ones (Linx.NFT.Compiler.Value).
  @scaled [:ifname, :string, :verdict, nil, :time, :ct_label, :date]

  defp setter({:const, %Term{kind: :load, order: order}, %Term{type: type} = plain}, kind)
       when (kind == :integer and type not in @scaled) or
              (kind in [:ipv4, 32] and type == :ipv4_addr),
       do: {:number, limit(plain), 8 * div(plain.len + 7, 8), order}

  defp setter({:const, %Term{kind: :load}, %Term{type: :ifname, len: len}}, :string),
    do: {:ifname, div(len, 8)}

  defp setter({:prefix, %Term{kind: :load} = term, %Term{type: :ipv4_addr}, _op, bits}, kind)
       when kind == bits and term.order != :host,
       do: {:prefix, 32 - bits, if(rem(bits, 8) == 0 and bits > 0, do: bits, else: 32)}

  defp setter(:log, :string), do: :log
  defp setter(_form, _kind), do: nil

  defp limit(%Term{max: max, len: len}) do
    all = Bitwise.bsl(1, len) - 1
    if is_integer(max), do: min(max, all), else: all
  end

  # The rule of a template with these values, nil where one does not fit.
  defp filled({setters, pieces, rule}, values, {name, scope, _meta}) do
    exprs = put(pieces, setters, values, scope)

    case comment(setters, values) do
      nil -> %{rule | expressions: exprs, chain: name}
      comment -> %{rule | expressions: exprs, chain: name, comment: comment}
    end
  catch
    :varied -> nil
    {:syntax, _meta, _message} -> nil
  end

  # The comment is the last value.
  defp comment([:comment], [text]) do
    if Tokens.comment_fault(text) == nil, do: text, else: throw(:varied)
  end

  defp comment([_ | setters], [_ | values]), do: comment(setters, values)
  defp comment([], []), do: nil

  # Behind the last open value the expressions are those of the template.
  defp put(pieces, [], [], _scope), do: pieces
  defp put(pieces, [:comment], [_text], _scope), do: pieces

  defp put([{%Expr{} = expr, data} | pieces], [setter | setters], [value | values], scope) do
    data =
      case expr.name do
        :cmp -> %{data | data: value(setter, value, scope)}
        :log -> %{data | prefix: value(setter, value, scope)}
      end

    [%{expr | data: data} | put(pieces, setters, values, scope)]
  end

  defp put([expr | pieces], setters, values, scope),
    do: [expr | put(pieces, setters, values, scope)]

  defp put([], _setters, _values, _scope), do: throw(:varied)

  defp value({:number, limit, bits, order}, n, _scope) when n <= limit do
    if order == :host, do: <<n::native-size(bits)>>, else: <<n::size(bits)>>
  end

  defp value({:prefix, low, kept}, n, _scope) do
    n = n |> Bitwise.bsr(low) |> Bitwise.bsl(low) |> Bitwise.bsr(32 - kept)
    <<n::size(kept)>>
  end

  defp value({:ifname, size}, text, _scope) when byte_size(text) in 1..15 do
    if :binary.last(text) == ?*, do: throw(:varied)
    <<text::binary, 0::size(8 * (size - byte_size(text)))>>
  end

  defp value(:log, text, scope), do: Log.prefix(text, @start, scope)

  defp value({:any, form, statement, kind}, value, scope),
    do: Template.value(form, holding(statement, literal(kind, value)), scope)

  defp value(_setter, _value, _scope), do: throw(:varied)

  # The statement with another literal for its value.
  defp holding({:log, _, _}, {:string, text, meta}), do: {:log, [prefix: text], meta}

  defp holding({:match, left, op, _value, meta}, {kind, value, place})
       when kind in [:integer, :string],
       do: {:match, left, op, {kind, value, place}, meta}

  defp holding({:match, left, op, _value, meta}, {kind, value, place}),
    do: {:match, left, op, {:address, kind, value, place}, meta}
end
