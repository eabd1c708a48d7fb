defmodule Linx.Netfilter.Encoder do
  @moduledoc """
  Values to nf_tables messages.

  Each function builds one `%Linx.Netlink.Message{}` (type, flags and payload; the sequence number
  is the sender's business). `to_batch/2` lays a whole ruleset out for a replacing push,
  `from_patch/1` a patch; both leave out the envelope that `Linx.Netlink.Nfnl.batch/4` adds.

  Everything that nft(8) adds without being told is added here: the dependencies that named header
  fields imply, the end points of intervals, the padding of concatenations, the userdata in which
  nft keeps byte orders, comments and merging.

      iex> msg = Linx.Netfilter.Encoder.table(Linx.Netfilter.Table.new!(:inet, "fw"))
      iex> msg.type
      0x0A00

  A value that has no form on the wire raises `ArgumentError`; `Linx.Netfilter.push/3` turns that
  into an error before anything is sent. Nothing here talks to the kernel.

  Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
  """

  import Linx.Netfilter.Wire
  import Linx.Netlink.Constants

  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.{Chain, Codec, Encoder, Flowtable, Object, Patch, Rule, Ruleset, Set}
  alias Linx.Netfilter.{Table, Wire}
  alias Linx.Netfilter.Encoder.{Batch, Expressions, Frames, Patches, Sets}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netlink.{Attr, Message}

  @typedoc """
  What push answers for a value without a form on the wire: the kind, where it is, and why.
  """
  @type unencodable :: {atom(), {keyword(), String.t()}}

  # -- tables ------------------------------------------------------------------------------------

  @doc """
  NEWTABLE: makes the table, or updates its flags. Option `excl: true` refuses one that exists
  (`:eexist`). Raises `ArgumentError` for an unknown flag.
  """
  @spec table(Table.t(), keyword()) :: Message.t()
  def table(%Table{} = table, opts \\ []) do
    message(nft_msg_newtable(), create(opts), %Codec.Table{
      family: Wire.family_num(table.family),
      name: table.name,
      flags: given(table.flags),
      comment: table.comment
    })
  end

  @doc "DELTABLE: `:enoent` when it is not there."
  @spec deltable(Table.family(), String.t()) :: Message.t()
  def deltable(family, name),
    do: message(nft_msg_deltable(), 0, named(family, name))

  @doc "DESTROYTABLE: as `deltable/2`, but content when there is no such table. Linux 6.3."
  @spec destroytable(Table.family(), String.t()) :: Message.t()
  def destroytable(family, name),
    do: message(nft_msg_destroytable(), 0, named(family, name))

  @doc "GETTABLE for one table."
  @spec gettable(Table.family(), String.t()) :: Message.t()
  def gettable(family, name),
    do: message(nft_msg_gettable(), 0, named(family, name))

  @doc "GETTABLE for all tables, of one family or (`:unspec`) of all."
  @spec gettable_dump(atom()) :: Message.t()
  def gettable_dump(family \\ :unspec), do: message(nft_msg_gettable(), nlm_f_dump(), family, [])

  defp named(family, name), do: %Codec.Table{family: Wire.family_num(family), name: name}

  # -- chains ------------------------------------------------------------------------------------

  @doc """
  NEWCHAIN, without the chain's rules. `chain.table` must be set. Option `excl: true` as for
  `table/2`.

  Raises `ArgumentError` for a hook or priority that the family does not have.
  """
  @spec chain(Chain.t(), Table.family(), keyword()) :: Message.t()
  def chain(%Chain{} = chain, family, opts \\ []) do
    message(nft_msg_newchain(), create(opts), %{
      base(chain, family)
      | family: Wire.family_num(family),
        table: chain.table,
        name: chain.name,
        flags: given(chain.flags),
        comment: chain.comment
    })
  end

  defp base(%Chain{hook: nil}, _family), do: %Codec.Chain{}

  defp base(chain, family) do
    hook = %Codec.Chain.Hook{
      hooknum: Wire.hook_num(family, chain.hook),
      priority: Wire.priority_int(family, chain.priority)
    }

    %Codec.Chain{
      hook: devices(hook, chain),
      type: Wire.chain_type_string(chain.type),
      policy: chain.policy
    }
  end

  defp devices(hook, %Chain{device: device, devices: []}), do: %{hook | device: device}

  defp devices(hook, %Chain{device: device, devices: devices}),
    do: %{hook | devices: Enum.uniq(List.wrap(device) ++ devices)}

  @doc "DELCHAIN by name."
  @spec delete_chain(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_chain(family, table_name, chain_name) do
    message(nft_msg_delchain(), 0, %Codec.Chain{
      family: Wire.family_num(family),
      table: table_name,
      name: chain_name
    })
  end

  # -- rules -------------------------------------------------------------------------------------

  @doc """
  NEWRULE, appended to the chain. A rule with an anonymous set needs more than one message:
  `to_batch/2` and `from_patch/1` build those, here it raises `ArgumentError`.

  Options: `:position` (`:append`, `{:after, handle}`, `{:before, handle}`, `{:at_index, 0}`),
  `:replace` (the handle of the rule to replace).
  """
  @spec rule(Rule.t(), Table.family(), String.t(), String.t(), keyword()) :: Message.t()
  def rule(%Rule{} = rule, family, table_name, chain_name, opts \\ []),
    do: Encoder.Rule.bare(rule, family, table_name, chain_name, opts)

  @doc "DELRULE by the kernel's handle."
  @spec delete_rule(Table.family(), String.t(), String.t(), pos_integer()) :: Message.t()
  def delete_rule(family, table_name, chain_name, handle) do
    message(nft_msg_delrule(), 0, family, [
      Attr.text(nfta_rule_table(), table_name),
      Attr.text(nfta_rule_chain(), chain_name),
      Attr.u64_be(nfta_rule_handle(), handle)
    ])
  end

  # -- sets --------------------------------------------------------------------------------------

  @doc """
  NEWSET for a set, map or verdict map, without its elements. `set.table` must be set.

  Options: `:id` (NFTA_SET_ID, by which messages of the same batch may refer to it; default 1),
  `excl: true`.
  """
  @spec set(Set.t() | NMap.t(), Table.family(), keyword()) :: Message.t()
  def set(%_{} = set, family, opts \\ []), do: Sets.declaration(set, family, opts)

  @doc "DELSET by name."
  @spec delete_set(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_set(family, table_name, set_name) do
    message(nft_msg_delset(), 0, %Codec.Set{
      family: Wire.family_num(family),
      table: table_name,
      name: set_name
    })
  end

  @doc """
  NEWSETELEM with the elements of a set or map; nil when it has none.

  Raises `ArgumentError` when they do not fit one message (some 3 000 elements): `to_batch/2`
  splits them. Option `:id` as for `set/3`.
  """
  @spec set_elements(Set.t() | NMap.t(), Table.family(), keyword()) :: Message.t() | nil
  def set_elements(%_{} = set, family, opts \\ []) do
    case Sets.elements(set, family, set.elements, [initial: true] ++ opts) do
      [] -> nil
      [message] -> message
      several -> raise ArgumentError, "the elements need #{length(several)} messages"
    end
  end

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
    case Sets.deletions(%{set | table: table_name, name: set_name}, family, elements) do
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

  # -- objects and flowtables --------------------------------------------------------------------

  @doc """
  NEWOBJ. `object.table` must be set. Raises `ArgumentError` for data that the kind does not have.
  """
  @spec object(Object.t(), Table.family(), keyword()) :: Message.t()
  def object(%Object{} = object, family, opts \\ []) do
    message(nft_msg_newobj(), create(opts), %{
      object_named(family, object.table, object.kind, object.name)
      | comment: object.comment,
        data: IO.iodata_to_binary(data(object.kind, fields(object.data), family))
    })
  end

  @doc "DELOBJ by kind and name."
  @spec delete_object(Table.family(), String.t(), Object.kind(), String.t()) :: Message.t()
  def delete_object(family, table_name, kind, name),
    do: message(nft_msg_delobj(), 0, object_named(family, table_name, kind, name))

  defp object_named(family, table_name, kind, name),
    do: %Codec.Object{family: Wire.family_num(family), table: table_name, name: name, kind: kind}

  defp fields(nil), do: %{}
  defp fields(%{} = data) when not is_struct(data), do: data

  defp fields(data) do
    if Keyword.keyword?(data),
      do: Map.new(data),
      else: raise(ArgumentError, "object data is a map, not #{inspect(data)}")
  end

  defp data(:counter, data, _family),
    do: Expressions.data(:counter, Map.merge(%{packets: 0, bytes: 0}, data))

  defp data(:quota, data, _family) do
    {used, data} = Map.pop(data, :used, 0)
    Expressions.data(:quota, Map.merge(%{bytes: 0, consumed: used, flags: []}, data))
  end

  defp data(:limit, data, _family) do
    burst = if data[:type] == :bytes, do: 0, else: 5
    default = %{unit: :second, burst: burst, type: :packets, flags: []}
    Expressions.data(:limit, Map.merge(default, data))
  end

  defp data(:connlimit, data, _family), do: Expressions.data(:connlimit, data)
  defp data(:synproxy, data, _family), do: Expressions.synproxy(data)

  # The kernel wants one network protocol, of inet too, where nft takes IPv4 when nothing is said.
  defp data(kind, data, family) when kind in [:ct_helper, :ct_timeout, :ct_expectation] do
    layer3 = data[:l3proto] || if(family == :inet, do: :ip, else: family)
    Codec.Object.codec(kind).encode(Map.put(data, :l3proto, layer3))
  end

  defp data(kind, data, _family) do
    case Codec.Object.codec(kind) do
      nil -> raise ArgumentError, "no data of a #{inspect(kind)} has a form on the wire"
      codec -> codec.encode(data)
    end
  end

  @doc "NEWFLOWTABLE. `flowtable.table` must be set."
  @spec flowtable(Flowtable.t(), Table.family(), keyword()) :: Message.t()
  def flowtable(%Flowtable{} = ft, family, opts \\ []) do
    # NF_NETDEV_INGRESS, the one hook that nft_flowtable_parse_hook takes.
    if ft.hook not in [nil, :ingress],
      do: raise(ArgumentError, "a flowtable works at the ingress hook, not at #{ft.hook}")

    hook = %Codec.Flowtable.Hook{
      num: 0,
      priority: Wire.priority_int(:netdev, ft.priority || 0),
      devices: ft.devices
    }

    message(nft_msg_newflowtable(), create(opts), %Codec.Flowtable{
      family: Wire.family_num(family),
      table: ft.table,
      name: ft.name,
      hook: hook,
      flags: given(ft.flags)
    })
  end

  @doc "DELFLOWTABLE by name."
  @spec delete_flowtable(Table.family(), String.t(), String.t()) :: Message.t()
  def delete_flowtable(family, table_name, name) do
    message(nft_msg_delflowtable(), 0, %Codec.Flowtable{
      family: Wire.family_num(family),
      table: table_name,
      name: name
    })
  end

  # -- whole rulesets ----------------------------------------------------------------------------

  @doc """
  The messages of a replacing push: for each table DESTROYTABLE, NEWTABLE, objects, flowtables,
  sets, chains, set elements, rules.

  Option `destroy: :delete` writes NEWTABLE and DELTABLE in the place of DESTROYTABLE, for kernels
  before 6.3. Raises `ArgumentError` for a value without a form on the wire.
  """
  @spec to_batch(Ruleset.t(), keyword()) :: [Message.t()]
  def to_batch(%Ruleset{} = ruleset, opts \\ []), do: messages!(Batch.frames(ruleset, opts))

  defp messages!({:ok, frames}), do: Frames.messages(frames)

  defp messages!({:error, {_kind, {at, text}}}),
    do: raise(ArgumentError, "#{inspect(at)}: #{text}")

  @doc """
  The messages that carry out a patch, in its order.

  Raises `ArgumentError` for an op that has no form on the wire, such as elements of a set that
  neither the patch's `sets` nor one of its ops declares.
  """
  @spec from_patch(Patch.t()) :: [Message.t()]
  def from_patch(%Patch{} = patch), do: messages!(Patches.frames(patch))
end
