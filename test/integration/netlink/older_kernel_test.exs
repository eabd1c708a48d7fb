defmodule Linx.Netlink.OlderKernelTest do
  @moduledoc false
  # Kernels before 4.12 have no extended acknowledgements, before 4.20 no strict checking.
  # strace(1) has this kernel refuse those options to one thread's first socket as theirs do, with
  # ENOPROTOOPT. One dirty thread, so that the next socket is opened by the same and has them.

  use ExUnit.Case, async: true

  alias Linx.Netlink.{Error, Request, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Route, Rule}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :netns
  @moduletag :strace

  # NETLINK_EXT_ACK, NETLINK_CAP_ACK and NETLINK_GET_STRICT_CHK, in this order.
  @older [
    "env",
    "ERL_FLAGS=+SDio 1",
    "unshare",
    "--net",
    "strace",
    "--follow-forks",
    "--quiet=all",
    "--trace=setsockopt",
    "--inject=setsockopt:error=ENOPROTOOPT:when=1..3",
    "--output=/dev/null"
  ]

  setup_all do
    result =
      Vm.eval(
        @older,
        quote do
          {:ok, older} = Rtnl.open()
          {:ok, newer} = Rtnl.open()

          :ok = Link.create_veth(older, "v0", "v1")
          :ok = Link.create_bridge(older, "br0")
          :ok = Link.set(older, "v0", up: true, master: "br0")
          for name <- ["lo", "v1", "br0"], do: :ok = Link.set_up(older, name)
          :ok = Address.add(older, "br0", "192.0.2.1", 24)
          :ok = Neighbour.add(older, "br0", "192.0.2.9", "02:00:00:00:00:09")
          routes = for n <- 0..999, do: {"20.0.#{div(n, 250)}.#{rem(n, 250)}", 32, "192.0.2.9"}
          {:ok, added} = Route.add_many(older, [{"20.0.0.0", 32, "10.9.9.9"} | routes])
          :ok = Route.add(older, "203.0.113.0", 24, "192.0.2.9", table: 77, protocol: :static)
          :ok = Rule.add(older, from: "192.0.2.0/25", table: 77)

          # The answer to a filtered dump by both, while the kernel changes nothing in between.
          both = fn list ->
            Linx.Test.Netns.steady(fn -> list.(older) end, fn -> list.(newer) end)
          end

          %{
            errors: {
              Route.add(older, "203.0.114.0", 24, "10.9.9.9"),
              Route.add(newer, "203.0.114.0", 24, "10.9.9.9")
            },
            batch: added,
            unfiltered: {
              Request.talk(older, 22, 0x300, <<0, 0, 0, 0, 1::native-32>>) |> elem(1) |> length(),
              Request.talk(newer, 22, 0x300, <<0, 0, 0, 0, 1::native-32>>) |> elem(1) |> length()
            },
            lists: [
              both.(&Link.list(&1, kind: :veth)),
              both.(&Link.list(&1, master: "br0")),
              both.(&Address.list(&1, "br0")),
              both.(&Address.list(&1, family: :inet)),
              both.(&Neighbour.list(&1, link: "br0", family: :inet)),
              both.(&Route.list(&1, table: 77)),
              both.(&Route.list(&1, protocol: :static)),
              both.(&Route.list(&1, table: 78)),
              both.(&Route.list(&1, family: :inet, oif: "br0")),
              both.(&Rule.list(&1))
            ],
            get: both.(&Link.get(&1, "v1")),
            absent: Link.get(older, "nope")
          }
        end
      )

    %{result: result}
  end

  test "an error has its errno and no text of the kernel's", %{result: result} do
    assert {{:error, %Error{} = older}, {:error, %Error{} = newer}} = result.errors
    assert %{errno: :enetunreach, message: nil, offset: nil, at: nil} = older
    # The same request on a socket that was refused nothing.
    assert %{errno: :enetunreach, message: "Nexthop has invalid gateway"} = newer
  end

  test "what is not there says so by name", %{result: result} do
    assert {:error, %Error{errno: :enodev, message: "no such interface \"nope\""}} = result.absent
  end

  test "each message of a batch has its own result", %{result: result} do
    assert [{:error, %Error{errno: :enetunreach}} | rest] = result.batch
    assert length(rest) == 1_000
    assert Enum.all?(rest, &(&1 == :ok))
  end

  test "filters that the kernel does not know are applied all the same", %{result: result} do
    # Without strict checking the index in an address dump's header is passed over.
    {older, newer} = result.unfiltered
    assert older > newer

    for {older, newer} <- result.lists do
      assert {:ok, objects} = older
      assert {:ok, ^objects} = newer
    end

    assert {{:ok, link}, {:ok, link}} = result.get
  end
end
