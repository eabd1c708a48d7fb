defmodule Linx.Netfilter.Element do
  @moduledoc """
  An element of a set or map that carries more than its key (and value): a timeout, a comment, or
  expressions.

  A plain element of a set is its key, of a map `{key, value}`; this struct takes their place
  where there is more to say.

      iex> alias Linx.Netfilter.{Element, Set}
      iex> {:ok, set} =
      ...>   Set.new("banned",
      ...>     key_type: :ipv4_addr,
      ...>     flags: [:timeout],
      ...>     elements: [
      ...>       {192, 0, 2, 1},
      ...>       %Element{key: {192, 0, 2, 2}, timeout: 60_000, comment: "scanner"}
      ...>     ]
      ...>   )
      iex> length(set.elements)
      2

  The key `:catch_all` matches whatever no other element does (Linux 5.13).

  Source: nft(8), "ELEMENTS"; `enum nft_set_elem_attributes`.
  """

  alias Linx.Netfilter.{Expr, Name}

  @enforce_keys [:key]
  defstruct key: nil, data: nil, timeout: nil, expires: nil, comment: nil, exprs: []

  @typedoc """
  `:timeout` and `:expires` are milliseconds: the whole life, and what a pull found left of it. A
  life of 0 has no end, whatever the set's own `:timeout` says (Linux 6.12). `:data` is the value
  of a map's element. `:exprs` are stateful expressions (a counter, a quota, a limit).
  """
  @type t :: %__MODULE__{
          key: term(),
          data: term(),
          timeout: non_neg_integer() | nil,
          expires: non_neg_integer() | nil,
          comment: String.t() | nil,
          exprs: [Expr.t()]
        }

  @doc false
  # Checks the fields of an element other than its key and data.
  @spec check(t()) :: :ok | {:error, term()}
  def check(%__MODULE__{} = element) do
    with :ok <- milliseconds(:timeout, element.timeout),
         :ok <- milliseconds(:expires, element.expires),
         :ok <- Name.check_comment(element.comment),
         do: exprs(element.exprs)
  end

  defp milliseconds(_key, nil), do: :ok
  defp milliseconds(_key, n) when n in 0..0xFFFFFFFFFFFFFFFF, do: :ok
  defp milliseconds(key, value), do: {:error, {:bad_option, {key, value}}}

  defp exprs(exprs) do
    if is_list(exprs) and Enum.all?(exprs, &is_struct(&1, Expr)),
      do: :ok,
      else: {:error, {:bad_exprs, exprs}}
  end

  @doc false
  # The short form where nothing would be lost.
  @spec short(t()) :: term()
  def short(%__MODULE__{
        timeout: nil,
        expires: nil,
        comment: nil,
        exprs: [],
        key: key,
        data: data
      }),
      do: if(data == nil, do: key, else: {key, data})

  def short(%__MODULE__{} = element), do: element

  # The key of an element of this set or map; a bare key of a map is one to delete.
  @doc false
  @spec key_of(map(), term()) :: term()
  def key_of(_set, %__MODULE__{key: key}), do: key
  def key_of(%{data_type: _}, {key, _data}), do: key
  def key_of(_set, key), do: key
end
