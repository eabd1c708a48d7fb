defmodule Linx.Netfilter.Decoder do
  @moduledoc """
  nf_tables messages to values: what a dump or the event stream brings.

  There is a function per entity, which takes a message's payload (the nfgenmsg header and the
  attributes), and `from_msgs/5`, which puts the pieces of a ruleset together. What
  `Linx.Netfilter.Encoder` adds is folded away again: implicit dependencies, interval end points,
  anonymous sets.

  Every function is total: an attribute that is missing, short or unknown leaves its field nil, an
  unknown expression is kept as bytes. A newer kernel's ruleset is read as far as it is
  understood, and nothing raises.

      iex> alias Linx.Netfilter.{Decoder, Encoder, Table}
      iex> Decoder.table(Encoder.table(Table.new!(:ip6, "t")).payload).family
      :ip6

  Source: include/uapi/linux/netfilter/nf_tables.h.
  """

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{
    Chain,
    Codec,
    Decoder,
    Event,
    Flowtable,
    Object,
    Rule,
    Ruleset,
    Set,
    Table
  }

  alias Linx.Netfilter.Wire
  alias Linx.Netfilter.Decoder.{Assembly, Elements, Expressions}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Wire.{Constants, Reader}
  alias Linx.Netlink.Message
  alias Linx.Netlink.Nfnl.Generation

  @doc "The table in a NEWTABLE payload."
  @spec table(binary()) :: Table.t()
  def table(body) do
    table = Codec.Table.decode(body)

    %Table{
      family: family(body, table.family),
      name: table.name || "",
      flags: table.flags || [],
      use_count: table.use_count,
      handle: table.handle,
      owner: table.owner,
      comment: table.comment
    }
  end

  # A payload that ends before its nfgenmsg has no family; 0 would be one.
  defp family(body, n),
    do: if(byte_size(body) < 4, do: :unknown, else: Wire.family_atom(n))

  @doc """
  The family and chain in a NEWCHAIN payload; the chain's rules come in messages of their own.
  """
  @spec chain(binary()) :: {Table.family(), Chain.t()}
  def chain(body) do
    read = Codec.Chain.decode(body)
    family = family(body, read.family)

    chain = %Chain{
      name: read.name || "",
      table: read.table || "",
      handle: read.handle,
      flags: (read.flags || []) -- [:base],
      comment: read.comment
    }

    {family,
     if(read.hook in [nil, %Codec.Chain.Hook{}], do: chain, else: hooked(chain, family, read))}
  end

  defp hooked(chain, family, %Codec.Chain{hook: hook} = read) do
    devices = hook.devices || []

    %{
      chain
      | type: Wire.chain_type_atom(read.type || ""),
        hook: Wire.hook_atom(family, hook.hooknum || 0),
        priority: hook.priority,
        policy: if(is_atom(read.policy), do: read.policy),
        device: hook.device || if(match?([_], devices), do: hd(devices)),
        devices: if(match?([_], devices), do: [], else: devices)
    }
  end

  @doc """
  Family, table, chain and the rule in a NEWRULE payload, with the implicit dependencies folded.
  """
  @spec rule(binary()) :: {Table.family(), String.t(), String.t(), Rule.t()}
  def rule(body), do: Decoder.Rule.rule(body)

  @doc "The family and the set or map in a NEWSET payload, without elements."
  @spec set(binary()) :: {Table.family(), Set.t() | NMap.t()}
  def set(body), do: Decoder.Set.declaration(body)

  @doc """
  Family, table, set name and the elements in a NEWSETELEM payload: keys as bytes, or
  `{key, data}` in a map, with data as bytes, a `%Linx.Netfilter.Verdict{}` or the name of an
  object. An element that carries more is `{:raw, map}`. `materialize_elements/3` makes values of
  them.
  """
  @spec set_elements(binary()) ::
          {Table.family(), String.t(), String.t(), [{term(), term()} | binary()]}
  def set_elements(body) do
    {family, attrs} = Reader.message(body)

    {family, Reader.name(attrs[nfta_set_elem_list_table()]),
     Reader.name(attrs[nfta_set_elem_list_set()]),
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
    read = Codec.Object.decode(body)
    kind = read.kind || 0

    {family(body, read.family),
     %Object{
       kind: kind,
       name: read.name || "",
       table: read.table || "",
       handle: read.handle,
       comment: read.comment,
       data: data(kind, read.data || <<>>)
     }}
  end

  defp data(:quota, bytes) do
    {used, data} = Map.pop(Expressions.data(:quota, bytes), :consumed, 0)
    Map.put(data, :used, used)
  end

  defp data(:counter, bytes),
    do: Map.merge(%{packets: 0, bytes: 0}, Expressions.data(:counter, bytes))

  defp data(kind, bytes) when kind in [:limit, :connlimit, :synproxy],
    do: Expressions.data(kind, bytes)

  defp data(kind, bytes) do
    case Codec.Object.codec(kind) do
      nil -> {:raw, :binary.copy(bytes)}
      codec -> codec.decode(bytes)
    end
  end

  @doc "The family and the flowtable in a NEWFLOWTABLE payload."
  @spec flowtable(binary()) :: {Table.family(), Flowtable.t()}
  def flowtable(body) do
    read = Codec.Flowtable.decode(body)
    hook = read.hook || %Codec.Flowtable.Hook{}

    {family(body, read.family),
     %Flowtable{
       name: read.name || "",
       table: read.table || "",
       handle: read.handle,
       hook: :ingress,
       priority: hook.priority,
       devices: hook.devices || [],
       flags: read.flags || []
     }}
  end

  @doc "Generation id and committer in a NEWGEN payload."
  @spec gen(binary()) :: %{
          id: non_neg_integer(),
          proc_pid: non_neg_integer() | nil,
          proc_name: String.t() | nil
        }
  def gen(body), do: Generation.read(body)

  # -- events ------------------------------------------------------------------------------------

  @doc """
  The event in a multicast message. Generation and committer are only in `:new_gen` events: the
  kernel sends that one last, and `Linx.Netfilter.Monitor` stamps the others with it. A message
  that is not understood is `{:unknown, type}` with its bytes.
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

  # -- rulesets ----------------------------------------------------------------------------------

  @doc """
  A ruleset from decoded pieces, as `table/1`, `chain/1`, `rule/1`, `set/1` and `set_elements/1`
  give them.

  Pieces whose parent is not among them are dropped: a dump of one type may be newer than that of
  another. Anonymous sets become part of the rules that look them up, and chains that belong to a
  rule part of its verdict.
  """
  @spec from_msgs(
          [Table.t()],
          [{Table.family(), Chain.t()}],
          [{Table.family(), String.t(), String.t(), Rule.t()}],
          [{Table.family(), Set.t() | NMap.t()}],
          [{Table.family(), String.t(), String.t(), [term()]}]
        ) :: Ruleset.t()
  def from_msgs(tables, chains, rules, sets \\ [], set_elements \\ []) do
    Assembly.ruleset(%{
      tables: tables,
      chains: chains,
      rules: rules,
      sets: sets,
      set_elements: set_elements,
      objects: [],
      flowtables: []
    })
  end
end
