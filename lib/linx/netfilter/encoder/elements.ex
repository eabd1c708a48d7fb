defmodule Linx.Netfilter.Encoder.Elements do
  @moduledoc false
  # The elements of sets and maps as bytes: one NFTA_LIST_ELEM nest each, gathered into lists that
  # fit one message.
  #
  # Plain sets send the key. A set of intervals is a tree of points: the start of each interval,
  # and behind its last value a point flagged INTERVAL_END; an interval up to the type's maximum
  # has no end point. With a concatenation each element has both ends (KEY, KEY_END).

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.{Datum, Element, Set, Userdata, Verdict}
  alias Linx.Netfilter.Datum.Words
  alias Linx.Netfilter.Encoder.{Expressions, Intervals}
  alias Linx.Netlink.Attr

  require Attr

  # NFTA_SET_ELEM_LIST_ELEMENTS holds 65 531 bytes; the names and header need room in some
  # kernels' dumps too.
  @room 60_000

  @type declaration :: Set.t() | Linx.Netfilter.Map.t()

  @doc """
  The elements' bytes in lists of at most #{@room} bytes. `:initial` marks a set that was empty
  before.

  Raises ArgumentError for elements that overlap or have no form on the wire.
  """
  @spec chunks(declaration(), [term()], keyword()) :: [iodata()]
  def chunks(set, elements, opts \\ [])
  def chunks(_set, [], _opts), do: []

  def chunks(set, elements, opts) do
    cond do
      plain?(set, elements) ->
        plain(set.key_type, elements)

      chunks = Intervals.chunks(set, elements, opts) ->
        chunks

      true ->
        set |> each(elements, opts) |> gather(0, [], [])
    end
  end

  @doc "How many elements the kernel will count, for the size of an anonymous set."
  @spec count(declaration(), [term()]) :: non_neg_integer()
  def count(set, elements) do
    if plain?(set, elements),
      do: length(elements),
      else: set |> each(elements, initial: true) |> length()
  end

  @doc """
  One merged, sorted list of the spans of an interval set: `{first, last, element}` as numbers.
  """
  @spec spans(declaration(), [term()]) :: [{non_neg_integer(), non_neg_integer(), term()}]
  def spans(set, elements) do
    spans =
      for element <- elements, Element.key_of(set, element) != :catch_all do
        key = Element.key_of(set, element)
        type = set.key_type

        {number(type, Datum.to_bytes(type, key)), number(type, Datum.last_bytes(type, key)),
         element}
      end

    spans = Enum.sort_by(spans, &elem(&1, 0))
    if merge?(set), do: merged(spans), else: disjoint(spans)
  end

  @doc "The value of a span, in its one form."
  @spec from_span(Datum.type(), non_neg_integer(), non_neg_integer()) :: term()
  def from_span(type, first, last) do
    bits = 8 * max(Datum.size(type), 1)

    Datum.between(
      type,
      Datum.flip(type, <<first::size(bits)>>),
      Datum.flip(type, <<last::size(bits)>>)
    )
  end

  # -- plain sets of plain keys: the hot path ----------------------------------------------------

  defp plain?(%Set{flags: flags} = set, elements) do
    :interval not in flags and Datum.size(set.key_type) > 0 and
      not Enum.any?(elements, &(&1 == :catch_all or is_struct(&1, Element)))
  end

  defp plain?(_map, _elements), do: false

  defp plain(type, elements) do
    size = Datum.padded(Datum.size(type))
    # elem { key { value } }
    head =
      Attr.head(0x8000 + nfta_list_elem(), size + 8) <>
        Attr.head(0x8000 + nfta_set_elem_key(), size + 4) <>
        Attr.head(nfta_data_value(), Datum.size(type))

    each = div(@room, size + 12)

    if type == :ipv4_addr,
      do: addresses(elements, each, each, head, <<>>),
      else: plain(elements, each, each, {type, head, size}, <<>>)
  end

  # Appending to one binary is the fastest that the VM does: each element is written in its place,
  # once.
  defp addresses([{a, b, c, d} | rest], left, each, head, done)
       when left > 0 and a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255 do
    addresses(rest, left - 1, each, head, <<done::binary, head::binary-12, a, b, c, d>>)
  end

  defp addresses([], _left, _each, _head, done), do: [done]

  defp addresses([_ | _] = rest, 0, each, head, done),
    do: [done | addresses(rest, each, each, head, <<>>)]

  # An address as its bytes, or no address at all.
  defp addresses([element | rest], left, each, head, done) do
    case Datum.to_bytes(:ipv4_addr, single!(element)) do
      <<a, b, c, d>> -> addresses([{a, b, c, d} | rest], left, each, head, done)
      _bytes -> raise ArgumentError, "#{inspect(element)} is no address of IPv4"
    end
  end

  defp plain([element | rest], left, each, {type, head, size} = how, done) when left > 0 do
    bytes = Datum.to_bytes(type, single!(element))
    pad = 8 * (size - byte_size(bytes))

    plain(
      rest,
      left - 1,
      each,
      how,
      <<done::binary, head::binary-12, bytes::binary, 0::size(pad)>>
    )
  end

  defp plain([], _left, _each, _how, done), do: [done]
  defp plain(rest, 0, each, how, done), do: [done | plain(rest, each, each, how, <<>>)]

  # -- everything else ---------------------------------------------------------------------------

  defp each(%{key_type: {:concat, _}} = set, elements, _opts) do
    interval? = :interval in set.flags
    Enum.map(elements, &concatenated(set, &1, interval?))
  end

  defp each(set, elements, opts) do
    if :interval in set.flags,
      do: intervals(set, elements, opts),
      else: Enum.map(elements, &point(set, &1))
  end

  defp concatenated(set, element, interval?) do
    case Element.key_of(set, element) do
      :catch_all ->
        catch_all(set, element)

      key when interval? ->
        type = set.key_type
        first = Datum.flip(type, Datum.to_bytes(type, key))
        last = Datum.flip(type, Datum.last_bytes(type, key))

        elem(
          set,
          element,
          [data(nfta_set_elem_key(), first), data(nfta_set_elem_key_end(), last)],
          false
        )

      key ->
        bytes = Datum.to_bytes(set.key_type, single!(key))
        elem(set, element, data(nfta_set_elem_key(), bytes), false)
    end
  end

  defp point(set, element) do
    case Element.key_of(set, element) do
      :catch_all ->
        catch_all(set, element)

      key ->
        bytes = Datum.to_bytes(set.key_type, single!(key))
        elem(set, element, data(nfta_set_elem_key(), bytes), false)
    end
  end

  # The first value would stand for them all.
  defp single!(key) when is_tuple(key) do
    if Datum.Form.spans?(key),
      do:
        raise(ArgumentError, "#{Words.text(key)} is many values, which a set of intervals takes"),
      else: key
  end

  defp single!(key), do: key

  defp intervals(set, elements, opts) do
    {catch_alls, elements} = Enum.split_with(elements, &(Element.key_of(set, &1) == :catch_all))
    size = width(set, elements)
    top = Bitwise.bsl(1, 8 * size) - 1
    spans = spans(set, elements)

    # nft's first point: what lies before the first interval does not match.
    zero =
      case spans do
        [{first, _, _} | _] when first > 0 -> if opts[:initial], do: [ended(0, size)], else: []
        _ -> []
      end

    zero ++
      Enum.flat_map(spans, fn {first, last, element} ->
        key = data(nfta_set_elem_key(), <<first::size(8 * size)>>)
        start = elem(set, element, key, last == top)
        if last == top, do: [start], else: [start, ended(last + 1, size)]
      end) ++ Enum.map(catch_alls, &catch_all(set, &1))
  end

  defp width(set, elements) do
    case Datum.size(set.key_type) do
      0 ->
        elements
        |> Enum.map(&byte_size(Datum.to_bytes(set.key_type, Element.key_of(set, &1))))
        |> Enum.max(fn -> 1 end)

      size ->
        size
    end
  end

  defp ended(number, size) do
    Attr.nest(nfta_list_elem(), [
      Attr.u32_be(nfta_set_elem_flags(), nft_set_elem_interval_end()),
      data(nfta_set_elem_key(), <<number::size(8 * size)>>)
    ])
  end

  defp catch_all(set, element),
    do: elem(set, element, Attr.u32_be(nfta_set_elem_flags(), nft_set_elem_catchall()), false)

  # Intervals may be merged where they have no timeout, comment or statement of their own; those
  # of a map never are.
  defp merge?(%Set{flags: flags}), do: :auto_merge in flags or :anonymous in flags
  defp merge?(_map), do: false

  defp merged([{a, b, x}, {c, d, y} | rest])
       when c <= b + 1 and not is_struct(x) and not is_struct(y),
       do: merged([{a, max(b, d), x} | rest])

  defp merged([{_, b, x}, {c, _, y} | _rest]) when c <= b, do: overlap(x, y)
  defp merged([span | rest]), do: [span | merged(rest)]
  defp merged([]), do: []

  defp disjoint([{_, b, x}, {c, _, y} | _rest]) when c <= b, do: overlap(x, y)
  defp disjoint([span | rest]), do: [span | disjoint(rest)]
  defp disjoint([]), do: []

  @spec overlap(term(), term()) :: no_return()
  defp overlap(x, y),
    do: raise(ArgumentError, "elements overlap: #{Words.text(x)} and #{Words.text(y)}")

  defp elem(set, element, key, open?) do
    Attr.nest(nfta_list_elem(), [key, value(set, element) | extras(element, open?)])
  end

  defp extras(%Element{} = element, open?) do
    [
      if(element.timeout, do: Attr.u64_be(nfta_set_elem_timeout(), element.timeout), else: []),
      if(element.expires, do: Attr.u64_be(nfta_set_elem_expiration(), element.expires), else: []),
      userdata(element.comment, open?),
      exprs(element.exprs)
    ]
  end

  defp extras(_plain, open?), do: [userdata(nil, open?)]

  defp userdata(comment, open?) do
    case Userdata.element(comment, open?) do
      <<>> -> []
      bytes -> Attr.bytes(nfta_set_elem_userdata(), bytes)
    end
  end

  defp exprs([]), do: []
  defp exprs([expr]), do: Attr.nest(nfta_set_elem_expr(), Expressions.expr(expr))
  defp exprs(exprs), do: Attr.nest(nfta_set_elem_expressions(), Expressions.list(exprs))

  defp value(%{data_type: {:object, _kind}}, element),
    do: Attr.text(nfta_set_elem_objref(), data_of(element))

  defp value(%{data_type: type}, element) do
    case {type, data_of(element)} do
      {_type, nil} ->
        []

      {:verdict, %Verdict{} = verdict} ->
        Attr.nest(nfta_set_elem_data(), Expressions.verdict(verdict))

      {:verdict, input} ->
        Attr.nest(nfta_set_elem_data(), Expressions.verdict(Verdict.new!(input)))

      {type, value} ->
        data(nfta_set_elem_data(), Datum.to_bytes(type, value))
    end
  end

  defp value(_set, _element), do: []

  defp data(attribute, bytes), do: Attr.nest(attribute, Attr.bytes(nfta_data_value(), bytes))

  defp data_of(%Element{data: data}), do: data
  defp data_of({_key, data}), do: data
  defp data_of(_key), do: nil

  defp number(type, bytes), do: Datum.sort_key(type, bytes)

  defp gather([], _size, [], done), do: Enum.reverse(done)
  defp gather([], _size, open, done), do: Enum.reverse([Enum.reverse(open) | done])

  defp gather([elem | rest], size, open, done) do
    if size + byte_size(elem) > @room and open != [],
      do: gather(rest, byte_size(elem), [elem], [Enum.reverse(open) | done]),
      else: gather(rest, size + byte_size(elem), [elem | open], done)
  end
end
