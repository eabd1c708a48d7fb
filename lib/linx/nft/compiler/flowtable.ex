defmodule Linx.NFT.Compiler.Flowtable do
  @moduledoc false
  # A flowtable's declaration to its value.

  alias Linx.Netfilter.Flowtable
  alias Linx.NFT.Compiler.{Chains, Fault, Reason}

  @doc false
  def value(name, opts, meta, scope) do
    base =
      Enum.find_value(opts, [], fn entry -> if elem(entry, 0) == :base, do: elem(entry, 1) end)

    hook = Enum.find_value(base, fn entry -> if elem(entry, 0) == :hook, do: elem(entry, 1) end)
    if hook not in [nil, "ingress"], do: Fault.fail(meta, "a flowtable works at the ingress hook")

    priority =
      Enum.find_value(base, fn entry -> if elem(entry, 0) == :priority, do: elem(entry, 1) end)

    flags = for {:flag, flag} <- opts, do: flag

    fields =
      [
        hook: :ingress,
        priority: Chains.priority(priority || 0, :ingress, meta, scope),
        devices: Chains.devices(opts[:devices] || [], scope),
        flags: flags
      ]

    case Flowtable.new(name, fields) do
      {:ok, flowtable} -> flowtable
      {:error, reason} -> Fault.fail(meta, Reason.text(reason))
    end
  end
end
