defmodule Linx.NFT.StreamTest do
  # A file pushed as a stream is what the same file pushed as a value is.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.Error
  alias Linx.NFT.ParseError
  alias Linx.Test.{Firewall, Scratch}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do
    path = Scratch.path("nft")
    on_exit(fn -> File.rm(path) end)
    Map.put(Firewall.namespace(), :path, path)
  end

  defp ip(n),
    do: Enum.map_join([n |> div(16_777_216), div(n, 65_536), div(n, 256), n], ".", &rem(&1, 256))

  # Intervals in three forms, some adjacent, in random order.
  defp intervals(count) do
    Enum.map_join(Enum.shuffle(1..count), ",\n", fn i ->
      first = 0x0A000000 + i * 256

      case rem(i, 3) do
        0 -> "#{ip(first)}/24"
        1 -> "#{ip(first)}-#{ip(first + 255)}"
        2 -> "#{ip(first + 7)}"
      end
    end)
  end

  defp text do
    verdict = &Enum.at(["accept", "jump c"], rem(&1, 2))

    """
    define ports = { #{Enum.join(1..400, ", ")} }
    table inet fw {
      set nets { type ipv4_addr; flags interval; elements = { #{intervals(5_000)} } }
      set joined { type ipv4_addr; flags interval; auto-merge; elements = { #{intervals(600)} } }
      set fixed { type inet_service; flags constant; elements = $ports }
      set named { type inet_service; elements = $ports }
      set six { type ipv6_addr; elements = { #{Enum.map_join(1..2_500, ",", &"2001:db8::#{&1}")} \
    } }
      set guests { type ipv4_addr; flags timeout
        elements = { \
    #{Enum.map_join(1..1_100, ", ", &"#{ip(0xC0000200 + &1)} timeout 1h comment \"g\"")} } }
      map pool { type ipv4_addr . inet_service : ipv4_addr
        elements = { #{Enum.map_join(1..1_500, ", ", &"#{ip(&1)} . #{&1} : 192.0.2.1")} } }
      map ways { type ipv4_addr : verdict
        elements = { \
    #{Enum.map_join(1..1_500, ", ", &"#{ip(&1)} : #{verdict.(&1)}")} } }
      chain c { accept; }
      chain input { type filter hook input priority 0
        ip saddr @nets tcp dport @fixed drop; }
      chain output { type filter hook output priority 0
        ip daddr vmap @ways; }
    }
    """
  end

  defp state(sock) do
    {:ok, %{tables: %{{:inet, "fw"} => table}}} = Netfilter.pull(sock, {:inet, "fw"})

    sets =
      for {name, set} <- Map.merge(table.sets, table.maps), into: %{} do
        {name, set.elements |> Enum.map(&unaged/1) |> Enum.sort()}
      end

    {sets, Map.new(table.chains, fn {name, chain} -> {name, plain(chain)} end)}
  end

  defp plain(chain) do
    {chain.hook, chain.priority,
     for(rule <- chain.rules, do: for(expr <- rule.expressions, do: {expr.name, expr.data}))}
  end

  defp unaged(%Netfilter.Element{} = element), do: %{element | expires: nil}
  defp unaged(element), do: element

  test "the kernel's ruleset is the same", %{sock: sock, pid: pid, path: path} do
    File.write!(path, text())
    {:ok, value} = NFT.parse_file(path)
    assert :ok = Netfilter.push(sock, value)
    {sets, chains} = state(sock)
    assert map_size(sets) == 8
    assert length(sets["nets"]) == 5_000
    assert map_size(chains) == 3

    Firewall.run!(pid, ["nft", "flush", "ruleset"])
    assert :ok = Netfilter.push(sock, NFT.stream(path))
    assert {sets, chains} == state(sock)

    Firewall.run!(pid, ["nft", "flush", "set", "inet", "fw", "six"])
    Firewall.run!(pid, ["nft", "flush", "chain", "inet", "fw", "output"])
    assert :ok = Netfilter.push(sock, NFT.stream(path), mode: :reconcile)
    assert {sets, chains} == state(sock)
  end

  test "a mistake has its place, and nothing is sent", %{sock: sock, path: path} do
    list = Enum.map_join(1..2_000, ",\n", &ip/1)

    File.write!(
      path,
      "table inet fw {\nset s { type ipv4_addr; elements = {\n#{list},\n10.0.0.256 } }\n}\n"
    )

    assert {:error, %ParseError{line: 2_003, file: ^path}} =
             Netfilter.push(sock, NFT.stream(path))

    for {line, flags} <- [{"10.0.0.0/8", ""}, {"10.0.0.1 timeout 1h", "flags interval;"}] do
      File.write!(
        path,
        "table inet fw {\nset s { type ipv4_addr; #{flags} elements = {\n#{list},\n#{line} " <>
          "} }\n}\n"
      )

      assert {:error, %ParseError{}} = Netfilter.push(sock, NFT.stream(path))
    end

    assert {:error, :enoent} = Netfilter.push(sock, NFT.stream(path <> ".absent"))
    assert {:error, {:bad_option, _}} = Netfilter.push(sock, NFT.stream(path), moed: :replace)
    assert {:ok, %{tables: tables}} = Netfilter.pull(sock)
    assert tables == %{}
  end

  test "a refusal of the kernel names the set", %{sock: sock, path: path} do
    pairs = Enum.map_join(1..1_500, ", ", &"#{ip(&1)} : jump nowhere")

    File.write!(
      path,
      "table inet fw {\nmap ways { type ipv4_addr : verdict; elements = { #{pairs} } }\n}\n"
    )

    assert {:error, %Error{operation: :newsetelem, errno: :enoent, at: at}} =
             Netfilter.push(sock, NFT.stream(path))

    assert at[:set] == "ways"
  end

  test "an error is the one that the file gives as a value", %{sock: sock, path: path} do
    pairs = Enum.map_join(1..2_500, ", ", &"#{ip(&1)} : jump c")
    counters = Enum.map_join(1..2_500, ", ", &"#{ip(&1)} : \"k\"")
    nets = Enum.map_join(1..2_500, ", ", &"#{ip(&1 * 256)}/24")
    far = "0.0.1.7-0.0.1.9"

    for {declaration, told} <- [
          {"map m { type ipv4_addr : verdict; elements = { #{pairs}, #{ip(2_501)} : jump d } }",
           ~s(no chain "d")},
          {"map m { type ipv4_addr : counter; elements = { #{counters}, #{ip(2_501)} : " <>
             "\"kk\" } }", ~s(no counter "kk")},
          {"set s { type ipv4_addr; flags interval; elements = { #{nets}, #{far} } }",
           "elements overlap: 0.0.1.0/24 and #{far}"}
        ] do
      File.write!(
        path,
        "table inet fw {\nchain c { }\ncounter k { }\n#{declaration}\n}\n"
      )

      {:ok, value} = NFT.parse_file(path)
      assert {:error, error} = Netfilter.push(sock, value)
      assert {:error, ^error} = Netfilter.push(sock, NFT.stream(path))
      assert inspect(error) =~ told or Exception.message(error) =~ told
    end

    assert {:ok, %{tables: tables}} = Netfilter.pull(sock)
    assert tables == %{}
  end
end
