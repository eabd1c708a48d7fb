defmodule Linx.Netfilter.Canonical do
  @moduledoc false
  # One form of what may be written in several ways and what the kernel writes back, for
  # comparisons. State that traffic changes (counters, used quota, what is left of a timeout) is
  # no part of it.

  alias Linx.Netfilter.{Chain, Datum, Dependencies, Element, Encoder, Expr, Object, Rule, Set}
  alias Linx.Netfilter.{TunnelOptions, Verdict, Wire}
  alias Linx.Netfilter.Decoder.Expressions, as: Decode
  alias Linx.Netfilter.Encoder.Elements
  alias Linx.Netfilter.Encoder.Expressions, as: Encode
  alias Linx.Netfilter.Map, as: NMap

  # Timeouts are kept in ticks of the kernel's clock, rounded down; HZ is at least 100. Less than
  # a tick is one (nf_msecs_to_jiffies64).
  @tick 10

  # Whether the kernel's timeout (ms) is what it makes of a wanted one.
  @spec same_timeout?(non_neg_integer() | nil, non_neg_integer() | nil) :: boolean()
  defp same_timeout?(same, same), do: true

  defp same_timeout?(there, wanted) when is_integer(there) and is_integer(wanted) do
    (there <= wanted and wanted - there <= @tick and there > 0) or
      (wanted > 0 and wanted < @tick and there in 1..@tick)
  end

  defp same_timeout?(_there, _wanted), do: false

  @doc "Whether rule `a` of the kernel is what it makes of rule `b` in a table of `family`."
  @spec same_rule?(Rule.t(), Rule.t(), atom()) :: boolean()
  def same_rule?(a, b, family) do
    a.comment == b.comment and a.tag == b.tag and a.userdata == b.userdata and
      (a.expressions == b.expressions or
         alike?(exprs(a.expressions, family), exprs(b.expressions, family)))
  end

  @doc """
  The rule as the kernel gives it back where sets carry statements: those of a `dynset` that are
  the set's own are no part of it. `carried` has the statements of such sets by name.
  """
  @spec carried(Rule.t(), %{String.t() => [Expr.t()]}) :: Rule.t()
  def carried(rule, carried) when carried == %{}, do: rule

  def carried(%Rule{expressions: exprs} = rule, carried),
    do: %{rule | expressions: Enum.map(exprs, &own_statements(&1, carried))}

  defp own_statements(
         %Expr{name: :dynset, data: %{set: name, exprs: exprs} = data} = expr,
         carried
       )
       when is_list(exprs) do
    if is_map_key(carried, name) and names(exprs) == names(carried[name]),
      do: %{expr | data: Map.delete(data, :exprs)},
      else: expr
  end

  defp own_statements(expr, _carried), do: expr

  defp names(exprs), do: for(expr <- exprs, do: Map.get(expr, :name))

  @doc "The statements of the sets and maps of a table that carry some."
  @spec carriers(Linx.Netfilter.Table.t()) :: %{String.t() => [Expr.t()]}
  def carriers(table) do
    for sets <- [table.sets, table.maps],
        {name, %{exprs: [_ | _] = exprs}} <- sets,
        into: %{},
        do: {name, exprs}
  end

  defp alike?(same, same), do: true
  defp alike?([a | as], [b | bs]), do: alike?(a, b) and alike?(as, bs)

  # An expression that adds elements to a set.
  defp alike?(%Expr{name: :dynset, data: a}, %Expr{name: :dynset, data: b}), do: timed?(a, b)
  defp alike?({:dynset, a}, {:dynset, b}), do: timed?(a, b)

  # A meter.
  defp alike?({:anonymous, a, elements, dynamic?}, {:anonymous, b, elements, dynamic?}) do
    alike?(Map.get(a, :via), Map.get(b, :via)) and
      timed?(Map.delete(a, :via), Map.delete(b, :via))
  end

  # A chain of the rule's own.
  defp alike?({comment, tag, a}, {comment, tag, b}) when is_list(a) and is_list(b),
    do: alike?(a, b)

  defp alike?({kind, a}, {kind, b}) when is_list(a) and is_list(b), do: alike?(a, b)
  defp alike?(_a, _b), do: false

  defp timed?(a, b) do
    {there, a} = Map.pop(a, :timeout)
    {wanted, b} = Map.pop(b, :timeout)
    a == b and same_timeout?(there, wanted)
  end

  @spec exprs([Expr.t()], atom()) :: [term()]
  defp exprs(exprs, family),
    do: exprs |> Dependencies.expand(family) |> one_form() |> Enum.map(&expr(&1, family))

  # The forms in which the versions of nft load the same. nft 1.0 compares the four bytes of an
  # index with what a fib lookup of existence gives, nft 1.1 the one byte that it is.
  defp one_form([
         %Expr{name: :fib, data: %{flags: flags, dreg: register}} = fib,
         %Expr{name: :cmp, data: %{data: <<present::native-32>>, sreg: register} = data} = cmp
         | rest
       ])
       when is_list(flags) and present in [0, 1] do
    if :present in flags,
      do: [fib, %{cmp | data: %{data | data: <<present>>}} | one_form(rest)],
      else: [fib, cmp | one_form(rest)]
  end

  # nft 1.0 compares a range twice.
  defp one_form([
         %Expr{name: :range, data: %{op: :eq, from_data: from, to_data: to} = data} | rest
       ])
       when is_binary(from) and is_binary(to) do
    register = Map.get(data, :sreg, 1)
    [bound(:gte, register, from), bound(:lte, register, to) | one_form(rest)]
  end

  # nft 1.0 swaps the words of two bytes in a protocol of one, where a set of intervals looks it
  # up.
  defp one_form([%Expr{name: :byteorder, data: %{len: len, size: size, sreg: r, dreg: r}} | rest])
       when is_integer(len) and is_integer(size) and len < size,
       do: one_form(rest)

  # nft 1.1 writes two bytes of a VLAN tag where nft 1.0 writes the one that changes.
  defp one_form([
         %Expr{name: :payload, data: %{base: :link, dreg: r, offset: offset, len: len}} = load,
         %Expr{name: :bitwise, data: %{sreg: r, dreg: r, len: len, mask: mask, xor: xor}} = bits,
         %Expr{name: :payload, data: %{base: :link, sreg: r, offset: offset, len: len}} = write
         | rest
       ])
       when is_binary(mask) and byte_size(mask) == len and byte_size(xor) == len do
    {offset, mask, xor} = changed(offset, mask, xor)
    place = %{offset: offset, len: byte_size(mask)}

    [
      %{load | data: Map.merge(load.data, place)},
      %{bits | data: %{bits.data | len: byte_size(mask), mask: mask, xor: xor}},
      %{write | data: Map.merge(write.data, place)} | one_form(rest)
    ]
  end

  defp one_form([expr | rest]), do: [expr | one_form(rest)]
  defp one_form([]), do: []

  # Without the bytes at either end that stay as they are.
  defp changed(offset, <<255, mask, masks::binary>>, <<0, xors::binary>>),
    do: changed(offset + 1, <<mask, masks::binary>>, xors)

  defp changed(offset, mask, xor) do
    size = byte_size(mask) - 1

    case {mask, xor} do
      {<<mask::binary-size(^size), 255>>, <<xor::binary-size(^size), 0>>} when size > 0 ->
        changed(offset, mask, xor)

      _ ->
        {offset, mask, xor}
    end
  end

  defp bound(op, register, bytes),
    do: %Expr{name: :cmp, data: %{op: op, sreg: register, data: bytes}}

  defp expr(%Expr{name: :__anon_set, data: data}, _family) do
    base = %{
      name: "set",
      key_type: data.key_type,
      flags: [:anonymous | Map.get(data, :flags, [])]
    }

    set =
      case data do
        %{data_type: type} -> struct!(NMap, Map.put(base, :data_type, type))
        _ -> struct!(Set, base)
      end

    elements = for e <- elements(set, normalised(set, data.elements)), do: bare(set, e)
    {:anonymous, lookup_of(data), Enum.sort(elements), :dynamic in set.flags}
  end

  defp expr(%Expr{name: :immediate, data: %Verdict{kind: kind, target: rules}}, family)
       when is_list(rules) do
    {kind, for(rule <- rules, do: {rule.comment, rule.tag, exprs(rule.expressions, family)})}
  end

  # An interface that has no index yet is none that the kernel has.
  defp expr(%Expr{data: %{data: {:iface, name}}} = expr, _family) when is_binary(name), do: expr

  defp expr(%Expr{} = expr, _family) do
    [expr] |> Encode.list() |> IO.iodata_to_binary() |> Decode.list() |> Enum.map(&stateless/1)
  end

  # The way in which a rule uses its set, without `via: :objref` for a map of objects, which
  # implies it.
  defp lookup_of(data) do
    data =
      case data do
        %{data_type: {:object, _}, via: :objref} -> Map.delete(data, :via)
        _ -> data
      end

    data
    |> Map.drop([:elements, :flags, :typeof, :size])
    |> Map.put_new(:sreg, 1)
    |> Map.new(fn
      {key, type} when key in [:key_type, :data_type] -> {key, register(type)}
      other -> other
    end)
  end

  # The kernel knows a type by its number and size alone, so types of open width are compared as
  # that, and their values as bytes.
  defp register(type),
    do: if(open?(type), do: {Datum.type_id(type), Datum.size(type)}, else: type)

  defp open?({:concat, types}), do: Enum.any?(types, &open?/1)
  defp open?({:interval, type}), do: open?(type)
  defp open?({:object, _kind}), do: false
  defp open?(type), do: is_tuple(type)

  defp bare(set, element) do
    data_type = Map.get(set, :data_type)

    case element do
      %Element{} = e -> %{e | key: bytes(set.key_type, e.key), data: bytes(data_type, e.data)}
      {key, data} when data_type != nil -> {bytes(set.key_type, key), bytes(data_type, data)}
      key -> bytes(set.key_type, key)
    end
  end

  defp bytes(_type, value) when value in [nil, :catch_all], do: value

  defp bytes(type, value) do
    if open?(type) and not unresolved?(value),
      do: {Datum.to_bytes(type, value), Datum.last_bytes(type, value)},
      else: value
  end

  defp unresolved?({:iface, name}) when is_binary(name), do: true

  defp unresolved?(value) when is_tuple(value),
    do: value |> Tuple.to_list() |> Enum.any?(&unresolved?/1)

  defp unresolved?(_value), do: false

  @doc """
  The kernel's set `from` with its elements in the types of `to`. The two are one set to the
  kernel; their types may still differ in the width of parts, which it does not know.
  """
  @spec retyped(Set.t() | NMap.t(), Set.t() | NMap.t()) :: Set.t() | NMap.t()
  def retyped(from, to) do
    key = retype(from.key_type, to.key_type)
    data = retype(Map.get(from, :data_type), Map.get(to, :data_type))

    if key == nil and data == nil do
      from
    else
      elements = for element <- from.elements, do: retyped_element(from, element, key, data)
      from = %{from | key_type: to.key_type, elements: elements}
      if data, do: %{from | data_type: to.data_type}, else: from
    end
  end

  defp retype(same, same), do: nil

  defp retype(from, to) do
    fn
      value when value in [nil, :catch_all] ->
        value

      value ->
        case {from, to} do
          {{:interval, _}, {:interval, _}} -> Datum.from_bytes(to, Datum.to_bytes(from, value))
          _ -> Datum.between(to, Datum.to_bytes(from, value), Datum.last_bytes(from, value))
        end
    end
  end

  defp retyped_element(from, element, key, data) do
    key = key || (& &1)
    data = data || (& &1)

    case element do
      %Element{} = e -> %{e | key: key.(e.key), data: data.(e.data)}
      {k, d} when is_struct(from, NMap) -> {key.(k), data.(d)}
      k -> key.(k)
    end
  end

  @doc """
  Canonical elements of the kernel with the timeouts of the wanted ones where the kernel would
  keep them as these.
  """
  @spec settled([term()], [term()]) :: [term()]
  def settled(there, wanted) do
    timed = for %Element{timeout: timeout} = e when timeout != nil <- wanted, do: {e.key, timeout}

    if timed == [] do
      there
    else
      timed = Map.new(timed)
      for element <- there, do: settled_element(element, timed)
    end
  end

  defp settled_element(%Element{key: key, timeout: timeout} = element, timed) do
    wanted = Map.get(timed, key)
    if same_timeout?(timeout, wanted), do: %{element | timeout: wanted}, else: element
  end

  defp settled_element(element, _timed), do: element

  defp normalised(%module{} = set, elements) do
    case module.add_elements(%{set | elements: []}, elements) do
      {:ok, %{elements: elements}} -> elements
      {:error, _} -> elements
    end
  end

  # An expression with its state reset.
  @spec stateless(Expr.t()) :: Expr.t()
  defp stateless(%Expr{name: :counter}), do: %Expr{name: :counter, data: %{packets: 0, bytes: 0}}
  defp stateless(%Expr{name: :last}), do: %Expr{name: :last, data: %{}}

  # A limit of packets without a burst has one of 5 (NFT_LIMIT_PKT_BURST_DEFAULT).
  defp stateless(%Expr{name: :limit, data: %{} = data} = expr),
    do: %{expr | data: burst(data)}

  defp stateless(%Expr{name: :quota, data: %{} = data} = expr) do
    data = Map.delete(data, :consumed)

    case List.wrap(data[:flags]) -- [:depleted] do
      [] -> %{expr | data: Map.delete(data, :flags)}
      flags -> %{expr | data: Map.put(data, :flags, flags)}
    end
  end

  defp stateless(%Expr{name: :dynset, data: %{exprs: exprs} = data} = expr),
    do: %{expr | data: %{data | exprs: Enum.map(exprs, &stateless/1)}}

  defp stateless(%Expr{} = expr), do: expr

  @packet_burst 5

  defp burst(data) do
    if data[:type] in [nil, :packets] and data[:burst] in [nil, 0],
      do: Map.put(data, :burst, @packet_burst),
      else: data
  end

  @doc "Two chains, rules aside."
  @spec same_chain?(Chain.t(), Chain.t(), atom()) :: boolean()
  def same_chain?(a, b, family), do: chain(a, family) == chain(b, family)

  defp chain(%Chain{} = chain, family) do
    {chain.type, chain.hook, chain.priority && Wire.priority_int(family, chain.priority),
     if(chain.hook, do: chain.policy || :accept), chain.comment, Enum.sort(chain.flags),
     Enum.sort(List.wrap(chain.device) ++ chain.devices)}
  end

  @doc "Two sets' or maps' declarations: what NEWSET says, userdata of other tools aside."
  @spec same_set?(Set.t() | NMap.t(), Set.t() | NMap.t(), atom()) :: boolean()
  def same_set?(%kind{} = a, %kind{} = b, family) do
    a = if same_timeout?(a.timeout, b.timeout), do: %{a | timeout: b.timeout}, else: a
    set(a, family) == set(b, family)
  end

  def same_set?(_set, _map, _family), do: false

  # Neither nft's records of the widths nor Linx's own.
  @no_records %{key: nil, data: nil}

  defp set(set, family) do
    exprs = Enum.map(set.exprs, &stateless/1)
    # The size of a constant set follows from its elements.
    set = if :constant in set.flags, do: %{set | size: nil}, else: set

    Encoder.set(
      %{set | table: "t", typeof: @no_records, userdata: [], elements: [], exprs: exprs},
      family
    ).payload
  end

  @spec same_object?(Object.t(), Object.t(), atom()) :: boolean()
  def same_object?(%Object{kind: kind} = a, %Object{kind: kind} = b, family),
    do: object(attached(a, b, family), family) == object(b, family)

  def same_object?(_a, _b, _family), do: false

  # The kernel attaches a helper to the protocols that it has it for, and answers these
  # (nft_ct_helper_obj_dump).
  defp attached(%Object{kind: :ct_helper} = there, wanted, :inet) do
    case Map.new(wanted.data || %{})[:l3proto] do
      any when any in [nil, :inet] ->
        %{there | data: there.data |> Map.new() |> Map.put(:l3proto, any)}

      _one ->
        there
    end
  end

  defp attached(there, _wanted, _family), do: there

  defp object(%Object{kind: kind, data: data} = object, family) do
    data =
      case kind do
        :counter ->
          %{}

        :quota ->
          data |> Map.new() |> Map.delete(:used) |> Map.update(:flags, [], &(&1 -- [:depleted]))

        :limit ->
          burst(Map.new(data || %{}))

        :tunnel ->
          tunnel(Map.new(data))

        _ ->
          data
      end

    Encoder.object(%{object | table: "t", data: data}, family).payload
  end

  # The kernel's answer for attributes that were not given.
  @unsaid [sport: 0, dport: 0, tos: 0, ttl: 255]

  defp tunnel(data) do
    data = Map.reject(data, &(&1 in @unsaid))

    with %{opts: bytes} when is_binary(bytes) <- data,
         options when options != nil <- TunnelOptions.decode(bytes),
         do: %{data | opts: TunnelOptions.encode(options)},
         else: (_ -> data)
  end

  @spec same_flowtable?(Linx.Netfilter.Flowtable.t(), Linx.Netfilter.Flowtable.t()) :: boolean()
  def same_flowtable?(a, b) do
    {Wire.priority_int(:netdev, a.priority || 0), Enum.sort(a.devices), Enum.sort(a.flags)} ==
      {Wire.priority_int(:netdev, b.priority || 0), Enum.sort(b.devices), Enum.sort(b.flags)}
  end

  @doc "The elements, without state, sorted; those of an interval set that merges are merged."
  @spec elements(Set.t() | NMap.t(), [term()]) :: [term()]
  def elements(set, elements), do: set |> merged(Enum.map(elements, element(set))) |> Enum.sort()

  defp merged(%Set{key_type: {:concat, _}}, elements), do: elements

  defp merged(%Set{flags: flags} = set, elements) do
    if (:interval in flags or :anonymous in flags) and
         (:auto_merge in flags or :anonymous in flags) and
         Enum.any?(elements, &span?/1) do
      {rest, plain} = Enum.split_with(elements, &(&1 == :catch_all))

      rest ++
        for {first, last, element} <- Elements.spans(set, plain) do
          if is_struct(element, Element),
            do: element,
            else: Elements.from_span(set.key_type, first, last)
        end
    else
      elements
    end
  end

  defp merged(_map, elements), do: elements

  defp span?({kind, _, _}) when kind in [:prefix, :range], do: true
  defp span?(_key), do: false

  @doc """
  What makes of an element of the set one without what traffic changes.

  The kernel gives every element the statements that its set declares (nft_set_elem_expr_clone):
  said or not, they are the same.
  """
  @spec element(Set.t() | NMap.t()) :: (term() -> term())
  def element(%{exprs: declared, timeout: default}) do
    declared = Enum.map(declared, &stateless/1)
    # The kernel does not send a timeout that equals the set's default.
    usual = [default || 0, nil]

    fn
      %Element{} = element ->
        exprs = Enum.map(element.exprs, &stateless/1)
        exprs = if exprs == declared, do: [], else: exprs
        timeout = if element.timeout in usual, do: nil, else: element.timeout
        Element.short(%{element | expires: nil, exprs: exprs, timeout: timeout})

      plain ->
        plain
    end
  end
end
