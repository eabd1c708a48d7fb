defmodule Linx.Integration.NFT.LivebookTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :nftables

  @notebook "docs/netfilter/firewall.livemd"

  # The cells of a notebook: one session, but for the installation of what is here already.
  defp cells do
    for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, File.read!(@notebook)),
        not String.contains?(code, "Mix.install"),
        do: code
  end

  test "the notebook's cells run from the first to the last" do
    env = Code.env_for_eval(file: @notebook, line: 1)

    ExUnit.CaptureIO.capture_io(fn ->
      {binding, _env} =
        Enum.reduce(cells(), {[], env}, fn code, {binding, env} ->
          quoted = Code.string_to_quoted!(code, file: @notebook)

          {_value, binding, env} =
            Code.eval_quoted_with_env(quoted, binding, env, prune_binding: false)

          {binding, env}
        end)

      send(self(), {:binding, binding})
    end)

    assert_received {:binding, binding}
    assert Linx.NFT.format(binding[:now]) =~ "udp dport 51820 accept"
  end
end
