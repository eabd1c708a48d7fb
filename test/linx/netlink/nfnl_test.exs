defmodule Linx.Netlink.NfnlTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.{Message, Nfnl}
  alias Linx.Netlink.Nfnl.Codec

  test "the options of a batch are a generation of 32 bits and nothing else" do
    assert %Message{payload: <<0, 0, 0, 10>>} = Codec.batch_begin(:nftables, genid: nil)

    assert %Message{payload: <<_header::32, _attr::32, 0xFFFFFFFF::32>>} =
             Codec.batch_begin(:nftables, genid: 0xFFFFFFFF)

    for opts <- [[genid: -1], [genid: 0x1_0000_0000], [genid: "1"], [gen: 1], :genid] do
      assert_raise ArgumentError, ~r/options of a batch/, fn ->
        Codec.batch_begin(:nftables, opts)
      end
    end
  end

  @tag :nfnetlink
  test "a batch that makes no sense raises, an empty one too" do
    {:ok, socket} = Nfnl.open()

    assert_raise ArgumentError, fn -> Nfnl.batch(socket, [], :nothing) end
    assert_raise ArgumentError, fn -> Nfnl.batch(socket, [], :nftables, gen: 1) end
    assert_raise ArgumentError, fn -> Nfnl.batch(socket, [%Message{type: 0x10000}]) end
    assert_raise FunctionClauseError, fn -> Nfnl.batch(socket, [:message]) end
  end
end
