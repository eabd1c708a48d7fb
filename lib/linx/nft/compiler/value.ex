defmodule Linx.NFT.Compiler.Value do
  @moduledoc false
  # Constants: a node of the tree and the type that is expected of it, to a typed term.

  alias Linx.Netfilter.Datatype
  alias Linx.NFT.Compiler.{Fault, HostNames, Interpolated, Scope, Symbol, Term}
  alias Linx.NFT.ParseError
  alias Linx.NFT.Parser.Tokens

  @doc false
  # `like` is the term it is compared with or assigned to: it gives type, length and order.
  @spec constant(tuple(), Term.t(), Scope.t() | nil) :: Term.t()
  def constant(node, like, scope)

  def constant({:variable, _, _} = node, like, scope),
    do: scope |> Scope.resolve(node) |> constant(like, scope)

  def constant({:elixir_value, value, meta}, like, scope),
    do: value |> Interpolated.node(like, meta) |> constant(like, scope)

  def constant({:integer, n, meta}, like, _scope), do: number(n, like, meta)
  def constant({:address, kind, raw, meta}, like, _scope), do: address(kind, raw, like, meta)

  # Two hexadecimal numbers around a colon are a string to nft's scanner: a handle, or an hour
  # such as 18:00.
  def constant({:classid, raw, meta}, %Term{type: type} = like, _scope)
      when type in [:classid, :hour, :ifname, :string],
      do: text(raw, like, meta)

  def constant({:classid, raw, meta}, like, _scope), do: mismatch(raw, like, meta)

  def constant({:string, text, meta}, like, _scope), do: text(text, like, meta)
  def constant({:identifier, text, meta}, like, _scope), do: text(text, like, meta)

  def constant({:range, low, high, meta}, like, scope) do
    low = constant(low, like, scope)
    high = constant(high, like, scope)
    Enum.each([low, high], &indexed!/1)

    cond do
      low.kind != :const or high.kind != :const ->
        Fault.fail(meta, "the ends of a range must be single values")

      is_integer(low.data) and is_integer(high.data) and low.data > high.data ->
        Fault.fail(meta, "the range ends before it begins")

      true ->
        %{like | kind: :range, data: {low, high}, shift: 0, meta: meta}
    end
  end

  def constant({:prefix, base, bits, meta}, like, scope) do
    place = Fault.meta(bits, meta)
    bits = number_of(bits, scope)
    base = constant(base, like, scope)
    if base.kind != :const, do: Fault.fail(meta, "a prefix needs one value before the /")
    %{prefix(base, bits, like, place) | meta: meta}
  end

  def constant({:list, values, meta}, like, scope) do
    unless Datatype.bitmask?(like.type),
      do: Fault.fail(meta, "a list without braces needs flags; use { ... } for #{describe(like)}")

    values
    |> Enum.map(&constant(&1, like, scope))
    |> Enum.reduce(fn a, b -> combine(:pipe, a, b, like, meta) end)
  end

  def constant({:binop, op, left, right, meta}, like, scope) do
    left = constant(left, like, scope)

    right =
      if op in [:lshift, :rshift],
        do: constant(right, %{like | type: :integer}, scope),
        else: constant(right, like, scope)

    combine(op, left, right, like, meta)
  end

  def constant({:concat, nodes, meta}, %Term{kind: :concat, data: parts} = like, scope) do
    if length(nodes) != length(parts),
      do: Fault.fail(meta, "expected #{length(parts)} parts joined by '.', got #{length(nodes)}")

    %Term{
      like
      | kind: :concat,
        data: Enum.zip_with(nodes, parts, &constant(&1, &2, scope)),
        meta: meta
    }
  end

  def constant({:concat, nodes, meta}, like, _scope) do
    # 300.0.0.1 and 10.0.0 are numbers with dots between them.
    if Enum.all?(nodes, &match?({:integer, _, _}, &1)),
      do: mismatch(Enum.map_join(nodes, ".", &elem(&1, 1)), like, meta),
      else: Fault.fail(meta, "expected #{describe(like)}, not a concatenation")
  end

  def constant({:wildcard, meta}, like, _scope),
    do: %{like | kind: :wildcard, data: nil, meta: meta}

  def constant({:element, _, _, meta}, _like, _scope),
    do: Fault.fail(meta, "an option of an element does not fit here")

  def constant({:set_inline, _, meta}, _like, _scope),
    do: Fault.fail(meta, "a set does not fit here")

  def constant({:set_ref, _, meta}, _like, _scope),
    do: Fault.fail(meta, "a set does not fit here")

  def constant(node, like, _scope) do
    # A word such as "mark" or "time" begins an expression and names a value too.
    case word(node) do
      nil -> Fault.fail(node, "expected #{describe(like)}, a constant")
      text -> text(text, like, Fault.meta(node))
    end
  end

  @doc false
  # The index behind the name of an interface is found when the ruleset is pushed: only == and !=
  # and an element of a set wait for it.
  def indexed!(%Term{data: {:iface, name}, meta: meta}),
    do: Fault.fail(meta, "the index of #{name} is not known here: compare with ==, != or a set")

  def indexed!(_term), do: :ok

  defp word({:meta, key, _}) when key in [:mark], do: Atom.to_string(key)
  defp word(_node), do: nil

  @doc false
  # An integer of the tree that is no typed value: a length, a modulus.
  def number_of(n, _scope) when is_integer(n), do: n

  def number_of({:variable, _, meta} = node, scope) do
    case Scope.resolve(scope, node) do
      {:integer, n, _} -> n
      _ -> Fault.fail(meta, "expected a number")
    end
  end

  # A variable in kilobytes or megabytes.
  def number_of({:scaled, {node, factor}, _meta}, scope), do: factor * number_of(node, scope)

  def number_of({:elixir_value, {value, factor}, meta}, scope) when is_integer(factor),
    do: number_of({:elixir_value, value, meta}, scope) * factor

  def number_of({:elixir_value, value, _}, _scope), do: Interpolated.integer!(value)
  def number_of({:integer, n, _}, _scope), do: n
  def number_of(node, _scope), do: Fault.fail(node, "expected a number")

  @doc false
  # As `number_of/2` for what the kernel counts in 64 bits.
  def count_of(node, meta, scope) do
    n = number_of(node, scope)
    meta = Fault.meta(node, meta)
    if n < 0, do: Fault.fail(meta, "a count is 0 or more, not #{n}")

    if n > 0xFFFFFFFFFFFFFFFF,
      do: Fault.fail(meta, "a count has 64 bits, not as many as #{n} needs")

    n
  end

  @doc false
  # As `number_of/2` for an option called `what`, which is 0 to `most`; nil for one that is not
  # given. `meta` is the statement's place.
  def number_within(nil, _most, _what, _meta, _scope), do: nil

  def number_within(node, most, what, meta, scope) do
    n = number_of(node, scope)
    meta = Fault.meta(node, meta)
    if n in 0..most, do: n, else: Fault.fail(meta, "#{what} must be 0 to #{most}, not #{n}")
  end

  @doc false
  def text_of(text, _scope) when is_binary(text), do: text
  def text_of({:elixir_value, value, _}, _scope), do: Interpolated.text!(value)

  def text_of({:variable, _, meta} = node, scope) do
    case Scope.resolve(scope, node) do
      {kind, text, _} when kind in [:string, :identifier] -> text
      {:integer, n, _} -> Integer.to_string(n)
      {:elixir_value, value, _} -> Interpolated.text!(value)
      _ -> Fault.fail(meta, "expected a name")
    end
  end

  def text_of({kind, text, _}, _scope) when kind in [:string, :identifier], do: text
  def text_of({:integer, n, _}, _scope), do: Integer.to_string(n)

  @doc false
  # The text of a comment, nil for none; one that came by a variable or an interpolation is
  # checked here, a literal one by the parser.
  def comment_of(nil, _scope), do: nil
  def comment_of(text, _scope) when is_binary(text), do: text

  def comment_of(node, scope) do
    text = text_of(node, scope)
    fault = Tokens.comment_fault(text)
    if fault, do: Fault.fail(node, fault), else: text
  end

  # -- numbers -----------------------------------------------------------------------------------

  defp number(n, %Term{type: :ifname} = like, meta), do: text(Integer.to_string(n), like, meta)
  defp number(n, %Term{type: :string} = like, meta), do: text(Integer.to_string(n), like, meta)

  defp number(n, %Term{type: type} = like, meta) when type in [:verdict, nil],
    do: mismatch(Integer.to_string(n), like, meta)

  defp number(n, %Term{type: :time, len: 32} = like, meta), do: const(n * 1000, like, meta)

  # A label is a bit number, not its mask.
  defp number(n, %Term{type: :ct_label} = like, meta) do
    if n in 0..127,
      do: const(Bitwise.bsl(1, n), like, meta),
      else: Fault.fail(meta, "a conntrack label is a bit from 0 to 127")
  end

  defp number(n, %Term{type: :date} = like, meta), do: const(n * 1_000_000_000, like, meta)
  defp number(n, %Term{type: :hour} = like, meta), do: const(n, like, meta)
  defp number(n, like, meta), do: const(n, like, meta)

  defp const(n, %Term{len: len} = like, meta) do
    if is_integer(like.max) and n > like.max,
      do: Fault.fail(meta, "#{n} is out of range: 0 to #{like.max}")

    if n < 0 or Bitwise.bsr(n, len) != 0,
      do:
        Fault.fail(
          meta,
          "#{n} is out of range for #{describe(like)}: 0 to #{Bitwise.bsl(1, len) - 1}"
        )

    %Term{kind: :const, type: like.type, len: len, order: like.order, data: n, meta: meta}
  end

  # -- addresses ---------------------------------------------------------------------------------

  defp address(:ipv4, raw, %Term{type: :ipv4_addr} = like, meta),
    do: const(ip(raw, like, meta), like, meta)

  defp address(:ipv6, raw, %Term{type: :ipv6_addr} = like, meta),
    do: const(ip(raw, like, meta), like, meta)

  defp address(:mac, raw, %Term{type: type} = like, meta) when type in [:ether_addr, :ll_addr],
    do: const(mac(raw), like, meta)

  defp address(kind, raw, %Term{type: type} = like, meta)
       when {kind, type} in [{:cidr_v4, :ipv4_addr}, {:cidr_v6, :ipv6_addr}] do
    [base, bits] = String.split(raw, "/")
    prefix(const(ip(base, like, meta), like, meta), String.to_integer(bits), like, meta)
  end

  # An IPv6 address of hex digits and colons alone may be meant as a MAC or handle; nothing else
  # takes an address.
  defp address(_kind, raw, like, meta), do: mismatch(raw, like, meta)

  defp ip(raw, like, meta) do
    case :inet.parse_strict_address(String.to_charlist(raw)) do
      {:ok, address} ->
        bits = if tuple_size(address) == 4, do: 8, else: 16
        address |> Tuple.to_list() |> Enum.reduce(0, &Bitwise.bor(Bitwise.bsl(&2, bits), &1))

      # A zero in front of a number, octal for some: 010.0.0.1.
      {:error, _} ->
        mismatch(raw, like, meta)
    end
  end

  defp mac(raw),
    do:
      raw
      |> String.split(":")
      |> Enum.reduce(0, &Bitwise.bor(Bitwise.bsl(&2, 8), String.to_integer(&1, 16)))

  defp prefix(%Term{data: data} = base, bits, like, meta) do
    cond do
      not is_integer(data) ->
        Fault.fail(meta, "a prefix needs a number or an address")

      bits < 0 or bits > like.len ->
        Fault.fail(meta, "/#{bits} is out of range: #{describe(like)} has #{like.len} bits")

      bits == like.len ->
        %{base | span?: like.order == :big}

      true ->
        %{
          like
          | kind: :prefix,
            data: {masked(data, bits, like.len), bits},
            shift: 0,
            meta: meta
        }
    end
  end

  defp masked(n, bits, len) do
    low = len - bits
    n |> Bitwise.bsr(low) |> Bitwise.bsl(low)
  end

  # -- text --------------------------------------------------------------------------------------

  defp text(text, %Term{type: :ifname} = like, meta), do: ifname(text, like, meta)

  defp text(text, %Term{type: :string, len: len} = like, meta) do
    if byte_size(text) * 8 >= len and len > 0,
      do: Fault.fail(meta, "#{inspect(text)} is too long: #{div(len, 8) - 1} bytes at most"),
      else: %{like | kind: :const, data: text, meta: meta}
  end

  defp text(text, %Term{type: :iface_index} = like, meta) do
    case Integer.parse(text) do
      {n, ""} -> const(n, like, meta)
      _ when text == "lo" -> const(1, like, meta)
      _ -> %{like | kind: :const, data: {:iface, iface(text, meta)}, meta: meta}
    end
  end

  defp text(text, like, meta) do
    case Symbol.parse(like.type, text, like) do
      {:ok, n} -> const(n, like, meta)
      :error -> unknown(text, like, meta)
    end
  end

  defp iface(text, meta) do
    if byte_size(text) in 1..15 and not String.contains?(text, ["/", " ", "*"]),
      do: text,
      else: Fault.fail(meta, "#{inspect(text)} is no interface name")
  end

  defp ifname(text, like, meta) do
    {stem, wild} =
      cond do
        # Every backslash of such a name is dropped, as by nft's xstrunescape.
        String.ends_with?(text, "\\*") -> {String.replace(text, "\\", ""), false}
        String.ends_with?(text, "*") -> {String.replace_suffix(text, "*", ""), true}
        true -> {text, false}
      end

    cond do
      text == "" ->
        Fault.fail(meta, "an interface name must not be empty")

      byte_size(stem) > 15 ->
        Fault.fail(meta, "interface name #{inspect(stem)} is longer than 15 bytes")

      wild and stem == "" ->
        Fault.fail(meta, "a wildcard needs a beginning: \"*\" alone matches every name")

      wild ->
        %{like | kind: :prefix, data: {stem, 8 * byte_size(stem)}, meta: meta}

      true ->
        %{like | kind: :const, data: stem, meta: meta}
    end
  end

  # The path's inode is this machine's and this boot's: nothing that a text, let alone a compiled
  # module, should hold unseen.
  @spec unknown(String.t(), Term.t(), map()) :: no_return()
  defp unknown(text, %Term{type: :cgroupsv2}, meta),
    do:
      Fault.fail(
        meta,
        "a cgroup is a number here, the inode of its directory: " <>
          "\#{File.stat!(#{inspect("/sys/fs/cgroup/" <> text)}).inode}"
      )

  defp unknown(text, like, meta) do
    hint =
      ParseError.suggestion(text, Datatype.symbols(like.type) ++ HostNames.symbols(like.type))

    Fault.fail(meta, "#{inspect(text)} is not #{describe(like)}#{hint}")
  end

  @spec mismatch(String.t(), Term.t(), map()) :: no_return()
  defp mismatch(raw, like, meta), do: Fault.fail(meta, "#{raw} is not #{describe(like)}")

  # -- arithmetic of constants -------------------------------------------------------------------

  defp combine(op, %Term{data: a, kind: :const}, %Term{data: b, kind: :const}, like, meta)
       when is_integer(a) and is_integer(b) do
    n =
      case op do
        :pipe -> Bitwise.bor(a, b)
        :amp -> Bitwise.band(a, b)
        :caret -> Bitwise.bxor(a, b)
        :lshift when b <= 512 -> Bitwise.band(Bitwise.bsl(a, b), Bitwise.bsl(1, like.len) - 1)
        :rshift -> Bitwise.bsr(a, b)
        _ -> Fault.fail(meta, "shifted too far")
      end

    const(n, like, meta)
  end

  defp combine(_op, _a, _b, _like, meta), do: Fault.fail(meta, "only numbers can be combined")

  @doc false
  # The name of a type in an error message.
  def describe(%Term{kind: :concat, data: parts}), do: Enum.map_join(parts, " . ", &describe/1)
  def describe(%Term{type: :integer, len: len}), do: "a number of #{len} bits"
  def describe(%Term{type: :ipv4_addr}), do: "an IPv4 address"
  def describe(%Term{type: :ipv6_addr}), do: "an IPv6 address"
  def describe(%Term{type: :ether_addr}), do: "a MAC address"
  def describe(%Term{type: :inet_service}), do: "a port"
  def describe(%Term{type: :ifname}), do: "an interface name"
  def describe(%Term{type: :inet_proto}), do: "a protocol"
  def describe(%Term{type: nil}), do: "a value of unknown type"
  def describe(%Term{type: type}), do: "a value of type #{type}"
end
