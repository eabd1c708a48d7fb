defmodule Linx.NFT.Keys do
  @moduledoc false
  # nft's words for what the kernel's load expressions give, of which Linx.Netfilter.Keys has the
  # table.

  alias Linx.Netfilter.Keys

  # Older words that nft still takes.
  @meta_aliases %{"secpath" => :secpath, "ibriport" => :bri_iifname, "obriport" => :bri_oifname}

  @doc """
  `{word, datatype, bits, order}` of a key of `meta`, `ct`, `rt`, `socket`, `xfrm`, `fib` or
  `tunnel`.
  """
  @spec fetch(atom(), atom()) :: {:ok, Keys.key()} | :error
  defdelegate fetch(kind, key), to: Keys

  @doc "`{datatype, bits, order}` of a key that is known to exist."
  @spec type(atom(), atom()) :: {atom(), pos_integer(), :host | :big | nil}
  def type(kind, key) do
    {:ok, {_word, type, bits, order}} = Keys.fetch(kind, key)
    {type, bits, order}
  end

  @doc "The words of `meta` or `ct` and the keys they stand for."
  @spec words(:meta | :ct) :: %{String.t() => atom()}
  def words(:meta), do: Map.merge(by_word(Keys.all(:meta)), @meta_aliases)

  def words(:ct),
    do: by_word(Map.reject(Keys.all(:ct), fn {_key, {word, _, _, _}} -> word =~ " " end))

  defp by_word(table), do: Map.new(table, fn {key, {word, _, _, _}} -> {word, key} end)
end
