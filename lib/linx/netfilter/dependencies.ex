defmodule Linx.Netfilter.Dependencies do
  @moduledoc """
  The tests that a header field implies, and their place in a rule.

  `tcp dport 22` loads two bytes of whatever follows the network header. What makes it TCP is a
  test before it, which nft adds and does not show. Expressions that name their `field:` leave
  these tests out too: `expand/2` adds them for the kernel, `fold/2` takes them away again, so
  that a rule looks the same before a push and after a pull. Where a rule already says the
  protocol (`ip protocol tcp tcp dport 22`) nothing is added, and nothing that a rule says twice
  is lost.

  Which test it is depends on the family of the table and on what the rule has tested before:
  `meta nfproto` in an inet table, `meta protocol` in bridge and netdev, none in ip;
  `meta l4proto` for transports; `meta iiftype ether` before link-layer fields; the Ethernet type
  for VLAN and ARP.

  nft also loads neighbouring fields with one instruction (`tcp sport 1 tcp dport 2` compares four
  bytes). `expand/2` joins them in the same way, `fold/2` takes them apart.

      iex> alias Linx.Netfilter.{Dependencies, Expr}
      iex> rule = [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>)]
      iex> full = Dependencies.expand(rule, :inet)
      iex> length(full)
      4
      iex> Dependencies.fold(full, :inet) == rule
      true

  Source: nft(8), "PAYLOAD EXPRESSIONS" (implicit dependencies), checked against
  `nft --debug=netlink`.
  """

  alias Linx.Netfilter.{Expr, Field, Protocol}
  alias Linx.Netfilter.Dependencies.{Join, ProtocolContext, Segment, Tunnel}

  @type family :: Linx.Netfilter.Table.family()

  # GRE, and in it the Ethernet type, the transport, and the ICMP type.
  @max_dependencies 4

  @doc """
  The rule with the tests that its named fields imply, and neighbouring fields joined: what the
  kernel gets.

  Expressions without `field:` stay as they are. A field that contradicts the rule gets its test
  all the same: such a rule matches nothing. A field that exists in some ICMP types only
  (`icmpv6 taddr`) gets a test of the type.
  """
  @spec expand([Expr.t()], family()) :: [Expr.t()]
  def expand(exprs, family) do
    {segments, _layers} =
      exprs
      |> Segment.split()
      |> Enum.flat_map_reduce(ProtocolContext.new(family), fn segment, layers ->
        {dependencies, layers} = required(segment, layers)
        {dependencies ++ [segment], ProtocolContext.observe(layers, segment)}
      end)

    segments |> Join.join(:named) |> Enum.concat()
  end

  @doc """
  The rule without the tests that its fields imply, its fields named: what a pull gives and the
  language compiles to.

  `expand(fold(exprs, family), family)` is `exprs`, the names aside, for all that nft loads.
  """
  @spec fold([Expr.t()], family()) :: [Expr.t()]
  def fold(exprs, family) do
    {done, _layers} =
      exprs
      |> Segment.split()
      |> Enum.reduce({[], %{ProtocolContext.new(family) | dump?: true}}, &fold_segment/2)

    done |> Enum.reverse() |> Enum.flat_map(& &1.named)
  end

  @doc false
  # The part of a comparison's value that decides which implicit dependencies follow: all of it
  # (`:whole`), its ICMP type (`:icmp`), or none.
  @spec significant(Expr.t()) :: :whole | :icmp | nil
  defdelegate significant(load), to: ProtocolContext

  @doc false
  @spec icmp_type(binary()) :: byte() | nil
  defdelegate icmp_type(value), to: ProtocolContext

  # An entry keeps what the kernel has (raw) beside what is shown, and the layers as they were
  # before it.
  defp fold_segment(segment, {done, layers}) do
    after_all = ProtocolContext.observe(layers, segment)

    entries =
      case Join.parts(segment, layers) do
        nil -> [segment]
        parts -> parts
      end

    {done, _} =
      Enum.reduce(entries, {done, layers}, fn part, {done, layers} ->
        named = ProtocolContext.name(layers, part)
        {fold_dependencies(named, part, done, layers), ProtocolContext.observe(layers, part)}
      end)

    {done, after_all}
  end

  defp fold_dependencies(named, raw, done, layers) do
    if Enum.any?(named, &field?/1),
      do:
        drop_implied(named, raw, done, layers, done |> Enum.take(@max_dependencies) |> length()),
      else: [%{named: named, raw: [raw], before: layers} | done]
  end

  defp drop_implied(named, raw, done, layers, 0),
    do: [%{named: named, raw: [raw], before: layers} | done]

  # The longest run of entries just before that is exactly what the field would ask for.
  defp drop_implied(named, raw, done, layers, count) do
    {run, rest} = Enum.split(done, count)
    start = List.last(run).before
    before = run |> Enum.reverse() |> Enum.flat_map(& &1.raw)
    {dependencies, _} = required(named, start)

    # A set stays: of a dump's the elements are not known here.
    if dependencies != [] and dependencies == before and not Enum.any?(dependencies, &set?/1),
      do: [%{named: named, raw: before ++ [raw], before: start} | rest],
      else: drop_implied(named, raw, done, layers, count - 1)
  end

  defp set?(segment), do: Enum.any?(segment, &match?(%Expr{name: :__anon_set}, &1))

  @several_types for field <- Protocol.fields(),
                     match?([_, _ | _], field.types),
                     into: %{},
                     do: {field.name, true}

  @doc false
  # Whether `expand/2` may put a set before an expression of this rule.
  @spec sets?([Expr.t()]) :: boolean()
  # A field and its comparison are passed over in one step, as rules are of many.
  def sets?([%Expr{name: :payload, data: %{field: name}}, %Expr{name: :cmp} | rest])
      when not is_map_key(@several_types, name),
      do: sets?(rest)

  def sets?([%Expr{name: :inner, data: %{expr: expr}} | rest]), do: sets?([expr]) or sets?(rest)

  def sets?([%Expr{data: %{field: name}} | _rest]) when is_map_key(@several_types, name),
    do: true

  def sets?([_expr | rest]), do: sets?(rest)
  def sets?([]), do: false

  @doc false
  # A dump's rule once the elements of its sets are at hand: without the names of fields that a
  # set of ICMP types does not have.
  @spec unname([Expr.t()], family()) :: [Expr.t()]
  def unname(exprs, family) do
    {segments, _layers} =
      exprs
      |> Segment.split()
      |> Enum.map_reduce(ProtocolContext.new(family), fn segment, layers ->
        segment = Enum.map(segment, &fitting(&1, layers))
        {_dependencies, layers} = required(segment, layers)
        {segment, ProtocolContext.observe(layers, segment)}
      end)

    Enum.concat(segments)
  end

  defp fitting(
         %Expr{name: :inner, data: %{type: tunnel, expr: %Expr{} = expr} = data} = inner,
         layers
       )
       when is_atom(tunnel),
       do: %{inner | data: %{data | expr: fitting(expr, ProtocolContext.inner(layers, tunnel))}}

  defp fitting(%Expr{data: %{field: name} = data} = expr, %{icmp: icmp})
       when is_map_key(@several_types, name) do
    {:ok, field} = Field.fetch(name)

    if Enum.any?(icmp, &(&1 in field.types)),
      do: expr,
      else: %{expr | data: Map.delete(data, :field)}
  end

  defp fitting(expr, _layers), do: expr

  # The dependency segments that the fields of a segment need, and the layers after them.
  defp required(segment, layers) do
    Enum.reduce(segment, {[], layers}, fn expr, {dependencies, layers} ->
      {more, layers} = asked(expr, layers)
      {dependencies ++ more, layers}
    end)
  end

  defp asked(
         %Expr{name: :inner, data: %{type: tunnel, expr: %Expr{data: %{field: name}}}},
         layers
       )
       when is_atom(tunnel) do
    {outer, layers} = carrier(layers, Tunnel.protocol(tunnel))

    with {:ok, field} <- Field.fetch(name) do
      {inner, inside} = layers |> ProtocolContext.inner(tunnel) |> ask(field)

      {outer ++ Enum.map(inner, &Tunnel.wrap(&1, tunnel)),
       ProtocolContext.put_inner(layers, tunnel, inside)}
    else
      :error -> {outer, layers}
    end
  end

  defp asked(%Expr{data: %{field: name}}, layers) do
    case Field.fetch(name) do
      {:ok, field} -> ask(layers, field)
      :error -> {[], layers}
    end
  end

  defp asked(_expr, layers), do: {[], layers}

  defp carrier(layers, nil), do: {[], layers}
  defp carrier(layers, protocol), do: header(layers, protocol, :transport)

  defp ask(layers, field) do
    {dependencies, layers} = header(layers, field.protocol, field.base)

    case ProtocolContext.require_type(layers, field, :any) do
      {:ok, more, layers} ->
        {dependencies ++ more, layers}

      {:error, _type} ->
        {dependency, layers} = ProtocolContext.type_dependency(layers, field)
        {dependencies ++ [dependency], layers}
    end
  end

  defp header(layers, protocol, base) do
    case ProtocolContext.require(layers, protocol, base) do
      {:ok, dependencies, layers} -> {dependencies, layers}
      {:error, _conflict} -> ProtocolContext.contradict(layers, protocol, base)
    end
  end

  defp field?(%Expr{name: :inner, data: %{expr: %Expr{data: %{field: _}}}}), do: true
  defp field?(%Expr{data: %{field: _}}), do: true
  defp field?(_expr), do: false
end
