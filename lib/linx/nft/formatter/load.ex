defmodule Linx.NFT.Formatter.Load do
  @moduledoc false
  # Expressions that put something into a register, as terms: the words that load it, its datatype
  # and its byte order.

  alias Linx.Netfilter.{Expr, Field, Protocol}
  alias Linx.NFT.Formatter.{Context, Term}
  alias Linx.NFT.Expr.Kinds

  @bases %{link: "ll", network: "nh", transport: "th", inner: "ih"}

  @doc """
  The term that a loading expression puts into its `dreg`, or `:error` for one that is not known.
  """
  @spec term(Expr.t(), Context.t() | nil) :: {:ok, Term.t()} | :error
  def term(%Expr{name: :payload, data: data}, _context), do: payload(data)
  def term(%Expr{name: :exthdr, data: data}, _context), do: exthdr(data)

  def term(%Expr{name: :inner, data: %{expr: %Expr{} = expr, type: tunnel}}, context)
      when is_atom(tunnel) do
    with {:ok, term} <- term(expr, context), do: {:ok, inside(term, Atom.to_string(tunnel))}
  end

  def term(expr, context), do: Kinds.term(expr, context)

  ## Packet headers

  defp payload(%{field: name} = data) when is_atom(name) and name != nil do
    with {:ok, field} <- Field.fetch(name), do: {:ok, field_term(field, data)}
  end

  # From nft's record of a set alone.
  defp payload(%{base: base, bits: {offset, len}, len: size} = data)
       when is_map_key(@bases, base) do
    {:ok, %Term{text: bits(base, offset, len), type: :integer, size: size, source: data}}
  end

  # The ports of whatever transport it is.
  defp payload(%{base: :transport, offset: offset, len: 2} = data) when offset in [0, 2] do
    with {:ok, field} <- Field.fetch(if(offset == 0, do: :th_sport, else: :th_dport)),
         do: {:ok, field_term(field, data)}
  end

  defp payload(%{base: base, offset: _, len: len} = data) do
    if is_map_key(@bases, base), do: {:ok, raw(data, len)}, else: :error
  end

  defp payload(_), do: :error

  # A field that is no whole bytes has to be cut out by a bitwise expression: until then the term
  # is the bytes around it.
  defp field_term(field, data) do
    len = data[:len] || elem(Field.bytes(field), 1)
    whole = %Term{text: words(field), type: field.type, size: len, source: data}
    {mask, shift} = Field.mask(field)

    cond do
      rem(field.length, 8) == 0 and rem(field.offset, 8) == 0 ->
        whole

      Field.bytes(field) == {data[:offset] || 0, len} ->
        %{raw(data, len) | mask: {mask, shift, whole}}

      true ->
        raw(data, len)
    end
  end

  defp raw(%{base: base, offset: offset} = data, len) do
    base = if is_map_key(@bases, base), do: base, else: :network
    %Term{text: bits(base, offset * 8, len * 8), type: :integer, size: len, source: data}
  end

  defp raw(data, len), do: %Term{text: "@nh,0,8", type: :integer, size: len, source: data}

  @doc "The words for raw bits of a packet: `@nh,96,32`. `base` is one of `base?/1`."
  @spec bits(atom(), non_neg_integer(), pos_integer()) :: iodata()
  def bits(base, offset, len),
    do: [
      "@",
      Map.fetch!(@bases, base),
      ",",
      Integer.to_string(offset),
      ",",
      Integer.to_string(len)
    ]

  @doc "Whether nft has a word for the base of a payload load."
  @spec base?(atom()) :: boolean()
  def base?(base), do: is_map_key(@bases, base)

  @doc """
  The words for a header field: `tcp dport`, `tcp option maxseg size`, `ip option ra value`.
  """
  @spec words(Field.t()) :: iodata()
  def words(%{protocol: protocol, field: field}),
    do: [Protocol.text(protocol), " ", field]

  ## Extension headers and options

  defp exthdr(%{op: op, type: type} = data) do
    if :present in List.wrap(data[:flags]) do
      with {:ok, words} <- presence(op, type),
           do: {:ok, %Term{text: words, type: :boolean, size: 1, order: :host, source: data}}
    else
      extension(op, type, data)
    end
  end

  defp exthdr(_), do: :error

  @doc "The words for a header or option as such: `tcp option maxseg`, `exthdr hbh`."
  @spec presence(atom(), non_neg_integer()) :: {:ok, iodata()} | :error
  def presence(op, type) do
    case {op, Protocol.by_header(op, type)} do
      {:ipv6, name} when name != nil -> {:ok, ["exthdr ", Protocol.text(name)]}
      {_op, name} when name != nil -> {:ok, Protocol.text(name)}
      {:dccp, nil} -> {:ok, ["dccp option ", Integer.to_string(type)]}
      {:tcpopt, nil} -> {:ok, ["tcp option ", Integer.to_string(type)]}
      _ -> :error
    end
  end

  defp extension(op, type, data) do
    offset = data[:offset] || 0
    len = data[:len] || 1

    field =
      case data do
        %{field: name} -> with {:ok, field} <- Field.fetch(name), do: field, else: (_ -> nil)
        _ -> Field.at(op, type, offset * 8, len * 8) || narrow(op, type, offset, len)
      end

    cond do
      field != nil ->
        {:ok, extension_term(field, data, offset, len)}

      op == :tcpopt ->
        {:ok,
         %Term{text: option_bytes(type, offset, len), type: :integer, size: len, source: data}}

      true ->
        :error
    end
  end

  # The field that these bytes are loaded for, when it is no whole bytes.
  defp narrow(op, type, offset, len) do
    Enum.find(Field.all(), fn field ->
      field.base == op and field.header == type and Field.bytes(field) == {offset, len} and
        rem(field.length, 8) != 0
    end)
  end

  defp extension_term(field, data, _offset, len) do
    whole = %Term{text: words(field), type: field.type, size: len, source: data}

    if rem(field.length, 8) == 0 and rem(field.offset, 8) == 0 do
      whole
    else
      {mask, shift} = Field.mask(field)
      %{whole | mask: {mask, shift, whole}}
    end
  end

  defp option_bytes(type, offset, len),
    do: [
      "tcp option @",
      Integer.to_string(type),
      ",",
      Integer.to_string(offset * 8),
      ",",
      Integer.to_string(len * 8)
    ]

  ## The rest

  # `vxlan tcp dport`; `vxlan vni` is the tunnel's own header and names it already. What is known
  # of the packet itself says nothing of the one inside, nor the other way round: the source says
  # which it is.
  defp inside(%Term{text: text} = term, tunnel) do
    text = IO.iodata_to_binary(text)

    own? = String.starts_with?(text, tunnel <> " ")

    mask =
      with {bits, shift, whole} <- term.mask, do: {bits, shift, inside(whole, tunnel)}

    %{
      term
      | text: if(own?, do: text, else: [tunnel, " ", text]),
        source: Map.put(term.source || %{}, :inside, tunnel),
        mask: mask
    }
  end
end
