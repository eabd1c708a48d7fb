defmodule Linx.NFT.Compiler.Redeclared do
  @moduledoc false
  # Chains, sets, maps, objects and flowtables that a text declares a second time, and options
  # that one block gives twice. The result is what the kernel has after both messages; what the
  # kernel would refuse is refused with both places.
  #
  # Source: net/netfilter/nf_tables_api.c: nf_tables_newchain, nf_tables_newset, nf_tables_newobj,
  # nf_tables_newflowtable.

  alias Linx.NFT.Compiler.{Chains, Declare, Fault, Flowtable, Include}
  alias Linx.NFT.Object

  @typep declaration :: %{opts: keyword(), meta: map(), scope: map()}

  # Options that may stand in a block several times. `type` and `typeof` exclude each other too:
  # Declare checks them.
  @repeatable [:stmt, :flags, :flag, :type, :typeof]

  @doc false
  # Refuses an option that stands twice in the block at `meta`. An option without a value
  # (`auto-merge`) may.
  @spec once!([tuple()], map()) :: :ok
  def once!([], _meta), do: :ok

  def once!([option | rest], meta) do
    key = elem(option, 0)
    second = (elem(option, 1) != true and key not in @repeatable) && List.keyfind(rest, key, 0)
    if second, do: twice(key, option, second, meta)
    once!(rest, meta)
  end

  @spec twice(atom(), tuple(), tuple(), map()) :: no_return()
  defp twice(key, first, second, meta) do
    there =
      case option_meta(first, nil) do
        nil -> ""
        first -> ": at #{first.line}:#{first.column} already"
      end

    Fault.fail(option_meta(second, meta), "the #{option_word(key)} is given twice#{there}")
  end

  defp option_meta(option, default) do
    case elem(option, tuple_size(option) - 1) do
      %{line: _} = meta -> meta
      value -> Fault.meta(value, default)
    end
  end

  defp option_word(:base), do: "hook"
  defp option_word(key) when key in [:elements, :devices], do: "list of #{key}"
  defp option_word(key) when key in [:packets, :bytes], do: "number of #{key}"
  defp option_word(key), do: key |> Atom.to_string() |> String.replace("_", "-")

  # -- chains ------------------------------------------------------------------------------------

  @chain_options [
    type: "type",
    hook: "hook",
    priority: "priority",
    device: "device",
    devices: "devices",
    flags: "flags",
    policy: "policy"
  ]

  @doc false
  # The second declaration may add rules and give a base chain its policy. Its hook must be the
  # first one's: of two hooks one would go unfiltered.
  @spec chain(String.t(), map(), declaration()) :: map()
  def chain(name, first, second) do
    case {base?(first.opts), base?(second.opts)} do
      {_any, false} ->
        # The kernel keeps the comment that a chain was created with.
        %{first | opts: merged(first.opts, List.keydelete(second.opts, :comment, 0))}

      {false, true} ->
        fail("chain", name, first, second, "has no hook there and one here")

      {true, true} ->
        {there, here} = {chain_options(first), chain_options(second)}
        one_policy? = there[:policy] == nil or here[:policy] == nil

        fields =
          if one_policy?, do: List.keydelete(@chain_options, :policy, 0), else: @chain_options

        same!(
          "chain",
          name,
          first,
          second,
          for({key, word} <- fields, do: {word, there[key], here[key]})
        )

        %{first | opts: merged(first.opts, Enum.filter(second.opts, &(elem(&1, 0) == :policy)))}
    end
  end

  defp base?(opts), do: List.keymember?(opts, :base, 0)

  defp merged(old, new),
    do: Enum.reject(old, &List.keymember?(new, elem(&1, 0), 0)) ++ new

  defp chain_options(chain),
    do: compiled(chain, fn -> Chains.options(chain.opts, chain.meta, chain.scope) end)

  # -- sets and maps -----------------------------------------------------------------------------

  @set_fields [
    key_type: "type",
    data_type: "values",
    flags: "flags",
    size: "size",
    timeout: "timeout",
    gc_interval: "gc-interval",
    policy: "policy",
    exprs: "statements"
  ]

  @doc false
  # The second declaration adds elements to the first and must be the same but for them and for
  # the comment.
  @spec set(String.t(), map(), map()) :: :ok
  def set(name, first, second) do
    first_place = %{meta: first.signature.meta, scope: first.scope}
    second_place = %{meta: second.signature.meta, scope: second.scope}

    {first_kind, there} =
      compiled(first, fn -> Declare.build(name, first.signature, [], first.scope) end)

    {second_kind, here} = Declare.build(name, second.signature, [], second.scope)

    same!(first_kind, name, first_place, second_place, [
      {"kind", first_kind, second_kind}
      | for({key, word} <- @set_fields, do: {word, Map.get(there, key), Map.get(here, key)})
    ])
  end

  # -- objects -----------------------------------------------------------------------------------

  # The kernel accepts a second declaration of a kind without an update and ignores it.
  @doc false
  @spec object(atom(), declaration(), declaration()) :: declaration()
  def object(kind, first, second) do
    case Object.kept(kind) do
      nil ->
        first

      kept ->
        opts = Enum.reject(second.opts, &(elem(&1, 0) in kept))
        %{second | opts: opts ++ Enum.filter(first.opts, &(elem(&1, 0) in kept))}
    end
  end

  # -- flowtables --------------------------------------------------------------------------------

  @doc false
  # The second declaration adds devices and says whether packets are counted. Hook, priority and
  # offload stay as they are.
  @spec flowtable(String.t(), declaration(), declaration()) :: declaration()
  def flowtable(name, first, second) do
    there = compiled(first, fn -> flowtable_value(name, first) end)
    here = compiled(second, fn -> flowtable_value(name, second) end)

    priority =
      if base?(second.opts), do: [{"priority", there.priority, here.priority}], else: []

    same!("flowtable", name, first, second, [
      {"flags", offload(there.flags), offload(here.flags)} | priority
    ])

    base = Enum.filter(first.opts, &(elem(&1, 0) == :base))
    flags = for flag <- here.flags, do: {:flag, flag}
    %{first | opts: base ++ flags ++ [devices: Enum.uniq(there.devices ++ here.devices)]}
  end

  defp flowtable_value(name, %{opts: opts, meta: meta, scope: scope}),
    do: Flowtable.value(name, opts, meta, scope)

  defp offload(flags), do: if(:hw_offload in flags, do: ["offload"], else: [])

  # -- both --------------------------------------------------------------------------------------

  # A fault of a declaration in an included file names that file.
  defp compiled(declaration, fun), do: Include.at(declaration.scope.origin, fun)

  # `fields` has `{word, there, here}`.
  defp same!(kind, name, first, second, fields) do
    for {word, there, here} <- fields, sorted(there) != sorted(here) do
      fail(kind, name, first, second, difference(word, there, here))
    end

    :ok
  end

  defp sorted(list) when is_list(list), do: Enum.sort(list)
  defp sorted(other), do: other

  defp difference("statements", _there, _here), do: "has other statements here"
  defp difference("kind", there, here), do: "is a #{there} there, a #{here} here"

  defp difference(word, there, here),
    do: "has #{word} #{said(there)} there, #{said(here)} here"

  defp said(nil), do: "none"
  defp said([]), do: "none"
  defp said(list) when is_list(list), do: Enum.map_join(list, ", ", &said/1)
  defp said({:concat, parts}), do: Enum.map_join(parts, " . ", &said/1)
  defp said({kind, value}), do: "#{said(kind)} #{said(value)}"

  defp said(value) when is_atom(value) or is_binary(value) or is_number(value),
    do: to_string(value)

  defp said(value), do: inspect(value)

  @spec fail(String.t() | atom(), String.t(), map(), map(), String.t()) :: no_return()
  defp fail(kind, name, first, second, what) do
    Fault.fail(second.meta, "#{kind} #{name} is declared already at #{place(first)}: it #{what}")
  end

  defp place(%{scope: %{origin: {file, _source}}, meta: meta}), do: place(file, meta)
  defp place(%{scope: %{file: file}, meta: meta}), do: place(file, meta)
  defp place(file, meta), do: "#{file}:#{meta.line}:#{meta.column}"
end
