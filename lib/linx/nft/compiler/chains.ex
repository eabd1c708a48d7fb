defmodule Linx.NFT.Compiler.Chains do
  @moduledoc false
  # Chains and their rules to value structs.

  alias Linx.Netfilter.{Chain, Dependencies, Name, Rule}
  alias Linx.Netfilter.Dependencies.Join
  alias Linx.NFT.Compiler.{Fault, Interpolated, Reason, Redeclared, Scope, Statement, Value}
  alias Linx.NFT.ParseError

  @types %{"filter" => :filter, "nat" => :nat, "route" => :route}
  @hooks Map.new(
           ~w(prerouting input forward output postrouting ingress egress)a,
           &{Atom.to_string(&1), &1}
         )

  # Source: nft(8), "CHAINS", the tables of priority names; the hooks of dstnat and srcnat as nft
  # 1.1 takes and lists them (older ones have prerouting and postrouting alone).
  @priorities %{
    "raw" => -300,
    "mangle" => -150,
    "dstnat" => -100,
    "filter" => 0,
    "security" => 50,
    "srcnat" => 100
  }
  @priority_hooks %{"dstnat" => [:prerouting, :output], "srcnat" => [:postrouting, :input]}
  @bridge_priorities %{"dstnat" => -300, "filter" => -200, "out" => 100, "srcnat" => 300}
  @bridge_priority_hooks %{
    "dstnat" => [:prerouting],
    "out" => [:output],
    "srcnat" => [:postrouting]
  }

  @doc false
  # The options of Chain.new/2 that the head of a chain gives.
  def options(opts, meta, scope) do
    Redeclared.once!(opts, meta)
    base = List.keyfind(opts, :base, 0)
    extra = for entry <- opts, option <- List.wrap(extra(entry, scope)), do: option

    if base == nil and Keyword.has_key?(extra, :policy),
      do: Fault.fail(meta, "only a chain with type and hook has a policy")

    if(base, do: base(base, scope), else: []) ++ extra
  end

  defp base({:base, {type, entries}, meta}, scope) do
    {:hook, hook, hook_meta} = Enum.find(entries, &(elem(&1, 0) == :hook))
    hook = known(@hooks, text(hook, scope), "hook", Fault.meta(hook, hook_meta))

    priority =
      Enum.find(entries, &(elem(&1, 0) == :priority)) ||
        Fault.fail(meta, "a chain at a hook needs a priority")

    {:priority, value, priority_meta} = priority
    device = for {:device, name} <- entries, name <- device(name, scope), do: name
    devices = for {:devices, list} <- entries, name <- devices(list, scope), do: name

    [
      type: known(@types, type, "chain type", meta),
      hook: hook,
      priority: priority(value, hook, priority_meta, scope)
    ] ++ device_option(device ++ devices)
  end

  defp device_option([]), do: []
  defp device_option([device]), do: [device: device]
  defp device_option(devices), do: [devices: devices]

  defp extra({:policy, policy, _}, _scope) when is_atom(policy), do: {:policy, policy}

  defp extra({:policy, node, meta}, scope),
    do:
      {:policy,
       known(
         %{"accept" => :accept, "drop" => :drop},
         Value.text_of(node, scope),
         "policy",
         Fault.meta(node, meta)
       )}

  defp extra({:flags, flags, _}, _scope), do: {:flags, flags}
  defp extra({:comment, text, _}, scope), do: {:comment, Value.comment_of(text, scope)}
  defp extra({:devices, list, _}, scope), do: device_option(devices(list, scope))
  defp extra(_entry, _scope), do: []

  defp text(word, scope), do: Value.text_of(word, scope)

  @doc false
  def devices(list, scope) when is_list(list), do: Enum.flat_map(list, &device(&1, scope))
  def devices(node, scope), do: device(node, scope)

  # A variable may hold one device or a set of them.
  defp device(name, _scope) when is_binary(name), do: [name]

  defp device({:elixir_value, value, meta}, _scope) do
    for name <- List.wrap(value) do
      name = Interpolated.text!(name)

      case Name.check_device(name) do
        :ok -> name
        {:error, reason} -> Fault.fail(meta, Reason.text(reason))
      end
    end
  end

  defp device({:variable, _, _} = node, scope), do: scope |> Scope.resolve(node) |> device(scope)
  defp device({:set_inline, nodes, _}, scope), do: Enum.flat_map(nodes, &device(&1, scope))
  defp device({:list, nodes, _}, scope), do: Enum.flat_map(nodes, &device(&1, scope))
  defp device({kind, text, _}, _scope) when kind in [:string, :identifier], do: [text]
  defp device(node, _scope), do: Fault.fail(node, "expected the name of a device")

  defp known(table, word, what, meta) do
    case Map.fetch(table, word) do
      {:ok, value} ->
        value

      :error ->
        Fault.fail(meta, "unknown #{what} #{word}#{ParseError.suggestion(word, Map.keys(table))}")
    end
  end

  @doc false
  # A priority as the kernel's number, a signed one of 32 bits.
  def priority(node, hook, meta, scope) do
    case number(node, hook, meta, scope) do
      n when n in -0x80000000..0x7FFFFFFF ->
        n

      n ->
        Fault.fail(
          Fault.meta(node, meta),
          "a priority is -2147483648 to 2147483647, not #{n}"
        )
    end
  end

  defp number(n, _hook, _meta, _scope) when is_integer(n), do: n

  defp number({name, offset, meta}, hook, _meta, scope) when is_binary(name),
    do: named(name, hook, meta, scope) + offset

  defp number({:plus, node, offset}, hook, meta, scope),
    do: number(node, hook, meta, scope) + offset

  defp number({:variable, _, meta} = node, hook, _meta, scope),
    do: scope |> Scope.resolve(node) |> number(hook, meta, scope)

  defp number({:integer, n, _}, _hook, _meta, _scope), do: n

  defp number({kind, name, meta}, hook, _meta, scope) when kind in [:identifier, :string],
    do: named(name, hook, meta, scope)

  defp number({:elixir_value, n, _}, _hook, _meta, _scope) when is_integer(n), do: n

  defp number({:elixir_value, value, meta}, hook, _meta, scope),
    do: named(Interpolated.text!(value), hook, meta, scope)

  defp number(_node, _hook, meta, _scope),
    do: Fault.fail(meta, "expected a priority: a number or a name")

  defp named(name, hook, meta, %{family: :bridge}),
    do: named(name, hook, meta, @bridge_priorities, @bridge_priority_hooks)

  defp named(name, hook, meta, %{family: family}) when family in [:arp, :netdev],
    do: named(name, hook, meta, %{"filter" => 0}, %{})

  defp named(name, hook, meta, _scope),
    do: named(name, hook, meta, @priorities, @priority_hooks)

  defp named(name, hook, meta, priorities, hooks) do
    priority = known(priorities, name, "priority", meta)

    if hooks[name] && hook not in hooks[name],
      do: Fault.fail(meta, "priority #{name} does not exist at hook #{hook}")

    priority
  end

  # -- rules -------------------------------------------------------------------------------------

  @doc false
  def rule({:rule, statements, opts, meta}, chain, scope) do
    terminal!(statements)

    {segments, scope} =
      Enum.flat_map_reduce(statements, Scope.rule(scope), &Statement.statement/2)

    exprs = joined(segments, scope)
    comment = Value.comment_of(opts[:comment], scope)

    case Rule.build(
           exprs,
           if(comment, do: [chain: chain, comment: comment], else: [chain: chain])
         ) do
      {:ok, rule} -> rule
      {:error, reason} -> Fault.fail(meta, Reason.text(reason))
    end
  end

  @doc false
  # The expressions of all statements' segments; `scope` is as the last has left it.
  def joined(segments, scope) do
    (scope.head ++ segments)
    |> Join.join(:all)
    |> Enum.flat_map(fn
      {:fixed, segment} -> segment
      segment -> segment
    end)
    |> Dependencies.fold(scope.family)
  end

  # Nothing can come after a verdict that ends the rule.
  defp terminal!([statement, next | rest]) do
    if terminal?(statement),
      do: Fault.fail(next, "nothing is reached after the statement before: it ends the rule"),
      else: terminal!([next | rest])
  end

  defp terminal!(_last), do: :ok

  defp terminal?({:verdict, kind, _}), do: kind != :continue
  defp terminal?({:reject, _, _}), do: true
  defp terminal?({:nat, _, _, _, _}), do: true
  defp terminal?(_statement), do: false

  @doc false
  def chain(name, opts, rules, meta) do
    case Chain.new(name, opts ++ [rules: rules]) do
      {:ok, chain} ->
        chain

      {:error, reason} ->
        Fault.fail(meta, Reason.text(reason))
    end
  end
end
