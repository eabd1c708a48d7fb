defmodule Linx.NFT.Statement.Kinds do
  @moduledoc false
  # The list of statements (Linx.NFT.Statement), and the dispatch from the parser, the compiler
  # and the formatter to their modules.
  #
  # The functions are generated from the list: a dispatch is one clause, chosen by words or an
  # atom. The modules' names are put together from atoms because an alias in a module's body is a
  # dependency at compile time, and the kinds depend on the parser and the compiler.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.{Compiler, Formatter, Object, Statement}

  # {module, words that begin it, nodes of the parser's tree, kernel expressions that it is
  # written from}
  @kinds [
    {:Objref, Object.Kinds.references(), [:objref], [:objref]},
    {:Counter, ["counter"], [:counter], [:counter]},
    {:Quota, ["quota"], [:quota], [:quota]},
    {:Limit, ["limit"], [:limit], [:limit]},
    {:Last, ["last"], [:last], [:last]},
    {:Connlimit, ["ct count"], [:connlimit], [:connlimit]},
    {:Log, ["log"], [:log], [:log]},
    {:Queue, ["queue"], [:queue], [:queue]},
    {:Synproxy, ["synproxy"], [:synproxy], [:synproxy]},
    {:Verdict, ~w(accept drop continue return jump goto), [:verdict], [:immediate]},
    {:Reject, ["reject"], [:reject], [:reject]},
    {:Nat, ["snat", "dnat"], [:nat], [:nat]},
    {:Masquerade, ["masquerade", "redirect"], [], [:masq, :redir]},
    {:Dup, ["dup"], [:dup], [:dup]},
    {:Fwd, ["fwd"], [:fwd], [:fwd]},
    {:Tproxy, ["tproxy"], [:tproxy], [:tproxy]},
    {:Notrack, ["notrack"], [:notrack], [:notrack]},
    {:Flow, ["flow"], [:flow_offload], [:flow_offload]},
    {:Reset, ["reset"], [:reset], [:exthdr]},
    {:Dynset,
     ["add @", "update @", "delete @", "meter", "set add", "set update", "set delete"] ++
       ["map add", "map update", "map delete"], [:dynset, :meter], [:dynset]},
    # The target of an assignment is parsed as a load, before its word `set`.
    {:Assign, [], [:meta_set, :ct_set, :assign], [:meta, :ct, :payload, :exthdr]}
  ]

  # The kinds that an element of a set can hold: the kernel's expressions with NFT_EXPR_STATEFUL.
  @stateful [:Counter, :Quota, :Limit, :Last, :Connlimit]

  @rows for {name, words, nodes, exprs} <- @kinds,
            do: {Module.concat(Linx.NFT.Statement, name), words, nodes, exprs}

  # `set add` and `map add` are older forms of `add @`, which are not suggested.
  @words (@rows |> Enum.flat_map(&elem(&1, 1)) |> Enum.map(&hd(String.split(&1))) |> Enum.uniq()) --
           ["set", "map"]

  @doc "The words that begin a statement."
  @spec words() :: [String.t(), ...]
  def words, do: @words

  # "ct count" and "add @" are patterns of two tokens.
  tokens = fn words ->
    for word <- String.split(words) do
      if word == "@",
        do: quote(do: {:at, _}),
        else: quote(do: {:identifier, unquote(word), _})
    end
  end

  @doc "Parses a statement: `{node, rest}`, or nil where the tokens begin none of these."
  @spec parse([tuple(), ...]) :: {tuple(), [tuple()]} | nil
  for {module, words, _, _} <- @rows, phrase <- words do
    def parse([unquote_splicing(tokens.(phrase)) | _] = tokens), do: unquote(module).parse(tokens)
  end

  def parse(_tokens), do: nil

  # A reference to an object is parsed in an element as well, so that the compiler can refuse it
  # by name.
  @elements for {module, words, _, _} <- @rows,
                name = String.to_atom(List.last(Module.split(module))),
                name in [:Objref | @stateful],
                phrase <- words,
                hd(String.split(phrase)) in ~w(counter quota limit last ct),
                do: {module, phrase}

  @doc "Parses a statement of an element or a set: `{node, rest}`, or nil where none begins."
  @spec stateful([tuple()]) :: {tuple(), [tuple()]} | nil
  for {module, phrase} <- @elements do
    def stateful([unquote_splicing(tokens.(phrase)) | _] = tokens),
      do: unquote(module).parse(tokens)
  end

  def stateful(_tokens), do: nil

  @doc "Whether a statement of an element or a set begins."
  @spec stateful?([tuple()]) :: boolean()
  for {_module, phrase} <- @elements do
    def stateful?([unquote_splicing(tokens.(phrase)) | _]), do: true
  end

  def stateful?(_tokens), do: false

  @doc "The segments of a node and the scope after it; nil for a node of another kind."
  @spec compile(tuple(), Compiler.Scope.t()) :: {[Statement.segment()], Compiler.Scope.t()} | nil
  def compile(node, scope), do: compile(elem(node, 0), node, scope)

  for {module, _, nodes, _} <- @rows, kind <- nodes do
    defp compile(unquote(kind), node, scope), do: unquote(module).compile(node, scope)
  end

  defp compile(_kind, _node, _scope), do: nil

  @doc "The kernel expressions of a statement of an element or a set."
  @spec exprs(tuple(), Compiler.Scope.t()) :: [Expr.t()]
  def exprs({:objref, _kind, _value, meta}, _scope),
    do: Compiler.Fault.fail(meta, "an object by name cannot stand here")

  def exprs(node, scope) do
    {[{:fixed, exprs}], _scope} = compile(node, scope)
    exprs
  end

  @doc "The text of a statement of an element or a set; `:error` for any other expression."
  @spec stateful_text(Expr.t()) :: {:ok, iodata()} | :error
  def stateful_text(%Expr{name: name} = expr), do: stateful_text(name, expr)

  @doc """
  The text of a statement's kernel expression; `:error` for an expression that is none or has no
  text.
  """
  @spec text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error
  def text(%Expr{name: name} = expr, context), do: text(name, expr, context)

  # Kinds that share an expression are tried in their order in the list.
  texts = fn modules, expr, context ->
    [last | before] =
      for module <- Enum.reverse(modules),
          do: quote(do: unquote(module).text(unquote(expr), unquote(context)))

    Enum.reduce(before, last, &quote(do: with(:error <- unquote(&1), do: unquote(&2))))
  end

  for name <- @rows |> Enum.flat_map(&elem(&1, 3)) |> Enum.uniq() do
    [expr, context] = Macro.generate_arguments(2, __MODULE__)
    modules = for {module, _, _, exprs} <- @rows, name in exprs, do: module

    defp text(unquote(name), unquote(expr), unquote(context)),
      do: unquote(texts.(modules, expr, context))
  end

  defp text(_name, _expr, _context), do: :error

  for {module, _, _, exprs} <- @rows,
      String.to_atom(List.last(Module.split(module))) in @stateful,
      name <- exprs do
    defp stateful_text(unquote(name), expr),
      do: unquote(module).text(expr, %Formatter.Context{})
  end

  defp stateful_text(_name, _expr), do: :error
end
