defmodule Linx.Netlink.Rtnl.CidrTest do
  # An address or destination with its prefix length as one argument: the same request as with
  # two.
  use ExUnit.Case, async: true

  import Linx.IP, only: [sigil_IP: 2]

  alias Linx.IP.Subnet
  alias Linx.Netlink.Rtnl.{Address, Route, Rule}

  defp index(ref), do: {:ok, if(is_integer(ref), do: ref, else: 7)}

  # An op has a function in it.
  defp op(module, verb, args) do
    case module.__op__(verb, args, &index/1) do
      {:ok, {type, flags, message, _explain}} -> {type, flags, message}
      error -> error
    end
  end

  @bad [
    "203.0.113.1",
    "203.0.113.1/",
    "203.0.113.1/33",
    "203.0.113.1/-1",
    "203.0.113.1/024",
    "203.0.113.1/24/24",
    "2001:db8::1/129",
    "lo/24",
    "",
    ~IP"203.0.113.1",
    %Subnet{address: ~IP"203.0.113.1", prefix: 33},
    %Subnet{address: ~IP"203.0.113.1", prefix: nil},
    %Subnet{address: "203.0.113.1", prefix: 24},
    nil,
    :default,
    24,
    {"203.0.113.1", 24}
  ]

  test "cast takes text and the struct, and refuses each by itself" do
    assert Subnet.cast("203.0.113.1/24") == {:ok, ~IP"203.0.113.1/24"}
    assert Subnet.cast(~IP"2001:db8::1/64") == {:ok, ~IP"2001:db8::1/64"}

    for bad <- @bad,
        do: assert(Subnet.cast(bad) == {:error, {:invalid_subnet, bad}})
  end

  describe "addresses" do
    test "one argument makes the request that two make" do
      for {text, ip, prefix} <- [
            {"203.0.113.1/24", "203.0.113.1", 24},
            {"127.0.0.5/8", "127.0.0.5", 8},
            {"203.0.113.1/32", "203.0.113.1", 32},
            {"192.0.2.1/0", "192.0.2.1", 0},
            {"2001:db8::1/64", "2001:db8::1", 64}
          ],
          {:ok, subnet} = Subnet.parse(text),
          verb <- [:add, :replace, :delete],
          opts <- [[], [label: "eth0:1"]] do
        wanted = op(Address, verb, ["eth0", ip, prefix, opts])
        assert {_, _, %Address{}} = wanted
        assert op(Address, verb, ["eth0", text, opts]) == wanted
        assert op(Address, verb, ["eth0", subnet, opts]) == wanted

        if opts == [] do
          assert op(Address, verb, ["eth0", text]) == wanted
          assert op(Address, verb, ["eth0", subnet]) == wanted
        end
      end
    end

    test "new takes each form" do
      wanted = Address.new(3, "203.0.113.1", 24)
      assert {:ok, %Address{index: 3}} = wanted
      assert Address.new(3, "203.0.113.1/24") == wanted
      assert Address.new(3, ~IP"203.0.113.1/24") == wanted
      assert Address.new(3, ~IP"203.0.113.1/24", []) == wanted

      assert Address.new(3, "203.0.113.1/24", label: "a") ==
               Address.new(3, "203.0.113.1", 24, label: "a")

      assert Address.new(0, "203.0.113.1/24") == {:error, {:invalid_name, 0}}
    end

    test "a bad one is refused by itself, and no length is guessed" do
      for bad <- @bad do
        refused = {:error, {:invalid_subnet, bad}}
        assert op(Address, :add, ["eth0", bad]) == refused
        assert op(Address, :delete, ["eth0", bad, []]) == refused
        assert Address.new(3, bad) == refused
      end
    end

    test "a length twice, and a bad option, are refused" do
      assert op(Address, :add, ["eth0", "203.0.113.1/24", 24]) ==
               {:error, {:invalid_ip, "203.0.113.1/24"}}

      assert op(Address, :add, ["eth0", "203.0.113.1/24", [label: 1]]) ==
               {:error, {:bad_option, {:label, 1}}}
    end
  end

  describe "routes" do
    test "one argument makes the request that two make" do
      for {text, ip, prefix, gateway} <- [
            {"10.0.0.0/8", "10.0.0.0", 8, "192.0.2.1"},
            {"0.0.0.0/0", "0.0.0.0", 0, "192.0.2.1"},
            {"10.0.0.1/32", "10.0.0.1", 32, nil},
            {"2001:db8::/32", "2001:db8::", 32, ~IP"fe80::1"}
          ],
          {:ok, subnet} = Subnet.parse(text),
          verb <- [:add, :replace, :append, :delete],
          opts <- [[], [oif: "eth0", metric: 5]],
          gateway != nil or opts != [] do
        wanted = op(Route, verb, [ip, prefix, gateway, opts])
        assert {_, _, %Route{}} = wanted
        assert op(Route, verb, [text, gateway, opts]) == wanted
        assert op(Route, verb, [subnet, gateway, opts]) == wanted

        assert Route.__names__(verb, [text, gateway, opts]) ==
                 Keyword.take(opts, [:oif]) |> Keyword.values()

        if opts == [] do
          assert op(Route, verb, [text, gateway]) == wanted
          assert op(Route, verb, [subnet, gateway]) == wanted
          assert Route.__names__(verb, [text, gateway]) == []
        end
      end
    end

    test "new takes each form" do
      wanted = Route.new("10.0.0.0", 8, "192.0.2.1")
      assert {:ok, %Route{}} = wanted
      assert Route.new("10.0.0.0/8", "192.0.2.1") == wanted
      assert Route.new(~IP"10.0.0.0/8", "192.0.2.1", []) == wanted

      assert Route.new("10.0.0.0/8", nil, type: :blackhole) ==
               Route.new("10.0.0.0", 8, nil, type: :blackhole)
    end

    test "a bad one is refused by itself" do
      for bad <- @bad do
        refused = {:error, {:invalid_subnet, bad}}
        assert op(Route, :add, [bad, "192.0.2.1"]) == refused
        assert op(Route, :delete, [bad, "192.0.2.1", []]) == refused
        assert Route.new(bad, nil, oif: 1) == refused
      end

      assert op(Route, :add, ["10.0.0.0/8", 8, "192.0.2.1"]) ==
               {:error, {:invalid_ip, "10.0.0.0/8"}}

      assert {:error, {:unlike_families, _, _}} = op(Route, :add, ["10.0.0.0/8", "2001:db8::1"])
    end

    test "the default routes keep their forms" do
      assert op(Route, :add_default, ["192.0.2.1"]) ==
               op(Route, :add, ["0.0.0.0/0", "192.0.2.1"])

      assert op(Route, :add_default, ["192.0.2.1", [metric: 3]]) ==
               op(Route, :add, ["0.0.0.0/0", "192.0.2.1", [metric: 3]])
    end
  end

  test "rules take a subnet, its text and an address" do
    wanted = op(Rule, :add, [[from: ~IP"10.0.0.0/8", to: ~IP"10.1.2.3", table: 7]])
    assert {_, _, %Rule{src_len: 8, dst_len: 32}} = wanted
    assert op(Rule, :add, [[from: "10.0.0.0/8", to: "10.1.2.3", table: 7]]) == wanted
    assert op(Rule, :add, [[from: "10.0.0.0/8", to: "10.1.2.3/32", table: 7]]) == wanted
  end
end
