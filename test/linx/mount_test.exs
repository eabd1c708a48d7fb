defmodule Linx.MountTest do
  use ExUnit.Case, async: true

  alias Linx.Mount
  alias Linx.Mount.{Entry, Error}

  doctest Linx.Mount.Error

  @absent 9_999_999

  test "the table of this namespace has a root" do
    assert {:ok, [%Entry{} | _] = entries} = Mount.list()
    assert Enum.any?(entries, &(&1.mount_point == "/"))
    assert Mount.list({:pid, String.to_integer(System.pid())}) == {:ok, entries}
  end

  test "a table that is not there is a bare posix error" do
    assert Mount.list({:pid, @absent}) == {:error, :enoent}
    assert Mount.list({:path, "/no/such"}) == {:error, :enoent}
    assert Mount.list({:path, "/proc"}) == {:error, :eisdir}
  end

  test "what is no flag and no namespace is refused as what it is" do
    assert Mount.mount("a", "/b", "c", flags: [:typo]) == {:error, {:bad_flag, :typo}}
    assert Mount.bind("a", "/b", flags: [:typo]) == {:error, {:bad_flag, :typo}}
    assert Mount.remount("/b", flags: [:typo]) == {:error, {:bad_flag, :typo}}
    assert Mount.move("a", "/b", flags: [:typo]) == {:error, {:bad_flag, :typo}}
    assert Mount.umount("/b", flags: [:typo]) == {:error, {:bad_flag, :typo}}

    for bad <- [:elsewhere, {:pid, 0}, {:pid, "1"}, {:path, ""}, "/proc/1/ns/mnt", nil] do
      assert Mount.mount("a", "/b", "c", in: bad) == {:error, {:bad_in, bad}}
      assert Mount.umount("/b", in: bad) == {:error, {:bad_in, bad}}
      assert Mount.pivot_root("/a", "/b", in: bad) == {:error, {:bad_in, bad}}
    end
  end

  test "options and paths of another kind raise before anything is done" do
    for call <- [
          fn -> Mount.mount("a", "/b", "c", unknown: 1) end,
          fn -> Mount.mount("a", "/b", "c", data: :size) end,
          fn -> Mount.mount("a", "/b", "c", create: 1) end,
          fn -> Mount.mount("a", "/b", "c", flags: :ro) end,
          fn -> Mount.mount("a", "/b", "c", flags: [:ro | :nodev]) end,
          fn -> Mount.remount("/b", create: true) end,
          fn -> Mount.list({:path, "/proc\0"}) end,
          fn -> Mount.mount("a", "/b\0c", "d") end,
          fn -> Mount.mount("a", "/b", "c", root: "/\0") end,
          fn -> Mount.mount(nil, "/b", "c") end,
          fn -> Mount.umount(~c"/b") end,
          fn -> Mount.umount("/b", data: "x") end,
          fn -> Mount.pivot_root("/a", "/b", flags: []) end
        ] do
      assert_raise ArgumentError, call
    end
  end

  @tag :tmp_dir
  test "the file that create made goes with a mount that is refused", %{tmp_dir: folder} do
    [new, old] = for name <- ~w(new old), do: Path.join(folder, name)
    File.write!(old, "mine")
    longer_than_a_page = String.duplicate("a", 65_536)

    for opts <- [[], [root: folder]], file <- [new, old] do
      target = if opts == [], do: file, else: Path.basename(file)
      opts = [create: true, data: longer_than_a_page] ++ opts

      assert {:error, %Error{operation: :mount, errno: :e2big, path: ^target}} =
               Mount.mount("x", target, "tmpfs", opts)
    end

    refute File.exists?(new)
    assert File.read!(old) == "mine"
  end

  test "a namespace that is not there is told by its file" do
    path = "/proc/#{@absent}/ns/mnt"
    error = %Error{path: path, operation: :open_ns, errno: :enoent, code: 2}
    on = [in: {:pid, @absent}]

    assert Mount.mount("a", "/b", "c", on) == {:error, error}
    assert Mount.mount("proc", "/b", "proc", on) == {:error, error}
    assert Mount.umount("/b", on) == {:error, error}
    assert Mount.bind("a", "/b", on) == {:error, error}
    assert Mount.pivot_root("/a", "/b", on) == {:error, error}
    assert {:error, %{error | path: "/no"}} == Mount.umount("/b", in: {:path, "/no"})
  end

  test "an error's text has the step, the path and the number" do
    assert Exception.message(Error.from_posix(:ebusy, "/mnt/x", :umount)) ==
             "mount umount failed on /mnt/x: ebusy (errno 16)"

    assert Exception.message(Error.from_posix(:no_such, "/x", :mount)) ==
             "mount failed on /x: no_such"

    for operation <- [:mount, :umount, :pivot_root] do
      assert Exception.message(Error.from_posix(:eperm, "/x", operation)) =~
               "needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace"
    end

    assert Exception.message(Error.from_posix(:eperm, "/x", :setns)) =~ "in the VM's own"

    assert Error.from_native({:mount, 9999}, "/x") ==
             %Error{path: "/x", operation: :mount, errno: :unknown, code: 9999}
  end

  test "an error of two paths says which is meant" do
    text = fn answer -> answer |> elem(1) |> Exception.message() end
    error = {:error, Error.from_posix(:enoent, "/x", :mount)}

    assert text.(Error.about_source(error, "/a", true)) ==
             "mount failed on /x: enoent (errno 2): its source /a is meant"

    assert text.(Error.about_source(error, "/a", nil)) ==
             "mount failed on /x: enoent (errno 2): it or its source /a is meant"

    assert Error.about_source(error, "/a", false) == error
    assert Error.about_source(:ok, "/a", true) == :ok
    other = {:error, Error.from_posix(:ebusy, "/x", :mount)}
    assert Error.about_source(other, "/a", true) == other
  end
end
