defmodule Linx.Integration.TtyNodeTest do
  # Two nodes on loopback, each on an address of its own, without epmd: the port is the same for
  # both.
  use ExUnit.Case, async: true

  import Linx.Test.Terminal

  @moduletag :tty
  @moduletag timeout: 600_000

  defp flags(address, port) do
    interface = String.replace(address, ".", ",")

    "-erl_epmd_port #{port} -start_epmd false -setcookie linx " <>
      "-kernel inet_dist_use_interface {#{interface}}"
  end

  # A node that runs until its standard input ends.
  defp node(name, address, port) do
    elixir = System.find_executable("elixir")
    ebin = Application.app_dir(:linx, "ebin")
    code = "IO.puts(\"up\"); IO.read(:stdio, :line); System.halt(0)"

    port =
      Port.open({:spawn_executable, elixir}, [
        :binary,
        args: [
          "--name",
          "#{name}@#{address}",
          "-pa",
          ebin,
          "--erl",
          flags(address, port),
          "-e",
          "Application.ensure_all_started(:iex); " <> code
        ]
      ])

    assert_receive {^port, {:data, "up\n"}}
    port
  end

  setup do
    port = Linx.Test.Distribution.free_port()
    remote = node("b", "127.0.0.2", port)
    on_exit(fn -> if Port.info(remote), do: Port.close(remote) end)
    %{port: port}
  end

  test "a session on another node: its events, keys and size cross", %{port: port} do
    t = iex(args: ["--name", "a@127.0.0.1", "--erl", flags("127.0.0.1", port)])
    assert run(t, "Node.connect(:\"b@127.0.0.2\")") == "true"

    assert run(t, """
           me = self(); Node.spawn(:"b@127.0.0.2", fn -> \
           {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh"], stdio: :pty, owner: me, env: \
           ["PS1=sh" <> "-> ", "PATH=/bin:/usr/bin"]); \
           send(me, {:session, s}); Process.sleep(:infinity) end); \
           s = receive(do: ({:session, s} -> s)); {node(s), Linx.Process.proceed(s)}\
           """) == "{:\"b@127.0.0.2\", :ok}"

    for mode <- [:controlling, :group_leader] do
      type(t, "Linx.Tty.attach(#{inspect(mode)}, s)\r")
      poll(fn -> "-isig" in settings(t) end)
      type(t, "stty size\r")
      expect("24 80\r\n")
      type(t, "echo $((6 * 7)); sleep 100\r")
      expect("42\r\n")
      until(fn -> type(t, <<3, "echo i''nterrupted\r">>) end, "interrupted\r\n")
      type(t, <<16, 17>>)
      expect("{:ok, :detached}")
    end

    type(t, "Linx.Tty.attach(:group_leader, s)\r")
    type(t, "exit 3\r")
    expect("{:ok, {:exited, 3}}")
  end

  test "--remsh: the raw terminal is refused; the group leader's node is the terminal's", %{
    port: port
  } do
    t =
      iex(
        args: [
          "--name",
          "a@127.0.0.1",
          "--erl",
          flags("127.0.0.1", port),
          "--remsh",
          "b@127.0.0.2"
        ]
      )

    assert run(t, "{node(), node(Process.group_leader())}") ==
             "{:\"b@127.0.0.2\", :\"a@127.0.0.1\"}"

    assert run(t, """
           {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh"], stdio: :pty, env: ["PS1=sh" <> "-> \
           ", "PATH=/bin:/usr/bin"]); \
           Linx.Process.proceed(s); Linx.Tty.attach(:controlling, s)\
           """) == "{:error, :no_local_tty}"

    type(t, "Linx.Tty.attach(:group_leader, s)\r")
    expect("sh-> ")
    type(t, "stty size; printf '\\033[?1049h\\b\\a\\033[?1049len''d'\r")
    expect("24 80\r\n")
    expect("\e[?1049h\b\a\e[?1049lend")
    type(t, "exit 3\r")
    expect("{:ok, {:exited, 3}}")
    assert run(t, "1 + 4x\b2") == "43"
  end

  defp remsh(port) do
    iex(
      args: [
        "--name",
        "a@127.0.0.1",
        "--erl",
        flags("127.0.0.1", port),
        "--remsh",
        "b@127.0.0.2"
      ]
    )
  end

  test "--remsh: a line asked for before the end, and after it, has nothing of ours in it", %{
    port: port
  } do
    t = remsh(port)

    for _ <- 1..10 do
      type(t, """
      {pid, m} = spawn_monitor(fn -> {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh", "-c", "echo \
      u''p; read go"], \
      stdio: :pty, auto_proceed: true); Linx.Tty.attach(:group_leader, s) end); receive(do: \
      ({:DOWN, ^m, _, _, _} -> :gone))\r\
      """)

      expect("up\r\n")
      type(t, "\r")
      expect(":gone")
      expect(~r/> /)
      assert run(t, "1 + 41") == "42"
      assert run(t, "1 + 4x\b2") == "43"
    end
  end

  test "--remsh: the other node dies amid an attach, and the person's terminal is put back", %{
    port: port
  } do
    t = remsh(port)
    os_pid = run(t, "System.pid()") |> String.trim("\"")

    type(t, """
    {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh"], stdio: :pty, env: ["PS1=sh" <> "-> "]); \
    Linx.Process.proceed(s); Linx.Tty.attach(:group_leader, s)\r\
    """)

    expect("sh-> ")
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    expect("Shell process terminated!")
    # A shell of the terminal's own node: ctrl-g, s, c.
    type(t, <<7>>)
    expect("-->")
    type(t, "s\r")
    expect("-->")
    type(t, "c\r")
    expect(~r/1> /)
    type(t, "maps:get(output, element(5, element(2, element(2, sys:get_state(user_drv))))).\r")
    expect(~r/\bcooked\b/)
  end
end
