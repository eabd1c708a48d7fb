defmodule Linx.Integration.NativeArgumentsTest do
  use ExUnit.Case, async: true

  # The NIFs of mounts, sysctls, processes' files and pins, given terms that their callers never
  # make: each is an ArgumentError, or an answer, and the VM lives.

  alias Linx.Native

  @calls [
    {:pid_pin, 1},
    {:pid_alive, 1},
    {:pid_of, 1},
    {:procfs_read, 2},
    {:procfs_write, 3},
    {:mount_umount, 5},
    {:mount_mount, 5},
    {:mount_pivot_root, 4},
    {:mount_bind, 6},
    {:mount_setattr, 6},
    {:cgroup_is, 1},
    {:cgroup_wait_empty, 2},
    {:sysctl_read, 3},
    {:sysctl_write, 4},
    {:sysctl_list, 3},
    {:netns_make, 1},
    {:netns_hold, 2},
    {:netns_close, 1},
    {:netns_inode, 1},
    {:netns_number, 1},
    {:netns_processes, 1},
    {:netns_delete, 2},
    {:netns_open, 1},
    {:netlink_open_fd, 2},
    {:netlink_bind_fd, 2},
    {:netlink_close_fd, 1},
    {:netlink_watch, 2},
    {:netlink_drain, 3}
  ]

  # Nothing that names anything that exists, so no call that gets through changes anything.
  defp terms do
    {:ok, pin} = Native.pid_pin(String.to_integer(System.pid()))
    {:ok, {held, number}} = Linx.Netns.Native.hold("", self())

    [
      nil,
      :atom,
      -1,
      0,
      2_147_483_647,
      4_294_967_296,
      Integer.pow(2, 200),
      1.5,
      "",
      "/no/such/place",
      "a\0b",
      <<255, 254>>,
      <<1::3>>,
      String.duplicate("/a", 5000),
      [],
      ["x" | "y"],
      [:a],
      [{"", [], false}],
      [{"/no/such", [0], true}],
      [{"/no/such", [3, 131_072], false}],
      [{2_147_483_647, [131_072], true}],
      [{pin, [0], true}],
      [{1, 2}],
      {},
      {"", false},
      {"/no/such", true},
      {"a\0", true},
      {"x", "/no/such/place", "tmpfs", 0, ""},
      {"x", "/no/such/place", "tmpfs", -1, ""},
      {"x", "y\0", "tmpfs", 0, ""},
      {"x", "/no/such/place", true},
      {1, 2, 0, true},
      {-1, 0, 0, false},
      {0, 18_446_744_073_709_551_615, 1, 1},
      %{},
      self(),
      make_ref(),
      pin,
      held,
      {held, number},
      {held, -1},
      {pin, number},
      fn -> :ok end
    ]
  end

  test "no term brings the VM down" do
    terms = terms()
    :rand.seed(:exsss, {1, 2, 3})

    for {name, arity} <- @calls, _ <- 1..1000 do
      args = for _ <- 1..arity, do: Enum.random(terms)

      answer =
        try do
          apply(Native, name, args)
        rescue
          ArgumentError -> :refused
        end

      assert answer == :refused or answer == :ok or is_boolean(answer) or is_integer(answer) or
               match?({:ok, _}, answer) or match?({:pending, _}, answer) or
               match?({:error, {stage, code}} when is_atom(stage) and is_integer(code), answer)
    end
  end
end
