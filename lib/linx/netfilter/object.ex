defmodule Linx.Netfilter.Object do
  @moduledoc """
  A named, stateful object of a table that rules and maps refer to: a counter, a quota, a rate limit, a conntrack helper.

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
  | `:tunnel` | `id`, `src`, `dst`, `sport`, `dport`, `tos`, `ttl` |

  Kinds do not share names: a counter and a quota of one table may both be called `"web"`.

      iex> {:ok, object} = Linx.Netfilter.Object.new(:counter, "ssh", %{packets: 0, bytes: 0})
      iex> object.kind
      :counter

  Source: nft(8), "STATEFUL OBJECTS"; `enum nft_object_attributes`.
  """

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
  Builds an object; `data` is a map or keyword list as the moduledoc's table says, nil for the defaults.

  Options: `:table`, `:handle`, `:comment`. Answers `{:error, {:bad_object, reason}}`.
  """
  @spec new(kind(), String.t(), term(), keyword()) :: {:ok, t()} | {:error, {:bad_object, term()}}
  def new(kind, name, data \\ nil, opts \\ []) do
    object = %__MODULE__{kind: kind, name: name, data: data}

    with :ok <- known(kind), :ok <- Name.check(name), {:ok, object} <- options(opts, object) do
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
