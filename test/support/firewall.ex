defmodule Linx.Test.Firewall do
  @moduledoc false
  # A network namespace of the test's own, a socket in it, and nft(8) beside it as the oracle.

  alias Linx.Netfilter.{Expr, Ruleset}
  alias Linx.Netlink.{Nfnl, Socket}
  alias Linx.Test.Workload

  @doc "A namespace that lasts as long as the test: its pid, and an nfnetlink socket in it."
  @spec namespace() :: %{pid: pos_integer(), sock: Socket.t()}
  def namespace do
    {_session, pid} = Workload.parked([:net])
    {:ok, sock} = Nfnl.open({:pid, pid})
    ExUnit.Callbacks.on_exit(fn -> Socket.close(sock) end)
    %{pid: pid, sock: sock}
  end

  @doc """
  A ruleset of one table `inet fw` with the input chain and `rules`, a list of
  `{expressions, tag}`.
  """
  @spec ruleset([{[term()], term()}]) :: Ruleset.t()
  def ruleset(rules) do
    base =
      Ruleset.new()
      |> Ruleset.add_table!(:inet, "fw")
      |> Ruleset.add_chain!("fw", "input", type: :filter, hook: :input, priority: 0)

    Enum.reduce(rules, base, fn {exprs, tag}, rs ->
      Ruleset.add_rule!(rs, "fw", "input", exprs, tag: tag)
    end)
  end

  @doc "The expressions of a rule that counts and accepts TCP to port `n`."
  @spec port(0..65_535) :: [term()]
  def port(n), do: [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<n::16>>), Expr.counter(), :accept]

  @doc "Runs a command in the namespace; raises when it fails."
  @spec run!(pos_integer(), [String.t()]) :: String.t()
  def run!(pid, command) do
    case run(pid, command) do
      {output, 0} -> output
      {output, status} -> raise "#{Enum.join(command, " ")}: status #{status}\n#{output}"
    end
  end

  @spec run(pos_integer(), [String.t()]) :: {String.t(), non_neg_integer()}
  def run(pid, command),
    do: System.cmd("nsenter", ["--target", "#{pid}", "--net" | command], stderr_to_stdout: true)

  @doc "Loads text with `nft -f`; `nft` names another nft(8) than the one on PATH."
  @spec load!(pos_integer(), String.t(), String.t()) :: :ok
  def load!(pid, text, nft \\ "nft") do
    path = Linx.Test.Scratch.path("nft")
    File.write!(path, text)

    try do
      run!(pid, [nft, "-f", path])
      :ok
    after
      File.rm(path)
    end
  end

  @doc """
  `nft -j list ruleset` without handles and versions, sorted where the kernel's order says
  nothing.
  """
  @spec json(pos_integer(), String.t()) :: [term()]
  def json(pid, nft \\ "nft") do
    # nft warns on its error stream.
    {text, 0} =
      System.cmd("sh", ["-c", "nsenter --target #{pid} --net #{nft} -j list ruleset 2>/dev/null"])

    %{"nftables" => list} = JSON.decode!(text)

    list
    |> Enum.reject(&is_map_key(&1, "metainfo"))
    |> Enum.map(&plain/1)
    # Rules keep their order; what they stand among is sorted by kind and name.
    |> Enum.sort_by(fn entity ->
      [{kind, body}] = Map.to_list(entity)
      {kind, body["family"], body["table"], body["chain"], body["name"] && {kind, body["name"]}}
    end)
  end

  defp plain(%{} = map) do
    map
    |> Map.drop(["handle", "expires", "used"])
    |> Map.new(fn
      {"elem", list} when is_list(list) -> {"elem", list |> plain() |> Enum.sort()}
      {"set", list} when is_list(list) -> {"set", list |> plain() |> Enum.sort()}
      {key, value} -> {key, plain(value)}
    end)
  end

  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(value), do: value
end
