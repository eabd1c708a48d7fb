defmodule Linx.Test.Netns do
  @moduledoc false
  # A network namespace of the test's own. A process in it keeps it alive and ends when the test
  # process does, and everything in it goes with it.

  import ExUnit.Callbacks, only: [on_exit: 1]

  alias Linx.Netlink.{Rtnl, Socket}

  defstruct [:pid, :port]

  @doc "A fresh namespace, with only a loopback that is down."
  def start do
    port =
      Port.open({:spawn_executable, System.find_executable("unshare")}, [
        :binary,
        :exit_status,
        args: ["--net", "sh", "-c", "echo $$; exec cat"]
      ])

    receive do
      {^port, {:data, text}} ->
        %__MODULE__{pid: text |> String.trim() |> String.to_integer(), port: port}

      {^port, {:exit_status, status}} ->
        raise "unshare --net ended with #{status}"
    after
      60_000 -> raise "unshare --net says nothing"
    end
  end

  @doc """
  As `start/0`, with links that have no IPv6 addresses but those that the test gives them, which
  are in force a moment later, and with `nodad` at once. The kernel's own come and change a second
  after the link is up.
  """
  def quiet do
    ns = start()
    settings = "net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0"
    run!(ns, "sysctl -qw #{settings}")
    ns
  end

  @doc """
  What `read` gives while what `state` gives stays the same: `{state, read}`. For comparing two
  views of what the kernel may change by itself in between.
  """
  def steady(state, read) do
    before = state.()
    seen = read.()
    if state.() == before, do: {before, seen}, else: steady(state, read)
  end

  @doc "Ends the process in it."
  def stop(%__MODULE__{port: port}) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "The namespace as `Linx.Netlink.Socket` takes it."
  def target(%__MODULE__{pid: pid}), do: {:pid, pid}

  @doc "An rtnetlink socket in it, closed when the test ends."
  def open(%__MODULE__{} = ns) do
    {:ok, socket} = Rtnl.open(target(ns))
    on_exit(fn -> Socket.close(socket) end)
    socket
  end

  @doc "Runs a command in it: `{output, status}`."
  def run(%__MODULE__{pid: pid}, command) do
    System.cmd(
      System.find_executable("nsenter"),
      ["--target", "#{pid}", "--net", "--" | String.split(command)],
      stderr_to_stdout: true
    )
  end

  @doc "Runs a command in it that must succeed, and gives what it printed."
  def run!(ns, command) do
    case run(ns, command) do
      {output, 0} -> output
      {output, status} -> raise "#{command}: #{status}: #{output}"
    end
  end

  @doc "What `ip -json -details` prints of something, as terms."
  def ip!(ns, what) do
    case ns |> run!("ip -json -details #{what}") |> String.trim() do
      "" -> []
      json -> json |> JSON.decode!() |> Enum.reject(&(&1 == %{}))
    end
  end

  @doc "As `Linx.Test.Poll.holds?/2`."
  defdelegate eventually(check, within \\ 30_000), to: Linx.Test.Poll, as: :holds?
end
