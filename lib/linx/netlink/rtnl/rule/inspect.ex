defimpl Inspect, for: Linx.Netlink.Rtnl.Rule do
  # The selectors that are set, and what becomes of a packet:
  # `#Linx.Netlink.Rtnl.Rule<priority=200 from=10.0.0.0/24 action=prohibit>`.

  import Bitwise

  alias Linx.Netlink.Rtnl.Rule

  # FR_ACT_* of linux/fib_rules.h.
  @none 0
  @to_table 1
  @goto 2
  @actions %{3 => "nop", 6 => "blackhole", 7 => "unreachable", 8 => "prohibit"}

  # FIB_RULE_INVERT
  @invert 2
  @inet6 10

  def inspect(rule, _opts) do
    parts =
      [
        priority(rule),
        (rule.flags &&& @invert) != 0 && "not",
        family(rule),
        rule.src && "from=#{rule.src}/#{rule.src_len}",
        rule.dst && "to=#{rule.dst}/#{rule.dst_len}",
        rule.fwmark && "fwmark=#{hex(rule.fwmark)}",
        rule.fwmask not in [nil, 0xFFFFFFFF] && "fwmask=#{hex(rule.fwmask)}",
        rule.iif && "iif=#{rule.iif}",
        rule.oif && "oif=#{rule.oif}",
        rule.tos != 0 && "tos=#{rule.tos}",
        rule.ipproto && "ipproto=#{rule.ipproto}",
        rule.sport && "sport=#{range(rule.sport)}",
        rule.dport && "dport=#{range(rule.dport)}",
        rule.uid && "uid=#{range(rule.uid)}",
        rule.l3mdev not in [nil, 0] && "l3mdev",
        # -1 as the kernel has it: no length is suppressed.
        rule.suppress_prefixlength not in [nil, 0xFFFFFFFF] &&
          "suppress_prefixlength=#{rule.suppress_prefixlength}",
        outcome(rule)
      ]

    "#Linx.Netlink.Rtnl.Rule<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
  end

  # The kernel leaves 0 out of what it lists, where each rule has an action.
  defp priority(%{priority: nil, action: @none}), do: nil
  defp priority(%{priority: priority}), do: "priority=#{priority || 0}"

  # The lists of both families look alike otherwise.
  defp family(%{family: @inet6, src: nil, dst: nil}), do: "inet6"
  defp family(_rule), do: nil

  defp outcome(%{l3mdev: l3mdev, table: 0, table_ext: table})
       when l3mdev not in [nil, 0] and table in [nil, 0],
       do: nil

  defp outcome(%{action: action} = rule) when action in [@none, @to_table],
    do: "table=#{Rule.target_table(rule)}"

  defp outcome(%{action: @goto, goto: priority}), do: "goto=#{priority}"
  defp outcome(%{action: action}), do: "action=#{@actions[action] || action}"

  defp range(n..n//_), do: "#{n}"
  defp range(first..last//_), do: "#{first}-#{last}"

  defp hex(n), do: "0x#{n |> Integer.to_string(16) |> String.downcase()}"
end
