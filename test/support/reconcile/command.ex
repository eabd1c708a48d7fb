defmodule Linx.Test.Reconcile.Command do
  @moduledoc false
  # Desired entries as the arguments of ip(8) that would make them.

  alias Linx.Test.Reconcile.View

  @raw_metrics [:lock, :cc_algo, :features]

  @doc "`addr VERB ...`."
  def address(verb, {:address, link, ip, len, opts}, proto \\ 76) do
    local = if peer = opts[:peer], do: "#{ip} peer #{peer}/#{len}", else: "#{ip}/#{len}"

    words([
      "addr",
      verb,
      local,
      "dev",
      link,
      proto && "proto #{proto}" | Enum.map(opts, &option/1)
    ])
  end

  defp option({:peer, _}), do: nil
  defp option({:label, label}), do: "label #{label}"
  defp option({:broadcast, ip}), do: "broadcast #{ip}"
  defp option({:scope, n}), do: "scope #{n}"
  defp option({:priority, n}), do: "metric #{n}"
  defp option({:valid, seconds}), do: "valid_lft #{seconds}"
  defp option({:preferred, seconds}), do: "preferred_lft #{seconds}"
  defp option({:flags, flags}), do: Enum.join(flags, " ")

  @doc "`route VERB ...`; the destination says the family."
  def route(verb, {:route, _, _, gateway, opts} = entry, proto \\ 76) do
    [
      words([key(verb, entry), proto && "proto #{proto}", scope(entry)]),
      opts[:nh_id] && "nhid #{opts[:nh_id]}",
      near(entry, gateway, opts),
      opts[:prefsrc] && "src #{opts[:prefsrc]}",
      Enum.map(opts[:metrics] || [], &metric(&1, opts[:metrics])),
      opts[:expires] && "expires #{opts[:expires]}",
      opts[:pref] && "pref #{opts[:pref]}",
      for(hop <- opts[:multipath] || [], do: ["nexthop", near(entry, hop[:gateway], hop)])
    ]
    |> words()
  end

  @doc "The words that name a route."
  def key(verb, {:route, dst, len, _gateway, opts}) do
    type = opts[:type]

    words([
      "route",
      verb,
      if(type && verb != "del", do: type),
      "#{network(dst, len)}/#{len}",
      opts[:tos] && "tos #{opts[:tos]}",
      "table #{opts[:table] || 254}",
      opts[:metric] && "metric #{opts[:metric]}"
    ])
  end

  # ip(8) refuses host bits.
  defp network(dst, len), do: dst |> View.ip() |> View.network(len) |> :inet.ntoa()

  # As Linx chooses a scope: `ip` takes the same, but for types of a link.
  defp scope({:route, _, _, _, opts}),
    do: opts[:scope] && "scope #{View.scopes()[opts[:scope]]}"

  defp near({:route, dst, _, _, _}, gateway, opts) do
    [
      gateway && "via #{gateway}",
      opts[:via] && "via #{other(dst, opts[:via])}#{opts[:via]}",
      opts[:oif] && "dev #{opts[:oif]}",
      opts[:weight] && "weight #{opts[:weight]}",
      opts[:onlink] && "onlink"
    ]
  end

  defp other(dst, via) do
    case {View.family(View.ip(dst)), View.family(View.ip(via))} do
      {family, family} -> ""
      {_, family} -> "#{family} "
    end
  end

  defp metric({:cc_algo, name}, _), do: "congctl #{name}"
  defp metric({:features, 1}, _), do: "features ecn"
  defp metric({:features, _}, _), do: nil
  defp metric({:lock, _}, _), do: nil
  defp metric({:rto_min, n}, _), do: "rto_min #{n}ms"
  # A bare number is the kernel's unit.
  defp metric({name, n}, metrics) when name not in @raw_metrics,
    do: "#{name} #{if name == :mtu and metrics[:lock] == 4, do: "lock "}#{n}"

  @doc "`rule VERB ...`."
  def rule(verb, {:rule, opts}, proto \\ 76) do
    family = View.rule_family(opts)

    words([
      if(family == :inet6, do: "-6"),
      "rule",
      verb,
      if(opts[:invert], do: "not"),
      Enum.map(opts, &selector(&1, opts)),
      "protocol #{proto}"
    ])
  end

  defp selector({key, n}, _) when key in [:from, :to, :table, :priority, :iif, :oif, :ipproto],
    do: "#{key} #{n}"

  defp selector({:tos, n}, _), do: "tos #{n}"
  defp selector({:fwmark, n}, opts), do: "fwmark #{n}#{if m = opts[:fwmask], do: "/#{m}"}"
  defp selector({:fwmask, n}, opts), do: if(opts[:fwmark], do: nil, else: "fwmark 0/#{n}")

  defp selector({key, %Range{} = r}, _) when key in [:sport, :dport],
    do: "#{key} #{r.first}-#{r.last}"

  defp selector({key, n}, _) when key in [:sport, :dport], do: "#{key} #{n}"
  defp selector({:uid, %Range{} = r}, _), do: "uidrange #{r.first}-#{r.last}"
  defp selector({:uid, n}, _), do: "uidrange #{n}-#{n}"
  defp selector({:suppress_prefixlength, n}, _), do: "suppress_prefixlength #{n}"
  defp selector({:suppress_ifgroup, n}, _), do: "suppress_ifgroup #{n}"
  defp selector({:action, {:goto, n}}, _), do: "goto #{n}"
  defp selector({:action, name}, _), do: "type #{name}"
  defp selector({key, _}, _) when key in [:invert, :family], do: nil

  @doc "The command that makes a link."
  def link({:link, name, kind, opts}) do
    words([
      "link add #{name}",
      opts[:link] && kind != :vxlan && "link #{opts[:link]}",
      opts[:master] && "master #{opts[:master]}",
      opts[:up] && "up",
      "type #{kind}",
      opts[:id] && "id #{opts[:id]}",
      kind == :vxlan && "remote #{opts[:remote]} dev #{opts[:link]} dstport 4789",
      opts[:mode] && "mode #{View.mode(opts[:mode])}",
      opts[:peer] && "peer name #{opts[:peer]}"
    ])
  end

  @doc "Words joined by spaces; `nil` is none."
  def words(parts),
    do: parts |> List.flatten() |> Enum.reject(&(&1 in [nil, false])) |> Enum.join(" ")

  @doc "An entry as the reconciler takes it."
  def entry({:link, name, kind, opts}), do: {name, kind, opts}
  def entry({:rule, opts}), do: opts
  def entry({:address, link, ip, len, []}), do: {link, ip, len}
  def entry({:address, link, ip, len, opts}), do: {link, ip, len, opts}

  def entry({:route, dst, 0, gateway, []}) when gateway != nil and dst in ["0.0.0.0", "::"],
    do: {:default, gateway}

  def entry({:route, dst, 0, gateway, opts}) when gateway != nil and dst in ["0.0.0.0", "::"],
    do: {:default, gateway, opts}

  def entry({:route, dst, len, gateway, []}), do: {dst, len, gateway}
  def entry({:route, dst, len, gateway, opts}), do: {dst, len, gateway, opts}

  @doc "A desired state as the reconciler takes it."
  def desired(entries) do
    %{
      links: for({:link, _, _, _} = entry <- entries, do: entry(entry)),
      rules: for({:rule, _} = entry <- entries, do: entry(entry)),
      addresses: for({:address, _, _, _, _} = entry <- entries, do: entry(entry)),
      routes: for({:route, _, _, _, _} = entry <- entries, do: entry(entry))
    }
  end
end
