defmodule Linx.NFT.Compiler.Redeclared do
  @moduledoc false
  # A chain that a text declares a second time. The second declaration may add rules and give a base chain its policy; a hook that differs
  # from the first is refused with both places, since one of the two hooks would go unfiltered.

  alias Linx.NFT.Compiler.{Chains, Fault, Include}

  @compared [
    type: "type",
    hook: "hook",
    priority: "priority",
    device: "device",
    devices: "devices",
    flags: "flags",
    policy: "policy"
  ]

  @doc false
  # `first` and `second` are `%{opts:, meta:, scope:}` of one name.
  @spec chain(String.t(), map(), map()) :: map()
  def chain(name, first, second) do
    case {base?(first.opts), base?(second.opts)} do
      {_any, false} ->
        # The kernel keeps the comment that a chain was created with.
        %{first | opts: merged(first.opts, List.keydelete(second.opts, :comment, 0))}

      {false, true} ->
        fail(name, first, second, "has no hook there and one here")

      {true, true} ->
        same!(name, first, second)
        policy = Enum.filter(second.opts, &(elem(&1, 0) == :policy))
        %{first | opts: merged(first.opts, policy)}
    end
  end

  defp base?(opts), do: List.keymember?(opts, :base, 0)

  defp merged(old, new),
    do: Enum.reject(old, &List.keymember?(new, elem(&1, 0), 0)) ++ new

  defp same!(name, first, second) do
    there = options(first)
    here = options(second)

    for {key, word} <- @compared,
        key != :policy or (there[key] != nil and here[key] != nil),
        sorted(there[key]) != sorted(here[key]) do
      fail(name, first, second, "has #{word} #{said(there[key])} there, #{said(here[key])} here")
    end
  end

  defp options(chain),
    do:
      Include.at(chain.scope.origin, fn -> Chains.options(chain.opts, chain.meta, chain.scope) end)

  defp sorted(list) when is_list(list), do: Enum.sort(list)
  defp sorted(other), do: other

  defp said(nil), do: "none"
  defp said(list) when is_list(list), do: Enum.map_join(list, ", ", &to_string/1)
  defp said(value), do: to_string(value)

  @spec fail(String.t(), map(), map(), String.t()) :: no_return()
  defp fail(name, first, second, what) do
    Fault.fail(
      second.meta,
      "chain #{name} is declared already at #{place(first)}: it #{what}"
    )
  end

  defp place(%{scope: %{origin: {file, _source}}, meta: meta}), do: place(file, meta)
  defp place(%{scope: %{file: file}, meta: meta}), do: place(file, meta)
  defp place(file, meta), do: "#{file}:#{meta.line}:#{meta.column}"
end
