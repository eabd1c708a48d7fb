defmodule Linx.Integration.NFT.ProjectTest do
  use ExUnit.Case, async: true

  # A user's project: depends on Linx by path, has ~NFT in its modules and nft files beside them,
  # and the plugin in its .formatter.exs. Linx itself is not built again: the test's own build
  # stands in the project's.

  @moduletag :tmp_dir
  @aarch64 183

  @mix_exs """
  defmodule Shop.MixProject do
    use Mix.Project

    def project,
      do: [app: :shop, version: "0.1.0", deps: [{:linx, path: "LINX", compile: false}]]
  end
  """

  @formatter """
  [plugins: [Linx.NFT.Formatter], inputs: ["lib/**/*.ex", "*.nft"]]
  """

  @firewall ~S'''
  defmodule Shop.Firewall do
    import Linx.NFT, only: [sigil_NFT: 2]

    def static do
      ~NFT"""
      table inet shop{chain in{type filter hook input priority 0;policy drop;
      tcp dport{22,443} accept}}
      """
    end

    def on(port) do
      ~NFT"""
      table inet shop { # ours
      chain in { tcp dport   #{port} accept } }
      """
    end
  end
  '''

  @file_text "# kept\ndefine web=80\ntable ip x{chain c{tcp dport $web accept}}\n"

  setup %{tmp_dir: dir} do
    linx = File.cwd!()
    File.mkdir_p!(Path.join(dir, "lib"))
    File.write!(Path.join(dir, "mix.exs"), String.replace(@mix_exs, "LINX", linx))
    File.write!(Path.join(dir, ".formatter.exs"), @formatter)
    File.write!(Path.join(dir, "lib/firewall.ex"), @firewall)
    File.write!(Path.join(dir, "x.nft"), @file_text)

    built = Path.join(dir, "_build/dev/lib/linx")
    File.mkdir_p!(built)

    for part <- ["ebin", "priv"],
        do: {_, 0} = System.cmd("cp", ["-rL", Application.app_dir(:linx, part), built])

    %{dir: dir, library: Path.join(built, "priv/linx_nif.so")}
  end

  defp mix(dir, args) do
    env = [
      {"MIX_ENV", "dev"},
      {"MIX_BUILD_PATH", nil},
      {"MIX_DEPS_PATH", nil},
      {"MIX_TARGET", nil}
    ]

    System.cmd("mix", args, cd: dir, env: env, stderr_to_stdout: true)
  end

  defp files(dir),
    do: for(file <- ["lib/firewall.ex", "x.nft"], do: File.read!(Path.join(dir, file)))

  defp works(dir) do
    assert {_, 0} = mix(dir, ["compile"])

    assert {output, 0} =
             mix(dir, [
               "run",
               "-e",
               "alias Linx.NFT; alias Shop.Firewall; " <>
                 "IO.puts(NFT.format(Firewall.static()) <> NFT.format(Firewall.on(8080)))"
             ])

    assert output =~ "tcp dport { 22, 443 } accept"
    assert output =~ "tcp dport 8080 accept"

    # Without it what is no newer than the last run is left out, and that goes by the second.
    assert {_, 0} = mix(dir, ["format", "--force"])
    [source, nft] = once = files(dir)
    assert source =~ "        policy drop\n\n        tcp dport { 22, 443 } accept\n"
    assert source =~ "# ours\n"
    assert source =~ "tcp dport \#{port} accept\n"

    assert nft ==
             "# kept\ndefine web = 80\n\ntable ip x {\n  chain c {\n    tcp dport $web " <>
               "accept\n  }\n}\n"

    assert {_, 0} = mix(dir, ["format", "--force"])
    assert files(dir) == once
    assert {_, 0} = mix(dir, ["format", "--check-formatted"])
  end

  @tag timeout: 600_000
  test "compiles, runs and formats, with the library and without one for this CPU", %{
    dir: dir,
    library: library
  } do
    works(dir)

    <<head::binary-18, _machine::little-16, rest::binary>> = File.read!(library)
    File.rm!(library)
    File.write!(library, [head, <<@aarch64::little-16>>, rest])
    File.write!(Path.join(dir, "lib/firewall.ex"), @firewall)
    File.write!(Path.join(dir, "x.nft"), @file_text)
    works(dir)
  end

  @tag timeout: 600_000
  test "an error is reported at its line, and a file that does not parse stops the formatter", %{
    dir: dir
  } do
    File.write!(
      Path.join(dir, "lib/firewall.ex"),
      String.replace(@firewall, "tcp dport   \#{port}", "tcp dprt \#{port}")
    )

    assert {output, status} = mix(dir, ["compile"])
    assert status != 0
    assert output =~ "lib/firewall.ex:14:"

    File.write!(
      Path.join(dir, "x.nft"),
      "table ip x {\n  chain c {\n    tcp dport ? accept\n  }\n}\n"
    )

    assert {output, status} = mix(dir, ["format"])
    assert status != 0
    assert output =~ "x.nft:3:15: unexpected character '?'"
  end
end
