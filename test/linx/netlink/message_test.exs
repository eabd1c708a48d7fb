defmodule Linx.Netlink.MessageTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.{Attr, Message}

  doctest Message
  doctest Attr

  describe "Message" do
    test "messages of every payload length read back from one buffer" do
      messages =
        for n <- 0..33,
            do: %Message{type: n, flags: n, seq: n, pid: n, payload: :binary.copy(<<n>>, n)}

      bytes = Enum.map_join(messages, &Message.encode/1)
      assert rem(byte_size(bytes), 4) == 0
      assert Message.decode(bytes) == messages
    end

    test "a number that the header cannot hold raises" do
      for field <- [:type, :flags, :seq, :pid], value <- [-1, 0x1_0000_0000, nil, "1"] do
        message = Map.replace!(%Message{}, field, value)
        assert_raise ArgumentError, ~r/#{field} /, fn -> Message.encode(message) end
      end

      assert_raise ArgumentError, fn -> Message.encode(%Message{type: 0x10000}) end
      assert_raise ArgumentError, fn -> Message.encode(%Message{flags: 0x10000}) end
    end

    test "what is appended is what is encoded" do
      messages =
        for n <- 0..33, do: %Message{type: n, flags: 5, seq: n, payload: :binary.copy(<<n>>, n)}

      appended =
        for message <- messages, reduce: <<>> do
          bytes ->
            Message.append(bytes, message.type, message.flags, message.seq, message.payload)
        end

      assert appended == Enum.map_join(messages, &Message.encode/1)
    end

    test "the last message needs no padding" do
      bytes = Message.encode(%Message{type: 16, payload: "abc"})
      assert [%Message{payload: "abc"}] = Message.decode(binary_part(bytes, 0, 19))
    end

    test "every truncation is padding or raises ArgumentError" do
      bytes = Message.encode(%Message{type: 16, payload: "abcd"})

      for n <- 0..15, do: assert(Message.decode(binary_part(bytes, 0, n)) == [])

      for n <- 16..19 do
        assert_raise ArgumentError, fn -> Message.decode(binary_part(bytes, 0, n)) end
      end
    end

    test "a length below the header's raises" do
      for length <- [0, 1, 15] do
        bytes = <<length::native-32, 16::native-16, 0::native-16, 0::64, 0::64>>
        assert_raise ArgumentError, fn -> Message.decode(bytes) end
      end
    end
  end

  describe "Attr" do
    test "payloads of every length read back" do
      attrs = for n <- 0..33, do: {n, :binary.copy(<<n>>, n)}
      assert Attr.decode(Attr.encode(attrs)) == attrs
      assert Attr.scan(Attr.encode(attrs)) == attrs
    end

    test "a payload that a 16-bit length cannot say raises, the longest goes" do
      longest = :binary.copy("x", 65_531)
      assert [{1, ^longest}] = Attr.decode(Attr.encode([{1, longest}]))

      assert_raise ArgumentError, ~r/65532 bytes/, fn -> Attr.encode([{1, [longest, "x"]}]) end
      assert_raise ArgumentError, fn -> Attr.encode([{65_536, ""}]) end
    end

    test "what is no attribute raises and is not left out" do
      for other <- [{1, "a", 3}, :mtu, "a", {1, nil}, {1, 5}, {-1, "a"}, {"1", "a"}] do
        assert_raise ArgumentError, fn -> Attr.encode([{1, "a"}, other]) end
      end
    end

    test "decode keeps the flag bits of a type, scan takes them off" do
      bytes = Attr.encode([{0x8005, "a"}, {0x4006, "b"}])
      assert Attr.decode(bytes) == [{0x8005, "a"}, {0x4006, "b"}]
      assert Attr.scan(bytes) == [{5, "a"}, {6, "b"}]
    end

    test "scan keeps what came before a length that does not fit" do
      for length <- [0, 3, 9, 0xFFFF] do
        bytes = Attr.encode([{1, "a"}]) <> <<length::native-16, 2::native-16, "abcd">>
        assert Attr.scan(bytes) == [{1, "a"}]
        assert_raise ArgumentError, fn -> Attr.decode(bytes) end
      end
    end

    test "scan of any bytes ends" do
      for n <- 0..200 do
        assert is_list(Attr.scan(:crypto.strong_rand_bytes(n)))
      end
    end
  end
end
