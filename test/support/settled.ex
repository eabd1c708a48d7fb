defmodule Linx.Test.Settled do
  @moduledoc false
  # Whether a ruleset that was pushed is one that a reconcile finds nothing to do about.

  import ExUnit.Assertions

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Patch, Pull, Ruleset}

  # Tags are atoms: as many as a chain of a fixture has rules.
  @tags for n <- 0..999, do: :"settled_#{n}"

  @doc "The ruleset of a text, each rule tagged by its place in its chain."
  @spec parse!(String.t()) :: Ruleset.t()
  def parse!(text) do
    case NFT.parse(text) do
      {:ok, ruleset} -> tagged(ruleset)
      {:error, error} -> flunk("#{Exception.message(error)}\n#{text}")
    end
  end

  @doc "The ruleset with a tag on each rule, by its place in its chain."
  @spec tagged(Ruleset.t()) :: Ruleset.t()
  def tagged(ruleset) do
    each_chain(ruleset, fn chain ->
      %{chain | rules: Enum.zip_with(chain.rules, @tags, &%{&1 | tag: &2})}
    end)
  end

  defp each_chain(ruleset, fun) do
    tables =
      Map.new(ruleset.tables, fn {key, table} ->
        {key, %{table | chains: Map.new(table.chains, fn {name, c} -> {name, fun.(c)} end)}}
      end)

    %{ruleset | tables: tables}
  end

  @doc """
  Fails unless a reconcile with `ruleset`, which is in the kernel, sends nothing: the generation
  stays, `dry_run/2` is empty, and `nft -a` lists the same handles and counters before and after.
  Options: `:tag` as for the push, and `nft: false` where nft(8) has no text for a set and ends
  with a signal.
  """
  @spec settled!(%{sock: Linx.Netlink.Socket.t(), pid: pos_integer()}, Ruleset.t(), keyword()) ::
          :ok
  def settled!(%{sock: sock, pid: pid}, ruleset, opts \\ []) do
    list = if opts[:nft] == false, do: fn -> pulled(sock) end, else: fn -> listing(pid) end
    before = list.()
    generation = generation(sock)
    tag = Keyword.take(opts, [:tag])
    assert {:ok, patch} = Netfilter.dry_run(sock, ruleset, tag)
    assert Patch.empty?(patch), "a dry run shows #{inspect(patch.ops, limit: 30)}"
    assert :ok = Netfilter.push(sock, ruleset, [mode: :reconcile] ++ tag)
    assert generation(sock) == generation
    assert list.() == before
    :ok
  end

  @doc "The number of commits so far."
  def generation(sock) do
    {:ok, %{id: id}} = Pull.generation(sock)
    id
  end

  defp pulled(sock) do
    {:ok, ruleset} = Netfilter.pull(sock)

    for {_key, table} <- ruleset.tables,
        do: %{table | sets: handles(table.sets), maps: handles(table.maps)}
  end

  defp handles(sets),
    do: Map.new(sets, fn {name, set} -> {name, {set.handle, length(set.elements)}} end)

  @doc "All that `nft -a -j` lists, handles and counters with it."
  @spec listing(pos_integer()) :: term()
  def listing(pid) do
    # nft complains on its error stream of what it does not know.
    {text, 0} =
      System.cmd("sh", ["-c", "nsenter --target #{pid} --net nft -a -j list ruleset 2>/dev/null"])

    text |> JSON.decode!() |> Map.fetch!("nftables") |> Enum.map(&still/1)
  end

  # The remaining lifetime decreases by itself.
  defp still(%{} = map),
    do: map |> Map.delete("expires") |> Map.new(fn {k, v} -> {k, still(v)} end)

  defp still(list) when is_list(list), do: Enum.map(list, &still/1)
  defp still(value), do: value

  @doc "The kernel's handles of a chain's rules, by their tags."
  @spec handles(Linx.Netlink.Socket.t(), {atom(), String.t()}, String.t()) :: %{
          atom() => pos_integer()
        }
  def handles(sock, {family, name} = table, chain) do
    {:ok, ruleset} = Netfilter.pull(sock, table)
    for r <- ruleset.tables[{family, name}].chains[chain].rules, into: %{}, do: {r.tag, r.handle}
  end

  @doc "The elements of a set or map as the kernel has them, sorted."
  @spec elements(Linx.Netlink.Socket.t(), {atom(), String.t()}, String.t()) :: [term()]
  def elements(sock, table, name) do
    {:ok, %{tables: %{^table => there}}} = Netfilter.pull(sock, table)
    Enum.sort((there.sets[name] || there.maps[name]).elements)
  end
end
