defmodule Linx.Doctor.Network do
  @moduledoc false
  # Link kinds and nf_tables, tried in the network namespace of a parked child.

  import Linx.Doctor.Finding, only: [new: 3]
  import Linx.Doctor.Probe, only: [text: 1, with_child: 2]

  alias Linx.{Netfilter, NFT}
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}

  @families ~w(ip ip6 inet arp bridge netdev)

  # An expression that the kernel's configuration may make a module of its own, a chain, and a
  # rule that loads there if the kernel has it.
  @expressions [
    {"ct state", "nft_ct", "filter hook input priority 0", "ct state new"},
    {"limit", "nft_limit", "filter hook input priority 0", "limit rate 1/second"},
    {"quota", "nft_quota", "filter hook input priority 0", "quota 1 mbytes"},
    {"connlimit", "nft_connlimit", "filter hook input priority 0", "ct count 10"},
    {"log", "nft_log", "filter hook input priority 0", "log group 5"},
    {"reject", "nft_reject_inet", "filter hook input priority 0", "reject"},
    {"nat", "-a nft_chain_nat nft_nat", "nat hook postrouting priority 100",
     "meta nfproto ipv4 snat ip to 192.0.2.1"},
    {"masquerade", "nft_masq", "nat hook postrouting priority 100", "masquerade"},
    {"redirect", "nft_redir", "nat hook prerouting priority -100", "redirect"},
    {"queue", "nft_queue", "filter hook input priority 0", "queue num 1"},
    {"fib", "nft_fib_inet", "filter hook prerouting priority 0", "fib daddr type local"},
    {"socket", "nft_socket", "filter hook prerouting priority 0", "socket transparent 1"},
    {"tproxy", "nft_tproxy", "filter hook prerouting priority 0",
     "meta nfproto ipv4 meta l4proto tcp tproxy ip to :1"},
    {"synproxy", "nft_synproxy", "filter hook input priority 0",
     "tcp dport 80 synproxy mss 1460 wscale 7"},
    {"osf", "nft_osf", "filter hook input priority 0", ~s(osf name "Linux")},
    {"hash", "nft_hash", "filter hook input priority 0", "meta mark set jhash ip saddr mod 2"},
    {"numgen", "nft_numgen", "filter hook input priority 0", "meta mark set numgen inc mod 2"},
    {"rt", "nf_tables", "filter hook output priority 0", "rt classid 1"},
    {"notrack", "nft_ct", "filter hook prerouting priority -300", "notrack"}
  ]

  def findings do
    probe = &(links({:pid, &1}) ++ netfilter({:pid, &1}))

    # Without root, in a user namespace of its own too: there its owner may do all that root may.
    found =
      with {:error, _} <- with_child([namespaces: [:net]], probe),
           do: with_child([namespaces: [:user, :net]], probe)

    case found do
      findings when is_list(findings) -> findings
      {:error, reason} -> for area <- [:links, :netfilter], do: none(area, reason)
    end
  end

  defp none(area, reason) do
    advice = "Run as root, or allow user namespaces (see above)."
    new(area, "network namespace", {:missing, "none to try in: #{text(reason)}", advice})
  end

  # -- links -------------------------------------------------------------------------------------

  defp links(netns) do
    with_socket(:links, &Rtnl.open/1, netns, fn socket ->
      for {kind, create} <- kinds() do
        result =
          case create.(socket) do
            :ok ->
              {:ok, "can be made"}

            {:error, error} ->
              {:missing, text(error), absent(module(kind))}
          end

        new(:links, kind, result)
      end
    end)
  end

  # A veth first: the kinds that sit on another link sit on it.
  defp kinds do
    [
      {"veth", &Rtnl.Link.create_veth(&1, "doctor0", "doctor1")},
      {"bridge", &Rtnl.Link.create_bridge(&1, "doctor2")},
      {"dummy", &Rtnl.Link.create_dummy(&1, "doctor3")},
      {"vlan", &Rtnl.Link.create_vlan(&1, "doctor4", "doctor0", 5)},
      {"macvlan", &Rtnl.Link.create_macvlan(&1, "doctor5", "doctor0")},
      {"ipvlan", &Rtnl.Link.create_ipvlan(&1, "doctor6", "doctor1")}
    ]
  end

  defp module("vlan"), do: "8021q"
  defp module(kind), do: kind

  # -- nf_tables ---------------------------------------------------------------------------------

  defp netfilter(netns) do
    with_socket(:netfilter, &Nfnl.open/1, netns, fn socket ->
      families =
        for family <- @families,
            do: load(socket, "family " <> family, "nf_tables", "table #{family} doctor { }")

      expressions =
        for {name, module, hook, rule} <- @expressions do
          load(socket, name, module, "table inet doctor { chain c { type #{hook}; #{rule}; } }")
        end

      sets = [
        load(
          socket,
          "interval set",
          "nf_tables",
          "table inet doctor { set s { type ipv4_addr; flags interval; " <>
            "elements = { 192.0.2.0/24 } } }"
        ),
        load(
          socket,
          "concatenated ranges",
          "nf_tables",
          "table inet doctor { set s { type ipv4_addr . inet_service; flags interval; " <>
            "elements = { 192.0.2.0/24 . 1-2 } } }"
        ),
        load(
          socket,
          "flowtable",
          "nf_flow_table_inet",
          ~s(table inet doctor { flowtable f { hook ingress priority 0; devices = { lo }; } })
        )
      ]

      families ++ expressions ++ sets
    end)
  end

  defp load(socket, item, module, source) do
    result =
      with {:ok, ruleset} <- NFT.parse(source),
           :ok <- Netfilter.push(socket, ruleset) do
        {:ok, "loads"}
      else
        {:error, error} ->
          {:missing, text(error), absent(module)}
      end

    new(:netfilter, item, result)
  end

  # -- both --------------------------------------------------------------------------------------

  defp absent(modules), do: "The kernel is built without it, or modprobe #{modules}."

  defp with_socket(area, open, netns, probe) do
    case open.(netns) do
      {:ok, socket} ->
        try do
          probe.(socket)
        after
          Socket.close(socket)
        end

      {:error, error} ->
        [new(area, "socket", {:missing, text(error), "Run as root."})]
    end
  end
end
