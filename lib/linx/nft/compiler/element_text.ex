defmodule Linx.NFT.Compiler.ElementText do
  @moduledoc false
  # The elements of a list that is still text (Linx.NFT.Tokenizer.ElementList), in one pass over
  # the binary: addresses, prefixes, ranges, ports and numbers, concatenations of these, and their
  # values in maps. An element of any other form is cut out and given to the tokenizer, the parser
  # and Compiler.Elements, so that the value is the same whichever way it takes.
  #
  # A fault is thrown as {:syntax, meta, message} without its place: the caller reads the text
  # again, token by token, for the error.

  alias Linx.Netfilter.Verdict
  alias Linx.NFT.Compiler.{AddressText, Elements, Fault, MapTerm, Scope, Term}
  alias Linx.NFT.{Parser, Tokenizer}

  @nowhere %{line: 1, column: 1}

  @doc """
  All elements of the text. `distinct?` says that none is there twice, `final?` that values of a
  map are normalised as keys are.
  """
  @spec elements(binary(), Term.t(), term(), Scope.t()) :: Elements.t()
  def elements(text, key, data, scope) do
    {list, rest, state} = take(text, :infinity, state(key, data, scope))
    true = rest == ""
    result(list, state)
  end

  defp result(list, state) do
    %Elements{
      list: list,
      interval?: state.interval?,
      data_interval?: state.data_interval?,
      normal?: true,
      final?: state.final?,
      distinct?: state.last != :unordered
    }
  end

  @doc "What `take/3` needs to know of a set, and learns of its elements."
  @spec state(Term.t(), term(), Scope.t()) :: map()
  def state(key, data, scope) do
    %{
      key: key,
      key_type: Term.key_type(key),
      data: data,
      scope: scope,
      key_form: forms(key),
      data_form: data_form(data),
      # The last element's sorting key, as long as each was above the one before.
      last: nil,
      final?: true,
      interval?: false,
      data_interval?: false
    }
  end

  @doc """
  At most `count` elements from the front of the text: `{elements, rest, state}`. The rest is
  empty when there are no more.
  """
  @spec take(binary(), pos_integer() | :infinity, map()) :: {[term()], binary(), map()}
  def take(text, count, state), do: text |> blank() |> many(count, state.last, [], state)

  @doc "The list as the node that the parser makes of it."
  @spec node(binary(), map()) :: tuple()
  def node(text, meta) do
    with {:ok, tokens} <- Tokenizer.tokenize("{" <> text <> "\n}"),
         {:set_inline, nodes, _} <- parsed(tokens) do
      {:set_inline, nodes, meta}
    else
      _ -> failed()
    end
  end

  @doc "How many values the text holds at most."
  @spec weight(binary()) :: pos_integer()
  def weight(text), do: 1 + length(:binary.matches(text, ","))

  defp parsed(tokens) do
    case Parser.Expression.set(tokens ++ [{:eof, @nowhere}]) do
      {node, [{:eof, _}]} -> node
      _ -> failed()
    end
  end

  @spec failed() :: no_return()
  defp failed, do: Fault.fail(@nowhere, "not a list of elements")

  # -- the list ----------------------------------------------------------------------------------

  defp many(rest, 0, last, acc, state), do: {Enum.reverse(acc), rest, %{state | last: last}}
  # A comma may end the list.
  defp many("", _count, last, acc, state), do: {Enum.reverse(acc), "", %{state | last: last}}

  defp many(text, count, last, acc, %{key_form: :ipv4, data_form: nil} = state) do
    case AddressText.take(text, count, last, acc, state.interval?) do
      {rest, count, last, acc, interval?} when rest == "" or count == 0 ->
        many(rest, count, last, acc, %{state | interval?: interval?})

      {rest, count, _last, acc, interval?} ->
        {element, order, rest, state} = general(rest, %{state | interval?: interval?})
        many(rest, less(count), order, [element | acc], state)
    end
  end

  defp many(text, count, last, acc, state) do
    {element, order, rest, state} = one(text, state)
    many(rest, less(count), next(last, order), [element | acc], state)
  end

  defp next(:unordered, _order), do: :unordered
  defp next(_last, :unordered), do: :unordered
  defp next(nil, order), do: order
  defp next(last, order) when order > last, do: order
  defp next(_last, _order), do: :unordered

  defp less(:infinity), do: :infinity
  defp less(count), do: count - 1

  # {element, key to order by, what follows its comma, state}
  defp one(text, %{key_form: nil} = state), do: general(text, state)

  defp one(text, %{data_form: nil} = state) do
    with {key, order, spans?, rest} <- value(state.key_form, text),
         rest when is_binary(rest) <- comma(rest) do
      {key, order, rest, spanning(state, spans?)}
    else
      :error -> general(text, state)
    end
  end

  defp one(text, state) do
    with {key, order, spans?, rest} <- value(state.key_form, text),
         ":" <> rest <- spaces(rest),
         {data, _order, false, rest} <- value(state.data_form, spaces(rest)),
         rest when is_binary(rest) <- comma(rest) do
      {{key, data}, order, rest, spanning(state, spans?)}
    else
      _ -> general(text, state)
    end
  end

  defp spanning(state, false), do: state
  defp spanning(%{interval?: true} = state, _spans?), do: state
  defp spanning(state, _spans?), do: %{state | interval?: true}

  # One element of any form, by way of tokens.
  defp general(text, state) do
    size = element_size(text, 0)
    piece = binary_part(text, 0, size)
    {:set_inline, nodes, _} = node(piece, @nowhere)
    found = Elements.elements(nodes, state.key, state.data, state.scope)
    data? = state.data != nil

    case MapTerm.normalised(found.list, state.key_type, data?, @nowhere) do
      [element] ->
        state = %{
          spanning(state, found.interval?)
          | data_interval?: state.data_interval? or found.data_interval?,
            final?: state.final? and not data?
        }

        {element, :unordered, after_comma(text, size), state}

      _ ->
        failed()
    end
  end

  # Up to the comma that ends it. Strings have no escapes here.
  defp element_size(text, n) do
    case text do
      <<_::binary-size(^n), ?,, _::binary>> -> n
      <<_::binary-size(^n), ?", _::binary>> -> element_size(text, past(text, n + 1, "\""))
      <<_::binary-size(^n), ?#, _::binary>> -> element_size(text, past(text, n + 1, "\n"))
      <<_::binary-size(^n), _, _::binary>> -> element_size(text, n + 1)
      _ -> n
    end
  end

  defp past(text, from, what) do
    case :binary.match(text, what, scope: {from, byte_size(text) - from}) do
      {at, 1} -> at + 1
      :nomatch -> failed()
    end
  end

  defp after_comma(text, size) do
    case text do
      <<_::binary-size(^size), ?,, rest::binary>> -> blank(rest)
      <<_::binary-size(^size)>> -> ""
    end
  end

  # The separator behind an element: a comma, or the end of the list.
  defp comma(<<c, rest::binary>>) when c in [?\s, ?\t, ?\r, ?\n], do: comma(rest)
  defp comma(<<?,, rest::binary>>), do: blank(rest)
  defp comma(<<?#, _::binary>> = text), do: text |> blank() |> comma()
  defp comma(""), do: ""
  defp comma(_other), do: :error

  defp blank(<<c, rest::binary>>) when c in [?\s, ?\t, ?\r, ?\n], do: blank(rest)

  defp blank(<<?#, rest::binary>>) do
    case :binary.match(rest, "\n") do
      {at, 1} -> blank(binary_part(rest, at, byte_size(rest) - at))
      :nomatch -> failed()
    end
  end

  defp blank(text), do: text

  defp spaces(<<c, rest::binary>>) when c in [?\s, ?\t], do: spaces(rest)
  defp spaces(text), do: text

  # -- forms -------------------------------------------------------------------------------------

  # The form of the keys that this module reads (:ipv4, :ipv6, {:number, last} or a list of them),
  # or nil for any other type.
  defp forms(%Term{kind: :concat, data: parts}) do
    forms = Enum.map(parts, &form/1)
    if Enum.all?(forms), do: forms
  end

  defp forms(term), do: form(term)

  defp form(%Term{kind: :const, shift: 0, max: nil, data: nil} = term), do: typed(term)
  defp form(_term), do: nil

  defp typed(%Term{type: :ipv4_addr, len: 32}), do: :ipv4
  defp typed(%Term{type: :ipv6_addr, len: 128}), do: :ipv6

  defp typed(%Term{type: type, len: len})
       when type in [:inet_service, :mark, :integer] and len in 1..64,
       do: {:number, Bitwise.bsl(1, len) - 1}

  defp typed(_term), do: nil

  # A data form of :none reads nothing: all elements take the general way.
  defp data_form(nil), do: nil
  defp data_form(:verdict), do: :verdict
  defp data_form(%Term{} = term), do: forms(term) || :none
  defp data_form(_other), do: :none

  # {value, what it sorts by, whether it is many values or a prefix of one (:whole), rest}, or
  # :error
  defp value(:ipv4, text), do: ipv4(text)
  defp value(:ipv6, text), do: ipv6(text)
  defp value({:number, last}, text), do: number(text, last)
  defp value(:verdict, text), do: verdict(text)
  defp value(:none, _text), do: :error
  defp value([first | forms], text), do: concat(value(first, text), forms, [], [], false)

  defp concat({value, order, spans?, rest}, [], values, orders, any?) do
    {List.to_tuple(Enum.reverse([value | values])), Enum.reverse([order | orders]),
     spans? == true or any?, rest}
  end

  defp concat({value, order, spans?, rest}, [form | forms], values, orders, any?) do
    case spaces(rest) do
      <<?., c, rest::binary>> when c in [?\s, ?\t] ->
        concat(
          value(form, spaces(rest)),
          forms,
          [value | values],
          [order | orders],
          spans? == true or any?
        )

      _ ->
        :error
    end
  end

  defp concat(:error, _forms, _values, _orders, _any?), do: :error

  # -- IPv4 --------------------------------------------------------------------------------------

  defp ipv4(text) do
    case address4(text) do
      {address, <<?/, rest::binary>>} -> prefix4(address, rest)
      {address, <<?-, rest::binary>>} -> range4(address, rest)
      {address, rest} -> point(address, address, rest)
      :error -> :error
    end
  end

  defp point(value, order, rest),
    do: if(ends?(rest), do: {value, order, false, rest}, else: :error)

  # A prefix of all bits is one value. It asks for `flags interval` as any other does, save in a
  # concatenation.
  defp whole(address, rest),
    do: if(ends?(rest), do: {address, address, :whole, rest}, else: :error)

  defp prefix4(address, text) do
    case prefix(text, 32) do
      {32, rest} ->
        whole(address, rest)

      {bits, rest} ->
        {a, b, c, d} = address
        low = 32 - bits
        <<n::32>> = <<a, b, c, d>>
        <<a, b, c, d>> = <<Bitwise.bsl(Bitwise.bsr(n, low), low)::32>>
        first = {a, b, c, d}
        if ends?(rest), do: {{:prefix, first, bits}, first, true, rest}, else: :error

      :error ->
        :error
    end
  end

  defp range4(first, text) do
    case address4(text) do
      {last, rest} when last > first ->
        if ends?(rest),
          do: {Linx.Netfilter.Datum.folded(:ipv4_addr, first, last), first, true, rest},
          else: :error

      # The same address twice, or a range that ends before it begins.
      _ ->
        :error
    end
  end

  defp address4(text) do
    with {a, <<?., text::binary>>} <- octet(text),
         {b, <<?., text::binary>>} <- octet(text),
         {c, <<?., text::binary>>} <- octet(text),
         {d, rest} <- octet(text) do
      {{a, b, c, d}, rest}
    else
      _ -> :error
    end
  end

  # One to three digits without a zero in front, which :inet takes for octal.
  defp octet(<<a, b, c, rest::binary>>)
       when a in ?1..?2 and b in ?0..?9 and c in ?0..?9 do
    case (a - ?0) * 100 + (b - ?0) * 10 + c - ?0 do
      n when n < 256 -> {n, rest}
      _ -> :error
    end
  end

  defp octet(<<a, b, rest::binary>>) when a in ?1..?9 and b in ?0..?9,
    do: {(a - ?0) * 10 + b - ?0, rest}

  defp octet(<<a, rest::binary>>) when a in ?0..?9, do: {a - ?0, rest}
  defp octet(_text), do: :error

  defp prefix(<<a, b, c, rest::binary>>, most) when a == ?1 and b in ?0..?9 and c in ?0..?9,
    do: bits((a - ?0) * 100 + (b - ?0) * 10 + c - ?0, rest, most)

  defp prefix(<<a, b, rest::binary>>, most) when a in ?1..?9 and b in ?0..?9,
    do: bits((a - ?0) * 10 + b - ?0, rest, most)

  defp prefix(<<a, rest::binary>>, most) when a in ?0..?9, do: bits(a - ?0, rest, most)
  defp prefix(_text, _most), do: :error

  defp bits(n, rest, most) when n <= most, do: {n, rest}
  defp bits(_n, _rest, _most), do: :error

  # A value ends at blanks, a comma, a comment or the end: nothing else is read here.
  defp ends?(<<c, _::binary>>), do: c in [?\s, ?\t, ?\r, ?\n, ?,, ?#]
  defp ends?(""), do: true

  # -- IPv6 --------------------------------------------------------------------------------------

  defp ipv6(text) do
    case address6(text) do
      {address, <<?/, rest::binary>>} -> prefix6(address, rest)
      {address, <<?-, rest::binary>>} -> range6(address, rest)
      {address, rest} -> point(address, address, rest)
      :error -> :error
    end
  end

  defp prefix6(address, text) do
    case prefix(text, 128) do
      {128, rest} ->
        whole(address, rest)

      {bits, rest} ->
        low = 128 - bits
        n = Bitwise.bsl(Bitwise.bsr(number6(address), low), low)
        first = words(<<n::128>>)
        if ends?(rest), do: {{:prefix, first, bits}, first, true, rest}, else: :error

      :error ->
        :error
    end
  end

  defp range6(first, text) do
    case address6(text) do
      {last, rest} when last > first ->
        if ends?(rest),
          do: {Linx.Netfilter.Datum.folded(:ipv6_addr, first, last), first, true, rest},
          else: :error

      _ ->
        :error
    end
  end

  defp number6({a, b, c, d, e, f, g, h}) do
    <<n::128>> = <<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>
    n
  end

  defp words(<<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>),
    do: {a, b, c, d, e, f, g, h}

  # Groups of hexadecimal digits, once a gap. A dotted end is left to :inet.
  defp address6(<<"::", rest::binary>>), do: groups_after_gap(rest, [], [])
  defp address6(text), do: groups(text, [])

  defp groups(text, acc) do
    case group(text) do
      {n, <<"::", rest::binary>>} -> groups_after_gap(rest, [n | acc], [])
      {n, <<?:, rest::binary>>} -> groups(rest, [n | acc])
      {n, rest} when length(acc) == 7 -> {List.to_tuple(Enum.reverse([n | acc])), rest}
      _ -> :error
    end
  end

  defp groups_after_gap(text, before, acc) do
    case group(text) do
      {n, <<?:, c, _::binary>> = rest} when c != ?\s and c != ?\t ->
        <<?:, rest::binary>> = rest
        groups_after_gap(rest, before, [n | acc])

      {n, rest} ->
        gap(before, [n | acc], rest)

      :error when acc == [] ->
        gap(before, [], text)

      :error ->
        :error
    end
  end

  defp gap(before, tail, rest) do
    zeros = 8 - length(before) - length(tail)

    if zeros >= 1,
      do:
        {List.to_tuple(Enum.reverse(before, List.duplicate(0, zeros) ++ Enum.reverse(tail))),
         rest},
      else: :error
  end

  defp group(text), do: group(text, 0, 0)

  defp group(<<c, rest::binary>>, n, digits) when c in ?0..?9 and digits < 4,
    do: group(rest, n * 16 + c - ?0, digits + 1)

  defp group(<<c, rest::binary>>, n, digits) when c in ?a..?f and digits < 4,
    do: group(rest, n * 16 + c - ?a + 10, digits + 1)

  defp group(<<c, rest::binary>>, n, digits) when c in ?A..?F and digits < 4,
    do: group(rest, n * 16 + c - ?A + 10, digits + 1)

  defp group(_text, _n, 0), do: :error
  defp group(rest, n, _digits), do: {n, rest}

  # -- numbers and verdicts ----------------------------------------------------------------------

  defp number(text, most) do
    case digits(text, most) do
      {first, <<?-, rest::binary>>} -> number_range(first, digits(rest, most))
      {n, rest} -> point(n, n, rest)
      :error -> :error
    end
  end

  defp number_range(first, {last, rest}) when last > first,
    do: if(ends?(rest), do: {{:range, first, last}, first, true, rest}, else: :error)

  defp number_range(_first, _last), do: :error

  # Decimal, without a zero in front, which makes it octal.
  defp digits(<<?0, c, _::binary>>, _most) when c in ?0..?9 or c in ?a..?z or c in ?A..?Z,
    do: :error

  defp digits(<<c, rest::binary>>, most) when c in ?0..?9, do: digits(rest, c - ?0, most)
  defp digits(_text, _most), do: :error

  defp digits(<<c, rest::binary>>, n, most) when c in ?0..?9 and n <= most,
    do: digits(rest, n * 10 + c - ?0, most)

  defp digits(rest, n, most) when n <= most, do: {n, rest}
  defp digits(_rest, _n, _most), do: :error

  @verdicts for kind <- [:accept, :drop, :continue, :return],
                do: {Atom.to_string(kind), Verdict.new!(kind)}

  for {word, verdict} <- @verdicts do
    defp verdict(<<unquote(word), rest::binary>>),
      do: if(ends?(rest), do: {unquote(Macro.escape(verdict)), nil, false, rest}, else: :error)
  end

  defp verdict(_text), do: :error
end
