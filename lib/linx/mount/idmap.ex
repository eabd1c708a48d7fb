defmodule Linx.Mount.Idmap do
  @moduledoc false
  # The user namespace that an idmapped mount takes its mapping from: that of a target, or for
  # maps alone that of a child that is parked for the time of the call.

  alias Linx.Process, as: Session
  alias Linx.{Target, User}

  @doc """
  Calls `fun` with the native target whose user namespace is meant, `""` where none is.
  `{:refused, reason}` is the answer where there is no such namespace.
  """
  @spec with_target(term(), (Linx.Native.target() -> result)) :: result | {:refused, term()}
        when result: term()
  def with_target(nil, fun), do: fun.("")

  def with_target(maps, fun) when is_list(maps) do
    maps = Keyword.validate!(maps, [:uid, :gid])
    {holder, ref} = hold(maps)

    receive do
      {^ref, {:ok, target}} ->
        result = fun.(target)
        release(holder)
        result

      {^ref, {:error, reason}} ->
        release(holder)
        {:refused, reason}
    end
  end

  def with_target(target, fun) do
    case Target.resolve(target) do
      {:ok, ""} -> {:refused, {:bad_in, target}}
      {:ok, target} -> fun.(target)
      {:error, reason} -> {:refused, reason}
    end
  end

  # The session's owner, so that no message of it comes to the caller. It ends with the caller.
  defp hold(maps) do
    caller = self()
    ref = make_ref()

    {holder, _monitor} =
      spawn_monitor(fn ->
        watched = Process.monitor(caller)
        {answer, session} = parked(maps)
        send(caller, {ref, answer})

        receive do
          {:release, ^caller} -> :ok
          {:DOWN, ^watched, :process, ^caller, _reason} -> :ok
        end

        if session, do: Session.stop(session, 0)
      end)

    {holder, ref}
  end

  # Never proceeded, so nothing is executed.
  defp parked(maps) do
    with {:ok, session} <- Session.spawn(argv: ["/"], namespaces: [:user]) do
      answer = with :ok <- User.setup_maps(session, maps), do: Target.resolve(session)
      {answer, session}
    else
      error -> {error, nil}
    end
  end

  defp release(holder) do
    send(holder, {:release, self()})

    receive do
      {:DOWN, _monitor, :process, ^holder, _reason} -> :ok
    end
  end
end
