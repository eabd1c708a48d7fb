defmodule Linx.Netfilter.Userdata do
  @moduledoc false
  # The opaque bytes of tables, chains, rules, sets, elements and objects, as libnftnl writes
  # them: a list of {u8 type, u8 length, bytes}. nft(8) reads comments and the byte order of set
  # keys there. Numbers are in host order, text ends in NUL.
  #
  # Types by what carries them (libnftnl include/libnftnl/udata.h):
  #   table, chain, object: 0 comment
  #   rule: 0 comment, 1 ebtables policy, and ours: 76 tag
  #   set: 0 key byte order, 1 data byte order, 2 merge elements, 3 key typeof, 4 data typeof, 5
  #   expr, 6 data interval, 7 comment, and
  #     ours: 76 widths of the key's parts, 77 of the data's, 78 and 79 the records of key and
  #     data where 3 and 4 hold what stands in for them
  #   element: 0 comment, 1 flags (1: open interval)

  import Bitwise

  @tag 76

  @spec pairs(binary() | nil) :: [{0..255, binary()}]
  def pairs(<<type, len, value::binary-size(len), rest::binary>>),
    do: [{type, :binary.copy(value)} | pairs(rest)]

  def pairs(_tail), do: []

  @spec bytes([{0..255, binary() | nil}]) :: binary()
  def bytes(pairs),
    do: IO.iodata_to_binary(for {_type, value} = pair <- pairs, value != nil, do: pair(pair))

  defp pair({type, value}) when byte_size(value) <= 255,
    do: <<type, byte_size(value), value::binary>>

  defp pair({_type, value}),
    do: raise(ArgumentError, "userdata of #{byte_size(value)} bytes; at most 255")

  @spec text(String.t() | nil) :: binary() | nil
  def text(nil), do: nil
  def text(text), do: <<text::binary, 0>>

  @spec u32(non_neg_integer()) :: binary()
  def u32(n), do: <<n::native-32>>

  # -- comments ----------------------------------------------------------------------------------

  @doc "The comment of a table, chain, object or element."
  @spec comment(binary() | nil) :: String.t() | nil
  def comment(nil), do: nil
  def comment(bytes), do: bytes |> pairs() |> find_text(0)

  @spec with_comment(String.t() | nil) :: binary()
  def with_comment(comment), do: bytes([{0, text(comment)}])

  # -- rules -------------------------------------------------------------------------------------

  @spec rule(Linx.Netfilter.Rule.t()) :: binary()
  def rule(%{comment: nil, tag: nil, userdata: []}), do: <<>>

  # In one go, since ten thousand rules have them.
  def rule(%{comment: nil, tag: tag, userdata: []}) do
    text = Atom.to_string(tag)
    size = byte_size(text)
    if size > 254, do: pair({@tag, text(text)}), else: <<@tag, size + 1, text::binary, 0>>
  end

  def rule(rule) do
    tag = if rule.tag, do: Atom.to_string(rule.tag)
    bytes([{0, text(rule.comment)}, {@tag, text(tag)} | rule.userdata])
  end

  @doc "`{comment, tag, rest}`. A tag whose atom does not exist here stays in the rest."
  @spec parse_rule(binary() | nil) :: {String.t() | nil, atom() | nil, [{0..255, binary()}]}
  def parse_rule(nil), do: {nil, nil, []}

  # A tag and nothing else, as rules of a reconciled chain mostly have it.
  def parse_rule(<<@tag, size, text::binary-size(size)>> = bytes) do
    case text |> until_nul() |> existing_atom() do
      nil -> {nil, nil, pairs(bytes)}
      tag -> {nil, tag, []}
    end
  end

  def parse_rule(bytes) do
    pairs = pairs(bytes)
    tag = pairs |> find_text(@tag) |> existing_atom()
    mine = if tag, do: [0, @tag], else: [0]
    {find_text(pairs, 0), tag, Enum.reject(pairs, &(elem(&1, 0) in mine))}
  end

  defp existing_atom(nil), do: nil

  defp existing_atom(text) do
    String.to_existing_atom(text)
  rescue
    # No such atom, or more than 255 characters, or no UTF-8.
    _ in [ArgumentError, SystemLimitError] -> nil
  end

  # -- sets --------------------------------------------------------------------------------------

  @key_widths 76
  @data_widths 77
  @key_record 78
  @data_record 79

  @doc """
  The types of a set's entries that fields of its struct stand for; 5, which nft writes and never
  reads, is kept.
  """
  @spec set_types() :: [0..255]
  def set_types, do: [0, 1, 2, 3, 4, 6, 7, @key_widths, @data_widths, @key_record, @data_record]

  @doc """
  Linx's own record of the parts of a key or of data: `{bits, order}` each, for a set without one
  of nft's.

  A part takes two bytes, 0x8000 for the host's byte order and the bits. Programs that do not know
  the entry pass over it.
  """
  @spec widths([{0..255, binary()}], :key | :data) :: [{pos_integer(), :host | :big}] | nil
  def widths(pairs, which) do
    with {_, bytes} <- List.keyfind(pairs, widths_type(which), 0),
         [_ | _] = widths <-
           for(<<host::1, bits::15 <- bytes>>, bits > 0, do: {bits, order(host)}),
         true <- byte_size(bytes) == 2 * length(widths),
         do: widths,
         else: (_ -> nil)
  end

  defp order(1), do: :host
  defp order(0), do: :big

  @doc "The entry of `widths/2`."
  @spec with_widths([{pos_integer(), :host | :big}], :key | :data) :: {0..255, binary()}
  def with_widths(widths, which) do
    {widths_type(which),
     for(
       {bits, order} <- widths,
       into: <<>>,
       do: <<if(order == :host, do: 1, else: 0)::1, bits::15>>
     )}
  end

  defp widths_type(:key), do: @key_widths
  defp widths_type(:data), do: @data_widths

  @doc "The types of the entries with nft's record of the key and of the data, Linx's own first."
  @spec record_types() :: [{:key | :data, [0..255, ...]}]
  def record_types, do: [key: [@key_record, 3], data: [@data_record, 4]]

  # -- elements ----------------------------------------------------------------------------------

  @doc "An element's userdata; `open?` marks an interval without an end."
  @spec element(String.t() | nil, boolean()) :: binary()
  def element(comment, open?),
    do: bytes([{0, text(comment)}, {1, if(open?, do: u32(1))}])

  @spec find_text([{0..255, binary()}], 0..255) :: String.t() | nil
  def find_text(pairs, type) do
    case List.keyfind(pairs, type, 0) do
      {_, value} -> until_nul(value)
      nil -> nil
    end
  end

  defp until_nul(bytes), do: bytes |> :binary.split(<<0>>) |> hd()

  @spec find_u32([{0..255, binary()}], 0..255) :: non_neg_integer() | nil
  def find_u32(pairs, type) do
    case List.keyfind(pairs, type, 0) do
      {_, <<n::native-32>>} -> band(n, 0xFFFFFFFF)
      _ -> nil
    end
  end
end
