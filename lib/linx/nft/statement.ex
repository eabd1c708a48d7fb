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
  alias Linx.NFT.Object.Kinds

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
    {:Objref, Kinds.references(), [:objref], [:objref]},
    {:Counter, ["counter"], [:counter], [:counter]},
    {:Quota, ["quota"], [:quota], [:quota]},
    {:Limit, ["limit"], [:limit], [:limit]},
    {:Last, ["last"], [:last], [:last]},
    {:Connlimit, ["ct count"], [:connlimit], [:connlimit]},
    {:Log, ["log"], [:log], [:log]},
    {:Queue, ["queue"], [:queue], [:queue]},
    {:Synproxy, ["synproxy"], [:synproxy], [:synproxy]}
  ]

  # The kinds that an element of a set can hold: the kernel's expressions with NFT_EXPR_STATEFUL.
  @stateful [:Counter, :Quota, :Limit, :Last, :Connlimit]

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

  # A reference to an object is parsed in an element as well, so that the compiler can refuse it by name.
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
  @spec compile(tuple(), Compiler.Scope.t()) :: {[segment()], Compiler.Scope.t()} | nil
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

  @doc "The text of a statement's kernel expression; `:error` for an expression that is none or has no text."
  @spec text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error
  def text(%Expr{name: name} = expr, context), do: text(name, expr, context)

  for {module, _, _, exprs} <- @rows, name <- exprs do
    defp text(unquote(name), expr, context), do: unquote(module).text(expr, context)
  end

  defp text(_name, expr, _context), do: Formatter.Statement.text(expr)

  for {module, _, _, exprs} <- @rows,
      String.to_atom(List.last(Module.split(module))) in @stateful,
      name <- exprs do
    defp stateful_text(unquote(name), expr),
      do: unquote(module).text(expr, %Formatter.Context{})
  end

  defp stateful_text(_name, _expr), do: :error
end
