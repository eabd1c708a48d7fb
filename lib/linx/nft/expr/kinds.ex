defmodule Linx.NFT.Expr.Kinds do
  @moduledoc false
  # The list of load expressions (Linx.NFT.Expr), and the dispatch from the parser, the compiler
  # and the formatter to their modules.
  #
  # A kind calls the parser, the compiler and the formatter, and they call this module. So that
  # the calls make no cycle, the list has the modules as atoms, put together from their last
  # names, and the callbacks are called at run time.

  alias Linx.Netfilter.{Expr, Protocol}
  alias Linx.NFT.{Compiler, Formatter}

  # The keys of `meta` that nft's grammar has always taken without it.
  @meta ~w(mark iif iifname iiftype iifgroup oif oifname oiftype oifgroup skuid skgid nftrace
           rtclassid ibriport ibrname obriport obrname pkttype cpu cgroup ipsec time day hour)

  # {module, words that begin it, or another token, nodes of the parser's tree, kernel
  # expressions}. Kinds that share a word are tried in this order.
  @kinds [
    {:Fib, ~w(fib), [:fib], [:fib]},
    {:Osf, ~w(osf), [:osf], [:osf]},
    {:Socket, ~w(socket), [:socket], [:socket]},
    {:Numgen, ~w(numgen), [:numgen], [:numgen]},
    {:Hash, ~w(jhash symhash), [:jhash, :symhash], [:hash]},
    {:Xfrm, ~w(ipsec), [:xfrm], [:xfrm]},
    {:Tunnel, ~w(tunnel), [:tunnel], [:tunnel]},
    {:Rt, ~w(rt), [:rt], [:rt]},
    {:Meta, ["meta" | @meta], [:meta], [:meta]},
    {:Ct, ~w(ct), [:ct], [:ct]},
    {:Exthdr, ~w(exthdr tcp ip sctp dccp) ++ Map.keys(Protocol.words(:ipv6)),
     [:exthdr, :raw_option, :option_exists], [:exthdr]},
    {:Inner, for(row <- Protocol.all(), row.tunnel, do: row.text), [:inner], [:inner]},
    {:Payload, [:at | Map.keys(Protocol.words(:payload))], [:payload, :raw_payload], [:payload]}
  ]

  @rows for {name, words, nodes, exprs} <- @kinds,
            do: {Module.concat(Linx.NFT.Expr, name), words, nodes, exprs}

  @by_word Enum.group_by(
             for({module, words, _, _} <- @rows, word <- words, do: {word, module}),
             &elem(&1, 0),
             &elem(&1, 1)
           )

  @doc "The words that begin a load expression."
  @spec words() :: [String.t(), ...]
  def words, do: for({word, _modules} when is_binary(word) <- @by_word, do: word)

  @doc "Whether a word begins a load expression."
  @spec word?(String.t()) :: boolean()
  def word?(word), do: is_map_key(@by_word, word)

  @doc "Parses a load expression: `{node, rest}`, or nil where the first token begins none."
  @spec parse([tuple(), ...]) :: {tuple(), [tuple()]} | nil
  def parse([{:identifier, word, _} | _] = tokens), do: parse(word, tokens)
  def parse([{:at, _} | _] = tokens), do: parse(:at, tokens)
  def parse(_tokens), do: nil

  defp parse(word, tokens) do
    case @by_word do
      %{^word => modules} -> first(modules, tokens)
      %{} -> nil
    end
  end

  defp first([module], tokens), do: module.parse(tokens)
  defp first([module | modules], tokens), do: module.parse(tokens) || first(modules, tokens)

  @doc "Whether a node of the tree is a load expression."
  @spec node?(tuple()) :: boolean()
  def node?(node), do: by_node(elem(node, 0)) != nil

  @doc "The term of a node and the scope after it; nil for a node that is no load expression."
  @spec compile(tuple(), Compiler.Scope.t()) :: {Compiler.Term.t(), Compiler.Scope.t()} | nil
  def compile(node, scope) do
    module = by_node(elem(node, 0))
    module && module.compile(node, scope)
  end

  for {module, _, nodes, _} <- @rows, node <- nodes do
    defp by_node(unquote(node)), do: unquote(module)
  end

  defp by_node(_node), do: nil

  @doc "The text of a load, `:error` for an expression that is none or has no text."
  @spec term(Expr.t(), Formatter.Context.t() | nil) :: {:ok, Formatter.Term.t()} | :error
  def term(%Expr{name: name} = expr, context) do
    module = by_expr(name)
    if module, do: module.term(expr, context), else: :error
  end

  for {module, _, _, exprs} <- @rows, name <- exprs do
    defp by_expr(unquote(name)), do: unquote(module)
  end

  defp by_expr(_name), do: nil
end
