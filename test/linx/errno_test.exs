defmodule Linx.ErrnoTest do
  use ExUnit.Case, async: true

  alias Linx.Errno

  test "every name gives its number and back" do
    for {name, code} <- Errno.all() do
      assert Errno.code(name) == code
      assert Errno.name(code) == name
    end
  end

  test "the table is complete: 1 to 133 but for the kernel's own gaps" do
    assert Enum.map(Errno.all(), &elem(&1, 1)) == Enum.to_list(1..133) -- [41, 58]
  end

  test "aliases give the number, the number gives the canonical name" do
    assert Errno.code(:ewouldblock) == 11
    assert Errno.code(:enotsup) == 95
    assert Errno.name(95) == :eopnotsupp
  end

  test "an errno with two names has one in every error" do
    for {two, one} <- [enotsup: :eopnotsupp, ewouldblock: :eagain, edeadlock: :edeadlk] do
      assert Errno.canonical(two) == one
      assert Errno.canonical(one) == one
      assert Errno.pair(two) == {one, Errno.code(one)}

      for error <- [
            Linx.Cgroup.Error.from_posix(two, "/c", :write),
            Linx.Mount.Error.from_posix(two, "/m", :mount),
            Linx.User.Error.from_posix(two, "/u", :set_uid_map),
            Linx.Capabilities.Error.from_posix(two, "/p", :read),
            Linx.Sysctl.Error.from_posix(two, "kernel.hostname", "/s", :write),
            Linx.Netfilter.Error.from_posix(two, :newrule, [])
          ] do
        assert error.errno == one
        assert error.code == Errno.code(one)
      end
    end

    assert Errno.canonical(:not_one) == :not_one
  end

  test "what is not in the table is unknown, not an exception" do
    assert Errno.name(4095) == :unknown
    assert Errno.name(0) == :unknown
    assert Errno.code(:esomething) == nil
  end
end
