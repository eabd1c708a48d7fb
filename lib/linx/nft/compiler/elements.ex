defmodule Linx.NFT.Compiler.Elements do
  @moduledoc false
  # The elements of sets and maps, as Linx.Netfilter.Set keeps them.

  alias Linx.Netfilter.{Datum, Element, Verdict}
  alias Linx.NFT.Compiler.{ElementText, Fault, Interpolated, Scope, Term, Value}
  alias Linx.NFT.Statement

  # Properties of a list that was read as text: `normal?` says that its keys are normalised,
  # `final?` that its values are, `distinct?` that no element occurs twice.
  defstruct list: [],
            interval?: false,
            data_interval?: false,
            normal?: false,
            final?: false,
            distinct?: false

  @doc false
  # Elements of a set with keys like `key`, and in a map values like `data` (:verdict, {:object,
  # kind}, or a term).
  @spec elements([tuple()] | tuple(), Term.t(), Term.t() | atom() | tuple() | nil, Scope.t()) ::
          %__MODULE__{}
  def elements({:element_text, text, _meta}, key, data, scope),
    do: ElementText.elements(text, key, data, scope)

  def elements({:variable, _, _} = node, key, data, scope) do
    case Scope.value(scope, node) do
      {:element_text, _, _} = text -> elements(text, key, data, scope)
      _ -> elements([node], key, data, scope)
    end
  end

  def elements(nodes, key, data, scope) do
    nodes = nodes |> List.wrap() |> Enum.flat_map(&flatten(&1, scope, key))

    {list, {interval?, data_interval?}} =
      Enum.map_reduce(nodes, {false, false}, fn node, {interval?, data_interval?} ->
        {element, keyed, valued} = element(node, key, data, scope)
        {element, {interval? or interval?(keyed), data_interval? or interval?(valued)}}
      end)

    %__MODULE__{list: list, interval?: interval?, data_interval?: data_interval?}
  end

  # Variables that hold sets, sets in sets, and interpolated lists stand for their elements.
  defp flatten({:variable, _, _} = node, scope, key),
    do: scope |> Scope.resolve(node) |> flatten(scope, key)

  defp flatten({:element_text, text, meta}, scope, key),
    do: text |> ElementText.node(meta) |> flatten(scope, key)

  defp flatten({:set_inline, nodes, _}, scope, key),
    do: Enum.flat_map(nodes, &flatten(&1, scope, key))

  defp flatten({:list, nodes, _}, scope, key), do: Enum.flat_map(nodes, &flatten(&1, scope, key))

  defp flatten({:elixir_value, value, meta}, _scope, key),
    do: Interpolated.elements(value, key, meta)

  defp flatten(node, _scope, _key), do: [node]

  # {element, key term, value term}
  defp element({:mapping, key_node, data_node, meta}, key, data, scope) do
    if data == nil, do: Fault.fail(meta, "a set has no values: this is an element of a map")
    {key_term, opts} = key(key_node, key, scope)
    {value, value_term} = value(data_node, data, scope)
    {build(datum(key_term, key), value, opts, scope), key_term, value_term}
  end

  defp element(node, key, data, scope) do
    {key_term, opts} = key(node, key, scope)
    if data != nil, do: Fault.fail(node, "an element of a map needs a value: key : value")
    {build(datum(key_term, key), nil, opts, scope), key_term, nil}
  end

  defp key({:element, node, opts, _}, like, scope), do: {constant(node, like, scope), opts}
  defp key(node, like, scope), do: {constant(node, like, scope), []}

  defp constant(node, like, scope), do: node |> Value.constant(like, scope) |> single(true)

  # A range of one value is the value; as a key it asks for intervals yet.
  defp single(%Term{kind: :range, data: {%Term{data: n} = one, %Term{data: n}}}, span?)
       when is_integer(n),
       do: %{one | span?: span? and one.order == :big}

  defp single(%Term{kind: :concat, data: parts} = term, span?),
    do: %{term | data: Enum.map(parts, &single(&1, span?))}

  defp single(term, _span?), do: term

  defp value({:verdict, kind, _}, :verdict, scope), do: {verdict(kind, scope), nil}
  defp value(node, :verdict, scope), do: value_verdict(resolve(node, scope))
  defp value(node, {:object, _kind}, scope), do: {name(resolve(node, scope), scope), nil}

  defp value(node, %Term{} = like, scope) do
    term = node |> Value.constant(like, scope) |> single(false)
    {datum(term, like), term}
  end

  defp value_verdict({:verdict, kind, _}), do: {Verdict.new!(kind), nil}

  defp value_verdict({:identifier, word, _}) when word in ~w(accept drop continue return),
    do: {Verdict.new!(known(word)), nil}

  defp value_verdict({:elixir_value, value, _}), do: {Interpolated.verdict!(value), nil}

  defp value_verdict(node),
    do: Fault.fail(node, "expected a verdict: accept, drop, jump CHAIN, ...")

  defp known("accept"), do: :accept
  defp known("drop"), do: :drop
  defp known("continue"), do: :continue
  defp known("return"), do: :return

  defp verdict({kind, target}, scope) when kind in [:jump, :goto],
    do: Verdict.new!({kind, Value.text_of(target, scope)})

  defp verdict(kind, _scope), do: Verdict.new!(kind)

  defp name({kind, text, _}, _scope) when kind in [:string, :identifier], do: text
  defp name({:elixir_value, value, _}, _scope), do: Interpolated.text!(value)
  defp name({:integer, n, _}, _scope), do: Integer.to_string(n)
  defp name({kind, text, _}, _scope) when kind in [:ipv4] and is_binary(text), do: text
  defp name(node, _scope), do: Fault.fail(node, "expected the name of an object")

  defp resolve({:variable, _, _} = node, scope), do: Scope.resolve(scope, node)
  defp resolve(node, _scope), do: node

  defp build(key, value, [], _scope), do: if(value == nil, do: key, else: {key, value})

  defp build(key, value, opts, scope) do
    exprs = for {:stmt, node} <- opts, expr <- Statement.Kinds.exprs(node, scope), do: expr

    Element.short(%Element{
      key: key,
      data: value,
      timeout: duration(opts[:timeout], scope),
      expires: duration(opts[:expires], scope),
      comment: Value.comment_of(opts[:comment], scope),
      exprs: exprs
    })
  end

  @doc false
  def duration(nil, _scope), do: nil
  def duration(ms, _scope) when is_integer(ms), do: ms

  def duration({:variable, _, meta} = node, scope),
    do: scope |> Scope.resolve(node) |> duration(scope, meta)

  def duration(node, scope), do: duration(node, scope, Fault.meta(node))

  defp duration({:integer, n, _}, _scope, _meta), do: n * 1000

  defp duration({kind, text, _}, _scope, meta) when kind in [:identifier, :string],
    do: parse_time(text, meta)

  defp duration({:elixir_value, text, _}, _scope, meta) when is_binary(text),
    do: parse_time(text, meta)

  defp duration({:elixir_value, value, _}, _scope, _meta), do: Interpolated.integer!(value) * 1000
  defp duration(_node, _scope, meta), do: Fault.fail(meta, "expected a time such as 1h30m")

  defp parse_time(text, meta) do
    case Linx.NFT.Parser.Tokens.time(text) do
      {:ok, ms} -> ms
      :error -> Fault.fail(meta, "#{inspect(text)} is no time such as 1h30m")
    end
  end

  # -- one form ----------------------------------------------------------------------------------

  # The element's key or value as the value types write it. A field of part of the bytes is
  # compared where it stands.
  defp datum(%Term{kind: :wildcard}, _like), do: :catch_all

  defp datum(%Term{kind: :concat, data: parts}, %Term{data: likes}),
    do: parts |> Enum.zip_with(likes, &part/2) |> List.to_tuple()

  defp datum(%Term{kind: :concat, data: parts}, _like),
    do: parts |> Enum.map(&datum(&1, nil)) |> List.to_tuple()

  defp datum(%Term{kind: :range, data: {low, high}}, like),
    do: {:range, datum(low, like), datum(high, like)}

  defp datum(%Term{kind: :prefix, data: {stem, bits}}, _like) when is_binary(stem),
    do: {:prefix, stem, bits}

  defp datum(%Term{kind: :prefix, type: type, data: {n, bits}, len: len}, like)
       when type in [:ipv4_addr, :ipv6_addr, :ether_addr] do
    _ = {like, len}
    {:prefix, scalar(type, n), bits}
  end

  defp datum(%Term{kind: :prefix, data: {n, bits}, len: len} = term, like) do
    last = n + Bitwise.bsl(1, len - bits) - 1

    {:range, datum(%{term | kind: :const, data: n}, like),
     datum(%{term | kind: :const, data: last}, like)}
  end

  defp datum(%Term{kind: :const, data: text}, _like) when is_binary(text), do: text
  defp datum(%Term{kind: :const, data: {:iface, _} = name}, _like), do: name

  defp datum(%Term{kind: :const, data: n}, %Term{kind: :part, shift: shift}),
    do: Bitwise.bsl(n, shift)

  defp datum(%Term{kind: :const, type: type, data: n}, _like), do: scalar(type, n)

  # In a concatenation a part is shifted into place, and everything is a range.
  defp part(%Term{kind: :wildcard, type: type, len: len}, _like),
    do: {:range, scalar(type, 0), scalar(type, Bitwise.bsl(1, len) - 1)}

  defp part(term, _like), do: datum(term, nil)

  defp scalar(:ipv4_addr, n), do: Datum.from_bytes(:ipv4_addr, <<n::32>>)
  defp scalar(:ipv6_addr, n), do: Datum.from_bytes(:ipv6_addr, <<n::128>>)
  defp scalar(:ether_addr, n), do: <<n::48>>
  defp scalar(_type, n), do: n

  # One value of the network's order that is written as a prefix or a range asks for intervals, as
  # in nft. In a concatenation, and of numbers of the host's order, intervals are looked up in
  # another form: there the elements themselves must have one.
  defp interval?(%Term{span?: true}), do: true
  defp interval?(term), do: spans?(term)

  defp spans?(nil), do: false
  defp spans?(%Term{kind: kind}) when kind in [:range, :prefix], do: true

  defp spans?(%Term{kind: :concat, data: parts}),
    do: Enum.any?(parts, &(spans?(&1) or &1.kind == :wildcard))

  defp spans?(_term), do: false

  # -- intervals ---------------------------------------------------------------------------------

  @doc false
  # Overlapping and adjacent intervals of one set as one, in order: what nft does for anonymous
  # sets and auto-merge.
  #
  # `step` is the distance of neighbours: more than 1 where a field of part of the bytes stands
  # shifted in them. Names that begin alike ("eth1*", "eth2*") stay apart: a range of names has no
  # text.
  @spec merge([term()], term(), pos_integer()) :: [term()]
  def merge(elements, type, step \\ 1) do
    {plain, other} = Enum.split_with(elements, &plain?/1)

    step = if text?(type), do: 0, else: step

    merged =
      plain
      |> Enum.map(&bounds(&1, type))
      |> Enum.sort()
      |> join(step, [])
      |> Enum.map(fn {first, last} -> Datum.between(type, low(first, type), low(last, type)) end)

    merged ++ Enum.uniq(other)
  end

  defp plain?(%Element{}), do: false
  defp plain?(:catch_all), do: false
  # The name of an interface, whose index is not known here.
  defp plain?({:iface, _name}), do: false
  defp plain?(_element), do: true

  defp bounds(element, type) do
    {number(Datum.to_bytes(type, element), type), number(Datum.last_bytes(type, element), type)}
  end

  defp number(bytes, type),
    do: if(text?(type), do: :binary.decode_unsigned(bytes), else: Datum.sort_key(type, bytes))

  defp low(n, type) do
    size = Datum.size(type)

    if not text?(type) and Datum.byteorder(type) == 1,
      do: <<n::native-size(8 * size)>>,
      else: <<n::size(8 * size)>>
  end

  defp text?(type), do: type in [:ifname, :string] or match?({:string, _}, type)

  defp join([], _step, acc), do: Enum.reverse(acc)

  defp join([{a, b} | rest], step, [{c, d} | acc]) when a <= d + step,
    do: join(rest, step, [{c, max(b, d)} | acc])

  defp join([span | rest], step, acc), do: join(rest, step, [span | acc])
end
