defmodule Linx.NFT.Expr.Fib do
  @moduledoc false
  # `fib saddr . iif oif`: a route that the kernel looks up for the packet.
  #
  #     {:fib, :oif | :oifname | :addrtype | :check, selectors, meta}
  #
  # Source: nft(8), "FIB EXPRESSIONS"; nft_fib.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.{Compiler, Formatter}

  @selectors [:saddr, :daddr, :mark, :iif, :oif]
  @selector_words Map.new(@selectors, &{Atom.to_string(&1), &1})
  # `check` is nft 1.1's word for a lookup of existence.
  @results %{"oif" => :oif, "oifname" => :oifname, "type" => :addrtype, "check" => :check}

  @impl true
  def parse([{:identifier, "fib", meta} | tokens]) do
    {selectors, rest} = selectors(tokens, [])

    case rest do
      [{:identifier, word, _} | rest] when is_map_key(@results, word) ->
        {{:fib, Map.fetch!(@results, word), selectors, meta}, rest}

      tokens ->
        unexpected(tokens, "oif, oifname or type", ~w(oif oifname type))
    end
  end

  defp selectors([{:identifier, word, _} | rest], acc) when is_map_key(@selector_words, word) do
    acc = [Map.fetch!(@selector_words, word) | acc]

    case rest do
      [{:dot, _} | rest] -> selectors(rest, acc)
      rest -> {Enum.reverse(acc), rest}
    end
  end

  defp selectors(tokens, _acc) do
    wanted = "what to look up: saddr, daddr, mark, iif or oif"
    unexpected(tokens, wanted, Enum.map(@selectors, &Atom.to_string/1))
  end

  @impl true
  def compile({:fib, result, selectors, meta}, scope) do
    if Enum.count(Enum.uniq(selectors), &(&1 in [:saddr, :daddr])) != 1,
      do: Fault.fail(meta, "fib looks up either saddr or daddr")

    if :iif in selectors and :oif in selectors,
      do: Fault.fail(meta, "fib takes iif or oif, not both")

    flags = Enum.filter(@selectors, &(&1 in selectors))
    {lookup(result, flags, meta), scope}
  end

  # The kernel writes one byte then (nft_fib_store_result), which nft 1.1 compares; nft 1.0
  # compares the four of an index, which is another number on big-endian machines.
  defp lookup(:check, flags, meta) do
    data = {:fib, %{result: :oif, flags: flags ++ [:present]}}
    Compiler.Term.load(data, {:boolean, 8, :host}, meta)
  end

  defp lookup(result, flags, meta) do
    data = {:fib, %{result: result, flags: flags}}
    %{Compiler.Term.load(data, Keys.type(:fib, result), meta) | existence?: true}
  end

  @impl true
  def term(%{data: data}, _context) do
    flags = List.wrap(data[:flags])
    selectors = for flag <- @selectors, flag in flags, do: Atom.to_string(flag)
    words = ["fib ", Enum.intersperse(selectors, " . "), " "]

    cond do
      # nft has no words for a lookup of nothing.
      selectors == [] -> :error
      :present in flags -> {:ok, checked(words)}
      true -> found(data[:result], words)
    end
  end

  # A match with a constant says it in words that every nft reads: `oif exists`.
  defp checked(words) do
    %Formatter.Term{
      text: [words, "check"],
      existence: [words, "oif"],
      type: :boolean,
      size: 1,
      order: :host
    }
  end

  defp found(:oif, words), do: found(words, "oif", :iface_index, 4)
  defp found(:oifname, words), do: found(words, "oifname", :ifname, 16)
  defp found(:addrtype, words), do: found(words, "type", :fib_addrtype, 4)
  defp found(_unknown, _words), do: :error

  defp found(words, result, type, size),
    do: {:ok, %Formatter.Term{text: [words, result], type: type, size: size, order: :host}}
end
