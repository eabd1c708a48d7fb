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

  @doc "Words joined by spaces; `nil` is none."
  def words(parts),
    do: parts |> List.flatten() |> Enum.reject(&is_nil/1) |> Enum.join(" ")

  @doc "An entry as the reconciler takes it."
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
      addresses: for({:address, _, _, _, _} = entry <- entries, do: entry(entry)),
      routes: for({:route, _, _, _, _} = entry <- entries, do: entry(entry))
    }
  end
end
