defmodule Linx.Netfilter.Elements do
  @moduledoc false
  # Elements of one set or map in the kernel, added, deleted and read without its other elements.
  # GETSET gives the types of keys and values, so each verb is one small request and one
  # transaction.

  import Linx.Netfilter.Elements.Intervals
  import Linx.Netfilter.Elements.Place
  import Linx.Netfilter.Elements.Values
  import Linx.Netfilter.Wire
  import Linx.Netlink.Constants

  alias Linx.Netfilter.Decoder
  alias Linx.Netfilter.Encoder.{Frames, Sets}
  alias Linx.Netfilter.Encoder.Elements, as: Encoded
  alias Linx.Netfilter.{Datum, Element, Error, Name, Pull, Table}
  alias Linx.Netfilter.{Transaction, Wire}
  alias Linx.Netlink.{Attr, Request, Socket}
  alias Linx.Netlink.Nfnl.Codec

  @type ref :: {Table.family(), String.t(), String.t()}

  # Ends that an interval is looked for at before the whole set is read.
  @tries 4

  # Tries of a transaction, which depends on what was read before it, each after a random pause of
  # at most 8 ms.
  @retries 30

  @doc "Adds elements; options `:timeout`, `:expires`, `:comment`, `:exprs`, `:create`."
  @spec add(Socket.t(), ref(), [term()], keyword()) :: :ok | {:error, Error.t() | term()}
  def add(sock, ref, elements, opts) do
    {create, extras} = Keyword.pop(opts, :create, false)

    with :ok <- Element.check(struct!(Element, [key: nil] ++ extras)),
         do: current(sock, &added(&1, ref, elements, extras, create))
  end

  defp added(%{sock: sock} = at, ref, elements, extras, create) do
    with {:ok, set} <- declaration(sock, ref, elements),
         {:ok, elements} <- values(set, elements, extras),
         {:ok, elements} <- resolved(sock, ref, set, elements),
         {:ok, frames} <- additions(ref, set, elements, create),
         do: at |> commit(frames) |> merged(at, ref, set, elements, frames, create)
  end

  # A set with auto-merge takes what overlaps: the union of both takes its place.
  defp merged({:error, %Error{errno: errno}} = refusal, at, ref, set, elements, frames, false)
       when errno in [:eexist, :enotempty] do
    if merges?(set, elements),
      do: rewritten(at, ref, set, &union(set, &1, elements), refusal),
      else: located(refusal, frames, ref, set, elements)
  end

  defp merged(result, _at, ref, set, elements, frames, _create),
    do: located(result, frames, ref, set, elements)

  @doc "Deletes elements by their keys; option `:ignore_missing`."
  @spec delete(Socket.t(), ref(), [term()], keyword()) :: :ok | {:error, Error.t() | term()}
  def delete(sock, ref, elements, opts) do
    ignore = opts[:ignore_missing] == true
    current(sock, &deleted(&1, ref, elements, ignore))
  end

  defp deleted(%{sock: sock} = at, ref, elements, ignore) do
    with {:ok, set} <- declaration(sock, ref, elements),
         {:ok, keys} <- keys(set, elements),
         {:ok, keys} <- resolved(sock, ref, bare(set), keys),
         # DESTROYSETELEM passes over a part of an interval: only DELSETELEM tells that there is
         # one to split.
         splits = merges?(set, keys),
         {:ok, frames} <- deletions(ref, set, keys, ignore and not splits) do
      case commit(at, frames) do
        {:error, %Error{errno: :enoent}} = refusal when splits ->
          split(at, ref, set, keys, ignore, located(refusal, frames, ref, bare(set), keys))

        result ->
          located(result, frames, ref, bare(set), keys)
      end
    end
  end

  defp split(at, ref, set, keys, false, refusal),
    do: rewritten(at, ref, set, &difference(set, &1, keys, false), refusal)

  # Intervals that carry a timeout or a comment are not split: those that are there whole are
  # deleted.
  defp split(at, ref, set, keys, true, _refusal) do
    with :whole <- rewritten(at, ref, set, &difference(set, &1, keys, true), :whole),
         {:ok, frames} <- deletions(ref, set, keys, true),
         do: at |> commit(frames) |> located(frames, ref, bare(set), keys)
  end

  @doc "The elements that hold the given keys, in their order, or all of them; option `:reset`."
  @spec get(Socket.t(), ref(), [term()] | :all, keyword()) ::
          {:ok, [term()]} | {:error, Error.t() | term()}
  def get(sock, ref, keys, opts),
    do: get(sock, ref, keys, %{reset: opts[:reset] == true}, @retries)

  # The bytes of a set that was made anew meanwhile are other values. The handles of its table and
  # its own tell, not the generation: that moves with every change of any table. A reset is not
  # repeated, since it has changed what it read.
  defp get(sock, ref, keys, opts, tries) do
    with {:ok, {_table, set} = identity} <- identity(sock, ref) do
      answer = got(sock, ref, keys, set, opts)

      case identity(sock, ref) do
        {:ok, ^identity} -> answer
        _other when tries > 0 and not opts.reset -> get(sock, ref, keys, opts, tries - 1)
        {:ok, _other} -> {:error, changed(ref)}
        {:error, error} -> {:error, error}
      end
    end
  end

  # The kernel gives no handle of a table twice, and none of a set twice in one table.
  defp identity(sock, {family, table, _} = ref) do
    case Pull.tables(sock, [{family, table}]) do
      {:ok, tables} ->
        with {:ok, set} <- declaration(sock, ref, []),
             do: {:ok, {Enum.map(tables, & &1.handle), set}}

      {:error, error} ->
        {:error, place(Error.from_netlink(error, :gettable), ref)}
    end
  end

  defp changed(ref) do
    place(
      Error.from_posix(:erestart, :getsetelem,
        subsys: :nftables,
        message: "the set was made anew while it was read"
      ),
      ref
    )
  end

  defp got(sock, {family, _, _}, :all, set, opts), do: Pull.of_set(sock, family, set, opts.reset)

  defp got(sock, ref, elements, set, opts) when is_list(elements) do
    message =
      if opts.reset, do: nft_msg_getsetelem_reset(), else: nft_msg_getsetelem()

    with {:ok, keys} <- keys(set, elements),
         {:ok, keys} <- resolved(sock, ref, bare(set), keys),
         queries = Enum.map(keys, &queries(set, &1)),
         requests =
           for(
             query <- queries,
             {kind, elem} <- query,
             do: request(if(kind == :end, do: nft_msg_getsetelem(), else: message), ref, elem)
           ),
         {:ok, answers} <- looked_up(sock, requests),
         do: found(keys, queries, answers, {sock, ref}, set, [])
  end

  # -- the declaration ---------------------------------------------------------------------------

  # The set or map that `ref` names as the kernel has it, without elements.
  defp declaration(sock, {family, table, name}, elements) when is_list(elements) do
    payload =
      IO.iodata_to_binary([
        Codec.encode_nfgenmsg(family, 0),
        Attr.text(nfta_set_table(), table),
        Attr.text(nfta_set_name(), name)
      ])

    case Request.run(sock, 0x0A00 + nft_msg_getset(), 0, payload, :raw) do
      {:ok, [{_type, _flags, _seq, body} | _]} ->
        {:ok, body |> Decoder.set() |> elem(1)}

      {:ok, []} ->
        {:error, place(Error.from_posix(:enoent, :getset), {family, table, name})}

      {:error, error} ->
        {:error, place(Error.from_netlink(error, :getset), {family, table, name})}
    end
  end

  @doc "Whether `ref` can name a set: `{family, table, set}`."
  @spec check_ref(term()) :: :ok | {:error, term()}
  def check_ref({family, table, name}) do
    with {:ok, _table} <- Table.new(family, table) do
      case Name.check(name) do
        :ok -> :ok
        {:error, reason} -> {:error, {:bad_set, reason}}
      end
    end
  end

  def check_ref(other), do: {:error, {:bad_set, {:bad_name, other}}}

  # -- transactions ------------------------------------------------------------------------------

  defp additions(ref, set, elements, create) do
    encoded(ref, fn ->
      for message <- Sets.elements(set, elem(ref, 0), elements, []) do
        if create, do: %{message | flags: Bitwise.bor(message.flags, nlm_f_excl())}, else: message
      end
    end)
  end

  defp deletions(ref, set, keys, ignore_missing) do
    encoded(ref, fn ->
      for message <- Sets.deletions(bare(set), elem(ref, 0), keys) do
        if ignore_missing,
          do: %{message | type: 0x0A00 + nft_msg_destroysetelem()},
          else: message
      end
    end)
  end

  defp encoded(ref, fun) do
    {:ok, Enum.reduce(fun.(), Frames.new(), &Frames.add(&2, &1, at(ref)))}
  rescue
    error in ArgumentError -> {:error, {:bad_set_element, {at(ref), error.message}}}
  end

  # The socket and the generation that `verb` reads in and commits to: a set that is made anew
  # meanwhile has perhaps other types, and the bytes of the old ones are other elements there.
  defp current(sock, verb, tries \\ 1) do
    with {:ok, gen} <- Pull.generation(sock) do
      case verb.(%{sock: sock, gen: gen.id}) do
        {:error, %Error{errno: :erestart}} when tries < @retries ->
          Process.sleep(:rand.uniform(min(Bitwise.bsl(1, tries), 8)))
          current(sock, verb, tries + 1)

        result ->
          result
      end
    end
  end

  defp commit(%{sock: sock, gen: gen}, frames), do: Transaction.commit(sock, frames, genid: gen)

  # -- auto-merge --------------------------------------------------------------------------------

  # The intervals that `change` makes of those that are there.
  defp rewritten(at, {family, _, _} = ref, set, change, refusal) do
    with {:ok, there} <- Pull.of_set(at.sock, family, set, false),
         {:ok, gone, new} <- change.(there),
         {:ok, deleting} <- deletions(ref, set, gone, false),
         {:ok, frames} <- more(deleting, ref, set, new) do
      commit(at, frames)
    else
      :refused -> refusal
      {:missing, key} -> {:error, %{elem(refusal, 1) | at: at(ref) ++ [element: key]}}
      error -> error
    end
  end

  defp more(frames, ref, set, new) do
    {:ok,
     set
     |> Sets.elements(elem(ref, 0), new, [])
     |> Enum.reduce(frames, &Frames.add(&2, &1, at(ref)))}
  end

  # -- queries -----------------------------------------------------------------------------------

  # The keys that a request for one key sends: that of its element, and in a set of intervals also
  # the point that ends the interval.
  defp queries(_set, :catch_all),
    do: [{:start, Attr.u32_be(nfta_set_elem_flags(), Wire.nft_set_elem_catchall())}]

  defp queries(%{key_type: {:concat, _} = type, flags: flags}, key) do
    first = Datum.to_bytes(type, key)

    if :interval in flags do
      last = Datum.flip(type, Datum.last_bytes(type, key))
      [{:start, [point(Datum.flip(type, first)), point(nfta_set_elem_key_end(), last)]}]
    else
      [{:start, point(first)}]
    end
  end

  defp queries(set, key) do
    if :interval in set.flags do
      {first, _last, bits} = span(set, key)
      ends = Attr.u32_be(nfta_set_elem_flags(), nft_set_elem_interval_end())

      if first == Bitwise.bsl(1, bits) - 1,
        do: [{:start, point(<<first::size(bits)>>)}],
        else: [
          {:start, point(<<first::size(bits)>>)},
          {:end, [ends, point(<<first + 1::size(bits)>>)]}
        ]
    else
      [{:start, point(Datum.to_bytes(set.key_type, key))}]
    end
  end

  defp span(set, key) do
    [{first, last, _}] = Encoded.spans(bare(set), [key])
    {first, last, 8 * byte_size(Datum.to_bytes(set.key_type, key))}
  end

  defp point(attribute \\ nfta_set_elem_key(), bytes),
    do: Attr.nest(attribute, Attr.bytes(nfta_data_value(), bytes))

  defp request(message, {family, table, set}, elem) do
    payload =
      IO.iodata_to_binary([
        Codec.encode_nfgenmsg(family, 0),
        Attr.text(nfta_set_elem_list_table(), table),
        Attr.text(nfta_set_elem_list_set(), set),
        Attr.nest(nfta_set_elem_list_elements(), Attr.nest(nfta_list_elem(), elem))
      ])

    {0x0A00 + message, 0, payload}
  end

  defp looked_up(sock, requests) do
    with {:error, error} <- Request.lookup(sock, requests),
         do: {:error, Error.from_netlink(error, :getsetelem)}
  end

  defp found([], [], [], _place, _set, done), do: {:ok, Enum.reverse(done)}

  defp found([key | keys], [query | queries], answers, {_sock, ref} = place, set, done) do
    {mine, answers} = Enum.split(answers, length(query))

    case element(place, set, key, mine) do
      {:ok, element} ->
        found(keys, queries, answers, place, set, [element | done])

      {:error, error} ->
        error =
          if is_struct(error, Error), do: error, else: Error.from_netlink(error, :getsetelem)

        {:error, %{error | at: at(ref) ++ [element: key]}}
    end
  end

  defp element(place, set, key, [{:ok, start} | ending]) do
    with [start | _] <- raw(start),
         {:ok, ending} <- ending(ending),
         {:ok, element} <- whole(place, set, start, ending),
         true <- covers?(set, element, key) do
      {:ok, element}
    else
      {:error, error} -> {:error, error}
      _ -> {:error, Error.from_posix(:enoent, :getsetelem, subsys: :nftables)}
    end
  end

  defp element(_place, _set, _key, [{:error, error} | _ending]), do: {:error, error}

  # An interval up to the last value of its type has no end point: the kernel answers ENOENT, or
  # nothing but the acknowledgement.
  defp ending([{:ok, body}]), do: {:ok, raw(body)}
  defp ending([{:error, %{errno: errno}}]) when errno in [:enoent, :enodata], do: {:ok, []}
  defp ending([{:error, error}]), do: {:error, error}
  defp ending([]), do: {:ok, []}

  defp raw(body), do: body |> Decoder.set_elements() |> elem(3)

  # Where one interval ends and the next begins the tree has two points of one key, and the kernel
  # may answer with a later end. What begins before the end that it gave is another interval then,
  # and ours ends before that.
  defp whole(place, set, start, ending), do: whole(place, set, start, ending, @tries)

  defp whole(place, set, start, ending, tries) do
    [element] = Decoder.Elements.values(set, [start | ending])

    single? = :interval not in set.flags or match?({:concat, _}, set.key_type)

    if single? or raw_key(start) == nil do
      {:ok, element}
    else
      {_first, last, bits} = span(set, Element.key_of(set, element))

      case begins(place, <<last::size(bits)>>) do
        {:ok, key} when tries == 0 or key == nil ->
          listed(place, set, start)

        {:ok, key} ->
          if(key == raw_key(start),
            do: {:ok, element},
            else: earlier(place, set, start, key, tries)
          )

        {:error, error} ->
          {:error, error}
      end
    end
  end

  defp earlier(place, set, start, key, tries),
    do: whole(place, set, start, [{:raw, %{key: key, flags: 1}}], tries - 1)

  # The key that the interval around `bytes` begins with, nil in a gap.
  defp begins({sock, ref}, bytes) do
    case Request.lookup(sock, [request(nft_msg_getsetelem(), ref, point(bytes))]) do
      {:ok, [{:ok, body}]} -> {:ok, body |> raw() |> hd() |> raw_key()}
      {:ok, [{:error, %{errno: :enoent}}]} -> {:ok, nil}
      {:ok, [{:error, error}]} -> {:error, error}
      {:error, error} -> {:error, error}
    end
  end

  defp raw_key({:raw, map}), do: Map.get(map, :key)
  defp raw_key({key, _data}), do: key
  defp raw_key(key), do: key

  defp listed({sock, {family, _, _}}, set, start) do
    first = Datum.flip(set.key_type, raw_key(start))

    with {:ok, elements} <- Pull.of_set(sock, family, set, false) do
      found =
        Enum.find(elements, fn element ->
          key = Element.key_of(set, element)
          key != :catch_all and Datum.to_bytes(set.key_type, key) == first
        end)

      if found,
        do: {:ok, found},
        else: {:error, Error.from_posix(:enoent, :getsetelem, subsys: :nftables)}
    end
  end

  defp covers?(%{key_type: {:concat, _}}, _element, _key), do: true
  defp covers?(_set, _element, :catch_all), do: true

  defp covers?(set, element, key) do
    if :interval in set.flags and Element.key_of(set, element) != :catch_all do
      {_first, wanted, _bits} = span(set, key)
      {_first, last, _bits} = span(set, Element.key_of(set, element))
      wanted <= last
    else
      true
    end
  end
end
