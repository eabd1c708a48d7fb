defmodule Linx.NFT do
  @moduledoc """
  The nft language in Elixir: text to a `Linx.Netfilter.Ruleset` and back.

  `parse/2` and `parse_file/1` read what nft(8) reads; `format/1` writes what it loads. `~NFT` does the same at compile time:
  its value is the ruleset, and a mistake in it is a compile error at its line.

      iex> import Linx.NFT
      iex> ruleset = ~NFT\"\"\"
      ...> table inet firewall {
      ...>   chain input {
      ...>     type filter hook input priority 0
      ...>     policy drop
      ...>     ct state established accept
      ...>     tcp dport { 22, 443 } accept
      ...>   }
      ...> }
      ...> \"\"\"
      iex> Linx.NFT.parse(Linx.NFT.format(ruleset)) == {:ok, ruleset}
      true

  Nothing here talks to the kernel: `Linx.Netfilter.push/2` loads a ruleset, and nothing here needs Linux. What nft(8) does at load
  (finding the index of an interface) is left to the push.

  ## Interpolation

  `\#{...}` in a sigil holds Elixir. It may stand for any value (a port, an address, a prefix, a range, an interface
  name, a mark, a string, an element, or a list of them where a set may stand) and for the name of a table, chain, set or
  object. The ruleset is then built where the sigil is evaluated; a value that does not fit raises `ArgumentError` with what was
  expected.

      iex> import Linx.NFT
      iex> ports = [22, 8080..8090]
      iex> rs = ~NFT"table inet t { chain c { tcp dport \#{ports} accept } }"
      iex> {:ok, same} = Linx.NFT.parse("table inet t { chain c { tcp dport { 22, 8080-8090 } accept; }; }")
      iex> rs == same
      true

  Elixir needs the text only up to its own closing quote: an interpolation in a one-line sigil cannot contain a double quote.

  Source: nft(8).
  """

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.{Compiler, Formatter, ParseError, Parser, RuntimeCompiler, Tokenizer}

  @doc """
  Parses nft text into a ruleset.

  Option `:file` names the text in error messages (default `"nofile"`), and relative includes are looked up beside it.

  Returns `{:error, %Linx.NFT.ParseError{}}` at the first mistake; another option raises `ArgumentError`. Source: nft(8).
  """
  @spec parse(String.t(), keyword()) :: {:ok, Ruleset.t()} | {:error, ParseError.t()}
  def parse(source, opts \\ []) when is_binary(source) do
    [file: file] = Keyword.validate!(opts, file: "nofile")
    context = [file: file, source: source]

    with {:ok, tokens} <- Tokenizer.tokenize(source, file: file),
         {:ok, items} <- Parser.parse(tokens, context),
         do: Compiler.compile(items, context)
  end

  @doc """
  Reads the file at `path` and parses it.

  Returns what `File.read/1` says of a file that cannot be read (`{:error, :enoent}`), else as `parse/2`.
  """
  @spec parse_file(Path.t()) :: {:ok, Ruleset.t()} | {:error, ParseError.t() | File.posix()}
  def parse_file(path) do
    with {:ok, source} <- File.read(path), do: parse(source, file: to_string(path))
  end

  @doc """
  Writes a ruleset as nft text, one form for equal rulesets, which parses back to the same value.
  """
  @spec format(Ruleset.t()) :: String.t()
  def format(%Ruleset{} = ruleset), do: Formatter.format(ruleset)

  @doc """
  The ruleset that the text of the sigil describes.

  Without interpolation it is computed when the module is compiled. Raises `Linx.NFT.ParseError` there for a mistake in
  the text. Takes no modifiers.
  """
  defmacro sigil_NFT(text, modifiers)

  defmacro sigil_NFT({:<<>>, meta, [source]}, []) when is_binary(source) do
    caller = __CALLER__
    # The text of a heredoc begins on the line after its quotes.
    heredoc? = Keyword.has_key?(meta, :indentation)
    line = Keyword.get(meta, :line, caller.line) + if(heredoc?, do: 1, else: 0)
    file = Path.relative_to_cwd(caller.file)
    context = [file: file, source: source, first_line: line]

    with {:ok, tokens} <- Tokenizer.tokenize(source, file: file, line: line, interpolation?: true),
         {:ok, items} <- Parser.parse(tokens, context) do
      if Enum.any?(tokens, &match?({:elixir_expr, _, _}, &1)),
        do: items |> RuntimeCompiler.emit(context) |> quoted!(),
        else: items |> Compiler.compile(context) |> quoted!() |> Macro.escape()
    else
      {:error, %ParseError{} = error} -> raise error
    end
  end

  defmacro sigil_NFT(_text, modifiers) do
    raise ArgumentError, "~NFT takes no modifiers, got: #{inspect(modifiers)}"
  end

  defp quoted!({:ok, value}), do: value
  defp quoted!({:error, %ParseError{} = error}), do: raise(error)
end
