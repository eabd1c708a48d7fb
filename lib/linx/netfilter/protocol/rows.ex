defmodule Linx.Netfilter.Protocol.Rows do
  @moduledoc false
  # The rows of `Linx.Netfilter.Protocol`, with all keys of the structs. `Linx.Netfilter.Field`
  # and `Linx.Netfilter.Protocol` both index them when they are compiled, and make structs of
  # them: this module names neither.

  alias Linx.Netfilter.Protocol.{Extensions, Headers}

  @option_words %{tcpopt: "tcp option ", ipv4: "ip option ", sctp: "sctp chunk "}

  # The field's number in nft's record counts from 1, in TCP options and SCTP chunks from 0.
  field = fn {text, offset, length, type}, more, row, place ->
    %{
      name: String.to_atom("#{row.name}_" <> String.replace(text, ~r/[^a-z0-9]+/, "_")),
      protocol: row.name,
      field: text,
      base: row.base,
      header: row[:header],
      offset: offset,
      length: length,
      type: type,
      order: :big,
      types: more[:types],
      pseudo_header?: more[:pseudo] == true,
      aliases: List.wrap(more[:alias]),
      place: more[:place] || place
    }
  end

  fields = fn row ->
    first = if row.base in [:tcpopt, :sctp], do: 0, else: 1

    for {columns, index} <- Enum.with_index(row.fields, first) do
      case columns do
        {text, offset, length, type} ->
          field.({text, offset, length, type}, [], row, index)

        {text, offset, length, type, more} ->
          field.({text, offset, length, type}, more, row, index)
      end
    end
  end

  @rows (for row <- Headers.rows() ++ Extensions.rows() do
           words = List.wrap(row[:words] || Atom.to_string(row.name))

           %{
             name: row.name,
             text: Map.get(@option_words, row.base, "") <> hd(words),
             words: words,
             base: row.base,
             header: row[:header],
             id: row[:id] || row[:header],
             network: row[:network],
             checksum: row[:checksum],
             tunnel: row[:tunnel],
             numbers: Map.new(row[:numbers] || [], fn {layer, n} -> {layer, List.wrap(n)} end),
             ports?: row[:ports?] == true,
             timeouts: row[:timeouts],
             fields: fields.(row)
           }
         end)

  @doc false
  def all, do: @rows
end
