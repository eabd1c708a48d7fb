defmodule Linx.MACTest do
  use ExUnit.Case, async: true

  import Linx.MAC

  doctest Linx.MAC

  alias Linx.MAC

  test "only six bytes of two digits with colons" do
    for text <- [
          "",
          "00:11:22",
          "00:11:22:33:44:5",
          "00:11:22:33:44:555",
          "00-11-22-33-44-55",
          "001122334455",
          "00:11:22:33:44:5g",
          "00:11:22:33:44:55 ",
          "+0:11:22:33:44:55",
          nil
        ] do
      assert MAC.parse(text) == {:error, {:invalid_mac, text}}
    end
  end

  test "every address reads back from its text" do
    for _ <- 1..200 do
      mac = MAC.decode(:crypto.strong_rand_bytes(6))
      assert MAC.parse(MAC.to_string(mac)) == {:ok, mac}
      assert MAC.decode(MAC.encode(mac)) == mac
    end
  end

  test "bytes of another length are no MAC address" do
    for n <- 0..20, n != 6, do: assert(MAC.decode(<<0::size(n * 8)>>) == nil)
  end

  test "the sigil is a literal, and a bad one fails the build" do
    assert match?(~MAC"00:11:22:33:44:55", %MAC{bytes: <<0, 0x11, 0x22, 0x33, 0x44, 0x55>>})

    assert_raise ArgumentError, fn ->
      Code.eval_string(~S(import Linx.MAC; ~MAC"zz:11:22:33:44:55"))
    end

    assert "#{~MAC"02:AA:00:00:00:01"}" == "02:aa:00:00:00:01"
  end
end
