defmodule Linx.Netlink.ErrorTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Error

  doctest Error

  test "a number that is in no table keeps its code" do
    error = Error.from_errno(4000)
    assert %Error{errno: :unknown, code: 4000, message: nil} = error
    assert Exception.message(error) == "netlink errno 4000"
  end

  test "inspects without the fields that do not apply" do
    assert inspect(Error.from_errno(19)) ==
             "%Linx.Netlink.Error{errno: :enodev, code: 19, message: nil}"
  end

  test "a closed socket says so" do
    error = Error.from_fault({:send, 9})
    assert Exception.message(error) == "netlink EBADF (9): the socket is closed"
    assert error.stage == :send
  end
end
