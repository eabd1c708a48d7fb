defmodule Linx.TargetTest do
  use ExUnit.Case, async: true

  alias Linx.Target

  test "self is no namespace at all" do
    assert Target.resolve(:self) == {:ok, ""}
  end

  test "a pid stays a number, to be pinned inside the call" do
    assert Target.resolve({:pid, 42}) == {:ok, 42}
  end

  test "a path stays a path" do
    assert Target.resolve({:path, "/run/netns/blue"}) == {:ok, "/run/netns/blue"}
  end

  @tag :nsfs
  test "a held network namespace is its descriptor, with a number for errors" do
    {:ok, netns} = Linx.Netns.open(:host)
    assert {:ok, {handle, number} = target} = Target.resolve(netns)
    assert is_reference(handle)
    assert Target.proc_path(target, "ns/net") == "/proc/self/fd/#{number}"
    refute Target.ended?(target, 3)
  end

  test "what names nothing is refused with itself" do
    for option <- [
          nil,
          :elsewhere,
          42,
          "/run/netns/blue",
          {:pid, 0},
          {:pid, -1},
          {:pid, "1"},
          {:pid, 0x80000000},
          {:path, ""},
          {:path, "/run/a\0b"},
          {:path, ~c"/run/netns/blue"}
        ] do
      assert Target.resolve(option) == {:error, {:bad_in, option}}
    end
  end
end
