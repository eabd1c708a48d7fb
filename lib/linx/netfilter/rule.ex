defmodule Linx.Netfilter.Rule do
  @moduledoc """
  One rule: expressions that the kernel runs in order until one does not match or a verdict is
  reached.

  `:tag` is Linx's own name for the rule. It is kept in the rule's userdata beside the comment,
  survives a pull, and is what a `:reconcile` push recognises a rule by. A tag read from the
  kernel becomes an atom only if that atom exists in this VM; otherwise `:tag` is nil and the text
  stays in `:userdata`, so that pushing the rule again loses nothing.

      iex> Linx.Netfilter.Rule.build!([:drop], tag: :default_deny)
      #Linx.Netfilter.Rule<:default_deny [immediate drop]>

  `inspect/2` shows the rule's statements as nft text, and where one has no words, the names of
  its expressions:

      iex> alias Linx.Netfilter.{Expr, Rule}
      iex> Rule.build!(
      ...>   [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), Expr.counter(), :accept],
      ...>   tag: :ssh
      ...> )
      #Linx.Netfilter.Rule<:ssh [tcp dport 22 counter accept]>

  Expressions are not checked against the kernel here; `Linx.Netfilter.push/3` reports what it
  refuses.

  Source: nft(8), "RULES".
  """

  alias Linx.Netfilter.{Expr, Verdict}
  alias Linx.Netfilter.Expr.CtState

  defstruct expressions: [], chain: nil, handle: nil, tag: nil, comment: nil, userdata: []

  @type expression_input :: Expr.t() | Verdict.t() | Verdict.input()

  @typedoc "`:userdata` holds the `{type, bytes}` entries of other tools that a pull found."
  @type t :: %__MODULE__{
          chain: String.t() | nil,
          comment: String.t() | nil,
          expressions: [Expr.t()],
          handle: pos_integer() | nil,
          tag: atom() | nil,
          userdata: [{0..255, binary()}]
        }

  # NFT_USERDATA_MAXLEN is 256; comment and tag cost two bytes of header and a NUL each.
  @comment_max 128

  @doc """
  Builds a rule from expressions and verdict short forms; nested lists are flattened.

  Options: `:tag` (an atom), `:comment` (at most 128 bytes), `:chain`, `:handle`.

  Answers `{:error, {:bad_rule, reason}}` with `{:bad_expression, term}`, `{:bad_tag, term}`,
  `{:bad_comment, term}`, `{:bad_chain, term}`, `{:bad_handle, term}` or `{:unknown_option, key}`.
  """
  @spec build([expression_input() | [expression_input()]], keyword()) ::
          {:ok, t()} | {:error, {:bad_rule, term()}}
  def build(expressions, opts \\ [])

  def build(expressions, opts) when is_list(expressions) and is_list(opts) do
    with {:ok, exprs} <- normalise(List.flatten(expressions), []),
         {:ok, rule} <- options(opts, %__MODULE__{expressions: CtState.host_order(exprs)}) do
      {:ok, rule}
    else
      {:error, reason} -> {:error, {:bad_rule, reason}}
    end
  end

  def build(exprs, opts) when is_list(exprs), do: {:error, {:bad_rule, {:bad_options, opts}}}
  def build(other, _opts), do: {:error, {:bad_rule, {:not_a_list, other}}}

  @doc "As `build/2`, but gives the rule itself and raises `ArgumentError`."
  @spec build!([expression_input() | [expression_input()]], keyword()) :: t()
  def build!(expressions, opts \\ []) do
    case build(expressions, opts) do
      {:ok, rule} -> rule
      {:error, reason} -> raise ArgumentError, "not a rule: #{inspect(reason)}"
    end
  end

  @doc "The verdict at the rule's end, or nil when packets fall through to the next rule."
  @spec verdict(t()) :: Verdict.t() | nil
  def verdict(%__MODULE__{expressions: exprs}) do
    case List.last(exprs) do
      %Expr{name: :immediate, data: %Verdict{} = verdict} -> verdict
      %Expr{name: :immediate, data: %{data: %Verdict{} = verdict}} -> verdict
      %Expr{name: :immediate, data: %{value: %Verdict{} = verdict}} -> verdict
      _ -> nil
    end
  end

  defp normalise([], acc), do: {:ok, Enum.reverse(acc)}
  defp normalise([%Expr{} = expr | rest], acc), do: normalise(rest, [expr | acc])

  defp normalise([input | rest], acc) do
    case Verdict.new(input) do
      {:ok, verdict} -> normalise(rest, [%Expr{name: :immediate, data: verdict} | acc])
      {:error, _} -> {:error, {:bad_expression, input}}
    end
  end

  defp options([], rule), do: {:ok, rule}

  defp options([{key, value} | rest], rule) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(rule, key, value))
      error -> error
    end
  end

  defp option(_key, nil), do: :ok
  defp option(:tag, tag) when is_atom(tag), do: :ok
  defp option(:tag, tag), do: {:error, {:bad_tag, tag}}

  defp option(:comment, text) when is_binary(text) and byte_size(text) <= @comment_max do
    if String.contains?(text, <<0>>), do: {:error, {:bad_comment, text}}, else: :ok
  end

  defp option(:comment, text), do: {:error, {:bad_comment, text}}
  defp option(:chain, name) when is_binary(name), do: :ok
  defp option(:chain, name), do: {:error, {:bad_chain, name}}
  defp option(:handle, handle) when is_integer(handle) and handle > 0, do: :ok
  defp option(:handle, handle), do: {:error, {:bad_handle, handle}}
  defp option(:userdata, list) when is_list(list), do: :ok
  defp option(key, _value), do: {:error, {:unknown_option, key}}
end
