defmodule Linx.NFT.Expr.Exthdr do
  @moduledoc false
  # Headers and options that the kernel searches the packet for: `frag id`, `tcp option maxseg
  # size`, `ip option ra value`, `sctp chunk data tsn`; and the question whether one is there:
  # `exthdr hbh exists`, `tcp option sack-perm missing`, `dccp option 40 exists`.
  #
  #     {:exthdr, header, field, meta}
  #     {:option_exists, operation, number, meta}
  #     {:raw_option, :tcpopt, number, offset, bits, meta}
  #
  # The headers and their fields are rows of Linx.Netfilter.Protocol.
  #
  # Source: nft(8), "EXTENSION HEADER EXPRESSIONS"; nft_exthdr.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.{Field, Protocol}
  alias Linx.NFT.Compiler.{Dependencies, Fault, Value}
  alias Linx.NFT.{Compiler, Formatter}

  @headers Protocol.words(:ipv6)
  # The headers whose presence can be asked for: of several forms of one header the first.
  @present Map.filter(@headers, fn {_word, name} ->
             Protocol.by_header(:ipv6, Protocol.fetch!(name).header) == name
           end)
  @options %{
    {"tcp", "option"} => {:tcpopt, "a TCP option"},
    {"ip", "option"} => {:ipv4, "an IP option"},
    {"sctp", "chunk"} => {:sctp, "an SCTP chunk"}
  }
  @names Map.new(@options, fn {_words, {op, _wanted}} -> {op, Protocol.words(op)} end)

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "exthdr", meta} | tokens]) do
    {header, rest} = named(tokens, @present, "an extension header")
    {present(:ipv6, header, meta), rest}
  end

  def parse([
        {:identifier, "tcp", meta},
        {:identifier, "option", _},
        {:at, _},
        {:integer, kind, _},
        {:comma, _},
        {:integer, offset, _},
        {:comma, _},
        {:integer, len, _} | rest
      ]),
      do: {{:raw_option, :tcpopt, kind, offset, len, meta}, rest}

  def parse([{:identifier, "tcp", meta}, {:identifier, "option", _}, {:integer, n, _} | rest]) do
    case rest do
      [{:identifier, "kind", _} | rest] -> {{:raw_option, :tcpopt, n, 0, 8, meta}, rest}
      [{:identifier, "length", _} | rest] -> {{:raw_option, :tcpopt, n, 8, 8, meta}, rest}
      rest -> {{:option_exists, :tcpopt, n, meta}, rest}
    end
  end

  def parse([{:identifier, "dccp", meta}, {:identifier, "option", _}, {:integer, n, _} | rest]),
    do: {{:option_exists, :dccp, n, meta}, rest}

  def parse([{:identifier, protocol, meta}, {:identifier, word, _} | tokens])
      when word in ["option", "chunk"] and is_map_key(@options, {protocol, word}) do
    {op, wanted} = Map.fetch!(@options, {protocol, word})
    {option, rest} = named(tokens, Map.fetch!(@names, op), wanted)

    with [{:identifier, field, _} | more] <- rest,
         {:ok, _} <- Field.fetch(option, field) do
      {{:exthdr, option, field, meta}, more}
    else
      _ -> {present(op, option, meta), rest}
    end
  end

  def parse([{:identifier, word, meta}, {:identifier, field, place} | rest])
      when is_map_key(@headers, word) do
    header = Map.fetch!(@headers, word)

    {field, rest} =
      case rest do
        [{:lbracket, _}, {:integer, n, _}, {:rbracket, _} | rest] -> {"#{field}[#{n}]", rest}
        rest -> {field, rest}
      end

    case Field.fetch(header, field) do
      {:ok, _} ->
        {{:exthdr, header, field, meta}, rest}

      :error ->
        unexpected([{:identifier, field, place}], "a field of #{header}", Field.fields(header))
    end
  end

  def parse(_tokens), do: nil

  defp named([{:identifier, word, _} | rest], names, _wanted) when is_map_key(names, word),
    do: {Map.fetch!(names, word), rest}

  defp named(tokens, names, wanted), do: unexpected(tokens, wanted, Map.keys(names))

  defp present(op, name, meta), do: {:option_exists, op, Protocol.fetch!(name).header, meta}

  @doc "Parses the name or number of a TCP option to its number."
  @spec tcp_option([tuple()]) :: {non_neg_integer(), [tuple()]}
  def tcp_option([{:integer, n, _} | rest]), do: {n, rest}

  def tcp_option(tokens) do
    {option, rest} = named(tokens, Map.fetch!(@names, :tcpopt), "a TCP option")
    {Protocol.fetch!(option).header, rest}
  end

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:exthdr, header, text, meta}, scope) do
    {:ok, field} = Field.fetch(header, text)
    {offset, len} = Field.bytes(field)
    data = %{op: field.base, type: field.header, offset: offset, len: len}
    scope = Dependencies.header(scope, header, field.base, meta)
    {Compiler.Term.field(field, {:exthdr, data}, meta), scope}
  end

  def compile({:raw_option, op, type, offset, len, meta}, scope) do
    if len < 1 or len > 512 or type not in 0..255,
      do: Fault.fail(meta, "an option has a kind of 8 bits and 1 to 512 bits")

    field = %Field{base: op, offset: offset, length: len, type: :integer}
    {first, count} = Field.bytes(field)
    data = %{op: op, type: type, offset: first, len: count}
    {Compiler.Term.field(field, {:exthdr, data}, meta), scope}
  end

  def compile({:option_exists, op, type, meta}, scope) do
    type = Value.number_within(type, 0xFF, "the kind of an option", meta, scope)
    data = %{op: op, type: type, offset: 0, len: 1, flags: [:present]}
    term = Compiler.Term.load({:exthdr, data}, {:boolean, 8, :host}, meta)
    # nft has no record of presence.
    {%{term | source: nil}, Dependencies.header(scope, op, op, meta)}
  end

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def term(%{data: %{op: op, type: type} = data}, _context) do
    if :present in List.wrap(data[:flags]) do
      with {:ok, words} <- presence(op, type),
           do: {:ok, %{whole(words, :boolean, 1, data) | order: :host}}
    else
      found(op, type, data[:offset] || 0, data[:len] || 1, data)
    end
  end

  def term(_expr, _context), do: :error

  @doc "The words for a header or option as such: `tcp option maxseg`, `exthdr hbh`."
  @spec presence(atom(), non_neg_integer()) :: {:ok, iodata()} | :error
  def presence(op, type) do
    case {op, Protocol.by_header(op, type)} do
      {:ipv6, name} when name != nil -> {:ok, ["exthdr ", Protocol.text(name)]}
      {_op, name} when name != nil -> {:ok, Protocol.text(name)}
      {:dccp, nil} -> {:ok, ["dccp option ", Integer.to_string(type)]}
      {:tcpopt, nil} -> {:ok, ["tcp option ", Integer.to_string(type)]}
      _ -> :error
    end
  end

  defp found(op, type, offset, len, data) do
    case {field(op, type, offset, len, data), op} do
      {%Field{} = field, _op} ->
        {:ok, cut(whole(Formatter.Term.words(field), field.type, len, data), field)}

      {nil, :tcpopt} ->
        numbers = Enum.map_join([type, offset * 8, len * 8], ",", &Integer.to_string/1)
        {:ok, whole(["tcp option @", numbers], :integer, len, data)}

      {nil, _op} ->
        :error
    end
  end

  defp field(_op, _type, _offset, _len, %{field: name}) do
    with {:ok, field} <- Field.fetch(name), do: field, else: (_ -> nil)
  end

  # A field of whole bytes, or the one that these bytes are loaded for.
  defp field(op, type, offset, len, _data) do
    Field.at(op, type, offset * 8, len * 8) ||
      Enum.find(Field.all(), fn field ->
        field.base == op and field.header == type and Field.bytes(field) == {offset, len} and
          rem(field.length, 8) != 0
      end)
  end

  defp whole(words, type, size, data),
    do: %Formatter.Term{text: words, type: type, size: size, source: data}

  defp cut(term, field) do
    if Formatter.Term.whole?(field) do
      term
    else
      {mask, shift} = Field.mask(field)
      %{term | mask: {mask, shift, term}}
    end
  end
end
