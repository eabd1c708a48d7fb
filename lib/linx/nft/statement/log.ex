defmodule Linx.NFT.Statement.Log do
  @moduledoc false
  # `log [prefix TEXT] [level LEVEL] [flags FLAGS]`, or with `group`, `snaplen` and
  # `queue-threshold` for nfnetlink_log. The options come in any order.
  #
  # Source: nft(8), "LOG STATEMENT"; net/netfilter/nft_log.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, except: [fail: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Fault, Value}
  alias Linx.NFT.Formatter.Text

  @levels ~w(emerg alert crit err warn notice info debug audit)
  @level_atoms Map.new(@levels, &{&1, String.to_atom(&1)})

  # In the order of the kernel's bits. nft has no words for `:nflog`.
  @flags [:tcp_seq, :tcp_opt, :ip_opt, :uid, :nflog, :macdecode]

  # -- parser ------------------------------------------------------------------------------------

  @doc "The words of the options. They follow the statement's first word, in any order."
  @spec words() :: [String.t()]
  def words, do: ~w(prefix level group flags snaplen queue-threshold)

  @impl true
  def parse([{:identifier, "log", meta} | rest]), do: options(rest, [], meta)

  defp options([{:identifier, "prefix", _} | rest], opts, meta) do
    {text, rest} = string(rest, "a prefix")
    options(rest, [{:prefix, text} | opts], meta)
  end

  defp options([{:identifier, "level", _}, {:identifier, level, _} | rest], opts, meta)
       when level in @levels,
       do: options(rest, [{:level, Map.fetch!(@level_atoms, level)} | opts], meta)

  defp options([{:identifier, "level", _} | rest], _opts, _meta),
    do: unexpected(rest, "a log level", @levels)

  defp options([{:identifier, "group", _} | rest], opts, meta) do
    {n, rest} = integer(rest)
    options(rest, [{:group, n} | opts], meta)
  end

  defp options([{:identifier, "snaplen", _} | rest], opts, meta) do
    {n, rest} = integer(rest)
    options(rest, [{:snaplen, n} | opts], meta)
  end

  defp options([{:identifier, "queue-threshold", _} | rest], opts, meta) do
    {n, rest} = integer(rest)
    options(rest, [{:qthreshold, n} | opts], meta)
  end

  defp options([{:identifier, "flags", _} | rest], opts, meta) do
    {flags, rest} = flags(rest)
    options(rest, [{:flags, flags} | opts], meta)
  end

  defp options(rest, opts, meta), do: {{:log, Enum.reverse(opts), meta}, rest}

  defp flags([{:identifier, "all", _} | rest]), do: {List.delete(@flags, :nflog), rest}
  defp flags([{:identifier, "skuid", _} | rest]), do: {[:uid], rest}
  defp flags([{:identifier, "ether", _} | rest]), do: {[:macdecode], rest}
  defp flags([{:identifier, "ip", _}, {:identifier, "options", _} | rest]), do: {[:ip_opt], rest}

  defp flags([{:identifier, "tcp", _} | rest]) do
    commas(rest, fn
      [{:identifier, "sequence", _} | rest] -> {:tcp_seq, rest}
      [{:identifier, "options", _} | rest] -> {:tcp_opt, rest}
      tokens -> unexpected(tokens, "sequence or options", ~w(sequence options))
    end)
  end

  defp flags(tokens),
    do: unexpected(tokens, "tcp, ip, skuid, ether or all", ~w(tcp ip skuid ether all))

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:log, opts, meta}, scope) do
    given = Keyword.get_values(opts, :flags) |> List.flatten()

    for key <- [:prefix, :group, :level, :snaplen, :qthreshold],
        length(Keyword.get_values(opts, key)) > 1,
        do: Fault.fail(meta, "#{key} is given twice")

    if opts[:level] && (opts[:group] || opts[:snaplen] || opts[:qthreshold]),
      do: Fault.fail(meta, "level and group exclude each other")

    if given != [] and opts[:group], do: Fault.fail(meta, "flags and group exclude each other")

    data =
      %{}
      |> put(:group, Value.number_within(opts[:group], 0xFFFF, "a group", meta, scope))
      |> put(:prefix, prefix(opts[:prefix], meta, scope))
      |> put(:snaplen, Value.number_within(opts[:snaplen], 0xFFFFFFFF, "snaplen", meta, scope))
      |> put(:qthreshold, threshold(opts[:qthreshold], meta, scope))
      |> put(:level, opts[:level])
      |> put(:flags, Enum.filter(@flags, &(&1 in given)))

    # Without a group the statement writes to the kernel's log, which has neither snaplen nor
    # threshold: nft sends none.
    data = if opts[:group], do: data, else: Map.drop(data, [:snaplen, :qthreshold])

    if data[:level] == :audit and map_size(data) > 1,
      do: Fault.fail(meta, "level audit takes no other option")

    {[{:fixed, [Expr.new(:log, data)]}], scope}
  end

  defp threshold(node, meta, scope),
    do: Value.number_within(node, 0xFFFF, "queue-threshold", meta, scope)

  defp put(map, _key, value) when value in [nil, []], do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  @doc false
  # The text of a prefix, its variables replaced.
  def prefix(nil, _meta, _scope), do: nil

  def prefix(text, meta, scope) do
    meta = Fault.meta(text, meta)
    text = text |> expand(scope, meta) |> Value.text_of(scope)

    if byte_size(text) > 127,
      do: Fault.fail(meta, "a log prefix has at most 127 bytes, this one #{byte_size(text)}")

    if text == "", do: Fault.fail(meta, "a log prefix must not be empty")
    if String.contains?(text, <<0>>), do: Fault.fail(meta, "a log prefix cannot hold a NUL byte")
    text
  end

  # A `$` in a literal string begins the name of a variable, as in nft. The value of an
  # interpolation is taken as it is.
  defp expand(text, scope, meta) when is_binary(text) do
    # Most prefixes have none, and a regular expression costs more than the rest of the rule.
    if :binary.match(text, "$") == :nomatch, do: text, else: expanded(text, scope, meta)
  end

  defp expand(node, _scope, _meta), do: node

  defp expanded(text, scope, meta) do
    Regex.replace(~r/\$([A-Za-z_][A-Za-z0-9_]*)?/, text, fn
      "$", _ -> Fault.fail(meta, "a $ in a log prefix begins the name of a variable")
      _, name -> Value.text_of({:variable, name, meta}, scope)
    end)
  end

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: data}, _context) do
    data = data || %{}

    {:ok,
     [
       "log",
       if(prefix = data[:prefix], do: [" prefix ", Text.prefix(prefix)], else: ""),
       number(" group ", data[:group]),
       number(" snaplen ", data[:snaplen]),
       number(" queue-threshold ", data[:qthreshold]),
       level(data[:level]),
       written(List.wrap(data[:flags]))
     ]}
  end

  defp number(_words, nil), do: ""
  defp number(words, n), do: [words, Integer.to_string(n)]

  defp level(nil), do: ""
  defp level(:warning), do: " level warn"
  defp level(level), do: [" level ", Text.word(level)]

  @words [ip_opt: "ip options", uid: "skuid", macdecode: "ether"]
  @tcp_words [tcp_seq: "sequence", tcp_opt: "options"]

  # `sequence` and `options` of TCP share one word; all five flags are `all`.
  defp written(flags) do
    case {words(@tcp_words, flags), words(@words, flags)} do
      {[_, _], [_, _, _]} -> " flags all"
      {[], rest} -> written_each(rest)
      {tcp, rest} -> written_each([["tcp ", Enum.intersperse(tcp, ",")] | rest])
    end
  end

  defp written_each(flags), do: for(words <- flags, do: [" flags ", words])
  defp words(table, flags), do: for({flag, word} <- table, flag in flags, do: word)
end
