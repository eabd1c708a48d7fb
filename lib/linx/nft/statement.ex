defmodule Linx.NFT.Statement do
  @moduledoc false
  # The kinds of statement that nft's language has, one module each under lib/linx/nft/statement/. A module holds everything that the
  # language knows of its kind: its words and grammar, the kernel expressions that it compiles to, and its text.
  #
  # The parser, the compiler and the formatter dispatch through this module. Its functions are generated from `@kinds`, so that a
  # dispatch is one clause, chosen by words or an atom. The names of the modules are put together here rather than written as aliases:
  # an alias in a module's body would make this module depend on all kinds at compile time, and they depend on the parser and the compiler.
  #
  # How a kernel expression lies on the wire is in Linx.Netfilter.Wire.Expressions.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.{Compiler, Formatter}

  @typedoc "The kernel expressions of a statement; `:fixed` ones are never joined with those of a neighbour."
  @type segment :: [Expr.t()] | {:fixed, [Expr.t()]}

  @doc """
  Parses the statement that begins with one of the kind's words: `{node, rest}`. Throws a syntax error through
  `Linx.NFT.Parser.Tokens`.
  """
  @callback parse(tokens :: [tuple(), ...]) :: {node :: tuple(), rest :: [tuple()]}

  @doc "The kernel expressions of a node of the kind, and the scope with the implicit dependencies that they need."
  @callback compile(node :: tuple(), Compiler.Scope.t()) :: {[segment()], Compiler.Scope.t()}

  @doc "The text of a kernel expression of the kind; `:error` where nft has none for it."
  @callback text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error

  # {module, words that begin it, nodes of the parser's tree, kernel expressions that it is written from}
  @kinds [
    {:Log, ["log"], [:log], [:log]},
    {:Queue, ["queue"], [:queue], [:queue]},
    {:Synproxy, ["synproxy"], [:synproxy], [:synproxy]}
  ]

  @rows for {name, words, nodes, exprs} <- @kinds,
            do: {Module.concat(__MODULE__, name), words, nodes, exprs}

  @words @rows |> Enum.flat_map(&elem(&1, 1)) |> Enum.map(&hd(String.split(&1))) |> Enum.uniq()

  @doc "The words that begin a statement."
  @spec words() :: [String.t(), ...]
  def words, do: @words

  # "ct count" is a pattern of two tokens.
  tokens = fn words ->
    for word <- String.split(words), do: quote(do: {:identifier, unquote(word), _})
  end

  @doc "Parses a statement: `{node, rest}`, or nil where the tokens begin none of these."
  @spec parse([tuple(), ...]) :: {tuple(), [tuple()]} | nil
  for {module, words, _, _} <- @rows, phrase <- words do
    def parse([unquote_splicing(tokens.(phrase)) | _] = tokens), do: unquote(module).parse(tokens)
  end

  def parse(_tokens), do: nil

  @doc "The segments of a node and the scope after it; nil for a node of another kind."
  @spec compile(tuple(), Compiler.Scope.t()) :: {[segment()], Compiler.Scope.t()} | nil
  def compile(node, scope), do: compile(elem(node, 0), node, scope)

  for {module, _, nodes, _} <- @rows, kind <- nodes do
    defp compile(unquote(kind), node, scope), do: unquote(module).compile(node, scope)
  end

  defp compile(_kind, _node, _scope), do: nil

  @doc "The text of a statement's kernel expression; `:error` for an expression that is none or has no text."
  @spec text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error
  def text(%Expr{name: name} = expr, context), do: text(name, expr, context)

  for {module, _, _, exprs} <- @rows, name <- exprs do
    defp text(unquote(name), expr, context), do: unquote(module).text(expr, context)
  end

  defp text(_name, expr, _context), do: Formatter.Statement.text(expr)
end
