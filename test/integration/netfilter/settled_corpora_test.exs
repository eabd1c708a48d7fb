defmodule Linx.Netfilter.SettledCorporaTest do
  # Every corpus there is: pushed, then reconciled with the same value, nothing is sent and
  # nothing changes.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Element, Error, Patch, Ruleset}
  alias Linx.Test.{Firewall, Host, RandomRuleset, Settled}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @files __DIR__
         |> Path.join("../**/*.nft")
         |> Path.wildcard()
         |> Enum.reject(&(Path.basename(Path.dirname(&1)) == "parts"))

  setup do
    %{pid: pid} = ctx = Firewall.namespace()

    for name <- ~w(eth0 eth1 lan0 wan0 dmz0 dummy0),
        do: Firewall.run!(pid, ~w(ip link add #{name} type veth peer name #{name}p))

    ctx
  end

  test "whole rulesets of this project settle", %{sock: sock} = ctx do
    assert length(@files) > 9

    for path <- @files do
      {:ok, ruleset} = NFT.parse_file(path)
      ruleset = Settled.tagged(ruleset)
      assert {path, Netfilter.push(sock, ruleset)} == {path, :ok}
      Settled.settled!(ctx, ruleset)
      clear(sock, ruleset)
    end
  end

  @tag :conformance
  @tag timeout: 600_000
  test "the cases of a conformance corpus settle", %{sock: sock} do
    assert [_ | _] = corpus = Host.corpus()

    for path <- corpus do
      cases =
        for line <- File.stream!(path),
            %{"expect" => "ok", "id" => id, "source" => text} <- [JSON.decode!(line)],
            {:ok, ruleset} <- [NFT.parse(text)],
            do: {id, Settled.tagged(ruleset)}

      assert cases != [], path

      # A namespace holds a hundred at once when each has tables of its own.
      refused = cases |> Enum.chunk_every(100) |> Enum.flat_map(&batch(sock, &1))

      if refused != [] do
        ids = Enum.map_join(refused, ", ", fn {id, error} -> "#{id} (#{error})" end)

        IO.puts(
          "#{Path.basename(path)}: this kernel refuses #{length(refused)} of " <>
            "#{length(cases)} cases: #{ids}"
        )
      end

      # Cases whose module the kernel lacks are a small part.
      assert 10 * length(refused) < length(cases), path
    end
  end

  # The cases that the kernel refuses, with its errors.
  defp batch(sock, cases) do
    together =
      for {{_id, ruleset}, i} <- Enum.with_index(cases),
          {_key, table} <- ruleset.tables,
          reduce: Ruleset.new() do
        all -> Ruleset.put_table(all, %{table | name: "#{table.name}_#{i}"})
      end

    case Netfilter.push(sock, together) do
      :ok ->
        assert {:ok, patch} = Netfilter.dry_run(sock, together)
        assert Patch.empty?(patch), inspect(patch.ops, limit: 20)
        sent_nothing!(sock, together)
        clear(sock, together)
        []

      # A case whose module this kernel lacks is counted alone, not with its batch.
      {:error, _} when length(cases) > 1 ->
        {a, b} = Enum.split(cases, div(length(cases), 2))
        batch(sock, a) ++ batch(sock, b)

      {:error, %Error{errno: errno}} ->
        [{cases |> hd() |> elem(0), errno}]
    end
  end

  defp sent_nothing!(sock, ruleset) do
    before = Settled.generation(sock)
    assert :ok = Netfilter.push(sock, ruleset, mode: :reconcile)
    assert Settled.generation(sock) == before
  end

  defp clear(sock, ruleset) do
    empty =
      for {{family, name}, _} <- ruleset.tables, reduce: Ruleset.new() do
        all -> Ruleset.add_table!(all, family, name)
      end

    :ok = Netfilter.push(sock, empty)
  end

  test "random rulesets are pulled as they were pushed and settle; one more element changes " <>
         "no other",
       %{sock: sock} do
    seed = :erlang.unique_integer([:positive])
    :rand.seed(:exsss, seed)
    text = for i <- 1..20, do: RandomRuleset.table("inet", "t#{i}", 8)
    message = "seed #{seed}"

    rulesets =
      for text <- text do
        assert {^text, {:ok, ruleset}} = {text, NFT.parse(text)}
        Settled.tagged(ruleset)
      end

    all =
      Enum.reduce(rulesets, Ruleset.new(), fn %{tables: t}, all ->
        %{all | tables: Map.merge(all.tables, t)}
      end)

    assert {message, Netfilter.push(sock, all)} == {message, :ok}
    {:ok, pulled} = Netfilter.pull(sock)

    for {key, table} <- all.tables do
      there = pulled.tables[key]

      for {name, set} <- Map.merge(table.sets, table.maps) do
        is = there.sets[name] || there.maps[name]
        assert {message, key, name, set_of(is)} == {message, key, name, set_of(set)}
      end

      for {is, rule} <- Enum.zip(there.chains["c"].rules, table.chains["c"].rules) do
        assert {message, key, rule.tag, rule_of(is)} == {message, key, rule.tag, rule_of(rule)}
      end
    end

    assert {:ok, patch} = Netfilter.dry_run(sock, all)
    assert Patch.empty?(patch), "#{message}: #{inspect(patch.ops, limit: 20)}"
    sent_nothing!(sock, all)

    # One element less in each set with several: the reconcile deletes it, the next adds it, and
    # nothing else moves.
    less =
      %{all | tables: Map.new(all.tables, fn {key, table} -> {key, shortened(table)} end)}

    assert {:ok, %Patch{ops: ops}} = Netfilter.dry_run(sock, less)
    assert ops != []

    assert Enum.all?(ops, &match?({:delete_set_elements, _, _, _, [_]}, &1)),
           inspect(ops, limit: 20)

    :ok = Netfilter.push(sock, less, mode: :reconcile)
    sent_nothing!(sock, less)
    assert {:ok, %Patch{ops: ops}} = Netfilter.dry_run(sock, all)
    assert Enum.all?(ops, &match?({:add_set_elements, _, _, _, [_]}, &1)), inspect(ops, limit: 20)
    :ok = Netfilter.push(sock, all, mode: :reconcile)
    sent_nothing!(sock, all)
  end

  defp shortened(table) do
    cut = fn sets ->
      Map.new(sets, fn
        {name, %{elements: [_, _ | _] = elements} = set} ->
          {name, %{set | elements: tl(elements)}}

        other ->
          other
      end)
    end

    %{table | sets: cut.(table.sets), maps: cut.(table.maps)}
  end

  # A timeout is kept in ticks; the order of elements is the kernel's.
  defp set_of(set) do
    {set.key_type, Map.get(set, :data_type), Enum.sort(set.flags),
     Enum.sort(Enum.map(set.elements, &element/1))}
  end

  defp element(%Element{timeout: timeout} = element),
    do: %{element | expires: nil, timeout: timeout && div(timeout + 10, 1000)}

  defp element(element), do: element

  defp rule_of(rule) do
    for expr <- rule.expressions do
      case expr do
        %{name: :__anon_set, data: data} ->
          data |> Map.delete(:flags) |> Map.update!(:elements, &Enum.sort/1) |> timed()

        %{name: name, data: data} ->
          {name, data}
      end
    end
  end

  defp timed(%{via: {:dynset, dynset}} = data),
    do: data |> Map.put(:via, Map.drop(dynset, [:timeout, :exprs])) |> Map.delete(:timeout)

  defp timed(data), do: data
end
