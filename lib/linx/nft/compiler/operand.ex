defmodule Linx.NFT.Compiler.Operand do
  @moduledoc false
  # The value of a statement: a constant of the type that is wanted, or something loaded that fits
  # it.

  alias Linx.Netfilter.Datatype
  alias Linx.NFT.Compiler.{Fault, Load, Scope, Term, Value}
  alias Linx.NFT.Expr.Kinds

  @doc false
  # {term, scope}; the term's bytes are in the order of `like`.
  def operand(node, like, scope) do
    node = Scope.resolve(scope, node)

    if mixed?(node, like, scope), do: concat(node, like, scope), else: whole(node, like, scope)
  end

  # A concatenation may have constants among what it loads.
  defp mixed?({:concat, nodes, _}, %Term{kind: :concat, data: parts}, scope),
    do: length(nodes) == length(parts) and Enum.any?(nodes, &load?(&1, scope))

  defp mixed?(_node, _like, _scope), do: false

  defp concat({:concat, nodes, meta}, %Term{data: likes} = like, scope) do
    {parts, scope} =
      nodes
      |> Enum.zip(likes)
      |> Enum.map_reduce(scope, fn {node, like}, scope ->
        operand(node, %{like | kind: :const, data: nil}, scope)
      end)

    {%{like | data: parts, meta: meta}, scope}
  end

  defp whole(node, like, scope) do
    if load?(node, scope) do
      {term, scope} = Load.load(node, %{scope | expect: like})
      {fit(term, like, node), %{scope | expect: nil}}
    else
      {Value.constant(node, like, scope), scope}
    end
  end

  @doc false
  def load?(node, scope) do
    case Scope.resolve(scope, node) do
      # A word that names a key of its own is a constant where a constant is wanted.
      {:binop, _, left, right, _} -> load?(left, scope) or load?(right, scope)
      {:concat, nodes, _} -> Enum.any?(nodes, &load?(&1, scope))
      node -> elem(node, 0) == :map or Kinds.node?(node)
    end
  end

  # As in nft: a number fits any target, except that a header field fits only a target of its
  # size. A value with a type of its own fits that type alone, and marks, whose meaning is the
  # user's (nft 1.1).
  defp fit(%Term{kind: :map} = term, _like, _node), do: term

  defp fit(%Term{} = term, %Term{} = like, node) do
    cond do
      # A generated number fits whatever is as wide. nft turns one that counts or is drawn into an
      # address, and a hash where it is written to a header alone.
      term.generated != nil and like.len == 32 and like.type != :ifname ->
        if term.generated == :counted, do: order(term, like), else: term

      term.type == like.type ->
        order(term, like)

      # A number of another width would leave the target its first bytes: for a port zeros.
      term.type == :integer and not field?(term) and fits?(term, like) ->
        order(term, like)

      term.type == :integer and number?(like.type) and term.len == like.len ->
        order(term, like)

      like.type == :mark and number?(term.type) ->
        order(term, like)

      true ->
        Fault.fail(node, "expected #{Value.describe(like)}, this is #{Value.describe(term)}")
    end
  end

  # A target whose type is a number's takes any, and one with a type of its own what is as wide.
  defp fits?(term, like), do: like.type == :integer or term.len == like.len

  defp field?(%Term{kind: :load, data: {:payload, _}}), do: true
  defp field?(_term), do: false

  @doc false
  # The types that nft derives from its integers, which exclude flags and text.
  @spec number?(Datatype.name() | nil) :: boolean()
  def number?(type) when type in [:ifname, :string, :verdict, nil], do: false
  def number?(type), do: match?({:ok, _}, Datatype.fetch(type)) and not Datatype.bitmask?(type)

  @doc false
  # The term in the byte order of `like`.
  @spec order(Term.t(), Term.t()) :: Term.t()
  def order(%Term{order: same} = term, %Term{order: same}), do: term

  # Six bits of a field may lie in two bytes.
  def order(%Term{kind: :part, data: {_, _, count}} = term, %Term{order: :host}) when count > 1,
    do: %{term | kind: :order, data: term, order: :host}

  def order(%Term{len: len} = term, _like) when len <= 8, do: term

  def order(%Term{} = term, %Term{order: order}) when order in [:big, :host],
    do: %{term | kind: :order, data: term, order: order}

  def order(term, _like), do: term
end
