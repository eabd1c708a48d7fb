defmodule Linx.NFT.Compiler.Objects do
  @moduledoc false
  # Named objects and flowtables to their value structs.

  alias Linx.Netfilter.{Flowtable, Object}
  alias Linx.NFT.Compiler.{Chains, Elements, Fault, Reason, Stateful, Tunnel, Value}
  alias Linx.NFT.ParseError
  alias Linx.NFT.Statement.Synproxy

  @doc false
  def object(kind, name, opts, meta, scope) do
    comment = Value.comment_of(opts[:comment], scope)

    case Object.new(
           kind,
           name,
           data(kind, opts, meta, scope),
           if(comment, do: [comment: comment], else: [])
         ) do
      {:ok, object} -> object
      {:error, reason} -> Fault.fail(meta, Reason.text(reason))
    end
  end

  defp data(:counter, opts, meta, scope),
    do: %{
      packets: count(opts, :packets, 0, meta, scope),
      bytes: count(opts, :bytes, 0, meta, scope)
    }

  defp data(:quota, opts, meta, scope) do
    %{bytes: count(opts, :bytes, nil, meta, scope) || missing("a number of bytes", meta)}
    |> put(:used, count(opts, :used, nil, meta, scope))
    |> put(:flags, if(opts[:over], do: [:inv]))
  end

  defp data(:limit, opts, meta, scope) do
    {rate, unit, type} = opts[:rate] || missing("rate N/UNIT", meta)
    rate = Value.count_of(rate, meta, scope)
    burst = Stateful.burst(opts[:burst], type, rate, scope, meta)

    %{rate: rate, unit: unit, burst: burst, type: type}
    |> put(:flags, if(opts[:over], do: [:inv]))
  end

  defp data(:ct_helper, opts, meta, scope) do
    %{
      type: helper(opts[:type] || missing("type NAME protocol PROTOCOL", meta), meta, scope),
      protocol: opts[:protocol],
      l3proto: opts[:l3proto] || scope.family
    }
  end

  defp data(:ct_timeout, opts, meta, scope) do
    protocol = opts[:protocol] || missing("protocol", meta)
    policy = Map.new(opts[:policy] || [], &state(&1, protocol, scope))
    %{protocol: protocol, l3proto: opts[:l3proto] || scope.family, policy: policy}
  end

  defp data(:ct_expectation, opts, meta, scope) do
    %{
      protocol: opts[:protocol] || missing("protocol", meta),
      dport: number(opts, :dport, nil, scope) || missing("dport", meta),
      timeout: Elements.duration(opts[:timeout], scope) || missing("timeout", meta),
      size: number(opts, :size, nil, scope) || missing("size", meta),
      l3proto: opts[:l3proto] || scope.family
    }
  end

  defp data(:secmark, opts, meta, scope),
    do: %{context: Value.text_of(opts[:context] || missing("a context", meta), scope)}

  defp data(:synproxy, opts, meta, scope),
    do:
      for(
        {key, value} <- Synproxy.data(opts, meta, scope),
        value not in [nil, []],
        into: %{},
        do: {key, value}
      )

  defp data(:tunnel, opts, meta, scope), do: Tunnel.data(opts, meta, scope)

  # NF_CT_HELPER_NAME_LEN is 16 with the terminating NUL.
  defp helper(node, meta, scope) do
    case Value.text_of(node, scope) do
      name when byte_size(name) in 1..15 -> name
      _ -> Fault.fail(Fault.meta(node, meta), "the name of a helper has 1 to 15 bytes")
    end
  end

  @states %{
    tcp:
      ~w(syn_sent syn_recv established fin_wait close_wait last_ack time_wait close syn_sent2 retrans unack),
    udp: ~w(unreplied replied)
  }
  @state_atoms Map.new(List.flatten(Map.values(@states)), &{&1, String.to_atom(&1)})

  defp state({name, ms, meta}, protocol, scope) do
    known =
      Map.get(@states, protocol) || Fault.fail(meta, "only tcp and udp have timeouts by state")

    if name in known,
      do: {Map.fetch!(@state_atoms, name), div(Elements.duration(ms, scope), 1000)},
      else:
        Fault.fail(
          meta,
          "#{name} is no state of #{protocol}#{ParseError.suggestion(name, known)}"
        )
  end

  @doc false
  def flowtable(name, opts, meta, scope) do
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

  defp number(opts, key, default, scope),
    do: if(opts[key] == nil, do: default, else: Value.number_of(opts[key], scope))

  defp count(opts, key, default, meta, scope),
    do: if(opts[key] == nil, do: default, else: Value.count_of(opts[key], meta, scope))

  defp put(map, _key, nil), do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  @spec missing(String.t(), map()) :: no_return()
  defp missing(what, meta), do: Fault.fail(meta, "expected #{what}")
end
