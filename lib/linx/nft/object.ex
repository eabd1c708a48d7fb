defmodule Linx.NFT.Object do
  @moduledoc false
  # Named objects, one module a kind under lib/linx/nft/object/: the options in its braces, the
  # data that they compile to, and their text. Linx.NFT.Object.Kinds has the list of kinds; the
  # parser, the compiler and the formatter dispatch through this module, whose clauses are
  # generated from that list.
  #
  # How an object lies on the wire is in Linx.Netfilter.Wire.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.Object
  alias Linx.NFT.Compiler.{Fault, Scope}
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Object.Kinds
  alias Linx.NFT.Parser.Block

  @typedoc "An option of a block: its key and the value as parsed."
  @type option :: {atom(), term()} | {atom(), term(), map()}

  @doc "The words that begin an option, for messages."
  @callback words() :: [String.t()]

  @doc """
  Parses an option, or several that one phrase gives: `{options, rest}`, or nil where none begins.
  """
  @callback option(tokens :: [tuple(), ...]) :: {option() | [option()], rest :: [tuple()]} | nil

  @doc "The object's data of its options. `meta` is the place of the declaration."
  @callback data([option()], meta :: map(), Scope.t()) :: map()

  @doc "The lines in the object's braces."
  @callback lines(data :: map()) :: [iodata()]

  @doc """
  The options that a second declaration of an object leaves as they are; nil where it changes
  none, because the kind has no `update` in the kernel's `struct nft_object_ops`.
  """
  @callback kept() :: [atom()] | nil

  @rows for {kind, name, declared, reference} <- Kinds.rows(),
            do: {kind, Module.concat(__MODULE__, name), declared, reference}

  # "ct helper" is a pattern of two tokens.
  tokens = fn words ->
    for word <- String.split(words), do: quote(do: {:identifier, unquote(word), _})
  end

  # -- parser ------------------------------------------------------------------------------------

  @doc "The kind that the words of a declaration name: `{kind, rest}`, or nil."
  @spec declared([tuple()]) :: {atom(), [tuple()]} | nil
  for {kind, _, words, _} <- @rows do
    def declared([unquote_splicing(tokens.(words)) | rest]), do: {unquote(kind), rest}
  end

  def declared(_tokens), do: nil

  @doc "The kind that the words before an object's name in a rule name."
  @spec reference([tuple()]) :: {atom(), [tuple()]}
  for {kind, _, _, words} <- @rows do
    def reference([unquote_splicing(tokens.(words)) | rest]), do: {unquote(kind), rest}
  end

  @doc "The options of an object's block and the rest. `add counter inet t c` has no block."
  @spec body(atom(), [tuple()]) :: {[option()], [tuple()]}
  def body(kind, [{:lbrace, _} | rest]), do: options(kind, rest, [])
  def body(_kind, rest), do: {[], rest}

  defp options(kind, [{:stmt_sep, _} | rest], opts), do: options(kind, rest, opts)
  defp options(_kind, [{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp options(kind, [{:identifier, "comment", _} | rest], opts) do
    {text, rest} = comment(rest)
    options(kind, rest, [{:comment, text} | opts])
  end

  defp options(kind, [token | _] = tokens, opts) when definition?(token) do
    {item, rest} = Block.definition(tokens)
    options(kind, rest, [{:definition, item} | opts])
  end

  defp options(kind, tokens, opts) do
    case module(kind).option(tokens) do
      {option, rest} ->
        options(kind, rest, Enum.reverse(List.wrap(option)) ++ opts)

      nil ->
        {:ok, word} = word(kind)
        unexpected(tokens, "an attribute of a #{word}", module(kind).words() ++ ["comment"])
    end
  end

  # -- compiler ----------------------------------------------------------------------------------

  @doc "The data of an object that is declared with these options."
  @spec data(atom(), [option()], map(), Scope.t()) :: map()
  def data(kind, opts, meta, scope), do: module(kind).data(opts, meta, scope)

  @doc "The options that a second declaration leaves as they are; nil where it changes none."
  @spec kept(atom()) :: [atom()] | nil
  def kept(kind), do: module(kind).kept()

  @doc "An option that must be given. `what` describes it in the message."
  @spec required(term(), String.t(), map()) :: term()
  def required(nil, what, meta), do: Fault.fail(meta, "expected #{what}")
  def required(value, _what, _meta), do: value

  # -- formatter ---------------------------------------------------------------------------------

  @doc "nft's words for a kind, or `:error` for a kind that nft has none for."
  @spec word(atom()) :: {:ok, String.t()} | :error
  def word(kind)

  @doc "The words before an object's name in a rule, or `:error`."
  @spec reference_words(atom()) :: {:ok, String.t()} | :error
  def reference_words(kind)

  for {kind, module, words, reference} <- @rows do
    def word(unquote(kind)), do: {:ok, unquote(words)}
    def reference_words(unquote(kind)), do: {:ok, unquote(reference)}
    defp module(unquote(kind)), do: unquote(module)
  end

  def word(_kind), do: :error
  def reference_words(_kind), do: :error

  @doc "An object as a block of its table; a comment for a kind that nft has no words for."
  @spec text(Object.t()) :: iodata()
  def text(%Object{kind: kind, name: name} = object) do
    data = data(object.data)

    case word(kind) do
      {:ok, word} ->
        comment = if object.comment, do: [["comment ", Text.comment(object.comment)]], else: []
        lines = for line <- comment ++ module(kind).lines(data), do: ["    ", line, "\n"]
        ["  ", word, " ", Text.name(name), " {\n", lines, "  }\n"]

      :error ->
        ["  # <unsupported object: ", to_string(kind), ">\n"]
    end
  end

  defp data(nil), do: %{}
  defp data(data) when is_map(data), do: data
  defp data(data) when is_list(data), do: Map.new(data)

  @doc "The line of an option, none for one that the object does not have."
  @spec line(String.t(), term()) :: [iodata()]
  def line(_words, nil), do: []
  def line(words, value), do: [[words, " ", Text.word(value)]]
end
