defmodule Linx.Netfilter.Decoder do
  @moduledoc """
  nf_tables messages to values: what a dump or the event stream brings.

  There is a function per entity, which takes a message's payload (the nfgenmsg header and the attributes), and
  `from_msgs/5`, which puts the pieces of a ruleset together. What `Linx.Netfilter.Encoder` adds is folded away again: implied guards,
  interval end points, anonymous sets.

  Every function is total: an attribute that is missing, short or unknown leaves its field nil, an unknown expression is kept as
  bytes. A newer kernel's ruleset is read as far as it is understood, and nothing raises.

      iex> alias Linx.Netfilter.{Decoder, Encoder, Table}
      iex> Decoder.table(Encoder.table(Table.new!(:ip6, "t")).payload).family
      :ip6

  Source: include/uapi/linux/netfilter/nf_tables.h.
  """

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{
    Chain,
    Datatype,
    Datum,
    Encoder,
    Event,
    Expr,
    Flowtable,
    Guard,
    Object,
    Rule,
    Ruleset,
    Set,
    Table
  }

  alias Linx.Netfilter.{Typeof, Userdata, Wire}
  alias Linx.Netfilter.Decoder.{Elements, Expressions, Objects}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Wire.{Constants, Reader}
  alias Linx.Netlink.Message

  @doc "The table in a NEWTABLE payload."
  @spec table(binary()) :: Table.t()
  def table(body) do
    {family, attrs} = split(body)

    %Table{
      family: family,
      name: text(attrs[nfta_table_name()]),
      flags: Wire.table_flags_atoms(uint(attrs[nfta_table_flags()])),
      use_count: Reader.uint(attrs[nfta_table_use()]),
      handle: Reader.uint(attrs[nfta_table_handle()]),
      owner: Reader.uint(attrs[nfta_table_owner()]),
      comment: Userdata.comment(attrs[nfta_table_userdata()])
    }
  end

  @doc "The family and chain in a NEWCHAIN payload; the chain's rules come in messages of their own."
  @spec chain(binary()) :: {Table.family(), Chain.t()}
  def chain(body) do
    {family, attrs} = split(body)
    hook = Reader.map(attrs[nfta_chain_hook()] || <<>>)

    chain = %Chain{
      name: text(attrs[nfta_chain_name()]),
      table: text(attrs[nfta_chain_table()]),
      handle: Reader.uint(attrs[nfta_chain_handle()]),
      flags: Wire.chain_flags_atoms(uint(attrs[nfta_chain_flags()])) -- [:base, :binding],
      comment: Userdata.comment(attrs[nfta_chain_userdata()])
    }

    {family, if(hook == %{}, do: chain, else: hooked(chain, family, attrs, hook))}
  end

  defp hooked(chain, family, attrs, hook) do
    devices = device_names(hook[nfta_hook_devs()])
    device = Reader.text(hook[nfta_hook_dev()]) || if(match?([_], devices), do: hd(devices))

    %{
      chain
      | type: Wire.chain_type_atom(text(attrs[nfta_chain_type()])),
        hook: Wire.hook_atom(family, uint(hook[nfta_hook_hooknum()])),
        priority: s32(hook[nfta_hook_priority()]),
        policy: policy(attrs[nfta_chain_policy()]),
        device: device,
        devices: if(match?([_], devices), do: [], else: devices)
    }
  end

  defp policy(<<n::32>>) when n in [0, 1], do: Wire.policy_atom(n)
  defp policy(_other), do: nil

  defp device_names(nil), do: []
  defp device_names(nest), do: for({_name, name} <- Reader.attrs(nest), do: Reader.text(name))

  @doc "Family, table, chain and the rule in a NEWRULE payload, with the implied guards folded."
  @spec rule(binary()) :: {Table.family(), String.t(), String.t(), Rule.t()}
  def rule(body), do: body |> rule(%{}) |> elem(0)

  # With what was seen in the rules before.
  @doc false
  @spec rule(binary(), Expressions.cache()) ::
          {{Table.family(), String.t(), String.t(), Rule.t()}, Expressions.cache()}
  def rule(body, cache) do
    {family, attrs} = split_list(body)
    rule_fields(attrs, family, cache, "", "", nil, [], {nil, nil, []})
  end

  @doc false
  @spec rules([binary()]) :: [{Table.family(), String.t(), String.t(), Rule.t()}]
  def rules(bodies) do
    {rules, _cache} = Enum.map_reduce(bodies, %{}, &rule/2)
    rules
  end

  # One struct at the end: thousands of rules are read here.
  defp rule_fields([], family, cache, table, chain, handle, exprs, {comment, tag, other}) do
    rule = %Rule{
      expressions: exprs,
      chain: chain,
      handle: handle,
      tag: tag,
      comment: comment,
      userdata: other
    }

    {{family, table, chain, rule}, cache}
  end

  defp rule_fields([{type, bytes} | rest], family, cache, table, chain, handle, exprs, userdata) do
    case type do
      nfta_rule_table() ->
        {table, cache} = name(bytes, cache)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_chain() ->
        {chain, cache} = name(bytes, cache)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_handle() ->
        rule_fields(rest, family, cache, table, chain, Reader.uint(bytes), exprs, userdata)

      nfta_rule_expressions() ->
        {exprs, cache} = Expressions.list(bytes, cache)
        exprs = Guard.fold(exprs, family)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      nfta_rule_userdata() ->
        userdata = Userdata.parse_rule(bytes)
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)

      _unknown ->
        rule_fields(rest, family, cache, table, chain, handle, exprs, userdata)
    end
  end

  # The names of tables and chains repeat from rule to rule.
  defp name(bytes, cache) do
    key = {:name, bytes}

    case cache do
      %{^key => name} ->
        {name, cache}

      _ ->
        name = Reader.text(bytes)
        {name, Map.put(cache, {:name, :binary.copy(bytes)}, name)}
    end
  end

  @doc "The family and the set or map in a NEWSET payload, without elements."
  @spec set(binary()) :: {Table.family(), Set.t() | NMap.t()}
  def set(body) do
    {family, attrs} = split(body)
    bits = uint(attrs[nfta_set_flags()])
    desc = Reader.map(attrs[nfta_set_desc()] || <<>>)
    userdata = Userdata.pairs(attrs[nfta_set_userdata()])
    key_len = uint(attrs[nfta_set_key_len()])

    fields = %{
      name: text(attrs[nfta_set_name()]),
      table: text(attrs[nfta_set_table()]),
      key_type:
        uint(attrs[nfta_set_key_type()])
        |> type(key_len, field_sizes(desc))
        |> host_order(Userdata.find_u32(userdata, 0), typeof(userdata)[:key]),
      flags: set_flags(bits, userdata),
      handle: Reader.uint(attrs[nfta_set_handle()]),
      timeout: positive(Reader.uint(attrs[nfta_set_timeout()])),
      gc_interval: positive(Reader.uint(attrs[nfta_set_gc_interval()])),
      size: positive(Reader.uint(desc[nfta_set_desc_size()])),
      policy: set_policy(attrs[nfta_set_policy()]),
      comment: Userdata.find_text(userdata, 7),
      exprs: set_exprs(attrs),
      typeof: typeof(userdata),
      userdata: Enum.reject(userdata, &(elem(&1, 0) in [0, 1, 2, 3, 4, 6, 7]))
    }

    {family, set_or_map(fields, bits, attrs, userdata)}
  end

  defp set_or_map(fields, bits, attrs, userdata) do
    cond do
      Bitwise.band(bits, nft_set_object_flag()) != 0 ->
        kind = Constants.atom(:object, uint(attrs[nfta_set_obj_type()]))
        struct!(NMap, Map.put(fields, :data_type, {:object, kind}))

      Bitwise.band(bits, nft_set_map()) != 0 ->
        struct!(NMap, Map.put(fields, :data_type, data_type(attrs, userdata)))

      true ->
        struct!(Set, fields)
    end
  end

  defp data_type(attrs, userdata) do
    len = uint(attrs[nfta_set_data_len()])

    case uint(attrs[nfta_set_data_type()]) do
      0xFFFFFF00 ->
        :verdict

      id ->
        if Userdata.find_u32(userdata, 6) == 1,
          do: {:interval, type(id, div(len, 2), [])},
          else:
            id
            |> type(len, [])
            |> host_order(Userdata.find_u32(userdata, 1), typeof(userdata)[:data])
    end
  end

  # Numbers have the order of what they were made for: nft's record of it tells.
  defp host_order({:integer, bits}, 1, _record) when bits > 8, do: {:integer, bits, :host}

  defp host_order({:concat, types}, _order, record) when is_binary(record) do
    case Typeof.decode(record) do
      {:ok, exprs} when length(exprs) == length(types) ->
        {:concat, Enum.zip_with(types, exprs, &host_part/2)}

      _ ->
        {:concat, types}
    end
  end

  defp host_order(type, _order, _record), do: type

  defp host_part({:integer, bits} = type, expr) when bits > 8 do
    if big?(expr), do: type, else: {:integer, bits, :host}
  end

  defp host_part(type, _expr), do: type

  defp big?(%Expr{name: name}) when name in [:payload, :exthdr], do: true
  defp big?(%Expr{name: :meta, data: %{key: :prandom}}), do: true
  defp big?(%Expr{name: :ct, data: %{key: :id}}), do: true
  defp big?(%Expr{name: :xfrm, data: %{key: :spi}}), do: true
  defp big?(_expr), do: false

  defp field_sizes(desc) do
    for {_elem, field} <- Reader.attrs(desc[nfta_set_desc_concat()] || <<>>),
        size = Reader.uint(Reader.map(field)[nfta_set_field_len()]),
        do: size
  end

  # A type without a size of its own takes the set's; of a concatenation, that of its field.
  defp type(id, len, fields) do
    case Datatype.from_id(id) do
      {:ok, {:concat, types}} -> {:concat, sized(types, len, fields)}
      {:ok, type} -> one_type(type, len)
      :error -> {:integer, max(8 * len, 8)}
    end
  end

  defp one_type(type, len) do
    if Datum.size(type) == len or len == 0, do: type, else: {type, 8 * len}
  end

  defp sized(types, _len, fields) when length(fields) == length(types),
    do: Enum.zip_with(types, fields, &one_type/2)

  defp sized(types, len, _fields) do
    known = types |> Enum.map(&Datum.padded(Datum.size(&1))) |> Enum.sum()

    case Enum.count(types, &(Datum.size(&1) == 0)) do
      0 ->
        types

      open ->
        Enum.map(
          types,
          &if(Datum.size(&1) == 0, do: {&1, 8 * div(max(len - known, open), open)}, else: &1)
        )
    end
  end

  defp set_flags(bits, userdata) do
    merge = if Userdata.find_u32(userdata, 2) in [nil, 0], do: [], else: [:auto_merge]
    (Wire.set_flags_atoms(bits) -- [:map, :object, :concat, :expr]) ++ merge
  end

  defp set_policy(<<1::32>>), do: :memory
  defp set_policy(_performance), do: nil

  defp set_exprs(%{nfta_set_expr() => bytes}), do: [Expressions.expr(bytes)]
  defp set_exprs(%{nfta_set_expressions() => bytes}), do: Expressions.list(bytes)
  defp set_exprs(_attrs), do: []

  # A bare EXPR_CONCAT says no more than the type does.
  defp typeof(userdata) do
    found =
      for {type, key} <- [{3, :key}, {4, :data}],
          {^type, bytes} <- userdata,
          bytes != <<0, 4, 13::native-32, 1, 0>>,
          into: %{},
          do: {key, bytes}

    if found == %{}, do: nil, else: found
  end

  @doc """
  Family, table, set name and the elements in a NEWSETELEM payload: keys as bytes, or `{key, data}` in a map, with data as bytes, a
  `%Linx.Netfilter.Verdict{}` or the name of an object. An element that carries more is `{:raw, map}`. `materialize_elements/3` makes values of them.
  """
  @spec set_elements(binary()) ::
          {Table.family(), String.t(), String.t(), [{term(), term()} | binary()]}
  def set_elements(body) do
    {family, attrs} = split(body)

    {family, text(attrs[nfta_set_elem_list_table()]), text(attrs[nfta_set_elem_list_set()]),
     Elements.raw(attrs[nfta_set_elem_list_elements()] || <<>>)}
  end

  @doc "Raw elements as values of these types. Intervals are recognised by their end points."
  @spec materialize_elements(
          [{term(), term()} | binary()],
          atom() | tuple(),
          atom() | tuple() | nil
        ) :: [term()]
  def materialize_elements(elements, key_type, data_type) do
    case key_type do
      {:concat, _} = type when data_type == nil ->
        Elements.values(%Set{name: "", key_type: type}, elements)

      {:concat, _} = type ->
        Elements.values(%NMap{name: "", key_type: type, data_type: data_type}, elements)

      type ->
        Elements.values(elements, type, data_type)
    end
  end

  @doc "The family and the object in a NEWOBJ payload."
  @spec object(binary()) :: {Table.family(), Object.t()}
  def object(body) do
    {family, attrs} = split(body)
    kind = Constants.atom(:object, uint(attrs[nfta_obj_type()]))

    {family,
     %Object{
       kind: kind,
       name: text(attrs[nfta_obj_name()]),
       table: text(attrs[nfta_obj_table()]),
       handle: Reader.uint(attrs[nfta_obj_handle()]),
       comment: Userdata.comment(attrs[nfta_obj_userdata()]),
       data: Objects.data(kind, attrs[nfta_obj_data()] || <<>>)
     }}
  end

  @doc "The family and the flowtable in a NEWFLOWTABLE payload."
  @spec flowtable(binary()) :: {Table.family(), Flowtable.t()}
  def flowtable(body) do
    {family, attrs} = split(body)
    hook = Reader.map(attrs[nfta_flowtable_hook()] || <<>>)

    {family,
     %Flowtable{
       name: text(attrs[nfta_flowtable_name()]),
       table: text(attrs[nfta_flowtable_table()]),
       handle: Reader.uint(attrs[nfta_flowtable_handle()]),
       hook: :ingress,
       priority: s32(hook[nfta_flowtable_hook_priority()]),
       devices: device_names(hook[nfta_flowtable_hook_devs()]),
       flags: Constants.names(:flowtable, uint(attrs[nfta_flowtable_flags()]))
     }}
  end

  @doc "Generation id and committer in a NEWGEN payload."
  @spec gen(binary()) :: %{
          id: non_neg_integer(),
          proc_pid: non_neg_integer() | nil,
          proc_name: String.t() | nil
        }
  def gen(body) do
    {_family, attrs} = split(body)

    %{
      id: uint(attrs[nfta_gen_id()]),
      proc_pid: Reader.uint(attrs[nfta_gen_proc_pid()]),
      proc_name: Reader.text(attrs[nfta_gen_proc_name()])
    }
  end

  # -- events ----------------------------------------------------------------------------------------------------------

  @doc """
  The event in a multicast message. Generation and committer are only in `:new_gen` events: the kernel sends that one last, and
  `Linx.Netfilter.Monitor` stamps the others with it. A message that is not understood is `{:unknown, type}` with its bytes.
  """
  @spec event(Message.t()) :: Event.t()
  def event(%Message{type: type, payload: payload}) do
    case {Bitwise.bsr(type, 8), Constants.atom(:message, Bitwise.band(type, 0xFF))} do
      {10, kind} when is_atom(kind) -> known_event(kind, type, payload)
      _ -> %Event{op: {:unknown, type}, entity: payload}
    end
  end

  defp known_event(:newgen, _type, payload) do
    gen = gen(payload)

    %Event{
      op: :new_gen,
      entity: gen,
      gen_id: gen.id,
      proc_pid: gen.proc_pid,
      proc_name: gen.proc_name
    }
  end

  for {name, decoder, new, del} <- [
        {"table", :table, :new_table, :del_table},
        {"chain", :chain, :new_chain, :del_chain},
        {"rule", :rule, :new_rule, :del_rule},
        {"set", :set, :new_set, :del_set},
        {"setelem", :set_elements, :new_set_element, :del_set_element},
        {"obj", :object, :new_obj, :del_obj},
        {"flowtable", :flowtable, :new_flowtable, :del_flowtable}
      ] do
    defp known_event(unquote(:"new#{name}"), _type, payload),
      do: %Event{op: unquote(new), entity: unquote(decoder)(payload)}

    defp known_event(unquote(:"del#{name}"), _type, payload),
      do: %Event{op: unquote(del), entity: unquote(decoder)(payload)}
  end

  defp known_event(_kind, type, payload), do: %Event{op: {:unknown, type}, entity: payload}

  # -- rulesets --------------------------------------------------------------------------------------------------------

  @doc """
  A ruleset from decoded pieces, as `table/1`, `chain/1`, `rule/1`, `set/1` and `set_elements/1` give them.

  Pieces whose parent is not among them are dropped: a dump of one type may be newer than that of another. Anonymous sets become part of
  the rules that look them up.
  """
  @spec from_msgs(
          [Table.t()],
          [{Table.family(), Chain.t()}],
          [{Table.family(), String.t(), String.t(), Rule.t()}],
          [{Table.family(), Set.t() | NMap.t()}],
          [{Table.family(), String.t(), String.t(), [term()]}]
        ) :: Ruleset.t()
  def from_msgs(tables, chains, rules, sets \\ [], set_elements \\ []) do
    assemble(%{
      tables: tables,
      chains: chains,
      rules: rules,
      sets: sets,
      set_elements: set_elements,
      objects: [],
      flowtables: []
    })
  end

  @doc false
  @spec assemble(map()) :: Ruleset.t()
  def assemble(parts) do
    elements =
      parts.set_elements
      |> Enum.group_by(fn {family, table, set, _} -> {family, table, set} end, &elem(&1, 3))
      |> Map.new(fn {key, lists} -> {key, Enum.concat(lists)} end)

    {anonymous, named} =
      parts.sets
      |> Enum.map(fn {family, set} ->
        {family, filled(set, Map.get(elements, {family, set.table, set.name}, []))}
      end)
      |> Enum.split_with(fn {_family, set} -> :anonymous in set.flags end)

    anonymous = Map.new(anonymous, fn {family, set} -> {{family, set.table, set.name}, set} end)
    rules = Enum.group_by(parts.rules, fn {f, t, c, _} -> {f, t, c} end, &placed(&1, anonymous))

    Map.new(parts.tables, fn table -> {{table.family, table.name}, table} end)
    |> put_all(parts.chains, &chain_in(&1, &2, &3, rules))
    |> put_all(named, &set_in/3)
    |> put_all(parts.objects, fn table, _family, o ->
      put_in(table.objects[{o.kind, o.name}], o)
    end)
    |> put_all(parts.flowtables, fn table, _family, f -> put_in(table.flowtables[f.name], f) end)
    |> then(&%Ruleset{tables: &1})
  end

  defp put_all(tables, entities, fun) do
    Enum.reduce(entities, tables, fn {family, entity}, tables ->
      key = {family, entity.table}

      case tables do
        %{^key => table} -> %{tables | key => fun.(table, family, entity)}
        _orphan -> tables
      end
    end)
  end

  defp chain_in(table, family, chain, rules) do
    rules = Map.get(rules, {family, table.name, chain.name}, [])
    put_in(table.chains[chain.name], %{chain | rules: chain.rules ++ rules})
  end

  defp set_in(table, _family, %Set{} = set), do: put_in(table.sets[set.name], set)
  defp set_in(table, _family, %NMap{} = map), do: put_in(table.maps[map.name], map)

  defp filled(set, []), do: set
  defp filled(set, raw), do: %{set | elements: Elements.values(set, raw)}

  defp placed({_family, _table, chain, rule}, anonymous) when map_size(anonymous) == 0,
    do: if(rule.chain == chain, do: rule, else: %{rule | chain: chain})

  defp placed({family, table, chain, rule}, anonymous) do
    %{
      rule
      | chain: chain,
        expressions: Enum.map(rule.expressions, &folded(&1, family, table, anonymous))
    }
  end

  defp folded(%Expr{name: :lookup, data: %{set: name} = data} = expr, family, table, anonymous) do
    case anonymous do
      %{{^family, ^table, ^name} => set} -> literal(set, data)
      _ -> expr
    end
  end

  defp folded(
         %Expr{name: :objref, data: %{set_name: name, set_sreg: sreg}} = expr,
         family,
         table,
         anonymous
       ) do
    case anonymous do
      %{{^family, ^table, ^name} => set} -> literal(set, %{sreg: sreg})
      _ -> expr
    end
  end

  defp folded(%Expr{name: :dynset, data: %{set: name} = data} = expr, family, table, anonymous) do
    case anonymous do
      %{{^family, ^table, ^name} => set} ->
        %Expr{data: data_of_set} = literal = literal(set, %{})
        via = {:dynset, Map.delete(data, :set)}
        data_of_set = data_of_set |> Map.delete(:sreg) |> Map.put(:via, via)
        # A meter was given its name by whoever made it.
        %{
          literal
          | data:
              if(name =~ ~r/^__\w+\d+$/, do: data_of_set, else: Map.put(data_of_set, :name, name))
        }

      _ ->
        expr
    end
  end

  defp folded(expr, _family, _table, _anonymous), do: expr

  defp literal(set, lookup) do
    data = %{
      elements: set.elements,
      key_type: set.key_type,
      flags: literal_flags(set),
      sreg: Map.get(lookup, :sreg, 1)
    }

    extra =
      [
        data_type: if(is_struct(set, NMap), do: set.data_type),
        dreg: lookup[:dreg],
        lookup_flags: lookup[:flags],
        typeof: set.typeof,
        timeout: set.timeout,
        size: if(:dynamic in set.flags, do: set.size)
      ]

    Expr.new(
      :__anon_set,
      Enum.reduce(extra, data, fn {k, v}, d -> if(v == nil, do: d, else: Map.put(d, k, v)) end)
    )
  end

  # As Expr.set_literal/3 has them: :interval goes without saying where an element is a range.
  defp literal_flags(set) do
    spans? = Enum.any?(set.elements, &spans?(Encoder.Elements.key(set, &1)))
    known = [:anonymous, :constant, :dynamic, :timeout | if(spans?, do: [], else: [:interval])]
    Enum.filter(known, &(&1 in set.flags))
  end

  defp spans?({kind, _, _}) when kind in [:range, :prefix], do: true
  defp spans?(key) when is_tuple(key), do: key |> Tuple.to_list() |> Enum.any?(&spans?/1)
  defp spans?(_key), do: false

  # -- parts -----------------------------------------------------------------------------------------------------------

  defp split(body) do
    {family, attrs} = split_list(body)
    {family, :maps.from_list(attrs)}
  end

  defp split_list(<<family, _version, _res_id::16, attrs::binary>>),
    do: {Wire.family_atom(family), Reader.attrs(attrs)}

  defp split_list(_short), do: {:unknown, []}

  defp uint(bytes), do: Reader.uint(bytes) || 0
  defp text(bytes), do: Reader.text(bytes) || ""

  defp s32(<<n::signed-32>>), do: n
  defp s32(_other), do: nil

  defp positive(0), do: nil
  defp positive(n), do: n
end
