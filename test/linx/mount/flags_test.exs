defmodule Linx.Mount.FlagsTest do
  use ExUnit.Case, async: true

  alias Linx.Mount.Flags

  # linux/mount.h, by its own names.
  @header [
    ro: 0x1,
    nosuid: 0x2,
    nodev: 0x4,
    noexec: 0x8,
    sync: 0x10,
    remount: 0x20,
    mandlock: 0x40,
    dirsync: 0x80,
    nosymfollow: 0x100,
    noatime: 0x400,
    nodiratime: 0x800,
    bind: 0x1000,
    move: 0x2000,
    rec: 0x4000,
    silent: 0x8000,
    posixacl: 0x10000,
    unbindable: 0x20000,
    private: 0x40000,
    slave: 0x80000,
    shared: 0x100000,
    relatime: 0x200000,
    i_version: 0x800000,
    strictatime: 0x1000000,
    lazytime: 0x2000000
  ]

  test "each flag has the kernel's bit" do
    assert Flags.all() == @header
    for {flag, bit} <- @header, do: assert(Flags.mount([flag]) == {:ok, bit})
  end

  test "flags add up, and twice is once" do
    assert Flags.mount([:ro, :nosuid, :ro]) == {:ok, 3}
    assert Flags.mount([]) == {:ok, 0}
    assert Flags.umount([:detach, :no_follow]) == {:ok, 10}
    assert Flags.umount([:force, :expire]) == {:ok, 5}
  end

  test "the first that is none is named" do
    assert Flags.mount([:ro, :typo, :other]) == {:error, {:bad_flag, :typo}}
    assert Flags.mount(["ro"]) == {:error, {:bad_flag, "ro"}}
    assert Flags.umount([:ro]) == {:error, {:bad_flag, :ro}}
    assert_raise ArgumentError, fn -> Flags.mount(:ro) end
  end

  test "a mount is new unless it is made of one that is there" do
    {:ok, plain} = Flags.mount([:ro, :nosuid])
    assert Flags.new?(plain)

    for flag <- [:remount, :bind, :move, :private, :shared, :slave, :unbindable] do
      {:ok, bits} = Flags.mount([flag, :rec])
      refute Flags.new?(bits)
    end
  end
end
