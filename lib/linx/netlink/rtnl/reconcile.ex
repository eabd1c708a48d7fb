defmodule Linx.Netlink.Rtnl.Reconcile do
  @moduledoc """
  One pass that makes a namespace's addresses, routes, policy rules and links as desired: read,
  compare, change what differs.

      desired = %{
        addresses: [{"eth0", "192.0.2.10", 24}, {"eth0", "2001:db8::10", 64, flags: [:nodad]}],
        routes: [
          {:default, "192.0.2.1"},
          {"10.1.0.0", 16, "192.0.2.254", table: 100, metric: 50}
        ],
        rules: [[from: "192.0.2.0/24", table: 100, priority: 200]]
      }

      {:ok, report} = Linx.Netlink.Rtnl.Reconcile.reconcile(socket, desired)
      {:ok, again} = Linx.Netlink.Rtnl.Reconcile.reconcile(socket, desired, report.last_applied)
      [] = again.applied

  No process, no state: when to run it is the caller's business, and `Linx.Reconcile` is a
  ready-made loop.

  Links are named, since indices change, and the names are looked up at each pass.

  ## What is compared

  Every option that an entry sets is compared with the kernel, and a difference is repaired,
  whoever made it. An option that is not set is not compared: a route that had `:metrics` in the
  last desired state and has none in this one keeps them. Two things need no option: an address
  without lifetimes is one that stays, and a route without `:type` is a unicast route.

  An option of a link's kind that the kernel keeps in another form is compared in that form: a
  switch as on or off, a time in the ticks of the kernel's clock. A value that the kernel would
  keep as another one is refused with its range,
  `{:error, {:normalize, {entry, {:out_of_range, {key, value}, range}}}}`: of a bridge
  `:mcast_query_interval` and `:mcast_startup_query_interval`
  of less than a second or more than a day, other intervals beyond 64 bits of nanoseconds, any
  `:mcast_hash_elasticity` but 16, and delays of a bond that are no multiple of the `:miimon`
  beside them (the range is `{:multiple_of, miimon}`). Any other option that reads otherwise right
  after it was set is pending, and is not sent again while it reads so: `last_applied` remembers
  it.

  A route without `:oif` is on the link where its gateway is found now, and follows the gateway to
  another link. The kernel looks for a gateway in the route's own table first, then by the rules:
  a default route by a link in a table of its own is where every gateway of that table is found.

  An option without effect is refused with
  `{:error, {:normalize, {entry, {:bad_option, {key, value}}}}}`, whatever `:on_error` says, and
  nothing is done:

    * of an IPv4 route `:pref` and `:expires`, of an IPv6 route `:scope`, `:tos` and a `:via` of
      IPv4, of both `expires: 0`;
    * of a route that goes nowhere (a blackhole and the like) `onlink: true`; of such an IPv6
      route also `:oif`, `:via`, `:multipath` and `:nh_id`, and, as of one by the loopback link,
      `:pref` and `:expires`;
    * `onlink: true` beside `:nh_id`, and of an IPv4 route with `:multipath` (each hop has its
      own);
    * of an IPv6 address `:scope`, `:label` and `:broadcast`, of an IPv4 address the flags of IPv6
      (`:nodad`, `:optimistic`, `:home`, `:mngtmpaddr`) and a `:preferred` of some seconds without
      `:valid`;
    * `:proto` of an address, which is the mark.

  Host bits of a destination are masked, and the pass's `:protocol` stands in the place of one of
  a route or rule.

  Lifetimes (`:valid` and `:preferred` of an address, `:expires` of a route) run down. They are as
  desired while what is left is what should be left; `last_applied` remembers since when. Without
  it they are set anew if more than 5 seconds are gone.

  ## What is ours

  Routes and rules that this makes carry a protocol number, by default `default_protocol/0`, and
  only those that carry it are changed or deleted. A route of someone else's to the same place
  with the same metric makes ours fail with `:eexist`; it is not touched. A metric of its own is
  the way out, for instance beside a default route from a router advertisement, which has 1024.
  (It follows that two reconcilers of one namespace need two protocols.)

  IPv6 puts the gateways of one key (table, destination, prefix length, metric) into a group and
  lists that under the protocol of its first hop. A group that others have joined is changed hop
  by hop, and their hops stay. A hop of our protocol behind another's first one shows nowhere, so
  it is looked for under these keys only: those of the desired routes, and those that
  `last_applied` remembers, which are the ones that earlier passes desired. Under any other key, a
  hop that some program has added with our protocol number stays, and the pass converges. A pass
  without `last_applied` looks for it in every group.

  Addresses carry the same number as their mark (`IFA_PROTO`). An address is ours if it carries
  the mark, or if it carries none and an earlier pass made it, which `last_applied` remembers. One
  that was there already is used if it is as desired, and never changed or deleted; if it is not
  as desired, its entry fails with `:eexist`.

  A link is ours if `last_applied` names it with its kind. Options are set on any link that an
  entry names, but no other link is deleted or made anew: where that would be needed, for another
  `:link` (the parent), another `:id` of a VLAN or the mode `:passthru` of a macvlan, the entry
  fails with `:eexist`. The far end of
  a veth pair that is ours gets the name that `:peer` says; one in another namespace is not
  compared.

  When a primary IPv4 address is deleted, the kernel deletes the secondaries of its subnet, and
  with the last address of a link the routes by that link. They are put back, ours and others';
  what cannot be put back is in the report's `lost`.

  ## Order and failures

  Links, each behind its parent and its master, then their ports; new and changed addresses,
  routes, rules; then deletions of rules, routes, addresses and links: a gateway is reachable
  before a route needs it. A route by which the kernel refuses a new gateway (a broadcast or
  multicast route of the table, for instance) goes before that gateway's route comes; others go
  behind it, so that there is a route at every moment. A deletion of what is already gone counts
  as done. Behind the deletion of links all is compared once more: what an entry wants on such a
  link fails as on one that is not there.

    * `on_error: :halt` (the default): the first operation that fails ends the pass, and the
      report tells which were left. What is known to fail comes last. A link that is not there is
      `{:error, {:normalize, _}}`, and nothing is done.
    * `on_error: :continue`: all operations are tried, and those that failed again as long as
      another one succeeds. An entry on a link that is not there is a failed one,
      `{{:create, entry}, {:no_link, name}}`. Loops use this.

  In both cases the next pass starts from what is then there.

  ## What is there but of no use

  | state | report |
  |---|---|
  | IPv6 address that failed the check for duplicates | failed, with `:dadfailed`: making it again would fail again |
  | IPv6 address in that check | pending, until it is over |
  | deprecated address, without a desired `:preferred` of 0 | repaired |
  | route or hop on a link that is down or without a carrier | pending, until the link is up |

  Source: rtnetlink(7), ip-route(8), ip-address(8), ip-rule(8); `enum rtm_protocol` in
  linux/rtnetlink.h; ip-sysctl, "promote_secondaries".
  """

  alias Linx.Netlink.{Heap, Socket}
  alias Linx.Netlink.Rtnl.{Address, Route}
  alias Linx.Netlink.Rtnl.Reconcile.{Desired, Pass, Report}

  @default_protocol 76

  # A pass makes 550 words of an address or a route, and keeps 100. With room for most of them at
  # the start it is collected once instead of forty times; room for all takes longer to come by
  # than that once.
  @words 400

  @typedoc """
  `{interface, ip, prefixlen}` or `{interface, subnet}`, also with options at the end: those of
  `Linx.Netlink.Rtnl.Address`, without `:proto`.
  """
  @type address_spec ::
          {String.t(), binary() | Linx.IP.t(), non_neg_integer()}
          | {String.t(), binary() | Linx.IP.t(), non_neg_integer(), keyword()}
          | {String.t(), binary() | Linx.IP.Subnet.t()}
          | {String.t(), binary() | Linx.IP.Subnet.t(), keyword()}

  @typedoc """
  `{destination, prefixlen, gateway}`, `{subnet, gateway}` or `{:default, gateway}`, each also
  with options at the end: those of `Linx.Netlink.Rtnl.Route`, without `:protocol`. A default
  route without a gateway names its family in that place: `{:default, :inet, oif: "tun0"}`.
  """
  @type route_spec ::
          {binary() | Linx.IP.t(), non_neg_integer(), binary() | Linx.IP.t() | nil}
          | {binary() | Linx.IP.t(), non_neg_integer(), binary() | Linx.IP.t() | nil, keyword()}
          | {binary() | Linx.IP.Subnet.t(), binary() | Linx.IP.t() | nil}
          | {binary() | Linx.IP.Subnet.t(), binary() | Linx.IP.t() | nil, keyword()}
          | {:default, binary() | Linx.IP.t() | :inet | :inet6}
          | {:default, binary() | Linx.IP.t() | :inet | :inet6, keyword()}

  @typedoc "The options of `Linx.Netlink.Rtnl.Rule`, without `:protocol`."
  @type rule_spec :: keyword()

  @typedoc """
  `{name, kind}` or `{name, kind, options}`: those of `Linx.Netlink.Rtnl.Link.create/4`, without
  `:netns` and `:index`, and `:ports`, a list of links that are put under this one.
  """
  @type link_spec ::
          {String.t(), atom() | String.t()} | {String.t(), atom() | String.t(), keyword()}

  @typedoc "What should be. A key that is absent is an empty list."
  @type desired :: %{
          optional(:links) => [link_spec()],
          optional(:addresses) => [address_spec()],
          optional(:routes) => [route_spec()],
          optional(:rules) => [rule_spec()]
        }

  @typedoc "What is ours, from the last pass's report (`Linx.Netlink.Rtnl.Reconcile.Report`)."
  @type last_applied :: %{optional(:addresses) => MapSet.t(), optional(atom()) => term()}

  @doc """
  The protocol number of what is made here unless another is given: 76, an `L`.
  """
  @spec default_protocol() :: pos_integer()
  def default_protocol, do: @default_protocol

  @doc """
  Makes one pass in the socket's namespace.

  `{:ok, report}` also when an operation failed: the report says which.
  `{:error, {:normalize, reason}}` means that the desired state makes no sense (no such interface,
  no address, unlike families, the same thing twice, an option without effect) and nothing was
  done; `{:error, error}` that the kernel could not be read.

  Options:

    * `:protocol` - the mark of what is ours, 1..255 or a name that `Linx.Netlink.Rtnl.Route`
      knows;
    * `:on_error` - `:halt` (the default) or `:continue`, see "Order and failures".
  """
  @spec reconcile(Socket.t(), desired(), last_applied(), keyword()) ::
          {:ok, Report.t()} | {:error, term()}
  def reconcile(socket, desired, last_applied \\ %{}, opts \\ []) do
    with {:ok, options} <- options(opts),
         {:ok, specs} <- Desired.specs(desired) do
      Heap.roomy(Desired.count(specs) * @words, fn ->
        Pass.run(socket, specs, last_applied, options)
      end)
    end
  end

  # The addresses, and the routes of a protocol.
  @doc false
  @spec observe(Socket.t(), keyword()) ::
          {:ok, %{addresses: [Address.t()], routes: [Route.t()]}} | {:error, term()}
  def observe(socket, opts) do
    with {:ok, %{protocol: protocol}} <- options(opts),
         {:ok, addresses} <- Address.list(socket),
         {:ok, routes} <- Route.list(socket, protocol: protocol),
         do: {:ok, %{addresses: addresses, routes: routes}}
  end

  defp options(opts) do
    {protocol, opts} = Keyword.pop(opts, :protocol, @default_protocol)
    {on_error, opts} = Keyword.pop(opts, :on_error, :halt)

    with [] <- opts,
         true <- on_error in [:halt, :continue] or {:on_error, on_error},
         {:ok, protocol} <- number(protocol) do
      {:ok, %{protocol: protocol, on_error: on_error}}
    else
      [option | _] -> {:error, {:normalize, {:bad_option, option}}}
      {:on_error, _} = option -> {:error, {:normalize, {:bad_option, option}}}
      error -> error
    end
  end

  # 0 is "unspecified", which the kernel takes for "any" where it deletes and filters.
  defp number(protocol) do
    case Route.protocol(protocol) do
      {:ok, number} when number > 0 -> {:ok, number}
      _ -> {:error, {:normalize, {:bad_option, {:protocol, protocol}}}}
    end
  end
end
