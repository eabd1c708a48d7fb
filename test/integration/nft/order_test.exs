defmodule Linx.NFT.KernelOrderTest do
  # The order of chains, sets, maps and objects in the kernel's lists, as nft(8) prints it and as
  # a pull gives it.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Ruleset, Table}
  alias Linx.Test.Firewall

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @text """
  table inet fw {
    counter m { packets 0 bytes 0 }
    quota b { over 10 mbytes }
    counter a { packets 0 bytes 0 }
    set wide { type ipv4_addr; }
    set narrow { type mark; }
    map ports { type inet_service : verdict; }
    map hosts { type ipv4_addr : verdict; }
    chain output { counter name "m"; jump deep; }
    chain deep { accept; }
    chain input { jump deep; }
  }
  """

  @fields %{
    "chain" => :chains,
    "set" => :sets,
    "map" => :maps,
    "counter" => :objects,
    "quota" => :objects
  }

  setup do
    %{ours: Firewall.namespace(), theirs: Firewall.namespace()}
  end

  defp names(ruleset) do
    {:ok, table} = Ruleset.fetch_table(ruleset, "fw")

    for {_kind, field} <- @fields, into: %{} do
      {field, for(thing <- Table.in_order(table, field), do: thing.name)}
    end
  end

  # nft prints objects in the kernel's order, and lists of one kind so.
  defp listed(pid) do
    text = Firewall.run!(pid, ["nft", "list", "ruleset"])

    for [_, kind, name] <- Regex.scan(~r/^\t(chain|set|map|counter|quota) (\w+)/m, text) do
      {@fields[kind], name}
    end
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
  end

  test "what nft loads is pulled, and what Linx pushes is listed, in the order of the text", %{
    ours: ours,
    theirs: theirs
  } do
    {:ok, ruleset} = NFT.parse(@text)
    Firewall.load!(theirs.pid, @text)
    {:ok, pulled} = Netfilter.pull(theirs.sock)
    assert names(pulled) == names(ruleset)
    assert NFT.format(pulled) == NFT.format(ruleset)

    assert :ok == Netfilter.push(ours.sock, ruleset)
    {:ok, pulled} = Netfilter.pull(ours.sock)
    assert names(pulled) == names(ruleset)
    assert listed(ours.pid) == listed(theirs.pid)
    assert listed(ours.pid) == names(ruleset)
  end

  test "another order is nothing to reconcile, and what is new comes behind in the text's order",
       %{ours: %{sock: sock} = ours} do
    {:ok, ruleset} = NFT.parse(@text)
    ruleset = tagged(ruleset)
    assert :ok == Netfilter.push(sock, ruleset)

    [open | lines] = String.split(@text, "\n", trim: true)
    {lines, [close]} = Enum.split(lines, -1)
    {:ok, turned} = NFT.parse(Enum.join([open] ++ Enum.reverse(lines) ++ [close], "\n"))
    turned = tagged(turned)
    assert names(turned) != names(ruleset)

    {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, ours.pid})
    assert :ok == Netfilter.push(sock, turned, mode: :reconcile)
    {:ok, pulled} = Netfilter.pull(sock)
    assert names(pulled) == names(ruleset)

    more =
      "chain 2nd { accept; }\nchain 1st { accept; }\nset 2ndset { type mark; }\nset 1stset " <>
        "{ type mark; }"

    {:ok, grown} = NFT.parse(Enum.join([open, more] ++ lines ++ [close], "\n"))
    grown = tagged(grown)
    assert :ok == Netfilter.push(sock, grown, mode: :reconcile)

    # The first event is of what was added: the reconcile before it sent nothing.
    assert_receive {:linx_netfilter, :event, %{op: :new_set, entity: {:inet, %{name: "2ndset"}}}},
                   60_000

    Netfilter.unsubscribe(monitor)

    {:ok, pulled} = Netfilter.pull(sock)
    assert names(pulled).chains == names(ruleset).chains ++ ["2nd", "1st"]
    assert names(pulled).sets == names(ruleset).sets ++ ["2ndset", "1stset"]
  end

  defp tagged(%Ruleset{} = ruleset) do
    tables =
      Map.new(ruleset.tables, fn {key, table} ->
        chains =
          Map.new(table.chains, fn {name, chain} ->
            rules =
              for {rule, n} <- Enum.with_index(chain.rules), do: %{rule | tag: :"#{name}#{n}"}

            {name, %{chain | rules: rules}}
          end)

        {key, %{table | chains: chains}}
      end)

    %{ruleset | tables: tables}
  end
end
