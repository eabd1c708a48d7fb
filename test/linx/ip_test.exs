defmodule Linx.IPTest do
  use ExUnit.Case, async: true

  import Linx.IP

  doctest Linx.IP
  doctest Linx.IP.Subnet

  alias Linx.IP
  alias Linx.IP.Subnet

  # OTP's own parser is the other opinion where both accept the text.
  @v6 [
    "::",
    "::1",
    "1::",
    "fc00::1",
    "2001:db8::8:800:200c:417a",
    "1:2:3:4:5:6:7:8",
    "1:0:0:4:0:0:0:8",
    "::ffff:192.0.2.1",
    "1:2:3:4:5:6:192.0.2.1",
    "1::5:192.0.2.1",
    "::FFFF:0:0"
  ]

  test "IPv6 text means what OTP says it means" do
    for text <- @v6 do
      {:ok, groups} = :inet.parse_ipv6strict_address(to_charlist(text))
      bytes = for group <- Tuple.to_list(groups), into: <<>>, do: <<group::16>>
      assert IP.parse(text) == {:ok, %IP{bytes: bytes, family: :inet6}}
    end
  end

  test "text that is nearly an address is read as OTP reads it, or refused" do
    :rand.seed(:exsss, {4, 5, 6})

    for _ <- 1..20_000 do
      text = mutated(Enum.random(@v6))

      expected =
        case :inet.parse_ipv6strict_address(to_charlist(text)) do
          {:ok, groups} ->
            {:ok, IP.decode(for(group <- Tuple.to_list(groups), into: <<>>, do: <<group::16>>))}

          {:error, :einval} ->
            {:error, {:invalid_ip, text}}
        end

      # OTP reads a dotted quad as inet_aton does, octal and all.
      if not String.contains?(text, "."), do: assert({text, IP.parse(text)} == {text, expected})
    end
  end

  test "every octet is read, and no number above it" do
    for n <- 0..1100, at <- 0..3 do
      text = 1..4 |> Enum.to_list() |> List.replace_at(at, n) |> Enum.join(".")

      case IP.parse(text) do
        {:ok, ip} when n < 256 -> assert :binary.at(ip.bytes, at) == n
        other -> assert {n > 255, other} == {true, {:error, {:invalid_ip, text}}}
      end
    end
  end

  test "text that is not exactly an address is refused" do
    bad =
      ~w(10.0.0 10.0.0.256 10.0.0.0.1 010.0.0.1 0x7f.0.0.1 1.2.3.+4 1.2.3.-4 1..2.3 .1.2.3 1.2.3.
             127.1 : ::: 1:::2 1::2::3 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 12345:: g:: +1:: -1::
             fe80::1%eth0 1:2:3:4:5:6:7:1.2.3.4 ::1.2.3 1.2.3.4:: 1:2:3:4:5:6:7:8::
             ::1:2:3:4:5:6:7:8 1: :1)

    for text <- ["", " 10.0.0.1", "10.0.0.1 ", "10.0.0.1\0", <<255>>, "١.١.١.١" | bad] do
      assert IP.parse(text) == {:error, {:invalid_ip, text}}
    end

    assert {:error, {:invalid_ip, nil}} = IP.parse(nil)
  end

  test "the shortest form, as inet_ntop writes it" do
    for {bytes, text} <- [
          {<<0::128>>, "::"},
          {<<1::128>>, "::1"},
          {<<1::16, 0::112>>, "1::"},
          {<<1::16, 0::32, 4::16, 0::48, 8::16>>, "1:0:0:4::8"},
          {<<1::16, 0::32, 4::16, 0::32, 7::16, 8::16>>, "1::4:0:0:7:8"},
          {<<1::16, 0::16, 3::16, 4::16, 5::16, 6::16, 7::16, 8::16>>, "1:0:3:4:5:6:7:8"},
          {<<0::80, 0xFFFF::16, 192, 0, 2, 1>>, "::ffff:192.0.2.1"},
          {<<0::96, 192, 0, 2, 1>>, "::192.0.2.1"}
        ] do
      assert IP.to_string(IP.decode(bytes)) == text
      assert IP.parse(text) == {:ok, IP.decode(bytes)}
    end
  end

  test "every address reads back from its text" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..2000 do
      bytes = random_bytes(Enum.random([4, 16]))
      ip = IP.decode(bytes)
      assert IP.parse(IP.to_string(ip)) == {:ok, ip}
      assert IP.decode(IP.encode(ip)) == ip
    end
  end

  # A character left out, put in, or another, one to three times.
  defp mutated(text) do
    Enum.reduce(1..Enum.random(1..3), text, fn _, text ->
      {left, right} = String.split_at(text, Enum.random(0..String.length(text)))
      new = Enum.random([":", ":", "::", "0", "1", "9", "a", "F", "g", ".", " "])

      case Enum.random([:leave_out, :put_in, :another]) do
        :leave_out -> left <> String.slice(right, 1..-1//1)
        :put_in -> left <> new <> right
        :another -> left <> new <> String.slice(right, 1..-1//1)
      end
    end)
  end

  # Mostly zeros, where the short forms are.
  defp random_bytes(n),
    do: for(_ <- 1..n, into: <<>>, do: <<Enum.random([0, 0, 0, :rand.uniform(256) - 1])>>)

  test "bytes of another length are no address" do
    for n <- 0..20, n not in [4, 16], do: assert(IP.decode(<<0::size(n * 8)>>) == nil)
  end

  test "the sigil is a literal: it stands in patterns and fails the build" do
    assert match?(~IP"10.0.0.1", %IP{bytes: <<10, 0, 0, 1>>, family: :inet})

    for bad <- [~S(~IP"10.0.0.999"), ~S(~IP"10.0.0.0/33"), ~S(~IP"10.0.0.1"a), ~S(~IP"1/2/3")] do
      assert_raise ArgumentError, fn -> Code.eval_string("import Linx.IP; " <> bad) end
    end
  end

  test "interpolates as bare text" do
    assert "#{~IP"10.0.0.1"} #{~IP"fc00::/7"}" == "10.0.0.1 fc00::/7"
  end

  describe "Subnet" do
    test "refuses lengths that are too long or not plain decimal" do
      for text <-
            ~w(10.0.0.0/33 fc00::/129 10.0.0.0/ 10.0.0.0/+8 10.0.0.0/08 10.0.0.0 /8 10.0.0.0/8/8
                     x/8 10.0.0.0/0x8) do
        assert Subnet.parse(text) == {:error, {:invalid_subnet, text}}
      end
    end

    test "contains, network and broadcast at the ends of the length" do
      assert Subnet.contains?(~IP"0.0.0.0/0", ~IP"255.255.255.255")
      assert Subnet.contains?(~IP"10.0.0.1/32", ~IP"10.0.0.1")
      refute Subnet.contains?(~IP"10.0.0.1/32", ~IP"10.0.0.2")
      assert Subnet.contains?(~IP"10.0.0.9/29", ~IP"10.0.0.15")
      refute Subnet.contains?(~IP"10.0.0.9/29", ~IP"10.0.0.16")
      assert Subnet.network(~IP"fc00::1/0") == ~IP"::"
      assert Subnet.network(~IP"10.0.0.9/29") == ~IP"10.0.0.8"
      assert Subnet.broadcast(~IP"10.0.0.9/29") == ~IP"10.0.0.15"
      # RFC 3021: the last address of these is a host.
      for length <- [31, 32] do
        assert Subnet.broadcast(%Subnet{address: ~IP"10.0.0.8", prefix: length}) == nil
        assert Subnet.broadcast(%Subnet{address: ~IP"10.0.0.9", prefix: length}) == nil
      end

      assert Subnet.broadcast(~IP"10.0.0.9/30") == ~IP"10.0.0.11"
      assert Subnet.broadcast(~IP"10.0.0.9/0") == ~IP"255.255.255.255"
    end
  end
end
