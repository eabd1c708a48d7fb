defmodule Linx.Process.TeeTest do
  use ExUnit.Case, async: true

  import Linx.Test.Session, only: [parked: 1, until: 1]

  alias Linx.Process, as: P

  @moduletag timeout: 120_000

  defp listener(test, session \\ nil) do
    spawn_link(fn ->
      loop = fn loop, bytes ->
        receive do
          {:linx_process, :tee, from, {stream, more}} when is_binary(more) and stream != :none ->
            true = session in [nil, from]
            loop.(loop, bytes <> more)

          {:linx_process, :tee, from, ended} ->
            send(test, {:teed, self(), from, bytes, ended})
            loop.(loop, "")

          {:linx_process, :tee_dropped, from} ->
            send(test, {:dropped, self(), from})
            loop.(loop, "")
        end
      end

      loop.(loop, "")
    end)
  end

  test "a second listener gets the output and the end, tagged, and the owner its own" do
    both = listener(self())

    for {stdio, tag, text} <- [
          {[stdout: :pipe], :stdout, "hello\n"},
          {:pty, :pty_out, "hello\r\n"}
        ] do
      {session, _pid} = parked(argv: ["/bin/sh", "-c", "echo hello; exit 5"], stdio: stdio)
      assert P.tee(session, both) == :ok
      assert P.tee(session, both) == :ok
      :ok = P.proceed(session)
      assert_receive {:linx_process, ^tag, ^text}, 60_000
      assert_receive {:linx_process, :exited, 5}, 60_000
      assert_receive {:teed, ^both, ^session, ^text, {:exited, 5}}, 60_000
    end

    for {finish, ended} <- [
          {&P.abort/1, {:aborted}},
          {&(P.proceed(&1) && P.signal(&1, 9)), {:signaled, 9}}
        ] do
      {session, _pid} = parked(argv: ["/bin/sleep", "100"])
      :ok = P.tee(session, both)
      finish.(session)
      assert_receive {:teed, ^both, ^session, "", ^ended}, 60_000
      assert P.tee(session, both) == {:error, :no_process}
    end

    {session, _pid} = parked(argv: ["/nope"])
    :ok = P.tee(session, both)
    :ok = P.proceed(session)
    assert_receive {:teed, ^both, ^session, "", {:error, 2, :execve}}, 60_000
  end

  test "a flood reaches both in full" do
    script = "head -c 30000000 /dev/zero"
    listener = listener(self())
    {session, _pid} = parked(argv: ["/bin/sh", "-c", script], stdio: [stdout: :pipe])
    :ok = P.tee(session, listener)
    :ok = P.proceed(session)
    assert owned(0) == 30_000_000
    assert_receive {:teed, ^listener, ^session, bytes, {:exited, 0}}, 60_000
    assert byte_size(bytes) == 30_000_000
  end

  defp owned(sum) do
    receive do
      {:linx_process, :stdout, bytes} -> owned(sum + byte_size(bytes))
      {:linx_process, :exited, 0} -> sum
    end
  end

  test "a slow one is dropped and told; the owner loses nothing" do
    slow = spawn_link(fn -> Process.sleep(:infinity) end)

    {session, _pid} =
      parked(argv: ["/usr/bin/head", "-c", "30000000", "/dev/zero"], stdio: [stdout: :pipe])

    :ok = P.tee(session, slow)
    :ok = P.proceed(session)
    assert owned(0) == 30_000_000
    {:messages, messages} = Process.info(slow, :messages)
    assert List.last(messages) == {:linx_process, :tee_dropped, session}

    unread =
      for {:linx_process, :tee, ^session, {:stdout, bytes}} <- messages, do: byte_size(bytes)

    assert Enum.sum(unread) < 2 * 1024 * 1024
    assert Process.info(slow, :monitored_by) |> elem(1) |> Enum.member?(session) == false
  end

  test "one that ends, or that is taken out, gets nothing and costs nothing" do
    one = listener(self())
    {ended, ref} = spawn_monitor(fn -> receive do: (:go -> :ok) end)
    {session, _pid} = parked(argv: ["/bin/cat"], stdio: [stdin: :pipe, stdout: :pipe])
    :ok = P.tee(session, ended)
    :ok = P.tee(session, one)
    send(ended, :go)
    assert_receive {:DOWN, ^ref, _, _, _}
    :ok = P.proceed(session)
    :ok = P.untee(session, one)
    :ok = P.untee(session, one)
    :ok = P.stdin_write(session, "x")
    assert_receive {:linx_process, :stdout, "x"}, 60_000
    until(fn -> :sys.get_state(session).tee.listeners == %{} end)
    :ok = P.stdin_close(session)
    assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
    refute_receive {:teed, _, _, _, _}, 50
  end

  test "their number is bounded, and what is none is refused" do
    {session, _pid} = parked(argv: ["/bin/true"])
    some = for _ <- 1..17, do: spawn_link(fn -> Process.sleep(:infinity) end)

    assert List.duplicate(:ok, 16) ++ [{:error, :too_many_listeners}] ==
             Enum.map(some, &P.tee(session, &1))

    assert P.tee(session, :name) == {:error, {:bad_listener, :name}}
    P.abort(session)
  end
end
