defmodule Linx.NFT.Expr do
  @moduledoc false
  # A kind of load expression of nft's language: one module under lib/linx/nft/expr/, with a row
  # in Linx.NFT.Expr.Kinds. The module holds everything that the language knows of its kind: its
  # words and grammar, its types, and its text.
  #
  # How a kind lies on the wire, and how nft records it in a set's userdata (`typeof`), is in
  # Linx.Netfilter.Wire.Expressions.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.{Compiler, Formatter}

  @doc """
  Parses the expression that begins with a word of the kind: `{node, rest}`, or nil where the
  words after it are those of another kind or of a constant.

  Throws a syntax error through `Linx.NFT.Parser.Tokens`.
  """
  @callback parse(tokens :: [tuple(), ...]) :: {node :: tuple(), rest :: [tuple()]} | nil

  @doc """
  Types a node of the kind: the term that loads it, and the scope with the implicit dependencies
  of the load. The term's `source` is the expression that `typeof` records.
  """
  @callback compile(node :: tuple(), Compiler.Scope.t()) ::
              {Compiler.Term.t(), Compiler.Scope.t()}

  @doc """
  The text of a kernel expression of the kind, with its datatype and byte order.

  `context` is that of the rule, nil where the expression is nft's record of a set.
  """
  @callback term(Expr.t(), context :: Formatter.Context.t() | nil) ::
              {:ok, Formatter.Term.t()} | :error
end
