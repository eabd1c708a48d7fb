defmodule Linx.NFT.Statement.Kinds do
  @moduledoc false
  # The list of statements (Linx.NFT.Statement), and the dispatch from the parser, the compiler
  # and the formatter to their modules.
  #
  # A kind calls the parser, the compiler and the formatter, and they call this module. So that
  # the calls make no cycle, the list has the modules as atoms, put together from their last
  # names, and the callbacks are called at run time.

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

  # Kinds that share an expression are tried in their order in the list.
  @by_expr Enum.group_by(
             for({module, _, _, exprs} <- @rows, name <- exprs, do: {name, module}),
             &elem(&1, 0),
             &elem(&1, 1)
           )
  @stateful_modules Enum.map(@stateful, &Module.concat(Statement, &1))

  # `set add` and `map add` are older forms of `add @`, which are not suggested.
  @words @rows
         |> Enum.flat_map(&elem(&1, 1))
         |> Enum.map(&hd(String.split(&1)))
         |> Enum.uniq()
         |> Kernel.--(["set", "map"])

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
  def parse(tokens) do
    module = begun(tokens)
    module && module.parse(tokens)
  end

  for {module, words, _, _} <- @rows, phrase <- words do
    defp begun([unquote_splicing(tokens.(phrase)) | _]), do: unquote(module)
  end

  defp begun(_tokens), do: nil

  @doc "Parses a statement of an element or a set: `{node, rest}`, or nil where none begins."
  @spec stateful([tuple()]) :: {tuple(), [tuple()]} | nil
  def stateful(tokens) do
    module = held(tokens)
    module && module.parse(tokens)
  end

  @doc "Whether a statement of an element or a set begins."
  @spec stateful?([tuple()]) :: boolean()
  def stateful?(tokens), do: held(tokens) != nil

  # A reference to an object is parsed in an element as well, so that the compiler can refuse it
  # by name.
  for {module, words, _, _} <- @rows,
      module in [Module.concat(Statement, :Objref) | @stateful_modules],
      phrase <- words,
      hd(String.split(phrase)) in ~w(counter quota limit last ct) do
    defp held([unquote_splicing(tokens.(phrase)) | _]), do: unquote(module)
  end

  defp held(_tokens), do: nil

  @doc "The segments of a node and the scope after it; nil for a node of another kind."
  @spec compile(tuple(), Compiler.Scope.t()) :: {[Statement.segment()], Compiler.Scope.t()} | nil
  def compile(node, scope) do
    module = by_node(elem(node, 0))
    module && module.compile(node, scope)
  end

  for {module, _, nodes, _} <- @rows, node <- nodes do
    defp by_node(unquote(node)), do: unquote(module)
  end

  defp by_node(_node), do: nil

  @doc "The kernel expressions of a statement of an element or a set."
  @spec exprs(tuple(), Compiler.Scope.t()) :: [Expr.t()]
  def exprs({:objref, _kind, _value, meta}, _scope),
    do: Compiler.Fault.fail(meta, "an object by name cannot stand here")

  def exprs(node, scope) do
    {[{:fixed, exprs}], _scope} = compile(node, scope)
    exprs
  end

  @doc """
  The text of a statement's kernel expression; `:error` for an expression that is none or has no
  text.
  """
  @spec text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error
  def text(%Expr{name: name} = expr, context), do: text(modules(name), expr, context)

  @doc "The text of a statement of an element or a set; `:error` for any other expression."
  @spec stateful_text(Expr.t()) :: {:ok, iodata()} | :error
  def stateful_text(%Expr{name: name} = expr) do
    modules = for module <- modules(name), module in @stateful_modules, do: module
    text(modules, expr, %Formatter.Context{})
  end

  for {name, modules} <- @by_expr do
    defp modules(unquote(name)), do: unquote(modules)
  end

  defp modules(_name), do: []

  defp text([], _expr, _context), do: :error

  defp text([module | modules], expr, context),
    do: with(:error <- module.text(expr, context), do: text(modules, expr, context))
end
