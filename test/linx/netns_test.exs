defmodule Linx.NetnsTest do
  use ExUnit.Case, async: true

  alias Linx.Netns
  alias Linx.Netns.Error

  @bad_names [
    "",
    ".",
    "..",
    "a/b",
    "/",
    "../etc",
    "a\0",
    String.duplicate("n", 256),
    :blue,
    nil,
    ~c"blue",
    1
  ]

  describe "a name that cannot be one" do
    @tag :tmp_dir
    test "is refused before anything is made", %{tmp_dir: tmp} do
      dir = Path.join(tmp, "netns")

      for name <- @bad_names do
        assert Netns.create(name, dir: dir) == {:error, {:invalid_name, name}}
        assert Netns.delete(name, dir: dir) == {:error, {:invalid_name, name}}
      end

      refute File.exists?(dir)
    end

    test "is refused where a reference is taken" do
      for name <- Enum.filter(@bad_names, &is_binary/1) do
        refused = {:error, {:invalid_name, name}}
        assert Netns.open(name) == refused
        assert Netns.pids(name) == refused
        assert Netns.pid_of(name) == refused
        assert Netns.ids(in: name) == refused
        assert Netns.id(:host, in: name) == refused
        assert Netns.set_id(:host, :auto, in: name) == refused
        assert Netns.inode(name) == refused
        assert Netns.id(name) == refused
        assert Netns.set_id(name, :auto) == refused
        assert Netns.create("x", from: name) == refused
        assert_raise ArgumentError, fn -> Netns.path(name) end
      end
    end
  end

  test "the longest name is one" do
    name = String.duplicate("n", 255)
    assert Netns.path(name, dir: "/x") == "/x/" <> name
  end

  test "options that are unknown or make no sense are refused by name" do
    for option <- [
          {:dirs, "/x"},
          {:dir, "netns"},
          {:dir, ""},
          {:dir, "/a\0b"},
          {:dir, ~c"/run/netns"},
          {:dir, nil}
        ] do
      refused = {:error, {:bad_option, option}}
      assert Netns.create("x", [option]) == refused
      assert Netns.delete("x", [option]) == refused
      assert Netns.list([option]) == refused
      assert Netns.open("x", [option]) == refused
      assert Netns.pids("x", [option]) == refused
      assert Netns.ids([option]) == refused
    end

    for owner <- [nil, :me, "me", 1],
        do: assert(Netns.new(owner: owner) == {:error, {:bad_option, {:owner, owner}}})

    assert Netns.new(dir: "/x") == {:error, {:bad_option, {:dir, "/x"}}}
    assert Netns.new(:x) == {:error, {:bad_option, :x}}

    for id <- [-1, 0x80000000, 1.0, nil, "1"],
        do: assert(Netns.set_id(:host, id) == {:error, {:bad_option, {:id, id}}})
  end

  test "what is no reference raises" do
    for ref <- [nil, :blue, 1, ~c"blue", {:pid, 0}, {:path, ""}, %{}] do
      assert_raise ArgumentError, fn -> Netns.open(ref) end
      assert_raise ArgumentError, fn -> Netns.pids(ref) end
      assert_raise ArgumentError, fn -> Netns.create("x", from: ref) end
    end
  end

  test "no names where the directory is not there; a file in its place is an error" do
    assert Netns.list(dir: "/no/such") == {:ok, []}

    assert {:error, %Error{operation: :list, path: "/etc/passwd", errno: :enotdir}} =
             Netns.list(dir: "/etc/passwd")
  end

  test "an absent name is :enoent at its path, an absent process too" do
    assert {:error, %Error{errno: :enoent, path: "/no/such/blue"} = error} =
             Netns.open("blue", dir: "/no/such")

    assert Exception.message(error) =~ "/no/such/blue"
    assert {:error, %Error{errno: :enoent}} = Netns.open({:pid, 0x7FFFFFFF})
    assert {:error, %Error{errno: :enoent}} = Netns.pids({:pid, 0x7FFFFFFF})
    assert {:error, %Error{errno: :enoent}} = Netns.delete("blue", dir: "/no/such")
  end

  test "a file that is no network namespace is :einval" do
    for path <- ["/etc/passwd", "/proc/self/ns/uts"] do
      assert {:error, %Error{errno: :einval} = error} = Netns.open({:path, path})
      assert Exception.message(error) =~ path
      assert Exception.message(error) =~ "no network namespace"
    end
  end

  @tag :nsfs
  test "the VM's own namespace can be held, and holds the VM" do
    {:ok, own} = Netns.open(:host)
    assert Netns.inode(own) == Netns.inode(:self)
    {:ok, pids} = Netns.pids(own)
    assert String.to_integer(System.pid()) in pids
    assert inspect(own) == "#Linx.Netns<#{Netns.path(own)}>"
    assert Netns.close(own) == :ok
    assert Netns.close(own) == :ok
    assert_raise ArgumentError, fn -> Netns.path(own) end
    assert {:error, %Error{errno: :ebadf} = error} = Netns.inode(own)
    assert Exception.message(error) =~ "closed"
    assert {:error, %Error{errno: :ebadf}} = Netns.open(own)
    assert {:error, %Linx.Netlink.Error{errno: :ebadf}} = Linx.Netlink.Rtnl.open(own)

    assert {:error, %Linx.Sysctl.Error{errno: :ebadf}} =
             Linx.Sysctl.read("net.core.somaxconn", in: own)
  end

  @tag :nsfs
  test "an owner that has ended holds nothing" do
    owner = spawn(fn -> :ok end)
    ref = Process.monitor(owner)
    assert_receive {:DOWN, ^ref, :process, ^owner, _}
    assert {:error, %Error{errno: :esrch} = error} = Netns.open(:host, owner: owner)
    assert Exception.message(error) =~ "ended"
  end

  test "errors name the capability" do
    for {stage, words} <- [
          unshare: "CAP_SYS_ADMIN",
          share: "CAP_SYS_ADMIN",
          umount: "CAP_SYS_ADMIN",
          mkdir: "CAP_DAC_OVERRIDE",
          open: "CAP_SYS_PTRACE"
        ] do
      text = Exception.message(Error.new(:create, {stage, :eperm}, "/run/netns/blue"))
      assert text =~ words
      assert text =~ "/run/netns/blue"
      assert text =~ "eperm (errno 1)"
    end
  end
end
