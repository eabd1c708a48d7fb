defmodule Linx.NFT do
  @moduledoc """
  The nft language in Elixir: text to a `Linx.Netfilter.Ruleset` and back.

  `parse/2` and `parse_file/2` read what nft(8) reads; `format/1` writes what it loads. `~NFT`
  does the same at compile time: its value is the ruleset, and a mistake in it is a compile error
  at its line.

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

  Nothing here talks to the kernel: `Linx.Netfilter.push/2` loads a ruleset, and nothing here
  needs Linux. What nft(8) does at load (finding the index of an interface) is left to the push.

  ## Interpolation

  `\#{...}` in a sigil holds Elixir. It may stand for any value (a port, an address, a prefix, a
  range, an interface name, a mark, a string, an element, or a list of them where a set may stand)
  and for the name of a table, chain, set or object. The ruleset is then built where the sigil is
  evaluated; a value that does not fit raises `ArgumentError` with what was expected.

      iex> import Linx.NFT
      iex> ports = [22, 8080..8090]
      iex> rs = ~NFT"table inet t { chain c { tcp dport \#{ports} accept } }"
      iex> {:ok, same} =
      ...>   Linx.NFT.parse("table inet t { chain c { tcp dport { 22, 8080-8090 } accept; }; }")
      iex> rs == same
      true

  Elixir needs the text only up to its own closing quote: an interpolation in a one-line sigil
  cannot contain a double quote. An interpolation stands for a whole string, so `"pre \#{x} post"`
  inside quotes is an error: write `\#{"pre \#{x} post"}` without the outer quotes. `\\\#{` inside
  quotes stands for the two characters.

  ## Strings

  **Strings are where the text differs from nft's.** `parse/2` and `~NFT` know the escapes `\\\\`,
  `\\"`, `\\n`, `\\t`, `\\r` and `\\0` (`Linx.NFT.Tokenizer`). nft's own strings have no escapes:
  a quote, any bytes but a quote, a quote. What is nft's own text is read so: `parse_file/2`,
  files that are included, `.nft` files under `mix format`, and `parse(text, strings: :nft)`.
  `format/1` writes only strings that both read alike, and raises `ArgumentError` for the others.

  Source: nft(8).
  """

  alias Linx.Netfilter.{Chain, Rule, Ruleset, Set}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.NFT.{Compiler, Formatter, ParseError, Parser, Reading, RuntimeCompiler}
  alias Linx.NFT.Tokenizer
  alias Linx.NFT.Parser.One

  @doc """
  Parses nft text into a ruleset.

  Options:

    * `:file` names the text in error messages (default `"nofile"`); relative includes are looked
      up beside it.
    * `:strings` is `:escapes` (the default) or `:nft`, for strings without escapes as nft(8) has
      them.
    * `:names` is `:any` (the default) or `:declared`: a chain, set, map, object or flowtable that
      the text uses and does not declare in that table is then an error at its place, with the
      nearest name that is there. With `:any` the kernel answers for it.

  Returns `{:error, %Linx.NFT.ParseError{}}` at the first mistake; another option, and what is no
  text, raises `ArgumentError`. Source: nft(8).

      iex> {:error, error} = Linx.NFT.parse("table ip t { chain c { polcy drop; }; }")
      iex> {error.line, error.column, error.message}
      {1, 24, "unexpected polcy, expected a statement, did you mean policy?"}
      iex> text = "table ip t { chain input_wan { }; chain c { jump inptu_wan; }; }"
      iex> {:error, error} = Linx.NFT.parse(text, names: :declared)
      iex> {error.line, error.column, error.message}
      {1, 50, "no chain inptu_wan in table ip t, did you mean input_wan?"}
  """
  @spec parse(String.t(), keyword()) :: {:ok, Ruleset.t()} | {:error, ParseError.t()}
  def parse(source, opts \\ []) do
    text!(source)

    opts =
      opts |> Keyword.validate!(file: "nofile", strings: :escapes, names: :any) |> Map.new()

    one_of!(:strings, opts.strings, [:escapes, :nft])
    one_of!(:names, opts.names, [:any, :declared])
    context = [file: opts.file, source: source, names: opts.names]
    Reading.compile(source, [file: opts.file, strings: opts.strings], context)
  end

  defp text!(source) do
    unless is_binary(source),
      do: raise(ArgumentError, "expected nft text, got: #{inspect(source, limit: 5)}")
  end

  defp path!(path) do
    unless is_binary(path) or is_list(path),
      do: raise(ArgumentError, "expected the path of a file, got: #{inspect(path, limit: 5)}")
  end

  defp one_of!(key, value, allowed) do
    unless value in allowed do
      expected = Enum.map_join(allowed, " or ", &inspect/1)
      raise ArgumentError, "expected #{expected} for #{inspect(key)}, got: #{inspect(value)}"
    end
  end

  @doc """
  Reads the file at `path` and parses it as nft(8) would, its strings without escapes.

  Option `:names` as for `parse/2`. Returns what `File.read/1` says of a file that cannot be read
  (`{:error, :enoent}`), else as `parse/2`. Raises `ArgumentError` for what is no path. Source:
  nft(8), "-f".
  """
  @spec parse_file(Path.t(), keyword()) ::
          {:ok, Ruleset.t()} | {:error, ParseError.t() | File.posix()}
  def parse_file(path, opts \\ []) do
    path!(path)
    Keyword.validate!(opts, [:names])

    with {:ok, source} <- File.read(path),
         do: parse(source, [file: to_string(path), strings: :nft] ++ opts)
  end

  @doc """
  The file at `path` as text to push, in bounded memory and without its sets becoming values; see
  `Linx.Netfilter.Stream`.

      :ok = Linx.Netfilter.push(nfnl, Linx.NFT.stream("/etc/blocklist.nft"))

  The file is read by the push, which answers what `parse_file/1` answers for one that cannot be
  read or has a mistake. Raises `ArgumentError` for what is no path.
  """
  @spec stream(Path.t()) :: Linx.Netfilter.Stream.t()
  def stream(path) do
    path!(path)
    Linx.NFT.Stream.new(path)
  end

  @doc """
  Parses the text of one rule, as it would stand in a chain.

  Option `:family` is that of the chain's table (default `:inet`), `:file` names the text in error
  messages. Returns `{:error, %Linx.NFT.ParseError{}}` for a mistake and for what is not just one
  rule. The rule has no chain; `Linx.Netfilter.Ruleset.add_rule/5` puts it into one. Raises
  `ArgumentError` for what is no text. Source: nft(8), "RULES".

      iex> {:ok, rule} = Linx.NFT.parse_rule(~s(tcp dport 22 accept comment "ssh"))
      iex> {rule.comment, Linx.NFT.format(rule)}
      {"ssh", ~s(tcp dport 22 accept comment "ssh")}
      iex> {:error, error} = Linx.NFT.parse_rule("accept; drop")
      iex> error.message
      "expected one rule, and nothing else"
  """
  @spec parse_rule(String.t(), keyword()) :: {:ok, Rule.t()} | {:error, ParseError.t()}
  def parse_rule(source, opts \\ []) do
    text!(source)
    opts = Keyword.validate!(opts, family: :inet, file: "nofile")
    context = [file: opts[:file], source: source]

    unless opts[:family] in [:ip, :ip6, :inet, :arp, :bridge, :netdev],
      do: raise(ArgumentError, "not a family: #{inspect(opts[:family])}")

    with {:ok, tokens} <- Tokenizer.tokenize(source, file: opts[:file]),
         {:ok, items} <- One.rule(tokens, opts[:family], context),
         {:ok, %Ruleset{tables: tables}} <- Compiler.compile(items, context) do
      [{_key, %{chains: chains}}] = Map.to_list(tables)
      [{_name, %{rules: [rule]}}] = Map.to_list(chains)
      {:ok, %{rule | chain: nil}}
    end
  end

  @doc """
  Writes a ruleset as nft text, one form for equal rulesets, which parses back to the same value.

  `format/2` writes a part of one: a `%Linx.Netfilter.Rule{}` as its statements, which
  `parse_rule/2` reads, a chain, set or map as its block. Option `:table` is the table that the
  part belongs to, or `:family` (default `:inet`) that of a rule's table.

  Raises `ArgumentError` for what is none of these, and for a string that `parse/1` and nft(8) do
  not read alike, or that neither can say: a quote, a control character, a byte that is not UTF-8,
  a backslash before `\\\\`, `"`, `n`, `t`, `r`, `0` or the string's end, a `$` in a log prefix, a
  name that is no word or is a word of nft's grammar. The message names table, chain, rule
  (counted from 0) and byte. No rule is left out, and no other string written.

      iex> alias Linx.Netfilter.Ruleset
      iex> Ruleset.new()
      ...> |> Ruleset.add_table!(:inet, "t")
      ...> |> Ruleset.add_chain!("t", "c")
      ...> |> Ruleset.add_rule!("t", "c", [:accept], comment: ~S(a "b"))
      ...> |> Linx.NFT.format()
      ** (ArgumentError) table inet t, chain c, rule 0: the comment holds a quote \
  (byte 0x22 at offset 2), which a string of nft cannot hold
  """
  @spec format(Ruleset.t() | Rule.t() | Chain.t() | Set.t() | NMap.t(), keyword()) :: String.t()
  def format(value, opts \\ [])
  def format(%Ruleset{} = ruleset, []), do: Formatter.format(ruleset)

  def format(%kind{} = part, opts) when kind in [Rule, Chain, Set, NMap],
    do: Formatter.text(part, opts)

  def format(%Ruleset{}, opts),
    do:
      raise(ArgumentError, "a whole ruleset is formatted without options, got: #{inspect(opts)}")

  def format({:ok, %kind{}}, _opts) when kind in [Ruleset, Rule, Chain, Set, NMap],
    do: raise(ArgumentError, "expected a value to format; it is inside the {:ok, value}")

  def format(other, _opts) do
    raise ArgumentError,
          "expected a ruleset, rule, chain, set or map, got: #{inspect(other, limit: 5)}"
  end

  @doc """
  The ruleset that the text of the sigil describes.

  Without interpolation it is computed when the module is compiled. Raises `Linx.NFT.ParseError`
  there for a mistake in the text. Takes no modifiers.
  """
  defmacro sigil_NFT(text, modifiers)

  defmacro sigil_NFT({:<<>>, meta, [source]}, []) when is_binary(source) do
    caller = __CALLER__
    # The text of a heredoc begins on the line after its quotes.
    heredoc? = Keyword.has_key?(meta, :indentation)
    line = Keyword.get(meta, :line, caller.line) + if(heredoc?, do: 1, else: 0)
    file = Path.relative_to_cwd(caller.file)
    context = [file: file, source: source, first_line: line]

    if String.contains?(source, "\#{"),
      do: interpolated(source, [file: file, line: line, interpolation?: true], context),
      else: source |> Reading.compile([file: file, line: line], context) |> escaped()
  end

  defmacro sigil_NFT(_text, modifiers) do
    raise ArgumentError, "~NFT takes no modifiers, got: #{inspect(modifiers)}"
  end

  defp interpolated(source, options, context) do
    with {:ok, tokens} <- Tokenizer.tokenize(source, options),
         {:ok, items} <- Parser.parse(tokens, context) do
      # Only the tokens show an interpolation: its characters may also be part of a string.
      if Enum.any?(tokens, &match?({:elixir_expr, _, _}, &1)),
        do: items |> RuntimeCompiler.emit(context) |> quoted!(),
        else: items |> Compiler.compile(context) |> escaped()
    else
      {:error, %ParseError{} = error} -> raise error
    end
  end

  defp escaped(result), do: result |> quoted!() |> Macro.escape()

  defp quoted!({:ok, value}), do: value
  defp quoted!({:error, %ParseError{} = error}), do: raise(error)
end
