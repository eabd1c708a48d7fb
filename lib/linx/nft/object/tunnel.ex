defmodule Linx.NFT.Object.Tunnel do
  @moduledoc false
  # `tunnel NAME { id N; ip saddr A; ip daddr A; sport N; dport N; tos N; ttl N; vxlan { gbp N }
  # }`, or `erspan`, or `geneve`.
  #
  # Source: net/netfilter/nft_tunnel.c.

  @behaviour Linx.NFT.Object

  import Linx.NFT.Parser.Tokens, except: [fail: 2, word: 2]

  alias Linx.Netfilter.{Datum, TunnelOptions}
  alias Linx.NFT.Compiler.{Fault, Term, Value}
  alias Linx.NFT.Formatter.Value, as: Text
  alias Linx.NFT.Object
  alias Linx.NFT.Parser.{Expression, Tokens}

  @numbers %{"id" => :id, "sport" => :sport, "dport" => :dport, "tos" => :tos, "ttl" => :ttl}
  @limits [id: 0xFFFFFFFF, sport: 0xFFFF, dport: 0xFFFF, tos: 0xFF, ttl: 0xFF]

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def words, do: ~w(id sport dport tos ttl ip ip6 vxlan erspan geneve)

  @impl true
  def option([{:identifier, word, _} | rest]) when is_map_key(@numbers, word) do
    {n, rest} = integer(rest)
    {{Map.fetch!(@numbers, word), n}, rest}
  end

  def option([{:identifier, family, meta}, {:identifier, side, _} | rest])
      when family in ["ip", "ip6"] and side in ["saddr", "daddr"] do
    {node, rest} = Expression.single(rest)
    {{if(side == "saddr", do: :src, else: :dst), {known(family), node, meta}}, rest}
  end

  def option([{:identifier, "vxlan", _}, {:lbrace, _} | rest]) do
    {gbp, rest} = rest |> skip_separators() |> Tokens.word("gbp") |> integer()
    {{:options, {:vxlan, [gbp: gbp]}}, close(rest)}
  end

  def option([{:identifier, "erspan", meta}, {:lbrace, _} | rest]) do
    {opts, rest} = erspan(skip_separators(rest), [])
    {{:options, {:erspan, opts, meta}}, rest}
  end

  def option([{:identifier, "geneve", _}, {:lbrace, _} | rest]) do
    {options, rest} = geneve(skip_separators(rest), [])
    {{:options, {:geneve, options}}, rest}
  end

  def option(_tokens), do: nil

  defp close(tokens), do: tokens |> skip_separators() |> expect(:rbrace)

  defp erspan([{:rbrace, _} | rest], opts), do: {opts, rest}

  defp erspan([{:identifier, "direction", _}, {:identifier, word, _} | rest], opts)
       when word in ["ingress", "egress"] do
    direction = if word == "ingress", do: :ingress, else: :egress
    erspan(skip_separators(rest), [{:direction, direction} | opts])
  end

  defp erspan([{:identifier, word, _} | rest], opts) when word in ["version", "index", "id"] do
    key = Map.fetch!(%{"version" => :version, "index" => :index, "id" => :id}, word)
    {n, rest} = integer(rest)
    erspan(skip_separators(rest), [{key, n} | opts])
  end

  defp erspan(tokens, _opts),
    do: unexpected(tokens, "version, index, direction or id", ~w(version index direction id))

  defp geneve([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp geneve([{:identifier, "class", meta} | rest], acc) do
    {class, rest} = integer(rest)
    {type, rest} = rest |> Tokens.word("opt-type") |> integer()
    {data, rest} = rest |> Tokens.word("data") |> string("bytes such as \"0x1234\"")
    geneve(skip_separators(rest), [{class, type, data, meta} | acc])
  end

  defp geneve(tokens, _acc),
    do: unexpected(tokens, "class N opt-type N data \"0x...\"", ["class"])

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def data(opts, meta, scope) do
    families = for {side, {family, _, _}} <- opts, side in [:src, :dst], uniq: true, do: family
    if match?([_, _ | _], families), do: Fault.fail(meta, "a tunnel is IPv4 or IPv6, not both")
    Object.required(opts[:id], "id", meta)
    Object.required(opts[:dst], "ip daddr or ip6 daddr", meta)

    numbers =
      for {key, most} <- @limits, node = opts[key], into: %{} do
        {key, Value.number_within(node, most, key, meta, scope)}
      end

    addresses =
      for side <- [:src, :dst], node = opts[side], into: %{}, do: {side, address(node, scope)}

    Map.merge(numbers, addresses) |> put_options(opts[:options], meta, scope)
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
    do: {:vxlan, gbp: Value.number_within(n, 0xFFFFFFFF, "gbp", meta, scope)}

  defp options({:erspan, opts, at}, _meta, scope) do
    case Value.number_of(opts[:version] || Fault.fail(at, "expected version"), scope) do
      1 ->
        index = opts[:index] || Fault.fail(at, "version 1 needs index")
        {:erspan, version: 1, index: Value.number_within(index, 0xFFFFFFFF, "index", at, scope)}

      2 ->
        direction = opts[:direction] || Fault.fail(at, "version 2 needs direction")
        id = opts[:id] || Fault.fail(at, "version 2 needs id")

        {:erspan,
         version: 2, direction: direction, id: Value.number_within(id, 0xFF, "id", at, scope)}

      n ->
        Fault.fail(at, "there is no version #{n} of ERSPAN: 1 or 2")
    end
  end

  defp options({:geneve, options}, _meta, scope) do
    {:geneve,
     for {class, type, data, at} <- options do
       {Value.number_within(class, 0xFFFF, "class", at, scope),
        Value.number_within(type, 0xFF, "opt-type", at, scope),
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

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def lines(data) do
    Object.line("id", Map.fetch!(data, :id)) ++
      side("saddr ", data[:src]) ++
      side("daddr ", data[:dst]) ++
      Enum.flat_map([:sport, :dport, :tos, :ttl], &Object.line(to_string(&1), data[&1])) ++
      if(data[:opts], do: written(TunnelOptions.decode(data.opts)), else: [])
  end

  defp side(_word, nil), do: []

  defp side(word, address) when tuple_size(address) == 4,
    do: [["ip ", word, Text.address(Datum.to_bytes(:ipv4_addr, address))]]

  defp side(word, address),
    do: [["ip6 ", word, Text.address(Datum.to_bytes(:ipv6_addr, address))]]

  defp written({:vxlan, opts}), do: written("vxlan", Object.line("gbp", opts[:gbp]))

  defp written({:erspan, opts}),
    do: written("erspan", for({key, value} <- opts, do: [to_string(key), " ", word(value)]))

  defp written({:geneve, options}) do
    written(
      "geneve",
      for {class, type, data} <- options do
        hex = Base.encode16(data, case: :lower)
        ["class ", word(class), " opt-type ", word(type), " data \"0x", hex, "\""]
      end
    )
  end

  defp written(word, lines), do: [[word, " {"] | Enum.map(lines, &["  ", &1])] ++ ["}"]

  defp word(value), do: Linx.NFT.Formatter.Text.word(value)

  @impl true
  def kept, do: nil
end
