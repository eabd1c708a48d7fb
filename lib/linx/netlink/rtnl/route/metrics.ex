defmodule Linx.Netlink.Rtnl.Route.Metrics do
  @moduledoc """
  A route's metrics: what TCP and IP take from the route instead of finding out (`RTA_METRICS`).

  Numbers are the kernel's: `mtu` and `advmss` in bytes, `cwnd`, `initcwnd` and `initrwnd` in
  segments, `rtt`, `rttvar` and `rto_min` in milliseconds (with `rtt` and `rttvar` scaled by 8 and
  4), `hoplimit` in hops. `lock` has a bit for each metric that path MTU discovery and the like
  must not change; `cc_algo` is the congestion control by name.

  Source: ip-route(8), include/uapi/linux/rtnetlink.h, `RTAX_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :lock, :u32)
    attr(2, :mtu, :u32)
    attr(3, :window, :u32)
    attr(4, :rtt, :u32)
    attr(5, :rttvar, :u32)
    attr(6, :ssthresh, :u32)
    attr(7, :cwnd, :u32)
    attr(8, :advmss, :u32)
    attr(9, :reordering, :u32)
    attr(10, :hoplimit, :u32)
    attr(11, :initcwnd, :u32)
    attr(12, :features, :u32)
    attr(13, :rto_min, :u32)
    attr(14, :initrwnd, :u32)
    attr(15, :quickack, :u32)
    attr(16, :cc_algo, :string)
    attr(17, :fastopen_no_cookie, :u32)
  end
end
