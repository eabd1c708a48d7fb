defmodule Linx.ExamplesTest do
  use ExUnit.Case, async: false

  # The programs in examples/, as their comments say to run them: in a network namespace of their
  # own.

  @moduletag :root
  @moduletag timeout: 600_000

  # With what these tests were built with: a plain `mix test` does not put MIX_ENV into the
  # environment.
  defp unshared(command) do
    env = [{"MIX_ENV", to_string(Mix.env())}]
    System.cmd("unshare", ["--net" | command], env: env, stderr_to_stdout: true)
  end

  @tag :nftables
  test "checkpoint: every line holds" do
    {output, status} =
      unshared(~w(mix run --no-compile --no-start examples/checkpoint.exs))

    assert status == 0, output
    assert output =~ "All of it holds."
    refute output =~ "FAIL"
  end

  @tag :nftables
  @tag :tmp_dir
  test "the README's first example serves a page, and leaves nothing behind", %{tmp_dir: dir} do
    [block] =
      for block <- Linx.Test.DocExamples.blocks("README.md"),
          block.code =~ "Process.proceed(c)",
          do: block.code

    script = Path.join(dir, "readme.exs")

    File.write!(script, [
      block,
      ~S"""

      read = fn read, socket, text ->
        case :gen_tcp.recv(socket, 0, 60_000) do
          {:ok, more} -> read.(read, socket, text <> more)
          {:error, :closed} -> text |> String.split("\r\n\r\n") |> List.last()
        end
      end

      ask = fn ask, tries ->
        case :gen_tcp.connect({10, 77, 0, 2}, 80, [:binary, active: false], 60_000) do
          {:ok, socket} ->
            :ok = :gen_tcp.send(socket, "GET / HTTP/1.0\r\n\r\n")
            read.(read, socket, "")

          {:error, _} when tries > 0 ->
            Elixir.Process.sleep(20)
            ask.(ask, tries - 1)
        end
      end

      IO.puts("page: " <> ask.(ask, 3_000))
      {:ok, {:signaled, 9}} = Process.stop(c, 200)

      gone = fn gone, tries ->
        {:ok, links} = Rtnl.Link.list(host)

        cond do
          Enum.all?(links, &(&1.name != "demo0")) -> true
          tries == 0 -> false
          true -> Elixir.Process.sleep(20) && gone.(gone, tries - 1)
        end
      end

      for socket <- [inside, nf], do: :ok = Linx.Netlink.Socket.close(socket)
      IO.puts("gone: #{gone.(gone, 3_000)}")
      """
    ])

    # /srv is a file system of the test's own.
    in_private = ~s(mount -t tmpfs tmpfs /srv && exec "$@")

    {output, status} =
      unshared(
        ["--mount", "--propagation", "private", "sh", "-c", in_private, "sh"] ++
          ["mix", "run", "--no-compile", "--no-start", script]
      )

    assert status == 0, output
    assert output =~ "page: served from inside"
    assert output =~ "gone: true"
  end

  test "fleet: three nodes converge, heal and report" do
    {output, status} =
      unshared(
        ["elixir", "--erl", "-start_epmd false -erl_epmd_port 4370", "-S"] ++
          ~w(mix run --no-compile --no-start examples/fleet.exs)
      )

    assert status == 0, output
    assert output =~ "north@10.55.0.11 has healed"
    assert output =~ "the workload's end was reported here"
  end
end
