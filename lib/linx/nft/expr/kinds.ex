defmodule Linx.NFT.Expr.Kinds do
  @moduledoc false
  # The list of load expressions (Linx.NFT.Expr), and the dispatch from the parser, the compiler
  # and the formatter to their modules.
  #
  # The functions are generated from the list: a dispatch is one clause, chosen by a word or an
  # atom. The modules' names are put together from atoms because an alias in a module's body is a
  # dependency at compile time, and the kinds depend on the parser and the compiler.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.{Compiler, Formatter}

  # {module, words that begin it, nodes of the parser's tree, kernel expressions}
  @kinds [
    {:Fib, ~w(fib), [:fib], [:fib]},
    {:Osf, ~w(osf), [:osf], [:osf]},
    {:Socket, ~w(socket), [:socket], [:socket]},
    {:Numgen, ~w(numgen), [:numgen], [:numgen]},
    {:Hash, ~w(jhash symhash), [:jhash, :symhash], [:hash]},
    {:Xfrm, ~w(ipsec), [:xfrm], [:xfrm]},
    {:Tunnel, ~w(tunnel), [:tunnel], [:tunnel]},
    {:Rt, ~w(rt), [:rt], [:rt]}
  ]

  @rows for {name, words, nodes, exprs} <- @kinds,
            do: {Module.concat(Linx.NFT.Expr, name), words, nodes, exprs}

  @words @rows |> Enum.flat_map(&elem(&1, 1)) |> Enum.uniq()

  @doc "The words that begin a load expression."
  @spec words() :: [String.t(), ...]
  def words, do: @words

  @doc "Whether a word begins a load expression."
  @spec word?(String.t()) :: boolean()
  def word?(word), do: word in @words

  @doc "Parses a load expression: `{node, rest}`, or nil where the first token begins none."
  @spec parse([tuple(), ...]) :: {tuple(), [tuple()]} | nil
  for word <- @words do
    # Kinds that share a word are tried in their order in the list.
    tokens = Macro.var(:tokens, nil)

    [first | more] =
      for {module, words, _, _} <- @rows,
          word in words,
          do: quote(do: unquote(module).parse(unquote(tokens)))

    calls = Enum.reduce(more, first, &quote(do: unquote(&2) || unquote(&1)))
    def parse([{:identifier, unquote(word), _} | _] = unquote(tokens)), do: unquote(calls)
  end

  def parse(_tokens), do: nil

  @doc "Whether a node of the tree is a load expression."
  @spec node?(tuple()) :: boolean()
  def node?(node), do: kind?(elem(node, 0))

  @doc "The term of a node and the scope after it; nil for a node that is no load expression."
  @spec compile(tuple(), Compiler.Scope.t()) :: {Compiler.Term.t(), Compiler.Scope.t()} | nil
  def compile(node, scope), do: compile(elem(node, 0), node, scope)

  for {module, _, nodes, _} <- @rows, kind <- nodes do
    defp kind?(unquote(kind)), do: true
    defp compile(unquote(kind), node, scope), do: unquote(module).compile(node, scope)
  end

  defp kind?(_kind), do: false
  defp compile(_kind, _node, _scope), do: nil

  @doc "The text of a load, `:error` for an expression that is none or has no text."
  @spec term(Expr.t(), Formatter.Context.t() | nil) :: {:ok, Formatter.Term.t()} | :error
  def term(%Expr{name: name} = expr, context), do: term(name, expr, context)

  for {module, _, _, exprs} <- @rows, name <- exprs do
    defp term(unquote(name), expr, context), do: unquote(module).term(expr, context)
  end

  defp term(_name, _expr, _context), do: :error
end
