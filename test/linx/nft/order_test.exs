defmodule Linx.NFT.OrderTest do
  # The order of what a table holds, from the text to the value and back.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Chain, Decoder, Encoder, Flowtable, Object, Ruleset, Set, Table}
  alias Linx.Netfilter.Map, as: NMap

  @fields [:objects, :flowtables, :chains, :sets, :maps]

  defp parse!(text) do
    assert {:ok, ruleset} = NFT.parse(text)
    ruleset
  end

  defp table(ruleset, ref) do
    {:ok, table} = Ruleset.fetch_table(ruleset, ref)
    table
  end

  defp names(table, field), do: for(thing <- Table.in_order(table, field), do: thing.name)

  defp words(text) do
    for [_, kind, name] <-
          Regex.scan(~r/^  (chain|set|map|counter|quota|flowtable|limit) (\w+)/m, text),
        do: {kind, name}
  end

  test "each kind of block keeps the order of its declarations" do
    text = """
    table inet fw {
      quota z { over 10 mbytes }
      counter m { packets 0 bytes 0 }
      counter a { packets 0 bytes 0 }
      flowtable second { hook ingress priority 0; devices = { lo }; }
      flowtable first { hook ingress priority 1; devices = { lo }; }
      chain output { accept; }
      set wide { type ipv4_addr; }
      chain input { accept; }
      map ports { type inet_service : verdict; }
      set narrow { type inet_service; }
      map hosts { type ipv4_addr : verdict; }
    }
    """

    ruleset = parse!(text)
    table = table(ruleset, "fw")
    assert names(table, :objects) == ["z", "m", "a"]
    assert names(table, :flowtables) == ["second", "first"]
    assert names(table, :chains) == ["output", "input"]
    assert names(table, :sets) == ["wide", "narrow"]
    assert names(table, :maps) == ["ports", "hosts"]

    assert words(NFT.format(ruleset)) == [
             {"quota", "z"},
             {"counter", "m"},
             {"counter", "a"},
             {"flowtable", "second"},
             {"flowtable", "first"},
             {"chain", "output"},
             {"chain", "input"},
             {"set", "wide"},
             {"set", "narrow"},
             {"map", "ports"},
             {"map", "hosts"}
           ]

    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
  end

  test "tables stand in the order of family and name, whatever the text's" do
    ruleset = parse!("table ip b { }\ntable inet z { }\ntable ip a { }\ntable inet c { }")

    assert Regex.scan(~r/^table .*/m, NFT.format(ruleset)) ==
             [["table inet c {"], ["table inet z {"], ["table ip a {"], ["table ip b {"]]
  end

  test "a second block, a command and a deletion each leave the order that nft leaves" do
    ruleset =
      parse!("""
      table ip t { chain c { }; chain a { }; }
      add chain ip t b
      table ip t { chain a { accept; }; chain c { drop; }; chain Az { }; }
      delete chain ip t c
      add chain ip t c
      """)

    assert names(table(ruleset, "t"), :chains) == ["a", "b", "Az", "c"]
    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
  end

  test "any order of declarations comes back, and none differs from another" do
    :rand.seed(:exsss, {1, 2, 3})

    things =
      for n <- 1..14, name = "n#{n}" do
        case rem(n, 5) do
          0 -> "chain #{name} { counter accept; }"
          1 -> "set #{name} { type ipv4_addr; }"
          2 -> "map #{name} { type mark : verdict; }"
          3 -> "counter #{name} { packets 0 bytes 0 }"
          4 -> "flowtable #{name} { hook ingress priority 0; devices = { lo }; }"
        end
      end

    first = parse!("table inet t { #{Enum.join(things, "; ")} }")

    for _ <- 1..100 do
      things = Enum.shuffle(things)
      ruleset = parse!("table inet t {\n#{Enum.join(things, "\n")}\n}")
      table = table(ruleset, "t")
      declared = for thing <- things, [_, name | _] = String.split(thing), do: name

      for field <- @fields do
        names = names(table, field)
        assert names == Enum.filter(declared, &(&1 in names))
      end

      text = NFT.format(ruleset)
      assert NFT.parse(text) == {:ok, ruleset}
      assert NFT.format(parse!(text)) == text
      assert Netfilter.diff(first, ruleset).ops == []
      assert Netfilter.diff(ruleset, first).ops == []
    end
  end

  test "a ruleset that is built in the text's order equals the text's" do
    built =
      Ruleset.new()
      |> Ruleset.add_table!(:inet, "fw")
      |> Ruleset.add_set!("fw", Set.new!("y", key_type: :ipv4_addr))
      |> Ruleset.add_chain!("fw", "out")
      |> Ruleset.add_object!("fw", Object.new!(:counter, "n", %{packets: 0, bytes: 0}))
      |> Ruleset.add_set!("fw", Set.new!("x", key_type: :ipv4_addr))
      |> Ruleset.add_chain!("fw", "in")
      |> Ruleset.add_map!("fw", NMap.new!("w", key_type: :mark, data_type: :verdict))
      |> Ruleset.add_map!("fw", NMap.new!("v", key_type: :mark, data_type: :verdict))

    text = """
    table inet fw {
      counter n { packets 0 bytes 0 }
      map w { type mark : verdict; }
      map v { type mark : verdict; }
      set y { type ipv4_addr; }
      set x { type ipv4_addr; }
      chain out { }
      chain in { }
    }
    """

    assert NFT.parse(text) == {:ok, built}
    assert NFT.parse(NFT.format(built)) == {:ok, built}
  end

  test "what was put into a table by hand comes last, by name, and is no order of its own" do
    {:ok, table} = Table.add_chain(Table.new!(:ip, "t"), Chain.new!("m"))
    {:ok, table} = Table.add_chain(table, Chain.new!("b"))

    chains =
      Enum.reduce(["z", "a"], Map.delete(table.chains, "m"), fn name, chains ->
        Map.put(chains, name, %{Chain.new!(name) | table: "t"})
      end)

    table = %{table | chains: chains}
    assert names(table, :chains) == ["b", "a", "z"]
    {:ok, table} = Table.add_chain(table, Chain.new!("m"))
    assert names(table, :chains) == ["b", "a", "z", "m"]

    sorted = %{Table.new!(:ip, "t") | chains: Map.take(chains, ["a", "z"])}
    ruleset = Ruleset.put_table(Ruleset.new(), sorted)
    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
  end

  test "a patch creates in the order of the wanted ruleset" do
    text = "table inet t { chain z { }; chain a { }; set y { type mark; }; set b { type mark; } }"
    ops = Netfilter.diff(Ruleset.new(), parse!(text)).ops
    assert for({:create_chain, _, _, chain} <- ops, do: chain.name) == ["z", "a"]
    assert for({:create_set, _, set} <- ops, do: set.name) == ["y", "b"]
  end

  test "a replacing push creates in the order of the ruleset, a dump keeps the kernel's" do
    chains = for name <- ["c", "a", "b"], do: {:inet, %{Chain.new!(name) | table: "t"}}
    table = Decoder.from_msgs([Table.new!(:inet, "t")], chains, []) |> table("t")
    assert names(table, :chains) == ["c", "a", "b"]

    objects = for name <- ["2", "1"], do: Object.new!(:counter, name, %{packets: 0, bytes: 0})
    {:ok, table} = Table.add_flowtable(table, Flowtable.new!("g", devices: ["lo"]))
    {:ok, table} = Table.add_flowtable(table, Flowtable.new!("f", devices: ["lo"]))
    table = Enum.reduce(objects, table, &(&2 |> Table.add_object(&1) |> elem(1)))

    messages =
      Ruleset.new()
      |> Ruleset.put_table(table)
      |> Encoder.to_batch(destroy: :none)
      |> Enum.map(&Decoder.event/1)

    assert for(%{op: :new_chain, entity: {_, c}} <- messages, do: c.name) == ["c", "a", "b"]
    assert for(%{op: :new_obj, entity: {_, o}} <- messages, do: o.name) == ["2", "1"]
    assert for(%{op: :new_flowtable, entity: {_, f}} <- messages, do: f.name) == ["g", "f"]
  end

  test "a built table equals the text's with any number of names, in order or not" do
    for count <- [1, 2, 31, 32, 33, 34, 100], pad <- [0, 4] do
      names = for n <- 1..count, do: "c" <> String.pad_leading("#{n}", pad, "0")

      built =
        for name <- names, reduce: Ruleset.add_table!(Ruleset.new(), :ip, "t") do
          ruleset -> Ruleset.add_chain!(ruleset, "t", name)
        end

      assert NFT.parse(NFT.format(built)) == {:ok, built}
      assert names(table(built, "t"), :chains) == names
      dumped = for name <- names, do: {:ip, %{Chain.new!(name) | table: "t"}}
      assert Decoder.from_msgs([Table.new!(:ip, "t")], dumped, []) == built
    end
  end

  # Ten times the chains are ten times the work, a hundred times where each looks at all before
  # it.
  defp linear(work) do
    [few, many] =
      for count <- [1_000, 10_000] do
        # Collecting garbage counts as well, and how often depends on the heap: this one is large
        # enough for none.
        measured = fn ->
          {_, before} = Process.info(self(), :reductions)
          work.(count)
          {_, reductions} = Process.info(self(), :reductions)
          exit({:reductions, reductions - before})
        end

        {pid, monitor} = :erlang.spawn_opt(measured, [:monitor, min_heap_size: 8_000_000])
        assert_receive {:DOWN, ^monitor, :process, ^pid, {:reductions, reductions}}
        reductions
      end

    assert many < 20 * few
  end

  test "ten thousand rules with tags are appended in time that grows with their number" do
    linear(fn count ->
      rules = for n <- 1..count, do: {[:accept], tag: :"order_test_#{rem(n, 10_000)}"}

      {:ok, rs} =
        Ruleset.new()
        |> Ruleset.add_table!(:inet, "t")
        |> Ruleset.add_chain!("t", "c")
        |> Ruleset.add_rules("t", "c", rules)

      assert length(table(rs, "t").chains["c"].rules) == count
    end)
  end

  test "ten thousand chains are built in time that grows with their number" do
    for pad <- [0, 5] do
      linear(fn count ->
        table =
          for n <- 1..count, reduce: Table.new!(:ip, "t") do
            table ->
              name = "c" <> String.pad_leading("#{n}", pad, "0")
              {:ok, table} = Table.add_chain(table, Chain.new!(name))
              table
          end

        assert List.last(names(table, :chains)) =~ ~r/\Ac0*#{count}\z/
      end)
    end
  end

  test "ten thousand chains keep their order in time that grows with their number" do
    for turn <- [& &1, &Enum.reverse/1] do
      linear(fn count ->
        names = turn.(Enum.to_list(1..count))
        text = ["table inet t {\n", for(n <- names, do: "chain c#{n} { }\n"), "}\n"]
        ruleset = parse!(IO.iodata_to_binary(text))
        assert names(table(ruleset, "t"), :chains) == for(n <- names, do: "c#{n}")
      end)
    end
  end
end
