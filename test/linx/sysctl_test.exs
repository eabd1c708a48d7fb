defmodule Linx.SysctlTest do
  use ExUnit.Case, async: true

  alias Linx.Sysctl
  alias Linx.Sysctl.{Entry, Error, Key}

  doctest Linx.Sysctl
  doctest Linx.Sysctl.Error

  @bad_keys [
    "",
    ".",
    "net.",
    ".net",
    "net..ipv4",
    "net/ipv4",
    "net ipv4",
    "net.ipv4\n",
    "a\0b",
    "../x",
    "é",
    nil,
    :net
  ]

  test "what is no key is refused by every verb" do
    for key <- @bad_keys do
      bad = {:error, {:bad_key, key}}
      assert Sysctl.read(key) == bad
      assert Sysctl.read_int(key) == bad
      assert Sysctl.read_ints(key) == bad
      assert Sysctl.write(key, 1) == bad
      assert Sysctl.list(key) == bad
      assert Sysctl.list(key, in: {:pid, 1}) == bad
    end
  end

  test "what is no value is refused before the knob is looked for" do
    for {value, reason} <- [
          {"a\nb", {:contains, :newline}},
          {"a\n", {:contains, :newline}},
          {"a\0", {:contains, :nul}},
          {[4, "4"], {:not_all_integers, [4, "4"]}},
          {[1 | 2], {:not_all_integers, [1 | 2]}},
          {[], {:bad_shape, []}},
          {1.5, {:bad_shape, 1.5}},
          {:on, {:bad_shape, :on}},
          {nil, {:bad_shape, nil}}
        ] do
      assert {value, Sysctl.write("no.such", value)} == {value, {:error, {:bad_value, reason}}}
    end
  end

  test "what is no namespace is refused by every verb" do
    for bad <- [:elsewhere, {:pid, -1}, {:path, :x}, "x"] do
      error = {:error, {:bad_in, bad}}
      assert Sysctl.read("kernel.ostype", in: bad) == error
      assert Sysctl.write("kernel.ostype", 1, in: bad) == error
      assert Sysctl.list(in: bad) == error
      assert Sysctl.list("kernel", in: bad) == error
    end

    assert_raise ArgumentError, fn -> Sysctl.read("kernel.ostype", on: :self) end
    assert Sysctl.read("kernel.ostype", in: spawn(fn -> :ok end)) == {:error, :no_process}
  end

  test "a knob that is not there keeps its plain path" do
    assert {:error, %Error{path: "/proc/sys/a/b/c/d", errno: :enoent, operation: :read}} =
             Sysctl.read("a.b.c.d")

    assert {:error, %Error{path: "/proc/sys/kernel/ostype/x", errno: :enotdir}} =
             Sysctl.read("kernel.ostype.x")

    assert {:error, %Error{operation: :read, errno: :eisdir}} = Sysctl.read("kernel")

    long = String.duplicate("a", 5_000)
    assert {:error, %Error{operation: :list, errno: :enametoolong}} = Sysctl.list(long)
    assert {:error, %Error{operation: :list, errno: :enotdir}} = Sysctl.list("kernel.ostype.x")
  end

  test "a knob that may only be written is no entry" do
    assert {:error, %Error{errno: :eacces}} = Sysctl.read("net.ipv4.route.flush")
    assert Sysctl.list("net.ipv4.route.flush") == {:ok, []}
  end

  test "the tree is listed, sorted, and its values are what read gives" do
    assert {:ok, entries} = Sysctl.list()
    keys = Enum.map(entries, & &1.key)
    assert length(keys) > 300
    assert keys == Enum.sort(keys)
    assert %Entry{key: "kernel.ostype", value: "Linux"} in entries
    assert {:ok, [%Entry{} | _]} = Sysctl.list([])
  end

  test "the paths that a key may mean: plain first, then with dots in one name" do
    assert Key.paths("a") == {:ok, ["a"]}
    assert Key.paths("a.b") == {:ok, ["a/b", "a.b"]}
    assert Key.paths("a.b.c") == {:ok, ["a/b/c", "a.b/c", "a/b.c", "a.b.c"]}
    {:ok, paths} = Key.paths("net.ipv4.conf.eth0.10.forwarding")
    assert hd(paths) == "net/ipv4/conf/eth0/10/forwarding"
    assert "net/ipv4/conf/eth0.10/forwarding" in paths
    # A key of any length costs little.
    {:ok, [_]} = Key.paths(Enum.map_join(1..1000, ".", fn _ -> "a" end))
  end

  test "an entry shows sixty bytes" do
    long = %Entry{key: "k", value: String.duplicate("a", 61)}
    assert inspect(long) == ~s|#Linx.Sysctl.Entry<k = "#{String.duplicate("a", 60)}...">|
    # A character of two bytes across the cut.
    cut = %Entry{key: "k", value: String.duplicate("a", 59) <> "éé"}
    assert inspect(cut) == ~s|#Linx.Sysctl.Entry<k = "#{String.duplicate("a", 59)}...">|
    assert inspect(%Entry{key: "k", value: <<0xFF>>}) == ~S|#Linx.Sysctl.Entry<k = "\xFF">|
    assert inspect(%Entry{key: "k", value: ~s|a"b\tc|}) == ~S|#Linx.Sysctl.Entry<k = "a\"b\tc">|
  end

  test "an errno without a name keeps its number" do
    assert Error.from_native({:read, 9999}, "k", "/p") ==
             %Error{key: "k", path: "/p", operation: :read, errno: :unknown, code: 9999}
  end
end
