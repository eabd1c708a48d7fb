defmodule Linx.Test.ReconcileBench do
  @moduledoc false
  # A namespace with two veth pairs, a0-a1 and b0-b1, with addresses and a few nexthop objects,
  # and what ip(8) shows of it.

  import ExUnit.Assertions

  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.Netns

  @setup """
  link set lo up
  link add a0 type veth peer name a1
  link add b0 type veth peer name b1
  link set a0 up
  link set a1 up
  link set b0 up
  link set b1 up
  addr add 192.0.2.1/24 dev a0
  addr add 198.51.100.1/24 dev b0
  addr add 2001:db8:1::1/64 dev a0 nodad
  addr add 2001:db8:2::1/64 dev b0 nodad
  nexthop add id 10 via 192.0.2.2 dev a0
  nexthop add id 11 via 192.0.2.3 dev a0
  nexthop add id 12 group 10/11
  nexthop add id 20 via 2001:db8:1::2 dev a0
  nexthop add id 21 via 2001:db8:1::3 dev a0
  nexthop add id 22 group 20/21
  """

  @doc "The namespace and a socket in it."
  def start do
    ns = Netns.quiet()
    ips!(ns, @setup)
    up? = fn link -> Netns.run!(ns, "ip link show #{link}") =~ "state UP" end
    true = Netns.eventually(fn -> up?.("a0") and up?.("b0") end)
    %{ns: ns, socket: Netns.open(ns)}
  end

  @doc "Commands of ip(8), one a line, with one process."
  def ips!(ns, commands) do
    path = Path.join(System.tmp_dir!(), "linx-ip-#{System.unique_integer([:positive])}")
    File.write!(path, commands)
    Netns.run!(ns, "ip -batch #{path}")
    File.rm!(path)
  end

  @doc "One pass that goes on after failures."
  def pass(bench, desired, last_applied \\ %{}, opts \\ []) do
    opts = Keyword.put_new(opts, :on_error, :continue)
    {:ok, report} = Reconcile.reconcile(bench.socket, desired, last_applied, opts)
    report
  end

  @doc "A pass that converges, and one after it that does nothing."
  def converge(bench, desired, last_applied \\ %{}, opts \\ []) do
    report = pass(bench, desired, last_applied, opts)
    assert report.converged?, "not converged: #{shown(report)}"
    settled(bench, desired, report, opts)
    report
  end

  @doc "A pass after that of `report` does nothing, and says the same."
  def settled(bench, desired, report, opts \\ []) do
    again = pass(bench, desired, report.last_applied, opts)
    assert again.applied == [], "a second pass: #{shown(again)}"
    assert again.converged? == report.converged?, "a second pass: #{shown(again)}"
    again
  end

  defp shown(report),
    do: inspect(Map.take(report, [:applied, :failed, :pending]), structs: false, limit: 200)

  @doc "The routes to a destination as ip(8) lists them: maps without the state of links."
  def routes(bench, dst) do
    family = if dst =~ ":", do: "-6", else: "-4"

    for route <- Netns.ip!(bench.ns, "#{family} route show table all #{dst}"),
        do: Map.drop(route, ["dst"])
  end

  @doc "The next hops of a route as ip(8) lists it, without weights."
  def hops(%{"nexthops" => hops}), do: hops |> Enum.map(&hop/1) |> Enum.sort()
  def hops(%{"type" => type}) when type not in ["unicast"], do: [type]
  def hops(route), do: [hop(route)]

  defp hop(%{"via" => %{"host" => host}} = hop), do: {host, hop["dev"]}
  defp hop(hop), do: {hop["gateway"], hop["dev"]}

  @doc "The addresses of a link as ip(8) lists them, as text with the prefix length."
  def addresses(bench, link, family \\ 4) do
    for %{"addr_info" => infos} <- Netns.ip!(bench.ns, "-#{family} addr show dev #{link}"),
        info <- infos,
        do: "#{info["local"]}/#{info["prefixlen"]}"
  end
end
