# Wall time of the best of five, in milliseconds: the machine may be shared, so read the ratios.
alias Linx.NFT
alias Linx.NFT.{Compiler, Parser, Tokenizer}

best = fn fun ->
  Enum.min(for _ <- 1..5, do: elem(:timer.tc(fun), 0)) / 1000
end

IO.puts("wall time, the best of five\n")

titles = [
  "rules",
  "tokenize",
  "parse",
  "compile",
  "format",
  "text to ruleset",
  "nft -c -f",
  "x nft"
]

IO.puts("| #{Enum.join(titles, " | ")} |\n|#{String.duplicate("---|", length(titles))}")

for n <- [1_000, 10_000] do
  rules =
    Enum.map_join(1..n, "\n", fn i ->
      case rem(i, 4) do
        0 ->
          "    ip saddr 10.#{rem(i, 250)}.0.0/16 tcp dport #{rem(i, 60_000) + 1} counter accept"

        1 ->
          "    tcp dport { 22, 80, #{rem(i, 60_000) + 1} } ct state new,established accept"

        2 ->
          "    iifname \"eth#{rem(i, 9)}\" udp sport 1024-65535 drop"

        3 ->
          "    meta mark #{i} ip daddr 192.168.#{rem(i, 250)}.1 log prefix \"r#{i} \" drop"
      end
    end)

  text = "table inet bench {\n  chain c {\n#{rules}\n  }\n}\n"
  path = Path.join(System.tmp_dir!(), "linx-bench-#{n}.nft")
  File.write!(path, text)
  {:ok, tokens} = Tokenizer.tokenize(text)
  {:ok, items} = Parser.parse(tokens)
  {:ok, ruleset} = Compiler.compile(items)

  times = [
    best.(fn -> Tokenizer.tokenize(text) end),
    best.(fn -> Parser.parse(tokens) end),
    best.(fn -> Compiler.compile(items) end),
    best.(fn -> NFT.format(ruleset) end),
    best.(fn -> NFT.parse(text) end),
    best.(fn -> {_, 0} = System.cmd("nft", ["-c", "-f", path]) end)
  ]

  File.rm(path)
  [all, nft] = Enum.take(times, -2)
  cells = Enum.map(times, &"#{:erlang.float_to_binary(&1, decimals: 1)} ms")
  ratio = :erlang.float_to_binary(all / nft, decimals: 2)
  IO.puts("| #{Enum.join([n | cells] ++ [ratio], " | ")} |")
end
