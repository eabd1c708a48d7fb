defmodule Linx.Netfilter.Object do
  @moduledoc """
  A named, stateful object of a table that rules and maps refer to: a counter, a quota, a rate
  limit, a conntrack helper.

  | kind | `:data` (defaults in brackets) |
  |---|---|
  | `:counter` | `packets` [0], `bytes` [0] |
  | `:quota` | `bytes`, `used` [0], `flags` (`:inv`) |
  | `:limit` | `rate`, `unit` [`:second`], `burst` [5 packets, 0 bytes], `type` [`:packets`], `flags` (`:inv`) |
  | `:connlimit` | `count`, `flags` (`:inv`) |
  | `:ct_helper` | `type` (`"ftp"`, ...), `protocol` (`:tcp`, `:udp`), `l3proto` [the table's family] |
  | `:ct_timeout` | `protocol`, `l3proto`, `policy` (`%{established: 100}`, seconds by state) |
  | `:ct_expectation` | `protocol`, `l3proto`, `dport`, `timeout` (ms), `size` |
  | `:secmark` | `context` (a label) |
  | `:synproxy` | `mss`, `wscale`, `flags` (`:timestamp`, `:sack_perm`) |
  | `:tunnel` | `id`, `src`, `dst` (addresses as text, tuples, `Linx.IP` or bytes; kept as tuples), `sport`, `dport`, `tos`, `ttl`, `opts` (the bytes of NFTA_TUNNEL_KEY_OPTS) |

  Kinds do not share names: a counter and a quota of one table may both be called `"web"`.

      iex> {:ok, object} = Linx.Netfilter.Object.new(:counter, "ssh", %{packets: 0, bytes: 0})
      iex> object.kind
      :counter

  Source: nft(8), "STATEFUL OBJECTS"; `enum nft_object_attributes`.
  """

  alias Linx.IP
  alias Linx.Netfilter.Name

  @kinds [
    :counter,
    :quota,
    :limit,
    :connlimit,
    :ct_helper,
    :ct_timeout,
    :ct_expectation,
    :secmark,
    :synproxy,
    :tunnel
  ]

  @enforce_keys [:kind, :name]
  defstruct kind: nil, name: nil, data: nil, table: nil, handle: nil, comment: nil

  @type kind ::
          :counter
          | :quota
          | :limit
          | :connlimit
          | :ct_helper
          | :ct_timeout
          | :ct_expectation
          | :secmark
          | :synproxy
          | :tunnel

  @type t :: %__MODULE__{
          comment: String.t() | nil,
          data: term(),
          handle: pos_integer() | nil,
          kind: kind(),
          name: String.t(),
          table: String.t() | nil
        }

  @doc """
  Builds an object; `data` is a map or keyword list as the moduledoc's table says, nil for the
  defaults.

  Options: `:table`, `:handle`, `:comment`. Answers `{:error, {:bad_object, reason}}`.
  """
  @spec new(kind(), String.t(), term(), keyword()) :: {:ok, t()} | {:error, {:bad_object, term()}}
  def new(kind, name, data \\ nil, opts \\ []) do
    with :ok <- known(kind),
         :ok <- Name.check(name),
         {:ok, data} <- data(kind, data),
         {:ok, object} <- options(opts, %__MODULE__{kind: kind, name: name, data: data}) do
      {:ok, object}
    else
      {:error, reason} -> {:error, {:bad_object, reason}}
    end
  end

  @doc "As `new/4`, but gives the object itself and raises `ArgumentError`."
  @spec new!(kind(), String.t(), term(), keyword()) :: t()
  def new!(kind, name, data \\ nil, opts \\ []) do
    case new(kind, name, data, opts) do
      {:ok, object} -> object
      {:error, reason} -> raise ArgumentError, "not an object: #{inspect(reason)}"
    end
  end

  defp known(kind) when kind in @kinds, do: :ok
  defp known(kind), do: {:error, {:bad_kind, kind}}

  # Which of two nests holds a tunnel's addresses depends on their family: text and `Linx.IP`
  # become tuples here.
  defp data(:tunnel, data) when data != nil do
    with true <- is_map(data) or Keyword.keyword?(data) or {:error, {:bad_data, data}},
         {:ok, %{src: src, dst: dst}} <- ends(Map.new(data)) do
      if src == nil or dst == nil or tuple_size(src) == tuple_size(dst),
        do: {:ok, data |> put(:src, src) |> put(:dst, dst)},
        else: {:error, {:bad_option, {:src, src}}}
    end
  end

  defp data(_kind, data), do: {:ok, data}

  defp ends(data) do
    Enum.reduce_while([:src, :dst], {:ok, %{}}, fn key, {:ok, ends} ->
      case address(data[key]) do
        :error -> {:halt, {:error, {:bad_option, {key, data[key]}}}}
        address -> {:cont, {:ok, Map.put(ends, key, address)}}
      end
    end)
  end

  defp put(data, _key, nil), do: data
  defp put(data, key, value) when is_map(data), do: Map.put(data, key, value)
  defp put(data, key, value), do: Keyword.put(data, key, value)

  defp address(nil), do: nil
  defp address(%IP{bytes: bytes}), do: words(bytes)

  defp address(tuple) when is_tuple(tuple) do
    most = if tuple_size(tuple) == 4, do: 0xFF, else: 0xFFFF

    if tuple_size(tuple) in [4, 8] and Enum.all?(Tuple.to_list(tuple), &(&1 in 0..most)),
      do: tuple,
      else: :error
  end

  defp address(text) when is_binary(text) do
    case IP.parse(text) do
      {:ok, address} -> address(address)
      {:error, _reason} -> if byte_size(text) in [4, 16], do: words(text), else: :error
    end
  end

  defp address(_other), do: :error

  defp words(<<_::32>> = bytes), do: bytes |> :binary.bin_to_list() |> List.to_tuple()
  defp words(bytes), do: List.to_tuple(for <<word::16 <- bytes>>, do: word)

  defp options([], object), do: {:ok, object}

  defp options([{key, value} | rest], object) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(object, key, value))
      error -> error
    end
  end

  defp option(_key, nil), do: :ok
  defp option(:table, name), do: Name.check(name)
  defp option(:comment, text), do: Name.check_comment(text)
  defp option(:handle, handle) when is_integer(handle) and handle > 0, do: :ok
  defp option(key, value), do: {:error, {:bad_option, {key, value}}}
end
