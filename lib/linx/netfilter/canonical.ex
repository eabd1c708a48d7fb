defmodule Linx.Netfilter.Canonical do
  @moduledoc false
  # One form of what may be written in several ways and what the kernel writes back, for comparisons. State that traffic changes
  # (counters, used quota, what is left of a timeout) is no part of it.

  alias Linx.Netfilter.{Chain, Element, Encoder, Expr, Guard, Object, Rule, Set, Verdict, Wire}
  alias Linx.Netfilter.TunnelOptions
  alias Linx.Netfilter.Decoder.Expressions, as: Decode
  alias Linx.Netfilter.Encoder.Elements
  alias Linx.Netfilter.Encoder.Expressions, as: Encode
  alias Linx.Netfilter.Map, as: NMap

  @doc "Whether two rules of a table of `family` are the same rule to the kernel."
  @spec same_rule?(Rule.t(), Rule.t(), atom()) :: boolean()
  def same_rule?(a, b, family) do
    a.comment == b.comment and a.tag == b.tag and a.userdata == b.userdata and
      (a.expressions == b.expressions or
         exprs(a.expressions, family) == exprs(b.expressions, family))
  end

  @spec exprs([Expr.t()], atom()) :: [term()]
  defp exprs(exprs, family), do: exprs |> Guard.expand(family) |> Enum.map(&expr(&1, family))

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

    use = data |> Map.drop([:elements, :flags, :typeof, :size]) |> Map.put_new(:sreg, 1)
    {:anonymous, use, elements(set, normalised(set, data.elements)), :dynamic in set.flags}
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
  def same_set?(%kind{} = a, %kind{} = b, family), do: set(a, family) == set(b, family)
  def same_set?(_set, _map, _family), do: false

  defp set(set, family) do
    exprs = Enum.map(set.exprs, &stateless/1)
    # The size of a constant set follows from its elements.
    set = if :constant in set.flags, do: %{set | size: nil}, else: set

    Encoder.set(
      %{set | table: "t", typeof: nil, userdata: [], elements: [], exprs: exprs},
      family
    ).payload
  end

  @spec same_object?(Object.t(), Object.t(), atom()) :: boolean()
  def same_object?(a, b, family), do: object(a, family) == object(b, family)

  defp object(%Object{kind: kind, data: data} = object, family) do
    data =
      case kind do
        :counter ->
          %{}

        :quota ->
          data |> Map.new() |> Map.delete(:used) |> Map.update(:flags, [], &(&1 -- [:depleted]))

        :tunnel ->
          tunnel(Map.new(data))

        _ ->
          data
      end

    Encoder.object(%{object | table: "t", data: data}, family).payload
  end

  # What the kernel writes where nothing was said.
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

  The kernel gives every element the statements that its set declares (nft_set_elem_expr_clone): said or not, they are the same.
  """
  @spec element(Set.t() | NMap.t()) :: (term() -> term())
  def element(%{exprs: declared, timeout: default}) do
    declared = Enum.map(declared, &stateless/1)
    # What the kernel leaves out: the life that all elements have without being told.
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

  @doc "What a rule names in its table: `{:chain | :set | :object | :flowtable, name}`."
  @spec references(Rule.t()) :: [{atom(), String.t()}]
  def references(%Rule{expressions: exprs}), do: Enum.flat_map(exprs, &refs/1)

  defp refs(%Expr{name: :immediate, data: %Verdict{} = verdict}), do: verdict_refs(verdict)
  defp refs(%Expr{name: :lookup, data: %{set: name}}), do: [{:set, name}]
  defp refs(%Expr{name: :dynset, data: %{set: name}}), do: [{:set, name}]

  defp refs(%Expr{name: :objref, data: %{imm_type: kind, imm_name: name}}),
    do: [{:object, {kind, name}}]

  defp refs(%Expr{name: :objref, data: %{set_name: name}}), do: [{:set, name}]
  defp refs(%Expr{name: :flow_offload, data: %{table_name: name}}), do: [{:flowtable, name}]

  defp refs(%Expr{name: :__anon_set, data: %{data_type: {:object, kind}, elements: elements}}),
    do: Enum.map(elements, &{:object, {kind, value(&1)}})

  defp refs(%Expr{name: :__anon_set, data: %{data_type: :verdict, elements: elements}}),
    do: Enum.flat_map(elements, &verdict_refs(value(&1)))

  defp refs(_expr), do: []

  @doc "What an element of a map names in its table."
  @spec element_references(NMap.t() | Set.t(), term()) :: [{atom(), term()}]
  def element_references(%NMap{data_type: :verdict}, element), do: verdict_refs(value(element))

  def element_references(%NMap{data_type: {:object, kind}}, element),
    do: [{:object, {kind, value(element)}}]

  def element_references(_set, _element), do: []

  defp verdict_refs(%Verdict{target: rules}) when is_list(rules),
    do: Enum.flat_map(rules, &references/1)

  defp verdict_refs(%Verdict{kind: kind, target: chain}) when kind in [:jump, :goto],
    do: [{:chain, chain}]

  defp verdict_refs({kind, chain}) when kind in [:jump, :goto], do: [{:chain, chain}]
  defp verdict_refs(_other), do: []

  defp value(%Element{data: data}), do: data
  defp value({_key, data}), do: data
  defp value(_key), do: nil
end
