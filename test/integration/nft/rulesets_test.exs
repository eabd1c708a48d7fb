defmodule Linx.NFT.RulesetsTest do
  # Complete rulesets as users write them: what nft(8) makes of the text and what Linx makes of
  # it, each in a namespace of its own, must list the same, and what is pulled must format to text
  # that nft loads to the same again.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @rulesets Path.join(__DIR__, "rulesets")

  setup do: NftDifferential.namespaces()

  for path <- @rulesets |> Path.join("*.nft") |> Path.wildcard() do
    name = Path.basename(path, ".nft")
    @external_resource path

    test "#{name}: nft and Linx make the same of it, and of what Linx makes of that", %{
      ours: ours,
      sock: sock,
      theirs: theirs
    } do
      path = Path.join(@rulesets, unquote(name <> ".nft"))
      for pid <- [ours, theirs], do: devices(pid)

      assert Firewall.run!(theirs, ["nft", "-I", @rulesets, "-f", path]) == ""
      assert {:ok, ruleset} = NFT.parse_file(path)
      assert Netfilter.push(sock, ruleset) == :ok
      assert Firewall.json(ours) == Firewall.json(theirs)

      assert {:ok, pulled} = Netfilter.pull(sock)
      text = NFT.format(pulled)
      Firewall.run!(theirs, ["nft", "flush", "ruleset"])
      assert Firewall.load!(theirs, text) == :ok
      assert Firewall.json(ours) == Firewall.json(theirs), text
      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
    end
  end

  defp devices(pid) do
    for name <- ~w(lan0 wan0),
        do:
          Firewall.run!(pid, [
            "ip",
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            name <> "p"
          ])
  end
end
