defmodule Linx.Integration.Netlink.CidrTest do
  # Each verb that takes an address and a prefix length, with both as one argument, beside ip(8).
  use ExUnit.Case, async: true

  import Linx.IP, only: [sigil_IP: 2]

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Route}
  alias Linx.Test.Netns

  @moduletag :root
  @moduletag :netns

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "a0", "a1")
    for name <- ["a0", "a1", "lo"], do: :ok = Link.set_up(socket, name)
    %{ns: ns, socket: socket}
  end

  defp addresses(ns, link) do
    for %{"addr_info" => infos} <- Netns.ip!(ns, "addr show dev #{link}"),
        info <- infos,
        info["scope"] != "link",
        do: "#{info["local"]}/#{info["prefixlen"]}"
  end

  defp routes(ns, what \\ "route show proto boot"),
    do: for(route <- Netns.ip!(ns, what), do: {route["dst"], route["gateway"], route["metric"]})

  test "addresses", %{ns: ns, socket: s} do
    assert :ok = Address.add(s, "a0", "203.0.113.1/24")
    assert :ok = Address.add(s, "a0", ~IP"203.0.113.2/24", label: "a0:two")
    assert :ok = Address.replace(s, "a0", "203.0.113.1/24", valid: 1000)
    assert :ok = Address.replace(s, "a0", ~IP"2001:db8::1/64")
    assert :ok = Address.ensure(s, "a0", "203.0.113.3/24")
    assert :ok = Address.ensure(s, "a0", ~IP"203.0.113.3/24", scope: 0)
    assert {:error, %Error{errno: :eexist}} = Address.ensure(s, "a0", "203.0.113.3/25")
    assert {:error, %Error{errno: :eexist}} = Address.add(s, "a0", "203.0.113.1/24")

    assert addresses(ns, "a0") ==
             ~w(203.0.113.1/24 203.0.113.2/24 203.0.113.3/24 2001:db8::1/64)

    assert :ok = Address.delete(s, "a0", ~IP"203.0.113.2/24", label: "a0:two")
    assert :ok = Address.delete(s, "a0", "203.0.113.3/24")
    assert addresses(ns, "a0") == ~w(203.0.113.1/24 2001:db8::1/64)
    assert {:error, {:invalid_subnet, "203.0.113.9"}} = Address.add(s, "a0", "203.0.113.9")
    assert {:error, {:invalid_ip, "203.0.113.9/24"}} = Address.add(s, "a0", "203.0.113.9/24", 24)
  end

  test "many addresses, and batches", %{ns: ns, socket: s} do
    assert {:ok, [:ok, :ok, :ok, {:error, {:invalid_subnet, "203.0.113.9"}}]} =
             Address.add_many(s, [
               {"a0", "203.0.113.1/24"},
               {"a0", ~IP"203.0.113.2/24", [label: "a0:2"]},
               {"a0", "203.0.113.3", 24},
               {"a0", "203.0.113.9"}
             ])

    assert {:ok, [:ok, :ok]} =
             Address.delete_many(s, [{"a0", "203.0.113.3/24"}, {"a0", ~IP"203.0.113.2/24", []}])

    assert {:ok, [:ok, :ok, :ok, :ok]} =
             Rtnl.batch(s, [
               {Address, :add, ["a1", "198.51.100.1/24"]},
               {Address, :replace, ["a1", "198.51.100.1/24", [valid: 500]]},
               {Route, :add, ["10.0.0.0/8", "203.0.113.7"]},
               {Route, :add, [~IP"10.2.0.0/16", nil, [oif: "a0", metric: 9]]}
             ])

    assert addresses(ns, "a0") == ["203.0.113.1/24"]
    assert addresses(ns, "a1") == ["198.51.100.1/24"]
    assert routes(ns) == [{"10.0.0.0/8", "203.0.113.7", nil}, {"10.2.0.0/16", nil, 9}]
  end

  test "routes", %{ns: ns, socket: s} do
    :ok = Address.add(s, "a0", "203.0.113.1/24")
    :ok = Address.add(s, "a0", "2001:db8::1/64")
    assert :ok = Route.add(s, "10.0.0.0/8", "203.0.113.7")
    assert :ok = Route.add(s, ~IP"10.1.0.0/16", nil, oif: "a0")
    assert :ok = Route.replace(s, "10.0.0.0/8", "203.0.113.8")
    assert :ok = Route.append(s, "10.0.0.0/8", "203.0.113.9")
    assert :ok = Route.add(s, "2001:db8:1::/48", ~IP"2001:db8::7", metric: 7)
    assert {:error, %Error{errno: :eexist}} = Route.add(s, "10.0.0.0/8", "203.0.113.7")

    assert routes(ns) == [
             {"10.0.0.0/8", "203.0.113.8", nil},
             {"10.0.0.0/8", "203.0.113.9", nil},
             {"10.1.0.0/16", nil, nil}
           ]

    assert [{"2001:db8:1::/48", "2001:db8::7", 7}] = routes(ns, "-6 route show proto boot")

    assert :ok = Route.delete(s, "10.0.0.0/8", "203.0.113.8")
    assert :ok = Route.delete(s, ~IP"10.1.0.0/16", nil, oif: "a0")
    assert :ok = Route.delete(s, "2001:db8:1::/48", nil)
    assert routes(ns) == [{"10.0.0.0/8", "203.0.113.9", nil}]
    assert routes(ns, "-6 route show proto boot") == []
    assert {:error, {:invalid_subnet, "10.0.0.0"}} = Route.add(s, "10.0.0.0", "203.0.113.7")
  end

  test "many routes", %{ns: ns, socket: s} do
    :ok = Address.add(s, "a0", "203.0.113.1/24")

    assert {:ok, [:ok, :ok, :ok]} =
             Route.add_many(s, [
               {"10.1.0.0/16", "203.0.113.7"},
               {~IP"10.2.0.0/16", "203.0.113.7", [metric: 3]},
               {"10.3.0.0", 16, "203.0.113.7"}
             ])

    assert {:ok, [:ok]} = Route.replace_many(s, [{"10.1.0.0/16", "203.0.113.8"}])
    assert {:ok, [:ok]} = Route.delete_many(s, [{"10.3.0.0/16", nil}])

    assert routes(ns) == [
             {"10.1.0.0/16", "203.0.113.8", nil},
             {"10.2.0.0/16", "203.0.113.7", 3}
           ]
  end

  test "a desired state, which converges on the one written otherwise", %{ns: ns, socket: s} do
    desired = %{
      addresses: [
        {"a0", "203.0.113.1/24"},
        {"a0", ~IP"203.0.113.2/24", label: "a0:two"},
        {"a0", "203.0.113.3", 24}
      ],
      routes: [
        {"10.0.0.0/8", "203.0.113.7"},
        {~IP"10.1.0.0/16", "203.0.113.7", metric: 9},
        {"10.2.0.0/16", nil, oif: "a0"},
        {:default, "203.0.113.7"}
      ]
    }

    assert {:ok, report} = Rtnl.Reconcile.reconcile(s, desired)
    assert report.converged?

    assert addresses(ns, "a0") == ~w(203.0.113.1/24 203.0.113.2/24 203.0.113.3/24)

    assert routes(ns, "route show proto 76") |> Enum.sort() ==
             Enum.sort([
               {"10.0.0.0/8", "203.0.113.7", nil},
               {"10.1.0.0/16", "203.0.113.7", 9},
               {"10.2.0.0/16", nil, nil},
               {"default", "203.0.113.7", nil}
             ])

    same = %{
      addresses: [
        {"a0", ~IP"203.0.113.1", 24},
        {"a0", "203.0.113.2", 24, label: "a0:two"},
        {"a0", "203.0.113.3/24", []}
      ],
      routes: [
        {"10.0.0.0", 8, "203.0.113.7"},
        {"10.1.0.0", 16, "203.0.113.7", metric: 9},
        {"10.2.0.0", 16, nil, oif: "a0"},
        {"0.0.0.0/0", "203.0.113.7"}
      ]
    }

    assert {:ok, %{converged?: true, applied: []}} =
             Rtnl.Reconcile.reconcile(s, same, report.last_applied)

    # An option of an entry written so is compared too.
    changed = %{same | routes: [{"10.1.0.0/16", "203.0.113.8", metric: 9}]}

    assert {:ok, %{converged?: true}} =
             Rtnl.Reconcile.reconcile(s, changed, report.last_applied)

    assert routes(ns, "route show proto 76") == [{"10.1.0.0/16", "203.0.113.8", 9}]

    for {part, entry} <- [
          addresses: {"a0", "203.0.113.1"},
          addresses: {"a0", "203.0.113.1/33", []},
          routes: {"10.0.0.0", "203.0.113.7"}
        ] do
      subject = elem(entry, if(part == :addresses, do: 1, else: 0))

      assert {:error, {:normalize, {^entry, {:invalid_subnet, ^subject}}}} =
               Rtnl.Reconcile.reconcile(s, %{part => [entry]})
    end
  end
end
