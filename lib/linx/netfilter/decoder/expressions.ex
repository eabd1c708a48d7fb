defmodule Linx.Netfilter.Decoder.Expressions do
  @moduledoc false
  # Bytes to expressions, generated from Wire.Expressions. Total: what is not understood is kept
  # or left out.

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.{Expr, Verdict, Wire}
  alias Linx.Netfilter.Wire.{Constants, Expressions, Reader}
  alias Linx.Netlink.Attr

  @doc "The expressions in NFTA_RULE_EXPRESSIONS."
  @spec list(binary()) :: [Expr.t()]
  def list(bytes), do: for({1, elem} <- Attr.scan(bytes), do: expr(elem))

  @doc "The key of `data` for an attribute of a kind."
  @spec key(atom(), non_neg_integer()) :: atom() | nil
  for {name, _kernel, fields, _defaults} <- Expressions.all(), {n, key, _type} <- fields do
    def key(unquote(name), unquote(n)), do: unquote(key)
  end

  def key(_name, _attribute), do: nil

  @doc "One expression: NFTA_EXPR_NAME and NFTA_EXPR_DATA."
  @spec expr(binary()) :: Expr.t()
  def expr(bytes) do
    case Attr.scan(bytes) do
      [{nfta_expr_name(), name}, {nfta_expr_data(), data} | _] -> build(name, data)
      attrs -> unordered(Map.new(attrs))
    end
  end

  defp unordered(attrs) do
    build(Map.get(attrs, nfta_expr_name(), <<>>), Map.get(attrs, nfta_expr_data(), <<>>))
  end

  for {name, kernel, _fields, _defaults} <- Expressions.all(), name != :immediate do
    defp build(unquote(kernel <> "\0"), bytes),
      do: %Expr{name: unquote(name), data: unquote(:"data_#{name}")(bytes)}
  end

  defp build("immediate\0", bytes) do
    case data_immediate(bytes) do
      %{data: %Verdict{kind: :queue, target: num}} -> Expr.queue(num)
      %{data: %Verdict{} = verdict} -> %Expr{name: :immediate, data: verdict}
      data -> %Expr{name: :immediate, data: data}
    end
  end

  defp build(name, bytes), do: %Expr{name: Reader.text(name), data: {:raw, :binary.copy(bytes)}}

  @doc "The data of an object, whose attributes are those of the expression of that name."
  @spec data(atom(), binary()) :: map()
  for {name, _kernel, _fields, _defaults} <- Expressions.all() do
    def data(unquote(name), bytes), do: unquote(:"data_#{name}")(bytes)
  end

  for {name, _kernel, fields, defaults} <- Expressions.all() do
    defp unquote(:"data_#{name}")(bytes) do
      unquote(:"fields_#{name}")(Attr.scan(bytes), %{}) |> tidy(unquote(name))
    end

    defp unquote(:"fields_#{name}")([], acc), do: acc

    for {n, key, type} <- fields do
      # A default that cannot occur where the key has none.
      default = Map.get(defaults, key, :__none__)

      defp unquote(:"fields_#{name}")([{unquote(n), bytes} | rest], acc) do
        case value(unquote(Macro.escape(type)), bytes) do
          nil -> unquote(:"fields_#{name}")(rest, acc)
          unquote(default) -> unquote(:"fields_#{name}")(rest, acc)
          # The last of two equal attributes counts, as in the kernel.
          value -> unquote(:"fields_#{name}")(rest, Map.put(acc, unquote(key), value))
        end
      end
    end

    # Linux before 5.12 dumps one expression as NFTA_DYNSET_EXPR.
    if name == :dynset do
      defp fields_dynset([{nfta_dynset_expr(), bytes} | rest], acc),
        do: fields_dynset(rest, Map.put(acc, :exprs, [expr(bytes)]))
    end

    defp unquote(:"fields_#{name}")([_unknown | rest], acc),
      do: unquote(:"fields_#{name}")(rest, acc)
  end

  # Removes the attributes that the kernel adds when it dumps an expression.
  defp tidy(%{reg_addr_min: same, reg_addr_max: same} = data, :nat),
    do: tidy(Map.delete(data, :reg_addr_max), :nat)

  defp tidy(%{reg_proto_min: same, reg_proto_max: same} = data, kind)
       when kind in [:nat, :masq, :redir],
       do: tidy(Map.delete(data, :reg_proto_max), kind)

  defp tidy(%{flags: flags} = data, kind) when kind in [:nat, :masq, :redir] do
    case flags -- [:map_ips, :proto_specified] do
      [] -> Map.delete(data, :flags)
      flags -> %{data | flags: flags}
    end
  end

  defp tidy(%{flags: flags} = data, :synproxy) do
    data = Map.drop(data, [:mss, :wscale] -- flags)

    case flags -- [:mss, :wscale] do
      [] -> Map.delete(data, :flags)
      flags -> %{data | flags: flags}
    end
  end

  defp tidy(data, :synproxy), do: Map.drop(data, [:mss, :wscale])

  defp tidy(%{op: op, data: <<bits::native-32>>} = data, :bitwise) when op in [:lshift, :rshift],
    do: %{data | data: bits}

  defp tidy(%{set_id: _} = data, kind) when kind in [:lookup, :objref, :dynset],
    do: Map.delete(data, :set_id)

  # Said to the kernel with a list of expressions, not by it.
  defp tidy(%{flags: [:expr]} = data, :dynset), do: data |> Map.delete(:flags) |> tidy(:dynset)

  defp tidy(%{flags: [:inv, :expr]} = data, :dynset),
    do: tidy(%{data | flags: [:inv]}, :dynset)

  # nft sends a code with it all the same.
  defp tidy(%{type: :tcp_reset, icmp_code: _} = data, :reject), do: Map.delete(data, :icmp_code)

  # An option that is taken out has a number, no place.
  defp tidy(%{offset: 0, len: 0} = data, :exthdr), do: Map.drop(data, [:offset, :len])

  defp tidy(%{num: 0, sreg_qnum: _} = data, :queue), do: Map.delete(data, :num)

  defp tidy(%{msecs: _} = data, :last) when not is_map_key(data, :set),
    do: Map.delete(data, :msecs)

  defp tidy(data, _kind), do: data

  # The kernel names a register by its 16 bytes where it can: NFT_REG32_00 comes back as
  # NFT_REG_1.
  defp value(:reg, <<reg::32>>) when reg in [8, 12, 16, 20], do: div(reg, 4) - 1
  defp value(:reg, <<reg::32>>), do: reg
  defp value(:u32, <<v::32>>), do: v
  defp value(:u8, <<v>>), do: v
  defp value(:u16, <<v::16>>), do: v
  defp value(:u64, <<v::64>>), do: v
  defp value(:text, bytes), do: Reader.text(bytes)
  defp value(:bytes, bytes), do: :binary.copy(bytes)
  defp value(:bool32, <<v::32>>), do: v != 0
  defp value({:enum, kind}, <<v::32>>), do: Constants.atom(kind, v)
  defp value({:enum8, kind}, <<v>>), do: Constants.atom(kind, v)
  defp value({:flags, _kind}, <<0::32>>), do: nil
  defp value({:flags, kind}, <<v::32>>), do: Constants.names(kind, v)
  defp value({:flags16, _kind}, <<0::16>>), do: nil
  defp value({:flags16, kind}, <<v::16>>), do: Constants.names(kind, v)

  defp value(:family, <<v::32>>) do
    case Wire.family_atom(v) do
      :unknown -> v
      family -> family
    end
  end

  defp value(:unit, <<v::64>>), do: Expressions.unit_atom(v)
  defp value(:expr, bytes), do: expr(bytes)
  defp value(:exprs, bytes), do: list(bytes)

  defp value(type, bytes) when type in [:data, :verdict_or_data, :shift_or_data] do
    case Attr.scan(bytes) do
      [{nfta_data_value(), value} | _] -> :binary.copy(value)
      [{nfta_data_verdict(), verdict} | _] -> verdict(verdict)
      _ -> nil
    end
  end

  defp value(_type, _bytes), do: nil

  @doc "The verdict in NFTA_DATA_VERDICT; nil for a code that is none."
  @spec verdict(binary()) :: Verdict.t() | nil
  def verdict(bytes) do
    attrs = Reader.map(bytes)

    with <<code::signed-32>> <- Map.get(attrs, nfta_verdict_code(), <<>>) do
      case Wire.verdict_atom(code) do
        kind when kind in [:jump, :goto] ->
          %Verdict{kind: kind, target: Reader.text(Map.get(attrs, nfta_verdict_chain(), <<>>))}

        :queue ->
          %Verdict{kind: :queue, target: Bitwise.bsr(code, 16)}

        kind when kind in [:accept, :drop, :continue, :return] ->
          %Verdict{kind: kind}

        _ ->
          nil
      end
    else
      _ -> nil
    end
  end
end
