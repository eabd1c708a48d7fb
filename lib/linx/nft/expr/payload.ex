defmodule Linx.NFT.Expr.Payload do
  @moduledoc false
  # `tcp dport`, `ip saddr`, `@th,16,16`: bits of the packet, by the name of a header's field or
  # by their place.
  #
  #     {:payload, protocol, field, meta}
  #     {:raw_payload, base, offset, bits, meta}
  #
  # The headers and their fields are rows of Linx.Netfilter.Protocol.
  #
  # Source: nft(8), "PAYLOAD EXPRESSIONS"; nft_payload.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [expect: 2, fail: 2, integer: 1, unexpected: 3]

  alias Linx.Netfilter.{Field, Protocol}
  alias Linx.NFT.Compiler.{Dependencies, Fault, Value}
  alias Linx.NFT.{Compiler, Formatter}

  @protocols Protocol.words(:payload)
  @bases %{"ll" => :link, "nh" => :network, "th" => :transport, "ih" => :inner}
  @base_words Map.new(@bases, fn {word, base} -> {base, word} end)

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:at, meta}, {:identifier, word, place}, {:comma, _} | rest]) do
    base =
      Map.get(@bases, word) ||
        unexpected([{:identifier, word, place}], "ll, nh, th or ih", Map.keys(@bases))

    {offset, rest} = integer(rest)
    {len, rest} = rest |> expect(:comma) |> integer()
    {{:raw_payload, base, offset, len, meta}, rest}
  end

  def parse([{:at, meta} | _]),
    do: fail(meta, "a set has no value here: @name stands right of a match")

  def parse([{:identifier, "arp", meta}, {:identifier, side, _}, {:identifier, kind, _} | rest])
      when side in ["saddr", "daddr"] and kind in ["ip", "ether"],
      do: {{:payload, :arp, "#{side} #{kind}", meta}, rest}

  def parse([{:identifier, word, meta}, {:identifier, field, _} = token | rest]) do
    protocol = Map.fetch!(@protocols, word)

    case Field.fetch(protocol, field) do
      {:ok, _field} -> {{:payload, protocol, field, meta}, rest}
      :error -> unexpected([token], "a field of #{protocol}", Field.fields(protocol))
    end
  end

  # Alone the word is a constant: the protocol.
  def parse(_tokens), do: nil

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:payload, protocol, text, meta}, scope) do
    {:ok, field} = Field.fetch(protocol, text)

    scope =
      scope
      |> Dependencies.header(protocol, field.base, meta)
      |> Dependencies.icmp_type(field, meta)

    # Each VLAN tag before the one that is meant has four bytes.
    tags = if protocol == :vlan, do: max(scope.layers.tags - 1, 0), else: 0
    {load(field, 4 * tags, meta), scope}
  end

  def compile({:raw_payload, base, offset, len, meta}, scope) do
    offset = Value.number_of(offset, scope)
    len = Value.number_of(len, scope)

    if len < 1 or len > 512 or offset < 0 or offset + len > 0xFFFF * 8,
      do: Fault.fail(meta, "raw payload must be 1 to 512 bits within the packet")

    {base |> raw_field(offset, len) |> load(0, meta), scope}
  end

  defp load(field, ahead, meta) do
    {offset, len} = Field.bytes(field)
    data = %{base: field.base, offset: ahead + offset, len: len}
    Compiler.Term.field(field, {:payload, data}, meta)
  end

  # Where every transport has its ports, they are ports.
  defp raw_field(:transport, offset, 16) when offset in [0, 16] do
    {:ok, field} = Field.fetch(:th, if(offset == 0, do: "sport", else: "dport"))
    field
  end

  defp raw_field(base, offset, len),
    do: %Field{base: base, offset: offset, length: len, type: :integer}

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def term(%{data: %{field: name} = data}, _context) when is_atom(name) and name != nil do
    with {:ok, field} <- Field.fetch(name), do: {:ok, named(field, data)}
  end

  # nft's record of a set has the place of raw bits.
  def term(%{data: %{base: base, bits: {offset, len}, len: size} = data}, _context)
      when is_map_key(@base_words, base),
      do: {:ok, %{raw(data, size) | text: words(base, offset, len)}}

  # The ports of whatever transport it is.
  def term(%{data: %{base: :transport, offset: offset, len: 2} = data}, _context)
      when offset in [0, 2] do
    with {:ok, field} <- Field.fetch(if(offset == 0, do: :th_sport, else: :th_dport)),
         do: {:ok, named(field, data)}
  end

  def term(%{data: %{base: base, offset: _, len: len} = data}, _context)
      when is_map_key(@base_words, base),
      do: {:ok, raw(data, len)}

  def term(_expr, _context), do: :error

  # A field that is no whole bytes has to be cut out by a bitwise expression: until then the term
  # is the bytes around it.
  defp named(field, data) do
    len = data[:len] || elem(Field.bytes(field), 1)
    words = Formatter.Term.words(field)
    whole = %Formatter.Term{text: words, type: field.type, size: len, source: data}

    cond do
      Formatter.Term.whole?(field) ->
        whole

      Field.bytes(field) == {data[:offset] || 0, len} ->
        {mask, shift} = Field.mask(field)
        %{raw(data, len) | mask: {mask, shift, whole}}

      true ->
        raw(data, len)
    end
  end

  defp raw(data, len) do
    base = if is_map_key(@base_words, data[:base]), do: data.base, else: :network
    offset = data[:offset] || 0
    text = words(base, offset * 8, len * 8)
    %Formatter.Term{text: text, type: :integer, size: len, source: data}
  end

  defp words(base, offset, len) do
    places = [",", Integer.to_string(offset), ",", Integer.to_string(len)]
    ["@", Map.fetch!(@base_words, base) | places]
  end

  @doc """
  The term of a load by its place alone, nil where nft has no word for its base: a set of integers
  was made for the bytes, also where they are a field.
  """
  @spec bytes(Formatter.Term.t()) :: Formatter.Term.t() | nil
  def bytes(%{source: %{base: base, offset: offset, len: len}} = term)
      when is_map_key(@base_words, base),
      do: %{term | text: words(base, offset * 8, len * 8), type: :integer, order: :big}

  def bytes(_term), do: nil

  @doc "A term of two bytes that are a port in every transport as that port, another as it is."
  @spec port(Formatter.Term.t()) :: Formatter.Term.t()
  def port(%{source: %{base: :transport, offset: offset, len: 2} = source} = term)
      when not is_map_key(source, :field) and offset in [0, 2],
      do: %{term | text: if(offset == 0, do: "th sport", else: "th dport"), type: :inet_service}

  def port(term), do: term

  @doc """
  The fields that one comparison with `data` compares, each with its bytes: nft joins neighbours
  into one load, whose term has the name of the first. Nil for a load of one field.
  """
  @spec fields(Formatter.Term.t(), binary()) :: [{Formatter.Term.t(), binary()}] | nil
  def fields(%{source: %{field: name, len: len} = source, pending: nil} = term, data)
      when is_atom(name) do
    with {:ok, %Field{protocol: protocol} = field} <- Field.fetch(name),
         {_offset, count} when len > count <- Field.bytes(field) do
      split(protocol, source.offset * 8, data, []) || [{%{bytes(term) | size: len}, data}]
    else
      _ -> nil
    end
  end

  def fields(_term, _data), do: nil

  defp split(_protocol, _at, "", found), do: Enum.reverse(found)

  defp split(protocol, at, data, found) do
    fields =
      for field <- Field.all(),
          field.protocol == protocol and field.offset == at,
          rem(field.length, 8) == 0 and field.length <= bit_size(data),
          do: field

    case Enum.max_by(fields, & &1.length, fn -> nil end) do
      nil ->
        nil

      %Field{length: length} = field ->
        size = div(length, 8)
        <<part::binary-size(^size), rest::binary>> = data
        words = Formatter.Term.words(field)
        term = %Formatter.Term{text: words, type: field.type, size: size}
        split(protocol, at + length, rest, [{term, part} | found])
    end
  end
end
