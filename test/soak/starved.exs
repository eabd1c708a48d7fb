# A VM with few descriptors: everything says so, and works again when they are free. Run by
# machine.exs under prlimit(1).

defmodule Soak.Starved do
  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Process

  def main([tag]) do
    Elixir.Process.flag(:trap_exit, true)

    # Loading a module takes a descriptor too: all of ours, and what the first round needs of the
    # others.
    :ok = Application.load(:linx)
    {:ok, modules} = :application.get_key(:linx, :modules)
    Enum.each(modules ++ [Exception, ErlangError, ArgumentError], &Code.ensure_loaded!/1)
    round(tag, 2)
    for _ <- 1..2, do: round(tag, :infinity)
    IO.puts("well")
  end

  defp round(tag, most) do
    [_ | _] = sockets = fill(&Rtnl.open/0, most, [])
    refused = Process.spawn(argv: ["/bin/true"], env: {:clean, [tag]}, stdio: :devnull)
    if most == :infinity, do: {:error, %{stage: :open_port, errno: :emfile}} = refused
    Enum.each(sockets, &Socket.close/1)
    [_ | _] = sessions = fill(fn -> parked(tag) end, most, [])
    for session <- sessions, do: {:ok, :aborted} = Process.stop(session, 0)
    {:ok, session} = Process.spawn(argv: ["/bin/true"], env: {:clean, [tag]}, stdio: :devnull)
    :ok = Process.proceed(session)
    {:ok, {:exited, 0}} = Process.wait(session)
  end

  # As many as there are.
  defp fill(_open, 0, all), do: all

  defp fill(open, most, all) do
    case open.() do
      {:ok, held} -> fill(open, if(most == :infinity, do: most, else: most - 1), [held | all])
      {:error, %{errno: :emfile}} -> all
    end
  end

  defp parked(tag) do
    options = [argv: ["/bin/sleep", "60"], env: {:clean, [tag]}, stdio: :devnull]

    with {:ok, session} <- Process.spawn(options) do
      case Process.info(session) do
        {:ok, %{stage: :ready}} -> {:ok, session}
        {:ok, %{result: {:error, error}}} -> {:error, error}
      end
    end
  end
end

Soak.Starved.main(System.argv())
