defmodule Linx.NFT.Compiler do
  @moduledoc """
  Gives the parser's tree its meaning: a `%Linx.Netfilter.Ruleset{}`.

  Every value is checked against the type of what it is compared with or assigned to, and written
  in the byte order that the kernel compares in; every match becomes the expressions that nft(8)
  would send for the same text, the implied protocol tests left to `Linx.Netfilter.Dependencies`.
  Commands of a script are carried out in order on the ruleset that the text describes so far,
  variables are replaced where they stand, included files are read.

  What is not accepted: deleting or placing rules by handle (nothing has one yet), and everything
  that lists, monitors or renames. Each says so at its place.

      iex> {:ok, tokens} =
      ...>   Linx.NFT.Tokenizer.tokenize("table ip t { chain c { tcp dport 22 accept; }; }")
      iex> {:ok, items} = Linx.NFT.Parser.parse(tokens)
      iex> {:ok, ruleset} = Linx.NFT.Compiler.compile(items)
      iex> Enum.map(Linx.Netfilter.Ruleset.tables(ruleset), fn {family, name, _} ->
      ...>   {family, name}
      ...> end)
      [{:ip, "t"}]

  Source: nft(8).
  """

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.Compiler.{Assemble, Collect, Names}
  alias Linx.NFT.{ParseError, Parser}

  @doc """
  Compiles top-level items, as `Linx.NFT.Parser.parse/2` gives them.

  Options: `:file` (default `"nofile"`; relative includes are looked up beside it) and `:source`
  (default `""`) for error messages, `:first_line` the number of the source's first line (default
  1), `:names` (`:any` by default) whether names must be declared in the text (`:declared`).

  Returns `{:ok, ruleset}` or `{:error, %Linx.NFT.ParseError{}}` at the first node that means
  nothing.
  """
  @spec compile([tuple()], keyword()) :: {:ok, Ruleset.t()} | {:error, ParseError.t()}
  def compile(ast_items, opts \\ []) when is_list(ast_items) do
    plan = Collect.run(ast_items, opts)
    if opts[:names] == :declared, do: Names.check(plan)
    {:ok, Assemble.ruleset(plan)}
  catch
    # The value of an interpolation is the caller's, not the text's.
    {:syntax, %{interpolated: true} = meta, message} ->
      error = Parser.error(meta, message, opts)
      place = "#{error.file}:#{error.line}:#{error.column}"
      raise ArgumentError, "#{place}: #{error.message}, in an interpolation of ~NFT"

    {:syntax, meta, message} ->
      {:error, Parser.error(meta, message, opts)}

    {:included, %ParseError{} = error} ->
      {:error, error}
  end
end
