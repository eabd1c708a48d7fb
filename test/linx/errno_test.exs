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

  test "what is not in the table is unknown, not an exception" do
    assert Errno.name(4095) == :unknown
    assert Errno.name(0) == :unknown
    assert Errno.code(:esomething) == nil
  end
end
