defmodule Linx.NFT.Compiler.Interpolated do
  @moduledoc false
  # Elixir values where a sigil has #{...}: turned into the node that the same value has as text,
  # or an ArgumentError that names what was expected and what came.

  alias Linx.NFT.Compiler.{Term, Value}

  @doc false
  # The node for a value where `like` is expected.
  def node(value, like, meta)

  def node(%Range{first: a, last: b, step: 1}, like, meta),
    do: {:range, node(a, like, meta), node(b, like, meta), meta}

  def node({:range, a, b}, like, meta),
    do: {:range, node(a, like, meta), node(b, like, meta), meta}

  def node({:prefix, base, bits}, like, meta) when is_integer(bits),
    do: {:prefix, node(base, like, meta), bits, meta}

  def node(list, %Term{kind: :concat, data: parts} = like, meta)
      when is_list(list) or is_tuple(list) do
    values = if is_tuple(list), do: Tuple.to_list(list), else: list

    if length(values) == length(parts),
      do: {:concat, Enum.zip_with(values, parts, &node(&1, &2, meta)), meta},
      else: mismatch(list, like)
  end

  def node(list, like, meta) when is_list(list) and list != [],
    do: {:list, Enum.map(list, &node(&1, like, meta)), meta}

  def node(%{__struct__: Linx.IP, bytes: bytes}, like, meta), do: node(bytes, like, meta)
  def node(%{__struct__: Linx.MAC, bytes: bytes}, like, meta), do: node(bytes, like, meta)

  def node(%{__struct__: Linx.IP.Subnet, address: a, prefix: p}, like, meta),
    do: {:prefix, node(a, like, meta), p, meta}

  def node(value, %Term{type: :ipv4_addr} = like, meta), do: address(value, 4, like, meta)
  def node(value, %Term{type: :ipv6_addr} = like, meta), do: address(value, 16, like, meta)

  def node(value, %Term{type: :ether_addr} = like, meta) do
    case value do
      <<_::48>> ->
        {:address, :mac, mac(value), meta}

      text when is_binary(text) ->
        {:address, :mac, mac_text!(text, like), meta}

      value when is_tuple(value) and tuple_size(value) == 6 ->
        {:address, :mac, value |> Tuple.to_list() |> bytes!(value, like) |> mac(), meta}

      _ ->
        mismatch(value, like)
    end
  end

  def node(n, like, meta) when is_integer(n) do
    if like.type in [:ifname, :string] or n < 0 or
         (like.len > 0 and Bitwise.bsr(n, like.len) != 0),
       do: mismatch(n, like)

    {:integer, n, meta}
  end

  def node(text, %Term{type: type} = like, meta)
      when is_binary(text) and type in [:ifname, :string] do
    if text == "" or not String.printable?(text), do: mismatch(text, like)
    {:string, text, meta}
  end

  def node(value, like, meta)
      when is_binary(value) or (is_atom(value) and value not in [nil, true, false]) do
    text = to_string(value)

    # A port as text is a mistake more often than a service by name: "ssh" must come as :ssh.
    if like.type == :inet_service and is_binary(value), do: mismatch(value, like)

    try do
      Value.constant({:string, text, meta}, like, nil)
    catch
      {:syntax, _, _} -> mismatch(value, like)
    end

    {:string, text, meta}
  end

  def node(true, %Term{type: :boolean}, meta), do: {:integer, 1, meta}
  def node(false, %Term{type: :boolean}, meta), do: {:integer, 0, meta}
  def node(value, like, _meta), do: mismatch(value, like)

  defp address(<<_::binary>> = bytes, size, _like, meta) when byte_size(bytes) == size do
    # Sixteen bytes may be text as well: "2001:db8:0:1::22".
    if size == 16 and String.printable?(bytes) and String.contains?(bytes, ":"),
      do: parsed(bytes, size, nil, meta) || raw(bytes, meta),
      else: raw(bytes, meta)
  end

  defp address(text, size, like, meta) when is_binary(text) do
    case String.split(text, "/") do
      [base, bits] ->
        case Integer.parse(bits) do
          {n, ""} -> {:prefix, parsed(base, size, like, meta) || mismatch(text, like), n, meta}
          _ -> mismatch(text, like)
        end

      _ ->
        parsed(text, size, like, meta) || mismatch(text, like)
    end
  end

  defp address({_, _, _, _} = tuple, 4, like, meta),
    do: tuple |> Tuple.to_list() |> bytes!(tuple, like) |> raw(meta)

  defp address(tuple, 16, like, meta) when is_tuple(tuple) and tuple_size(tuple) == 8 do
    words = Tuple.to_list(tuple)
    unless Enum.all?(words, &(is_integer(&1) and &1 in 0..0xFFFF)), do: mismatch(tuple, like)
    raw(for(word <- words, into: <<>>, do: <<word::16>>), meta)
  end

  defp address(value, _size, like, _meta), do: mismatch(value, like)

  defp parsed(text, size, _like, meta) do
    case :inet.parse_strict_address(String.to_charlist(text)) do
      {:ok, address} when tuple_size(address) == 4 and size == 4 ->
        raw(:erlang.list_to_binary(Tuple.to_list(address)), meta)

      {:ok, address} when tuple_size(address) == 8 and size == 16 ->
        raw(for(w <- Tuple.to_list(address), into: <<>>, do: <<w::16>>), meta)

      _ ->
        nil
    end
  end

  defp raw(<<_::32>> = bytes, meta),
    do: {:address, :ipv4, bytes |> :binary.bin_to_list() |> Enum.join("."), meta}

  defp raw(<<_::128>> = bytes, meta) do
    words = for <<word::16 <- bytes>>, do: Integer.to_string(word, 16)
    {:address, :ipv6, Enum.join(words, ":"), meta}
  end

  defp bytes!(list, value, like) do
    if Enum.all?(list, &(is_integer(&1) and &1 in 0..255)),
      do: :erlang.list_to_binary(list),
      else: mismatch(value, like)
  end

  defp mac(bytes),
    do:
      for(<<b <- bytes>>, do: b |> Integer.to_string(16) |> String.pad_leading(2, "0"))
      |> Enum.join(":")

  defp mac_text!(text, like) do
    if String.match?(text, ~r/^[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}$/),
      do: text,
      else: mismatch(text, like)
  end

  @doc false
  # A list or map of elements, as nodes of elements.
  def elements(value, like, meta)

  def elements(list, like, meta) when is_list(list), do: Enum.map(list, &element(&1, like, meta))

  def elements(%MapSet{} = set, like, meta),
    do: set |> Enum.sort() |> Enum.map(&element(&1, like, meta))

  def elements(map, like, meta) when is_map(map) and not is_struct(map),
    do: map |> Enum.sort() |> Enum.map(&pair(&1, like, meta))

  def elements(value, like, meta), do: [node(value, like, meta)]

  defp element({key, data} = value, like, meta) do
    if like.kind == :concat and length(like.data) == 2,
      do: node(value, like, meta),
      else: pair({key, data}, like, meta)
  end

  defp element(value, like, meta), do: node(value, like, meta)

  defp pair({key, data}, like, meta),
    do: {:mapping, node(key, like, meta), {:elixir_value, data, meta}, meta}

  @doc false
  def integer!(n) when is_integer(n) and n >= 0, do: n

  def integer!(value),
    do: raise(ArgumentError, "expected a non-negative integer in ~NFT, got: #{inspect(value)}")

  @doc false
  def text!(text) when is_binary(text) and text != "", do: text
  def text!(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)

  def text!(value),
    do: raise(ArgumentError, "expected a name or text in ~NFT, got: #{inspect(value)}")

  @doc false
  # A name of a table, chain, set or object: what could stand in the text without quotes.
  def name!(value, what) do
    text = text!(value)

    if String.match?(text, ~r/^[A-Za-z_.][A-Za-z0-9\/_.-]*$/) and byte_size(text) < 256,
      do: text,
      else: raise(ArgumentError, "expected the name of a #{what} in ~NFT, got: #{inspect(value)}")
  end

  @doc false
  def verdict!(value) do
    case Linx.Netfilter.Verdict.new(value) do
      {:ok, verdict} -> verdict
      {:error, _} -> raise ArgumentError, "expected a verdict in ~NFT, got: #{inspect(value)}"
    end
  end

  @doc false
  @spec no_load!(term(), map()) :: no_return()
  def no_load!(value, _meta),
    do:
      raise(
        ArgumentError,
        "an interpolation is a value in ~NFT; nothing is loaded from #{inspect(value)}"
      )

  @doc false
  @spec no_elements!(term()) :: no_return()
  def no_elements!(value) do
    raise ArgumentError,
          "expected at least one element in ~NFT, got: #{inspect(value)}; a set without " <>
            "elements is a set of the table"
  end

  @spec mismatch(term(), Term.t()) :: no_return()
  defp mismatch(value, like),
    do: raise(ArgumentError, "expected #{Value.describe(like)} in ~NFT, got: #{inspect(value)}")
end
