defmodule Linx.NFT.Compiler.Tunnel do
  @moduledoc false
  # The data of a tunnel object.

  alias Linx.Netfilter.{Datum, TunnelOptions}
  alias Linx.NFT.Compiler.{Fault, Term, Value}

  @limits [id: 0xFFFFFFFF, sport: 0xFFFF, dport: 0xFFFF, tos: 0xFF, ttl: 0xFF]

  @doc false
  @spec data(keyword(), map(), struct()) :: map()
  def data(opts, meta, scope) do
    families = for {side, {family, _, _}} <- opts, side in [:src, :dst], uniq: true, do: family
    if match?([_, _ | _], families), do: Fault.fail(meta, "a tunnel is IPv4 or IPv6, not both")
    opts[:id] || Fault.fail(meta, "expected id")
    opts[:dst] || Fault.fail(meta, "expected ip daddr or ip6 daddr")

    numbers =
      for {key, most} <- @limits, node = opts[key], into: %{} do
        {key, number(node, most, key, meta, scope)}
      end

    addresses =
      for side <- [:src, :dst], node = opts[side], into: %{}, do: {side, address(node, scope)}

    Map.merge(numbers, addresses) |> put_options(opts[:options], meta, scope)
  end

  defp number(node, most, what, meta, scope) do
    n = Value.number_of(node, scope)
    if n in 0..most, do: n, else: Fault.fail(meta, "#{what} must be 0 to #{most}, not #{n}")
  end

  defp address({family, node, meta}, scope) do
    {type, len} = if family == :ip, do: {:ipv4_addr, 32}, else: {:ipv6_addr, 128}

    case Value.constant(node, %Term{kind: :const, type: type, len: len, order: :big}, scope) do
      %Term{kind: :const, data: n} -> Datum.from_bytes(type, <<n::size(len)>>)
      _ -> Fault.fail(meta, "expected one address")
    end
  end

  defp put_options(data, nil, _meta, _scope), do: data

  defp put_options(data, options, meta, scope),
    do: Map.put(data, :opts, options |> options(meta, scope) |> TunnelOptions.encode())

  defp options({:vxlan, [gbp: n]}, meta, scope),
    do: {:vxlan, gbp: number(n, 0xFFFFFFFF, "gbp", meta, scope)}

  defp options({:erspan, opts, at}, _meta, scope) do
    case Value.number_of(opts[:version] || Fault.fail(at, "expected version"), scope) do
      1 ->
        index = opts[:index] || Fault.fail(at, "version 1 needs index")
        {:erspan, version: 1, index: number(index, 0xFFFFFFFF, "index", at, scope)}

      2 ->
        direction = opts[:direction] || Fault.fail(at, "version 2 needs direction")
        id = opts[:id] || Fault.fail(at, "version 2 needs id")
        {:erspan, version: 2, direction: direction, id: number(id, 0xFF, "id", at, scope)}

      n ->
        Fault.fail(at, "there is no version #{n} of ERSPAN: 1 or 2")
    end
  end

  defp options({:geneve, options}, _meta, scope) do
    {:geneve,
     for {class, type, data, at} <- options do
       {number(class, 0xFFFF, "class", at, scope), number(type, 0xFF, "opt-type", at, scope),
        bytes(Value.text_of(data, scope), at)}
     end}
  end

  # The kernel takes up to 127 bytes, in words of four.
  defp bytes("0x" <> hex = text, meta) do
    with {:ok, bytes} when bytes != "" and byte_size(bytes) <= 124 <-
           Base.decode16(hex, case: :mixed),
         0 <- rem(byte_size(bytes), 4) do
      bytes
    else
      _ -> bad_bytes(text, meta)
    end
  end

  defp bytes(text, meta), do: bad_bytes(text, meta)

  @spec bad_bytes(String.t(), map()) :: no_return()
  defp bad_bytes(text, meta),
    do: Fault.fail(meta, "#{inspect(text)} is not hex digits of 4, 8, ... 124 bytes after 0x")
end
