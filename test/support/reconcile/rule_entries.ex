defmodule Linx.Test.Reconcile.RuleEntries do
  @moduledoc false
  # Desired policy rules of a case. Selectors and priorities come from small pools, so that rules
  # differ in one value, or in their protocol alone. They come behind the main table's: the kernel
  # looks for gateways by rules.

  import Linx.Test.Reconcile.Chance

  alias Linx.Test.Reconcile.{Command, Options}

  # Options that `opts/0` makes together, and those that this kernel has no use for here.
  @together [:family, :from, :to, :table, :action, :priority, :protocol]
  @elsewhere [:dscp, :l3mdev]

  @doc "The options of rules that no value is made for."
  def unknown,
    do: Enum.reject(Options.of(:rule) -- (@together ++ @elsewhere), &(option(&1) != :unknown))

  def rule, do: {:rule, opts()}

  defp opts do
    keys = Options.of(:rule) -- (@together ++ @elsewhere)

    (selector() ++
       for(
         key <- some(keys, pick([0, 0, 1, 2])),
         {:ok, value} <- [option(key)],
         do: {key, value}
       ) ++
       target())
    |> once()
  end

  # A rule of no family is one of IPv4.
  defp selector do
    pick([
      [from: pick(["10.0.0.0/8", "10.3.0.0/16"])],
      [from: pick(["10.0.0.0/8", "10.3.0.0/16"]), to: "198.18.0.0/24"],
      [to: "198.18.0.0/24"],
      [from: "2001:db8:30::/48"],
      [from: "10.9.9.9/32"],
      [family: :inet6],
      []
    ])
  end

  # A goto leads forward; one that leads back is impossible.
  defp target do
    case pick([:table, :table, :table, :goto, :action]) do
      :table ->
        [table: pick([100, 5000]), priority: priority()] |> Enum.filter(&elem(&1, 1))

      :action ->
        [action: pick([:blackhole, :unreachable, :prohibit]), priority: pick([40_000, 40_001])]

      :goto ->
        [action: {:goto, if(chance(10), do: 150, else: 40_010)}, priority: pick([40_000, 40_001])]
    end
  end

  defp priority, do: if(chance(15), do: nil, else: pick([40_000, 40_001, 40_002]))

  # A rule whose priority the kernel chooses comes before the main table: it has a selector that
  # no look-up of a gateway meets.
  defp once(opts) do
    opts =
      if opts[:action] != nil,
        do: Keyword.drop(opts, [:suppress_prefixlength, :suppress_ifgroup]),
        else: opts

    cond do
      opts[:priority] != nil -> opts
      opts[:from] || opts[:to] -> Keyword.delete(opts, :invert)
      true -> Keyword.put(opts, :priority, 40_000)
    end
  end

  defp option(:fwmark), do: {:ok, pick([7, 8, 0xFFFFFFFF])}
  defp option(:fwmask), do: {:ok, pick([0xFF, 0x100000])}
  defp option(:iif), do: {:ok, pick(["a0", "lo", "nope5"])}
  defp option(:oif), do: {:ok, pick(["a0", "b0"])}
  defp option(:tos), do: {:ok, pick([8, 16])}
  defp option(:ipproto), do: {:ok, pick([6, 17])}
  defp option(:sport), do: {:ok, pick([80, 81])}
  defp option(:dport), do: {:ok, pick([80, 80..90])}
  defp option(:uid), do: {:ok, pick([1000..2000, 7])}
  defp option(:suppress_prefixlength), do: {:ok, pick([0, 8])}
  defp option(:suppress_ifgroup), do: {:ok, pick([0, 5])}
  defp option(:invert), do: {:ok, true}
  defp option(_key), do: :unknown

  @doc "The rule with another value of one option."
  def altered({:rule, opts}) do
    case pick([:priority, :target, :invert, :option]) do
      :priority ->
        {:rule, Keyword.replace(opts, :priority, pick([40_000, 40_001, 40_002]))}

      :target ->
        {:rule, Keyword.drop(opts, [:table, :action, :priority]) ++ target()}

      :invert ->
        {:rule,
         if(opts[:invert], do: Keyword.delete(opts, :invert), else: opts ++ [invert: true])}

      :option ->
        {:rule, Keyword.drop(opts, some(Keyword.keys(opts) -- [:table, :action, :family], 1))}
    end
    |> then(fn {:rule, opts} -> {:rule, once(opts)} end)
  end

  # -- what other programs do ---

  @protocols [4, 77]

  @doc "A rule of another program: often one of the entries under another protocol."
  def foreign(entries) do
    rules = for {:rule, _} = rule <- entries, do: rule
    rule = if rules != [] and chance(70), do: pick(rules), else: rule()
    Command.rule("add", rule, pick(@protocols))
  end

  @doc "What another program does to a desired rule."
  def drift(rule) do
    case pick([:delete, :delete, :altered, :leftover]) do
      :delete -> {:none, Command.rule("del", rule)}
      :altered -> {:ours, Command.rule("add", altered(rule))}
      :leftover -> {:ours, Command.rule("add", rule())}
    end
  end
end
