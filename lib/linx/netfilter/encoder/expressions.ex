defmodule Linx.Netfilter.Encoder.Expressions do
  @moduledoc false
  # Expressions to bytes, generated from Wire.Expressions. Raises ArgumentError for data that has
  # no form on the wire.

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.{Expr, Verdict, Wire}
  alias Linx.Netfilter.Wire.{Constants, Expressions}
  alias Linx.Netlink.Attr

  require Attr

  @doc "The body of NFTA_RULE_EXPRESSIONS."
  @spec list([Expr.t()]) :: iodata()
  def list(exprs), do: Enum.map(exprs, &element/1)

  # { NAME "counter", DATA { BYTES, PACKETS } } in one binary.
  defmacrop counter(bytes, packets) do
    quote do
      <<Attr.head(0x8000 + nfta_list_elem(), 40)::binary, Attr.head(nfta_expr_name(), 8)::binary,
        "counter", 0, Attr.head(0x8000 + nfta_expr_data(), 24)::binary,
        Attr.head(nfta_counter_bytes(), 8)::binary, unquote(bytes)::64,
        Attr.head(nfta_counter_packets(), 8)::binary, unquote(packets)::64>>
    end
  end

  @doc "NFTA_LIST_ELEM with the expression."
  @spec element(Expr.t()) :: binary()
  # Most rules have a counter, and most counters are at zero: a constant.
  def element(%Expr{name: :counter, data: %{packets: 0, bytes: 0} = data})
      when map_size(data) == 2 do
    counter(0, 0)
  end

  def element(%Expr{name: :counter, data: %{packets: packets, bytes: bytes} = data})
      when map_size(data) == 2 and is_integer(packets) and packets in 0..0xFFFFFFFFFFFFFFFF and
             is_integer(bytes) and bytes in 0..0xFFFFFFFFFFFFFFFF do
    counter(bytes, packets)
  end

  def element(expr), do: Attr.nest(nfta_list_elem(), expr(expr))

  @doc "NFTA_EXPR_NAME and NFTA_EXPR_DATA."
  @spec expr(Expr.t()) :: iodata()
  # A queue number in a verdict code is refused since Linux 6.8; nft sends the expression too.
  def expr(%Expr{name: :immediate, data: %Verdict{kind: :queue, target: num}}),
    do: expr(Expr.queue(num))

  def expr(%Expr{name: :immediate, data: %Verdict{} = verdict}) do
    data = [
      Attr.u32_be(nfta_immediate_dreg(), 0),
      Attr.nest(nfta_immediate_data(), verdict(verdict))
    ]

    named("immediate", data)
  end

  def expr(%Expr{name: :immediate, data: %{value: value} = data}),
    do: expr(%Expr{name: :immediate, data: data |> Map.delete(:value) |> Map.put(:data, value)})

  def expr(%Expr{name: :__anon_set}),
    do:
      raise(
        ArgumentError,
        "a rule with an anonymous set needs Encoder.to_batch/2 or from_patch/1"
      )

  # `reset tcp option` has no register, and the kernel takes no place then
  # (nft_exthdr_tcp_strip_init), though it dumps one.
  def expr(%Expr{name: :exthdr, data: %{op: _, type: _} = data})
      when not is_map_key(data, :dreg) and not is_map_key(data, :sreg),
      do: named("exthdr", data(:exthdr, Map.take(data, [:op, :type])))

  # The text of a map that is not declared has the kind of its objects, the kernel's map has it.
  def expr(%Expr{name: :objref, data: %{set_name: _, kind: _} = data} = expr),
    do: expr(%{expr | data: Map.delete(data, :kind)})

  def expr(%Expr{name: :synproxy, data: %{} = data}), do: named("synproxy", synproxy(data))

  # The kernel sets NF_NAT_RANGE_PROTO_SPECIFIED itself for nat and redir. masq without it ignores
  # the ports (nft_masq_eval).
  def expr(%Expr{name: name, data: %{} = data}) when name in [:nat, :masq, :redir],
    do: named(Atom.to_string(name), data(name, proto_flag(data)))

  def expr(%Expr{name: :dynset, data: %{exprs: [expr]} = data}) do
    body = data(:dynset, Map.delete(data, :exprs))
    named("dynset", [body, Attr.nest(nfta_dynset_expr(), expr(expr))])
  end

  # Several are a list, which has to be announced (NFT_DYNSET_F_EXPR).
  def expr(%Expr{name: :dynset, data: %{exprs: [_, _ | _]} = data}),
    do:
      named("dynset", data(:dynset, Map.update(data, :flags, [:expr], &Enum.uniq([:expr | &1]))))

  for {name, kernel, _fields, _defaults} <- Expressions.all() do
    def expr(%Expr{name: unquote(name), data: data}),
      do: named(unquote(kernel), data(unquote(name), data || %{}))
  end

  def expr(%Expr{name: name, data: {:raw, bytes}}) when is_binary(name) and is_binary(bytes),
    do: named(name, bytes)

  def expr(%Expr{name: name, data: nil}) when is_binary(name), do: named(name, [])

  def expr(other), do: raise(ArgumentError, "no such expression: #{inspect(other)}")

  @doc "The data of a synproxy, with the flags that say which options it has."
  @spec synproxy(map()) :: iodata()
  def synproxy(data) do
    flags = for key <- [:mss, :wscale], is_map_key(data, key), do: key
    data(:synproxy, Map.update(data, :flags, flags, &Enum.uniq(flags ++ &1)))
  end

  defp proto_flag(%{reg_proto_min: _} = data) do
    Map.update(data, :flags, [:proto_specified], fn
      flags when is_list(flags) -> Enum.uniq([:proto_specified | flags])
      bits -> Bitwise.bor(bits, 2)
    end)
  end

  defp proto_flag(data), do: data

  defp named(name, data),
    do: [Attr.text(nfta_expr_name(), name), Attr.nest(nfta_expr_data(), data)]

  @doc "The inside of NFTA_EXPR_DATA (and of an object's data, which has the same attributes)."
  @spec data(atom(), map() | keyword()) :: iodata()
  def data(kind, list) when is_list(list), do: data(kind, Map.new(list))

  for {name, _kernel, fields, _defaults} <- Expressions.all() do
    known = [:field | for({_n, key, _type} <- fields, do: key)]

    def data(unquote(name), %{} = data) do
      checked(unquote(name), data, unquote(known), [
        unquote_splicing(
          for {n, key, type} <- fields do
            quote do
              case var!(data) do
                %{unquote(key) => value} -> value(unquote(Macro.escape(type)), unquote(n), value)
                _ -> []
              end
            end
          end
        )
      ])
    end
  end

  def data(name, data), do: raise(ArgumentError, "#{name} carries #{inspect(data)}")

  defp checked(name, data, known, attrs) do
    case Map.keys(data) -- known do
      [] -> attrs
      unknown -> raise ArgumentError, "#{name} has no #{Enum.map_join(unknown, ", ", &inspect/1)}"
    end
  end

  defp value(:reg, n, v), do: Attr.u32_be(n, v)
  defp value(:u32, n, v), do: Attr.u32_be(n, v)
  defp value(:u8, n, v), do: Attr.u8(n, v)
  defp value(:u16, n, v), do: Attr.u16_be(n, v)
  defp value(:u64, n, v), do: Attr.u64_be(n, v)
  defp value(:text, n, v), do: Attr.text(n, whole(v))
  defp value(:bytes, n, v), do: Attr.bytes(n, v)
  defp value(:bool32, n, v), do: Attr.u32_be(n, if(v in [true, 1], do: 1, else: 0))
  defp value({:enum, kind}, n, v), do: Attr.u32_be(n, Constants.int!(kind, v))
  defp value({:enum8, kind}, n, v), do: Attr.u8(n, Constants.int!(kind, v))
  defp value({:flags, kind}, n, v), do: Attr.u32_be(n, Constants.bits!(kind, v))
  defp value({:flags16, kind}, n, v), do: Attr.u16_be(n, Constants.bits!(kind, v))
  defp value(:family, n, v) when is_integer(v), do: Attr.u32_be(n, v)
  defp value(:family, n, v), do: Attr.u32_be(n, Wire.family_num(v))
  defp value(:unit, n, v), do: Attr.u64_be(n, Expressions.unit_int(v))
  defp value(:expr, n, v), do: Attr.nest(n, expr(v))
  defp value(:exprs, n, v), do: Attr.nest(n, list(v))
  defp value(:verdict_or_data, n, %Verdict{} = v), do: Attr.nest(n, verdict(v))
  # A shift's count is a number in the host's order.
  defp value(:shift_or_data, n, v) when is_integer(v), do: value(:data, n, <<v::native-32>>)

  defp value(type, n, v) when type in [:data, :verdict_or_data, :shift_or_data] and is_binary(v),
    do: Attr.nest(n, Attr.bytes(nfta_data_value(), v))

  defp value(_type, n, v),
    do: raise(ArgumentError, "attribute #{n} takes bytes, not #{inspect(v)}")

  # The kernel reads up to the first NUL: the rest of a name would be another name.
  defp whole(text) do
    if is_binary(text) and String.contains?(text, <<0>>),
      do: raise(ArgumentError, "#{inspect(text)} has a NUL in it"),
      else: text
  end

  @doc "NFTA_DATA_VERDICT with what is in it."
  @spec verdict(Verdict.t()) :: binary()
  def verdict(%Verdict{kind: kind, target: {:id, id}}) when kind in [:jump, :goto] do
    Attr.nest(nfta_data_verdict(), [
      Attr.bytes(nfta_verdict_code(), Wire.s32_be(Wire.verdict_code(kind))),
      Attr.u32_be(nfta_verdict_chain_id(), id)
    ])
  end

  def verdict(%Verdict{target: rules}) when is_list(rules),
    do:
      raise(
        ArgumentError,
        "a verdict with a chain of its own stands in rules of Encoder.to_batch/2 or from_patch/1"
      )

  def verdict(%Verdict{kind: kind, target: chain}) when kind in [:jump, :goto] do
    Attr.nest(nfta_data_verdict(), [
      Attr.bytes(nfta_verdict_code(), Wire.s32_be(Wire.verdict_code(kind))),
      Attr.text(nfta_verdict_chain(), whole(chain))
    ])
  end

  def verdict(%Verdict{kind: :queue, target: num}),
    do:
      Attr.nest(nfta_data_verdict(), Attr.u32_be(nfta_verdict_code(), num * 65_536 + nf_queue()))

  def verdict(%Verdict{kind: kind}),
    do:
      Attr.nest(
        nfta_data_verdict(),
        Attr.bytes(nfta_verdict_code(), Wire.s32_be(Wire.verdict_code(kind)))
      )
end
