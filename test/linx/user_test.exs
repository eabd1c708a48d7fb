defmodule Linx.UserTest do
  use ExUnit.Case, async: true

  alias Linx.User
  alias Linx.User.Error

  doctest Linx.User.Error

  @absent 9_999_999

  test "a map that is none is refused before anybody is asked" do
    for {bad, reason} <- [
          {[], :empty},
          {:root, {:not_a_list, :root}},
          {[{0, 1000}], {:bad_entry, {0, 1000}}},
          {[{0, 0, 1}, nil], {:bad_entry, nil}},
          {[{-1, 1000, 1}], {:bad_entry, {-1, 1000, 1}}},
          {[{0, -1, 1}], {:bad_entry, {0, -1, 1}}},
          {[{0, 1000, 0}], {:bad_entry, {0, 1000, 0}}},
          {[{0, 1000, 1.0}], {:bad_entry, {0, 1000, 1.0}}},
          {[{"0", 1000, 1}], {:bad_entry, {"0", 1000, 1}}},
          {[{0, 4_294_967_296, 1}], {:bad_entry, {0, 4_294_967_296, 1}}},
          {[{0, 0, 1} | {1, 1, 1}], {:not_a_list, [{0, 0, 1} | {1, 1, 1}]}},
          {for(n <- 0..340, do: {n, n, 1}), :too_many}
        ] do
      assert {bad, User.set_uid_map(@absent, bad)} == {bad, {:error, {:bad_map, reason}}}
      assert {bad, User.set_gid_map(@absent, bad)} == {bad, {:error, {:bad_map, reason}}}
    end
  end

  test "a process that is not there is enoent, with its file" do
    for {verb, file, operation} <- [
          {&User.set_uid_map(&1, [{0, 0, 1}]), "uid_map", :set_uid_map},
          {&User.set_gid_map(&1, [{0, 0, 1}]), "gid_map", :set_gid_map},
          {&User.deny_setgroups/1, "setgroups", :deny_setgroups},
          {&User.read_uid_map/1, "uid_map", :read_uid_map},
          {&User.read_gid_map/1, "gid_map", :read_gid_map}
        ],
        pid <- [@absent, 5_000_000_000] do
      assert verb.(pid) ==
               {:error,
                %Error{
                  path: "/proc/#{pid}/#{file}",
                  operation: operation,
                  errno: :enoent,
                  code: 2
                }}
    end
  end

  test "what is no process at all raises" do
    for bad <- [0, -1, "1", nil, :self] do
      assert_raise ArgumentError, fn -> User.read_uid_map(bad) end
    end
  end

  test "a session that is gone is no process" do
    session = spawn(fn -> :ok end)
    assert User.set_uid_map(session, [{0, 0, 1}]) == {:error, :no_process}
  end

  test "setup_maps asks for both maps and knows its options" do
    maps = [uid: [{0, 0, 1}], gid: [{0, 0, 1}]]
    assert User.setup_maps(@absent, gid: []) == {:error, {:bad_setup, {:missing, :uid}}}
    assert User.setup_maps(@absent, uid: []) == {:error, {:bad_setup, {:missing, :gid}}}

    assert User.setup_maps(@absent, maps ++ [setgroups: :no]) ==
             {:error, {:bad_setgroups, :no}}

    assert_raise ArgumentError, fn -> User.setup_maps(@absent, maps ++ [other: 1]) end
  end

  test "our own map is read" do
    assert {:ok, [%User.Map{length: length} | _]} =
             User.read_uid_map(String.to_integer(System.pid()))

    assert length > 0
  end

  test "a map file's lines that are no three numbers are left out" do
    text = "         0          0 4294967295\nx y z\n1 2\n1 2 3 4\n-1 0 1\n1 2 0\n\n5 6 7"

    assert User.Map.parse(text) == [
             %User.Map{inside: 0, outside: 0, length: 4_294_967_295},
             %User.Map{inside: 5, outside: 6, length: 7}
           ]
  end

  test "a map is inspected by its ends" do
    assert inspect(%User.Map{inside: 0, outside: 1000, length: 1}) == "#Linx.User.Map<0 -> 1000>"

    assert inspect(%User.Map{inside: 1, outside: 100_000, length: 65_535}) ==
             "#Linx.User.Map<1..65535 -> 100000..165534>"

    assert inspect(%User.Map{}) == "#Linx.User.Map<nil -> nil>"
  end
end
