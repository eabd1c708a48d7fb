defmodule Linx.NFT.Statement do
  @moduledoc false
  # A kind of statement of nft's language: one module under lib/linx/nft/statement/, with a row in
  # Linx.NFT.Statement.Kinds. The module holds everything that the language knows of its kind: its
  # words and grammar, the kernel expressions that it compiles to, and its text.
  #
  # How a kernel expression lies on the wire is in Linx.Netfilter.Wire.Expressions.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.{Compiler, Formatter}

  @typedoc """
  The kernel expressions of a statement; `:fixed` ones are never joined with those of a neighbour.
  """
  @type segment :: [Expr.t()] | {:fixed, [Expr.t()]}

  @doc """
  Parses the statement that begins with one of the kind's words: `{node, rest}`. Throws a syntax
  error through `Linx.NFT.Parser.Tokens`.
  """
  @callback parse(tokens :: [tuple(), ...]) :: {node :: tuple(), rest :: [tuple()]}

  @doc """
  The kernel expressions of a node of the kind, and the scope with the implicit dependencies that
  they need.
  """
  @callback compile(node :: tuple(), Compiler.Scope.t()) :: {[segment()], Compiler.Scope.t()}

  @doc "The text of a kernel expression of the kind; `:error` where nft has none for it."
  @callback text(Expr.t(), Formatter.Context.t()) :: {:ok, Formatter.Context.piece()} | :error
end
