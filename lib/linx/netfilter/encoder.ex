defmodule Linx.Netfilter.Encoder do
  @moduledoc """
  Values to nf_tables messages.

  Each function builds one `%Linx.Netlink.Message{}` (type, flags and payload; the sequence number is the sender's business).
  `to_batch/2` lays a whole ruleset out for a replacing push, `from_patch/1` a patch; both leave out the envelope that
  `Linx.Netlink.Nfnl.batch/4` adds.

  Everything that nft(8) adds without being told is added here: the guards that named header fields imply, the end points of intervals,
  the padding of concatenations, the userdata in which nft keeps byte orders, comments and merging.

      iex> msg = Linx.Netfilter.Encoder.table(Linx.Netfilter.Table.new!(:inet, "fw"))
      iex> msg.type
      0x0A00

  A value that has no form on the wire raises `ArgumentError`; `Linx.Netfilter.push/3` turns that into an error before anything is
  sent. Nothing here talks to the kernel.

  Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
  """

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{
    Chain,
    Datum,
    Expr,
    Flowtable,
    Guard,
    Object,
    Patch,
    Rule,
    Ruleset,
    Set,
    Table
  }

  alias Linx.Netfilter.{Userdata, Wire}
  alias Linx.Netfilter.Encoder.{Elements, Expressions, Objects}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Wire.{Constants, Writer}
  alias Linx.Netlink.Message
  alias Linx.Netlink.Nfnl.Header

  # nlmsghdr flags, include/uapi/linux/netlink.h.
  @dump 0x300
  @replace 0x100
  @excl 0x200
  @create 0x400
  @append 0x800

  @typedoc "What push answers for a value without a form on the wire: the kind, where it is, and why."
  @type unencodable :: {atom(), {keyword(), String.t()}}

  @typedoc "A message, and where in the ruleset it comes from: `[family:, table:, chain:, rule:, ...]`."
  @type placed :: {Message.t(), keyword()}

  # -- tables ----------------------------------------------------------------------------------------------------------

  @doc "NEWTABLE: makes the table, or updates its flags. Option `excl: true` refuses one that exists (`:eexist`). Raises `ArgumentError` for an unknown flag."
  @spec table(Table.t(), keyword()) :: Message.t()
  def table(%Table{} = table, opts \\ []) do
    message(nft_msg_newtable(), create(opts), table.family, [
      Writer.text(nfta_table_name(), table.name),
      flags(nfta_table_flags(), Wire.table_flags_int(table.flags)),
      comment(nfta_table_userdata(), table.comment)
    ])
  end

  @doc "DELTABLE: `:enoent` when it is not there."
  @spec deltable(Table.family(), String.t()) :: Message.t()
  def deltable(family, name),
    do: message(nft_msg_deltable(), 0, family, Writer.text(nfta_table_name(), name))

  @doc "DESTROYTABLE: as `deltable/2`, but content when there is no such table. Linux 6.3."
  @spec destroytable(Table.family(), String.t()) :: Message.t()
  def destroytable(family, name),
    do: message(nft_msg_destroytable(), 0, family, Writer.text(nfta_table_name(), name))

  @doc "GETTABLE for one table."
  @spec gettable(Table.family(), String.t()) :: Message.t()
  def gettable(family, name),
    do: message(nft_msg_gettable(), 0, family, Writer.text(nfta_table_name(), name))

  @doc "GETTABLE for all tables, of one family or (`:unspec`) of all."
  @spec gettable_dump(atom()) :: Message.t()
  def gettable_dump(family \\ :unspec), do: message(nft_msg_gettable(), @dump, family, [])

  # -- chains ----------------------------------------------------------------------------------------------------------

  @doc """
  NEWCHAIN, without the chain's rules. `chain.table` must be set. Option `excl: true` as for `table/2`.

  Raises `ArgumentError` for a hook or priority that the family does not have.
  """
  @spec chain(Chain.t(), Table.family(), keyword()) :: Message.t()
  def chain(%Chain{} = chain, family, opts \\ []) do
    message(nft_msg_newchain(), create(opts), family, [
      Writer.text(nfta_chain_table(), chain.table),
      Writer.text(nfta_chain_name(), chain.name),
      base(chain, family),
      flags(nfta_chain_flags(), Wire.chain_flags_int(chain.flags)),
      comment(nfta_chain_userdata(), chain.comment)
    ])
  end

  defp base(%Chain{hook: nil}, _family), do: []

  defp base(chain, family) do
    [
      Writer.nest(nfta_chain_hook(), [
        Writer.u32(nfta_hook_hooknum(), Wire.hook_num(family, chain.hook)),
        Writer.attr(nfta_hook_priority(), Wire.s32_be(Wire.priority_int(family, chain.priority))),
        devices(chain)
      ]),
      Writer.text(nfta_chain_type(), Wire.chain_type_string(chain.type)),
      if(chain.policy,
        do: Writer.u32(nfta_chain_policy(), Wire.policy_int(chain.policy)),
        else: []
      )
    ]
  end

  defp devices(%Chain{device: device, devices: []}) when device != nil,
    do: Writer.text(nfta_hook_dev(), device)

  defp devices(%Chain{devices: []}), do: []

  defp devices(%Chain{device: device, devices: devices}),
    do: Writer.nest(nfta_hook_devs(), device_names(Enum.uniq(List.wrap(device) ++ devices)))

  defp device_names(names), do: Enum.map(names, &Writer.text(nfta_device_name(), &1))

  @doc "DELCHAIN by name."
  @spec delete_chain(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_chain(family, table_name, chain_name) do
    message(nft_msg_delchain(), 0, family, [
      Writer.text(nfta_chain_table(), table_name),
      Writer.text(nfta_chain_name(), chain_name)
    ])
  end

  # -- rules -----------------------------------------------------------------------------------------------------------

  @doc """
  NEWRULE, appended to the chain. A rule with an anonymous set needs more than one message: `to_batch/2` and `from_patch/1`
  build those, here it raises `ArgumentError`.

  Options: `:position` (`:append`, `{:after, handle}`, `{:before, handle}`, `{:at_index, 0}`), `:replace` (the handle of the rule to replace).
  """
  @spec rule(Rule.t(), Table.family(), String.t(), String.t(), keyword()) :: Message.t()
  def rule(%Rule{} = rule, family, table_name, chain_name, opts \\ []) do
    exprs = rule.expressions |> Guard.expand(family) |> Expressions.list()
    rule_message(exprs, rule, family, table_name, chain_name, opts)
  end

  defp rule_message(exprs, rule, family, table_name, chain_name, opts) do
    {flags, place} = place(opts)

    message(nft_msg_newrule(), flags, family, [
      Writer.text(nfta_rule_table(), table_name),
      Writer.text(nfta_rule_chain(), chain_name),
      place,
      Writer.nest(nfta_rule_expressions(), exprs),
      case Userdata.rule(rule) do
        <<>> -> []
        bytes -> Writer.attr(nfta_rule_userdata(), bytes)
      end
    ])
  end

  defp place(opts) do
    case {opts[:replace], Keyword.get(opts, :position, :append)} do
      {handle, _position} when is_integer(handle) ->
        {@replace, Writer.u64(nfta_rule_handle(), handle)}

      {nil, :append} ->
        {Bitwise.bor(@create, @append), []}

      {nil, {:after, handle}} ->
        {Bitwise.bor(@create, @append), Writer.u64(nfta_rule_position(), handle)}

      {nil, {:before, handle}} ->
        {@create, Writer.u64(nfta_rule_position(), handle)}

      {nil, {:at_index, 0}} ->
        {@create, []}

      {nil, other} ->
        raise ArgumentError,
              "no such position on the wire: #{inspect(other)}; use {:after, handle}"
    end
  end

  @doc "DELRULE by the kernel's handle."
  @spec delete_rule(Table.family(), String.t(), String.t(), pos_integer()) :: Message.t()
  def delete_rule(family, table_name, chain_name, handle) do
    message(nft_msg_delrule(), 0, family, [
      Writer.text(nfta_rule_table(), table_name),
      Writer.text(nfta_rule_chain(), chain_name),
      Writer.u64(nfta_rule_handle(), handle)
    ])
  end

  # -- sets ------------------------------------------------------------------------------------------------------------

  @doc """
  NEWSET for a set, map or verdict map, without its elements. `set.table` must be set.

  Options: `:id` (NFTA_SET_ID, by which messages of the same batch may refer to it; default 1), `excl: true`.
  """
  @spec set(Set.t() | NMap.t(), Table.family(), keyword()) :: Message.t()
  def set(%_{} = set, family, opts \\ []) do
    message(nft_msg_newset(), create(opts), family, [
      Writer.text(nfta_set_table(), set.table),
      Writer.text(nfta_set_name(), set.name),
      Writer.u32(nfta_set_flags(), set_flags(set)),
      Writer.u32(nfta_set_key_type(), Datum.type_id(set.key_type)),
      Writer.u32(nfta_set_key_len(), Datum.size(set.key_type)),
      set_data(set),
      if(set.policy,
        do: Writer.u32(nfta_set_policy(), Constants.int!(:set_policy, set.policy)),
        else: []
      ),
      Writer.u32(nfta_set_id(), Keyword.get(opts, :id, 1)),
      set_desc(set),
      if(set.timeout, do: Writer.u64(nfta_set_timeout(), set.timeout), else: []),
      if(set.gc_interval, do: Writer.u32(nfta_set_gc_interval(), set.gc_interval), else: []),
      Writer.attr(nfta_set_userdata(), set_userdata(set)),
      set_exprs(set.exprs)
    ])
  end

  defp set_flags(set) do
    derived =
      [
        if(set.timeout, do: :timeout),
        if(concat?(set) and :interval in set.flags, do: :concat),
        if(length(set.exprs) > 1, do: :expr),
        case set do
          %NMap{data_type: {:object, _}} -> :object
          %NMap{} -> :map
          %Set{} -> nil
        end
      ]
      |> Enum.reject(&is_nil/1)

    Wire.set_flags_int(Enum.uniq(set.flags ++ derived))
  end

  defp concat?(set), do: match?({:concat, _}, set.key_type)

  # NFT_DATA_VERDICT stands for the type; its length is the kernel's own.
  defp set_data(%NMap{data_type: :verdict}),
    do: [Writer.u32(nfta_set_data_type(), 0xFFFFFF00), Writer.u32(nfta_set_data_len(), 0)]

  defp set_data(%NMap{data_type: {:object, kind}}),
    do: Writer.u32(nfta_set_obj_type(), Constants.int!(:object, kind))

  defp set_data(%NMap{data_type: type}) do
    [
      Writer.u32(nfta_set_data_type(), Datum.type_id(type)),
      Writer.u32(nfta_set_data_len(), Datum.size(type))
    ]
  end

  defp set_data(%Set{}), do: []

  defp set_desc(set) do
    size = set.size || constant_size(set)
    size = if size, do: Writer.u32(nfta_set_desc_size(), size), else: []

    fields =
      case set do
        %{key_type: {:concat, types}} ->
          if :interval in set.flags,
            do: Writer.nest(nfta_set_desc_concat(), Enum.map(types, &field/1)),
            else: []

        _ ->
          []
      end

    if size == [] and fields == [], do: [], else: Writer.nest(nfta_set_desc(), [size, fields])
  end

  # A set that nothing can be added to has the size of what is in it; the kernel chooses a better structure for it.
  defp constant_size(%{elements: [_ | _] = elements} = set) do
    if :constant in set.flags and :anonymous not in set.flags, do: Elements.count(set, elements)
  end

  defp constant_size(_set), do: nil

  defp field(type),
    do: Writer.nest(nfta_list_elem(), Writer.u32(nfta_set_field_len(), Datum.size(type)))

  # nft reads the byte order of keys and values here, and what a concatenation was declared by (13 is its EXPR_CONCAT).
  @typeof_concat <<0, 4, 13::native-32, 1, 0>>

  defp set_userdata(set) do
    typeof = set.typeof || %{}

    data =
      case set do
        %NMap{data_type: {:object, _}} ->
          [{6, Userdata.u32(0)}]

        %NMap{data_type: type} ->
          [
            {1, Userdata.u32(Datum.byteorder(type))},
            {4, Map.get(typeof, :data, typeof_default(type))},
            {6, Userdata.u32(if(match?({:interval, _}, type), do: 1, else: 0))}
          ]

        %Set{} ->
          []
      end

    order = %{0 => 0, 1 => 1, 2 => 2, 7 => 3, 3 => 4, 4 => 5, 6 => 6}

    ([
       {0, Userdata.u32(Datum.byteorder(set.key_type))},
       {2, if(:auto_merge in set.flags, do: Userdata.u32(1))},
       {7, Userdata.text(set.comment)},
       {3, Map.get(typeof, :key, typeof_default(set.key_type))}
     ] ++ data)
    |> Enum.sort_by(&Map.fetch!(order, elem(&1, 0)))
    |> Kernel.++(set.userdata)
    |> Userdata.bytes()
  end

  defp typeof_default({:concat, _}), do: @typeof_concat
  defp typeof_default({:interval, type}), do: typeof_default(type)
  defp typeof_default(_type), do: nil

  defp set_exprs([]), do: []
  defp set_exprs([expr]), do: Writer.nest(nfta_set_expr(), Expressions.expr(expr))
  defp set_exprs(exprs), do: Writer.nest(nfta_set_expressions(), Expressions.list(exprs))

  @doc "DELSET by name."
  @spec delete_set(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_set(family, table_name, set_name) do
    message(nft_msg_delset(), 0, family, [
      Writer.text(nfta_set_table(), table_name),
      Writer.text(nfta_set_name(), set_name)
    ])
  end

  @doc """
  NEWSETELEM with the elements of a set or map; nil when it has none.

  Raises `ArgumentError` when they do not fit one message (some 3 000 elements): `to_batch/2` splits them. Option `:id` as for `set/3`.
  """
  @spec set_elements(Set.t() | NMap.t(), Table.family(), keyword()) :: Message.t() | nil
  def set_elements(%_{} = set, family, opts \\ []) do
    case element_messages(set, family, set.elements, [initial: true] ++ opts) do
      [] -> nil
      [message] -> message
      several -> raise ArgumentError, "the elements need #{length(several)} messages"
    end
  end

  defp element_messages(set, family, elements, opts) do
    id = if opts[:id], do: Writer.u32(nfta_set_elem_list_set_id(), opts[:id]), else: []

    for chunk <- Elements.chunks(set, elements, opts) do
      message(nft_msg_newsetelem(), @create, family, [
        element_head(set.table, set.name),
        id,
        element_list(chunk)
      ])
    end
  end

  defp element_head(table_name, set_name) do
    [
      Writer.text(nfta_set_elem_list_table(), table_name),
      Writer.text(nfta_set_elem_list_set(), set_name)
    ]
  end

  defp element_list(chunk), do: Writer.nest(nfta_set_elem_list_elements(), chunk)

  @doc """
  DELSETELEM for `elements` of a set with this key type (and data type, for a map).

  A set of intervals has to be named by its declaration: `{:set, set}` in the place of `key_type`.
  """
  @spec delete_set_elements(
          Table.family(),
          String.t(),
          String.t(),
          [term()],
          atom() | tuple(),
          atom() | tuple() | nil
        ) :: Message.t()
  def delete_set_elements(family, table_name, set_name, elements, key_type, data_type)

  def delete_set_elements(family, table_name, set_name, elements, {:set, set}, _data_type) do
    case delete_messages(%{set | table: table_name, name: set_name}, family, elements) do
      [message] -> message
      several -> raise ArgumentError, "the elements need #{length(several)} messages"
    end
  end

  def delete_set_elements(family, table_name, set_name, elements, key_type, nil) do
    set = %Set{name: set_name, key_type: key_type}
    delete_set_elements(family, table_name, set_name, elements, {:set, set}, nil)
  end

  def delete_set_elements(family, table_name, set_name, elements, key_type, data_type) do
    map = %NMap{name: set_name, key_type: key_type, data_type: data_type}
    delete_set_elements(family, table_name, set_name, elements, {:set, map}, nil)
  end

  # An element is deleted by its key alone.
  defp delete_messages(set, family, elements) do
    keys = Enum.map(elements, &Elements.key(set, &1))
    bare = %Set{name: set.name, table: set.table, key_type: set.key_type, flags: set.flags}

    for chunk <- Elements.chunks(bare, keys) do
      message(nft_msg_delsetelem(), 0, family, [
        element_head(set.table, set.name),
        element_list(chunk)
      ])
    end
  end

  # -- objects and flowtables ------------------------------------------------------------------------------------------

  @doc "NEWOBJ. `object.table` must be set. Raises `ArgumentError` for data that the kind does not have."
  @spec object(Object.t(), Table.family(), keyword()) :: Message.t()
  def object(%Object{} = object, family, opts \\ []) do
    message(nft_msg_newobj(), create(opts), family, [
      object_head(object.table, object.kind, object.name),
      comment(nfta_obj_userdata(), object.comment),
      Writer.nest(nfta_obj_data(), Objects.data(object, family))
    ])
  end

  @doc "DELOBJ by kind and name."
  @spec delete_object(Table.family(), String.t(), Object.kind(), String.t()) :: Message.t()
  def delete_object(family, table_name, kind, name),
    do: message(nft_msg_delobj(), 0, family, object_head(table_name, kind, name))

  defp object_head(table_name, kind, name) do
    [
      Writer.text(nfta_obj_table(), table_name),
      Writer.text(nfta_obj_name(), name),
      Writer.u32(nfta_obj_type(), Constants.int!(:object, kind))
    ]
  end

  @doc "NEWFLOWTABLE. `flowtable.table` must be set."
  @spec flowtable(Flowtable.t(), Table.family(), keyword()) :: Message.t()
  def flowtable(%Flowtable{} = ft, family, opts \\ []) do
    # Flowtables always sit at NF_NETDEV_INGRESS.
    hook =
      Writer.nest(nfta_flowtable_hook(), [
        Writer.u32(nfta_flowtable_hook_num(), 0),
        Writer.attr(
          nfta_flowtable_hook_priority(),
          Wire.s32_be(Wire.priority_int(:netdev, ft.priority || 0))
        ),
        Writer.nest(nfta_flowtable_hook_devs(), device_names(ft.devices))
      ])

    message(nft_msg_newflowtable(), create(opts), family, [
      Writer.text(nfta_flowtable_table(), ft.table),
      Writer.text(nfta_flowtable_name(), ft.name),
      hook,
      flags(nfta_flowtable_flags(), Constants.bits!(:flowtable, ft.flags))
    ])
  end

  @doc "DELFLOWTABLE by name."
  @spec delete_flowtable(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_flowtable(family, table_name, name) do
    message(nft_msg_delflowtable(), 0, family, [
      Writer.text(nfta_flowtable_table(), table_name),
      Writer.text(nfta_flowtable_name(), name)
    ])
  end

  # -- whole rulesets --------------------------------------------------------------------------------------------------

  @doc """
  The messages of a replacing push: for each table DESTROYTABLE, NEWTABLE, objects, flowtables, sets, chains, set elements, rules.

  Option `destroy: :delete` writes NEWTABLE and DELTABLE in the place of DESTROYTABLE, for kernels before 6.3.
  Raises `ArgumentError` for a value without a form on the wire.
  """
  @spec to_batch(Ruleset.t(), keyword()) :: [Message.t()]
  def to_batch(%Ruleset{} = ruleset, opts \\ []), do: messages!(batch(ruleset, opts))

  # The same with the places, for errors.
  @doc false
  @spec batch(Ruleset.t(), keyword()) :: {:ok, [placed()]} | {:error, unencodable()}
  def batch(ruleset, opts) do
    {lists, _id} =
      Enum.map_reduce(Ruleset.tables(ruleset), 1, fn {_family, _name, table}, id ->
        table_batch(table, id, opts)
      end)

    {:ok, Enum.concat(lists)}
  catch
    {:unencodable, at, text} -> {:error, unencodable(at, text)}
  end

  defp messages!({:ok, placed}), do: for({message, _at} <- placed, do: message)

  defp messages!({:error, {_kind, {at, text}}}),
    do: raise(ArgumentError, "#{inspect(at)}: #{text}")

  # A value that the validators let pass and that has no form on the wire: where it is goes with the news.
  defp located(at, fun) do
    {fun.(), at}
  rescue
    error in [ArgumentError, KeyError, FunctionClauseError, Protocol.UndefinedError] ->
      throw({:unencodable, at, Exception.message(error)})
  end

  defp unencodable(at, text) do
    kind =
      cond do
        at[:rule] || at[:tag] || at[:handle] -> :bad_rule
        at[:elements] -> :bad_set_element
        at[:set] -> :bad_set
        at[:object] -> :bad_object
        at[:flowtable] -> :bad_flowtable
        at[:chain] -> :bad_chain
        true -> :bad_table
      end

    {kind, {at, text}}
  end

  defp table_batch(%Table{family: family} = table, id, opts) do
    at = [family: family, table: table.name]
    sets = Enum.map(sorted(table.sets) ++ sorted(table.maps), &%{&1 | table: table.name})
    ids = sets |> Enum.with_index(id) |> Map.new(fn {set, id} -> {set.name, id} end)
    {rules, id} = rules_batch(table, id + length(sets), at)

    messages =
      [
        destroy(table, opts),
        located(at, fn -> table(table) end),
        for(
          o <- sorted(table.objects),
          do: located(at ++ [object: o.name], fn -> object(%{o | table: table.name}, family) end)
        ),
        for(
          f <- sorted(table.flowtables),
          do:
            located(at ++ [flowtable: f.name], fn ->
              flowtable(%{f | table: table.name}, family)
            end)
        ),
        for(
          s <- sets,
          do: located(at ++ [set: s.name], fn -> set(s, family, id: ids[s.name]) end)
        ),
        for(
          c <- sorted(table.chains),
          do: located(at ++ [chain: c.name], fn -> chain(%{c | table: table.name}, family) end)
        ),
        for(
          s <- sets,
          do: placed_elements(s, family, s.elements, [id: ids[s.name], initial: true], at)
        ),
        rules
      ]

    {List.flatten(messages), id}
  end

  defp placed_elements(set, family, elements, opts, at) do
    {messages, at} =
      located(at ++ [set: set.name, elements: length(elements)], fn ->
        element_messages(set, family, elements, opts)
      end)

    Enum.map(messages, &{&1, at})
  end

  defp destroy(table, opts) do
    at = [family: table.family, table: table.name]

    case Keyword.get(opts, :destroy, :destroy) do
      :destroy ->
        {destroytable(table.family, table.name), at}

      :delete ->
        [
          {table(Table.new!(table.family, table.name)), at},
          {deltable(table.family, table.name), at}
        ]

      :none ->
        []
    end
  end

  defp rules_batch(table, id, at) do
    {lists, {id, _cache}} =
      Enum.map_reduce(sorted(table.chains), {id, %{}}, fn chain, id ->
        chain.rules
        |> Enum.with_index()
        |> Enum.map_reduce(id, fn {rule, index}, id ->
          at = at ++ [chain: chain.name, rule: index]
          placed_rule(rule, table.family, table.name, chain.name, [], id, at)
        end)
      end)

    {lists, id}
  end

  # A rule's own sets come before it in the batch; the lookup names them by id, since the kernel makes their names.
  defp placed_rule(rule, family, table_name, chain_name, opts, id, at) do
    {result, _at} =
      located(at, fn -> rule_messages(rule, family, table_name, chain_name, opts, id, at) end)

    result
  end

  # `seen` is the next set's id and the expressions written before.
  defp rule_messages(rule, family, table_name, chain_name, opts, {id, cache}, at) do
    exprs = Guard.expand(rule.expressions, family)
    {exprs, sets, id} = own_sets(exprs, family, table_name, id, at)
    {exprs, cache} = Expressions.list(exprs, cache)
    message = rule_message(exprs, rule, family, table_name, chain_name, opts)
    {[sets, {message, at}], {id, cache}}
  end

  defp own_sets(exprs, family, table_name, id, at) do
    if Enum.any?(exprs, &(&1.name == :__anon_set)) do
      {exprs, {sets, id}} =
        Enum.map_reduce(exprs, {[], id}, fn
          %Expr{name: :__anon_set, data: data}, {sets, id} ->
            {set, expr} = anonymous(data, table_name, id)
            elements = element_messages(set, family, set.elements, id: id, initial: true)
            {expr, {[Enum.map([set(set, family, id: id) | elements], &{&1, at}) | sets], id + 1}}

          expr, acc ->
            {expr, acc}
        end)

      {exprs, Enum.reverse(sets), id}
    else
      {exprs, [], id}
    end
  end

  defp anonymous(%{elements: elements, key_type: key_type} = data, table_name, id) do
    {prefix, fields} =
      case data do
        %{data_type: {:object, _} = type} -> {"__objmap%d", %{data_type: type}}
        %{data_type: type} -> {"__map%d", %{data_type: type}}
        _ -> {"__set%d", %{}}
      end

    module = if fields == %{}, do: Set, else: NMap

    set =
      struct!(
        module,
        Map.merge(fields, %{
          # nft's meters are sets of a rule's own with a name.
          name: data[:name] || prefix,
          table: table_name,
          key_type: key_type,
          flags: Enum.uniq([:anonymous | Map.get(data, :flags, [:constant])]),
          timeout: data[:timeout],
          typeof: data[:typeof],
          exprs: Map.get(data, :exprs, [])
        })
      )

    {:ok, elements} = normalised(module, set, elements)
    set = %{set | flags: interval(set.flags, set, elements), elements: elements}
    # A set that rules fill has the size it was given, a constant one that of its elements.
    size = data[:size] || if(:dynamic in set.flags, do: nil, else: Elements.count(set, elements))
    {%{set | size: size}, anonymous_use(data, prefix, id)}
  end

  defp normalised(module, set, elements) do
    case module.add_elements(%{set | elements: []}, elements) do
      {:ok, %{elements: elements}} -> {:ok, elements}
      {:error, reason} -> raise ArgumentError, "anonymous set: #{inspect(reason)}"
    end
  end

  defp interval(flags, set, elements) do
    if :interval not in flags and Enum.any?(elements, &spans?(Elements.key(set, &1))),
      do: [:interval | flags],
      else: flags
  end

  defp spans?({kind, _, _}) when kind in [:range, :prefix], do: true
  defp spans?(key) when is_tuple(key), do: key |> Tuple.to_list() |> Enum.any?(&spans?/1)
  defp spans?(_key), do: false

  defp anonymous_use(%{via: :objref} = data, name, id),
    do: Expr.new(:objref, %{set_sreg: data.sreg, set_name: name, set_id: id})

  defp anonymous_use(%{data_type: {:object, _}} = data, name, id),
    do: Expr.new(:objref, %{set_sreg: data.sreg, set_name: name, set_id: id})

  defp anonymous_use(%{via: {:dynset, dynset}}, name, id),
    do: Expr.new(:dynset, Map.merge(dynset, %{set: name, set_id: id}))

  defp anonymous_use(data, name, id) do
    lookup = %{set: name, set_id: id, sreg: Map.get(data, :sreg, 1)}
    lookup = if data[:lookup_flags], do: Map.put(lookup, :flags, data.lookup_flags), else: lookup
    lookup = if is_map_key(data, :dreg), do: Map.put(lookup, :dreg, data.dreg), else: lookup
    Expr.new(:lookup, lookup)
  end

  @doc """
  The messages that carry out a patch, in its order.

  Raises `ArgumentError` for an op that has no form on the wire, such as elements of a set that neither the patch's `sets` nor one of
  its ops declares.
  """
  @spec from_patch(Patch.t()) :: [Message.t()]
  def from_patch(%Patch{} = patch), do: messages!(patch_batch(patch))

  @doc false
  @spec patch_batch(Patch.t()) :: {:ok, [placed()]} | {:error, unencodable()}
  def patch_batch(%Patch{ops: ops, sets: sets}) do
    {messages, _state} =
      Enum.map_reduce(ops, {1, sets, MapSet.new()}, fn op, acc ->
        {result, _at} = located(op_at(op), fn -> op(op, acc) end)
        result
      end)

    {:ok, List.flatten(messages)}
  catch
    {:unencodable, at, text} -> {:error, unencodable(at, text)}
  end

  defp op_at(op) do
    case {elem(op, 0), elem(op, 1)} do
      {kind, family} when kind in [:create_rule, :replace_rule, :delete_rule] ->
        at(family, elem(op, 2), chain: elem(op, 3), rule: elem(op, 4))

      {kind, family} when kind in [:add_set_elements, :delete_set_elements] ->
        at(family, elem(op, 2), set: elem(op, 3), elements: length(elem(op, 4)))

      {_kind, family} ->
        [family: family]
    end
  end

  defp op({:create_table, family, table}, acc),
    do: {{table(%{table | family: family}), [family: family, table: table.name]}, acc}

  defp op({:delete_table, family, name}, acc),
    do: {{deltable(family, name), [family: family, table: name]}, acc}

  defp op({:create_chain, family, table, chain}, acc),
    do: {{chain(%{chain | table: table}, family), at(family, table, chain: chain.name)}, acc}

  defp op({:delete_chain, family, table, name}, acc),
    do: {{delete_chain(family, table, name), at(family, table, chain: name)}, acc}

  defp op({:create_set, family, set}, {id, sets, fresh}) do
    key = {family, set.table, set.name}
    acc = {id + 1, Map.put(sets, key, %{set | elements: []}), MapSet.put(fresh, key)}
    {{set(set, family, id: id), at(family, set.table, set: set.name)}, acc}
  end

  defp op({:delete_set, family, table, name}, acc),
    do: {{delete_set(family, table, name), at(family, table, set: name)}, acc}

  defp op({:create_object, family, object}, acc),
    do: {{object(object, family), at(family, object.table, object: object.name)}, acc}

  defp op({:delete_object, family, table, kind, name}, acc),
    do: {{delete_object(family, table, kind, name), at(family, table, object: name)}, acc}

  defp op({:create_flowtable, family, ft}, acc),
    do: {{flowtable(ft, family), at(family, ft.table, flowtable: ft.name)}, acc}

  defp op({:delete_flowtable, family, table, name}, acc),
    do: {{delete_flowtable(family, table, name), at(family, table, flowtable: name)}, acc}

  defp op({:add_set_elements, family, table, name, elements}, {_id, sets, fresh} = acc) do
    set = declared(sets, family, table, name)
    initial? = {family, table, name} in fresh
    messages = element_messages(set, family, elements, initial: initial?)
    {Enum.map(messages, &{&1, at(family, table, set: name)}), acc}
  end

  defp op({:delete_set_elements, family, table, name, elements}, {_id, sets, _fresh} = acc) do
    messages = delete_messages(declared(sets, family, table, name), family, elements)
    {Enum.map(messages, &{&1, at(family, table, set: name)}), acc}
  end

  defp op({:create_rule, family, table, chain, rule, position}, acc),
    do: rule_op(rule, family, table, chain, [position: position], acc)

  defp op({:replace_rule, family, table, chain, handle, rule}, acc),
    do: rule_op(rule, family, table, chain, [replace: handle], acc)

  defp op({:delete_rule, family, table, chain, handle}, acc),
    do:
      {{delete_rule(family, table, chain, handle),
        at(family, table, chain: chain, handle: handle)}, acc}

  defp rule_op(rule, family, table, chain, opts, {id, sets, fresh}) do
    at = at(family, table, [chain: chain] ++ if(rule.tag, do: [tag: rule.tag], else: []))
    {messages, {id, _cache}} = placed_rule(rule, family, table, chain, opts, {id, %{}}, at)
    {messages, {id, sets, fresh}}
  end

  defp at(family, table, more), do: [family: family, table: table] ++ more

  defp declared(sets, family, table, name) do
    case sets do
      %{{^family, ^table, ^name} => set} ->
        %{set | table: table, name: name}

      _ ->
        raise ArgumentError,
              "the patch does not say what set #{inspect(name)} is: put it into :sets"
    end
  end

  # -- parts -----------------------------------------------------------------------------------------------------------

  defp sorted(map), do: map |> Enum.sort_by(&elem(&1, 0)) |> Enum.map(&elem(&1, 1))

  defp create(opts), do: if(opts[:excl], do: Bitwise.bor(@create, @excl), else: @create)

  defp flags(_attribute, 0), do: []
  defp flags(attribute, bits), do: Writer.u32(attribute, bits)

  defp comment(_attribute, nil), do: []
  defp comment(attribute, text), do: Writer.attr(attribute, Userdata.with_comment(text))

  defp message(type, flags, family, attrs) do
    payload = IO.iodata_to_binary([Header.encode(family, 0) | List.wrap(attrs)])
    %Message{type: 0x0A00 + type, flags: flags, payload: payload}
  end
end
