defmodule Linx.ForeignLibraryTest do
  use ExUnit.Case, async: true

  # The view of a build machine with another CPU: the library is there and cannot be loaded.

  @aarch64 183

  setup_all do
    dir = Linx.Test.Scratch.path("foreign")
    on_exit(fn -> File.rm_rf!(dir) end)
    File.mkdir_p!(Path.join(dir, "linx"))
    source = Application.app_dir(:linx)

    for part <- ["ebin", "priv"],
        do: {_, 0} = System.cmd("cp", ["-rL", Path.join(source, part), Path.join(dir, "linx")])

    library = Path.join(dir, "linx/priv/linx_nif.so")
    <<head::binary-18, _machine::little-16, rest::binary>> = File.read!(library)
    File.write!(library, [head, <<@aarch64::little-16>>, rest])
    %{ebin: Path.join(dir, "linx/ebin")}
  end

  defp elixir(ebin, code) do
    System.cmd("elixir", ["-pa", ebin, "-e", code], stderr_to_stdout: true)
  end

  test "sigils of values work", %{ebin: ebin} do
    code = ~S"""
    import Linx.IP
    import Linx.MAC
    IO.inspect({~IP"10.0.0.1", ~MAC"02:00:00:00:00:01"})
    """

    assert {output, 0} = elixir(ebin, code)
    assert output =~ ~s(~IP"10.0.0.1")
    assert output =~ ~s(~MAC"02:00:00:00:00:01")
  end

  test "the nft language and its formatter work", %{ebin: ebin} do
    code = ~S"""
    {:ok, ruleset} = Linx.NFT.parse("table inet t { chain c { tcp dport 22 accept } }")
    IO.puts(Linx.NFT.format(ruleset))
    IO.puts(Linx.NFT.Formatter.format("table ip t { }", extension: ".nft"))
    """

    assert {output, 0} = elixir(ebin, code)
    assert output =~ "tcp dport 22 accept"
    assert output =~ "table ip t"
  end

  test "a kernel verb says why it cannot", %{ebin: ebin} do
    code = ~S"""
    try do
      Linx.Netlink.Rtnl.open()
    rescue
      error -> IO.puts(Exception.message(error))
    end
    """

    assert {output, 0} = elixir(ebin, code)
    assert output =~ "nif_not_loaded"
    assert output =~ "linx_nif"
  end
end
