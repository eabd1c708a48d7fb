defmodule Linx.Integration.MountAttributesTest do
  # Attributes of mounts: what setattr/3, bind/3 and remount/2 make of them, as findmnt(8) and the
  # workload see it.
  use ExUnit.Case, async: true

  import Linx.Test.Workload

  alias Linx.Mount
  alias Linx.Mount.Error

  @moduletag :root
  @moduletag :tmp_dir

  # A folder with a tmpfs `source` that has a tmpfs `source/below`, and an empty `target`, in a
  # child's mount namespace.
  setup %{tmp_dir: folder} do
    {session, pid} = parked([:mount])
    [source, target] = for name <- ~w(source target), do: Path.join(folder, name)
    below = Path.join(source, "below")
    Enum.each([source, target], &File.mkdir_p!/1)
    :ok = Mount.mount("tmpfs", source, "tmpfs", flags: [:nosuid], in: session)
    File.mkdir!(inside(pid, below))
    :ok = Mount.mount("tmpfs", below, "tmpfs", flags: [:nodev], in: session)
    for at <- [source, below], do: File.write!(inside(pid, at <> "/file"), "here")

    %{
      session: session,
      pid: pid,
      folder: folder,
      source: source,
      below: below,
      target: target,
      target_below: Path.join(target, "below")
    }
  end

  # Someone else's reading of the mount table.
  defp options(pid, mount_point) do
    {text, 0} =
      System.cmd("findmnt", [
        "--json",
        "--tab-file",
        "/proc/#{pid}/mountinfo",
        "--output",
        "TARGET,VFS-OPTIONS,PROPAGATION"
      ])

    JSON.decode!(text)["filesystems"]
    |> flatten()
    |> Enum.reverse()
    |> Enum.find_value(&(&1["target"] == mount_point && String.split(&1["vfs-options"], ",")))
  end

  defp flatten(entries),
    do: Enum.flat_map(entries, &[&1 | flatten(Map.get(&1, "children", []))])

  defp write(pid, folder), do: File.write(inside(pid, folder <> "/new"), "")

  describe "a bind with flags" do
    test "has them, alone or with the mounts below", context do
      %{session: session, pid: pid, source: source, target: target} = context

      for {flag, option} <- [
            ro: "ro",
            nosuid: "nosuid",
            nodev: "nodev",
            noexec: "noexec",
            noatime: "noatime",
            nodiratime: "nodiratime",
            relatime: "relatime",
            nosymfollow: "nosymfollow"
          ] do
        :ok = Mount.bind(source, target, flags: [flag], in: session)
        assert option in options(pid, target)
        assert options(pid, context.target_below) == nil
        :ok = Mount.umount(target, in: session)

        :ok = Mount.bind(source, target, flags: [flag, :rec], in: session)
        for at <- [target, context.target_below], do: assert(option in options(pid, at))
        # Those that the mounts had already stay.
        assert "nosuid" in options(pid, target)
        assert "nodev" in options(pid, context.target_below)
        :ok = Mount.umount(target, flags: [:detach], in: session)
      end

      :ok = Mount.bind(source, target, flags: [:strictatime], in: session)
      assert [] == ~w(relatime noatime) -- (~w(relatime noatime) -- options(pid, target))
      # The source is as it was.
      assert :ok = write(pid, source)
    end

    test "is read-only for everybody, all the way down", context do
      %{session: session, pid: pid, source: source, target: target} = context
      :ok = Mount.bind(source, target, flags: [:ro, :rec], in: session)
      assert write(pid, target) == {:error, :erofs}
      assert write(pid, context.target_below) == {:error, :erofs}
      assert File.read!(inside(pid, context.target_below <> "/file")) == "here"
    end

    test "mount/4 with :bind is the same", context do
      %{session: session, pid: pid, source: source, target: target} = context
      :ok = Mount.mount(source, target, "", flags: [:bind, :ro], in: session)
      assert write(pid, target) == {:error, :erofs}
    end

    test "takes root, create and no_symlinks as a plain one", context do
      %{session: session, pid: pid, folder: folder} = context
      File.write!(Path.join(folder, "outside"), "host")
      File.mkdir_p!(Path.join(folder, "rootfs/within"))
      File.ln_s!("../../outside", Path.join(folder, "rootfs/within/link"))
      rootfs = Path.join(folder, "rootfs")
      opts = [flags: [:ro, :noexec], root: rootfs, in: session]

      assert :ok = Mount.bind("/dev/null", "/within/null", [create: true] ++ opts)
      assert "noexec" in options(pid, Path.join(rootfs, "within/null"))
      assert {:error, %Error{}} = Mount.bind("/dev/null", "/within/link", opts)

      assert {:error, %Error{errno: :eloop}} =
               Mount.bind("/dev/null", "/within/link", [no_symlinks: true] ++ opts)

      assert {:error, %Error{errno: :enoent}} =
               Mount.bind("/no/such", "/within/left", [create: true] ++ opts)

      refute File.exists?(Path.join(rootfs, "within/left"))
    end

    test "is never seen without them", context do
      %{session: session, pid: pid, source: source, target: target} = context
      writer = Task.async(fn -> writes(inside(pid, target <> "/race"), []) end)

      for _ <- 1..300 do
        :ok = Mount.bind(source, target, flags: [:ro], in: session)
        :ok = Mount.umount(target, flags: [:detach], in: session)
      end

      send(writer.pid, :stop)
      answers = Task.await(writer, 60_000)
      # Under the mount the folder takes the file; in the mount nothing ever does.
      refute File.exists?(inside(pid, source <> "/race"))
      assert :ok in answers and {:error, :erofs} in answers
    end

    defp writes(path, answers) do
      answers = Enum.uniq([:file.write_file(path, "x", [:raw]) | answers])

      receive do
        :stop -> answers
      after
        0 -> writes(path, answers)
      end
    end

    test "is one in a user namespace of the workload's, and of a VM without root" do
      code =
        quote do
          {session, pid} = Linx.Test.Workload.parked([:user, :mount])
          :ok = Mount.mount("tmpfs", "/mnt", "tmpfs", in: session)

          made = [
            Mount.bind("/mnt", "/mnt", flags: [:ro, :rec], in: session),
            Mount.setattr("/mnt", [:nodev, :noatime], in: {:pid, pid})
          ]

          {:ok, entries} = Mount.list(session)
          entry = entries |> Enum.reverse() |> Enum.find(&(&1.mount_point == "/mnt"))
          {made, entry.mount_options, Mount.setattr("/proc", [:nosuid])}
        end

      for wrapper <- [
            ["unshare", "--mount"],
            ["unshare", "--mount", "setpriv", "--bounding-set=-all", "--inh-caps=-all"]
          ] do
        {made, options, own} = Linx.Test.Vm.eval(wrapper, code, [])
        assert made == [:ok, :ok]
        assert ~w(ro nodev noatime) -- String.split(options, ",") == []

        if "setpriv" in wrapper,
          do: assert({:error, %Error{operation: :mount_setattr, errno: :eperm}} = own),
          else: assert(own == :ok)
      end
    end
  end

  test "a flag that the kernel would drop is refused", context do
    %{session: session, source: source, target: target} = context

    for flag <- [:sync, :dirsync, :mandlock, :lazytime, :i_version, :private, :move, :remount] do
      assert Mount.bind(source, target, flags: [flag], in: session) ==
               {:error, {:bad_flag, flag}}
    end

    for flag <- [:sync, :lazytime, :private, :move] do
      assert Mount.remount(source, flags: [:bind, flag], in: session) ==
               {:error, {:bad_flag, flag}}
    end

    for flag <- [:rec, :shared, :move],
        do: assert(Mount.remount(source, flags: [flag]) == {:error, {:bad_flag, flag}})

    for flag <- [:ro, :nosuid, :bind, :private],
        do: assert(Mount.move(source, target, flags: [flag]) == {:error, {:bad_flag, flag}})

    assert Mount.bind(source, target, flags: [:noatime, :strictatime]) ==
             {:error, {:bad_flag, :strictatime}}

    assert_raise ArgumentError, fn -> Mount.bind(source, target, data: "size=1M") end
    assert_raise ArgumentError, fn -> Mount.move(source, target, data: "size=1M") end
    assert options(context.pid, target) == nil
  end

  test "a remount with :rec reaches the mounts below", context do
    %{session: session, pid: pid, source: source, below: below} = context
    :ok = Mount.remount(source, flags: [:bind, :ro, :rec], in: session)
    assert write(pid, source) == {:error, :erofs}
    assert write(pid, below) == {:error, :erofs}
    assert "nosuid" in options(pid, source)
    assert "nodev" in options(pid, below)
  end

  describe "setattr" do
    test "changes what is named and keeps the rest", context do
      %{session: session, pid: pid, source: source, below: below} = context
      :ok = Mount.setattr(source, [:ro, :noexec], in: session)
      assert ~w(ro nosuid noexec) -- options(pid, source) == []
      assert "rw" in options(pid, below)
      :ok = Mount.setattr(source, [:rw, :suid, :noatime], in: session)
      assert "rw" in options(pid, source)
      assert "noexec" in options(pid, source) and "noatime" in options(pid, source)
      refute "nosuid" in options(pid, source)
      :ok = Mount.setattr(source, [:relatime, :exec], in: session)
      assert "relatime" in options(pid, source)
      refute "noatime" in options(pid, source) or "noexec" in options(pid, source)
    end

    test "recursive: true changes all of the mounts or none", context do
      %{session: session, pid: pid, source: source, below: below} = context
      :ok = Mount.setattr(source, [:ro], recursive: true, in: session)
      assert write(pid, source) == {:error, :erofs}
      assert write(pid, below) == {:error, :erofs}
      :ok = Mount.setattr(source, [:rw], recursive: true, in: session)

      {:ok, file} = :file.open(inside(pid, below <> "/held"), [:write, :raw])

      assert {:error, %Error{operation: :mount_setattr, errno: :ebusy, path: ^source}} =
               Mount.setattr(source, [:ro], recursive: true, in: session)

      :ok = :file.close(file)
      for at <- [source, below], do: assert(write(pid, at) == :ok)
    end

    test "sets how events travel", context do
      %{session: session, source: source, below: below} = context

      for {word, kinds} <- [shared: [:shared], private: [], unbindable: [:unbindable]] do
        :ok = Mount.setattr(source, [word], recursive: true, in: session)
        {:ok, entries} = Mount.list(session)

        for entry <- entries, entry.mount_point in [source, below] do
          assert kinds == Enum.map(entry.propagation, &((is_tuple(&1) && elem(&1, 0)) || &1))
        end
      end
    end

    test "keeps the flags that are locked in a user namespace", context do
      %{folder: folder} = context

      {host, host_pid} = parked([:mount])
      :ok = Mount.mount("tmpfs", folder, "tmpfs", flags: [:nosuid, :ro], in: host)
      guest_pid = nested(host_pid)

      # Joined to the guest's user namespace as well, it has no more rights than the guest.
      code =
        quote do
          on = {:pid, var!(guest_pid)}

          {Linx.Mount.setattr(var!(folder), [:rw], in: on),
           Linx.Mount.setattr(var!(folder), [:suid], recursive: true, in: on),
           Linx.Mount.setattr(var!(folder), [:noexec], recursive: true, in: on)}
        end

      {ro, nosuid, more} =
        Linx.Test.Vm.eval(["setpriv", "--bounding-set=-all", "--inh-caps=-all"], code,
          guest_pid: guest_pid,
          folder: folder
        )

      assert {:error, %Error{operation: :mount_setattr, errno: :eperm}} = ro
      assert {:error, %Error{operation: :mount_setattr, errno: :eperm}} = nosuid
      assert more == :ok
      assert ~w(ro nosuid noexec) -- options(guest_pid, folder) == []
    end

    # A process in a user and a mount namespace that come from those of `pid`.
    defp nested(pid) do
      port =
        Port.open({:spawn_executable, System.find_executable("nsenter")}, [
          :binary,
          args:
            ~w(--target #{pid} --mount unshare --user --map-root-user --mount sh -c) ++
              ["echo $$; exec sleep 1000"]
        ])

      line = receive(do: ({^port, {:data, text}} -> text), after: (60_000 -> flunk("no child")))
      number = line |> String.trim() |> String.to_integer()
      on_exit(fn -> System.cmd("kill", ["-9", "#{number}"]) end)
      number
    end

    test "says what is no attribute, no mount and no target", context do
      %{session: session, source: source, folder: folder, target: target} = context

      for {words, bad} <- [
            {[:typo], :typo},
            {["ro"], "ro"},
            {[:ro, :rw], :rw},
            {[:dev, :nodev], :nodev},
            {[:noatime, :relatime], :relatime},
            {[:private, :shared], :shared},
            {[:sync], :sync}
          ] do
        assert Mount.setattr(source, words, in: session) == {:error, {:bad_flag, bad}}
      end

      for bad <- [
            fn -> Mount.setattr(source, []) end,
            fn -> Mount.setattr(source, :ro) end,
            fn -> Mount.setattr(source, [:ro], recursive: 1) end,
            fn -> Mount.setattr(source, [:ro], data: "x") end,
            fn -> Mount.setattr(source <> "\0", [:ro]) end
          ] do
        assert_raise ArgumentError, bad
      end

      assert {:error, %Error{operation: :mount_setattr, errno: :einval, path: ^target}} =
               Mount.setattr(target, [:ro], in: session)

      assert {:error, %Error{operation: :mount_setattr, errno: :enoent}} =
               Mount.setattr(folder <> "/gone", [:ro], in: session)

      File.ln_s!(source, Path.join(folder, "link"))

      assert {:error, %Error{errno: :eloop}} =
               Mount.setattr(Path.join(folder, "link"), [:ro], in: session)

      assert Mount.setattr(source, [:ro], in: :elsewhere) == {:error, {:bad_in, :elsewhere}}
    end
  end

  describe "a mapping of ids" do
    @maps [uid: [{0, 100_000, 65_536}], gid: [{0, 200_000, 65_536}]]

    defp owner(pid, path), do: File.stat!(inside(pid, path)) |> Map.take([:uid, :gid])

    test "shifts owners in a bind, by maps or by a session", context do
      %{session: session, pid: pid, source: source, target: target} = context
      {mapped, _} = parked([:user])
      :ok = Linx.User.setup_maps(mapped, @maps)

      for idmap <- [@maps, mapped] do
        :ok = Mount.bind(source, target, flags: [:ro], idmap: idmap, in: session)
        assert owner(pid, target <> "/file") == %{uid: 100_000, gid: 200_000}
        assert owner(pid, source <> "/file") == %{uid: 0, gid: 0}
        assert write(pid, target) == {:error, :erofs}
        :ok = Mount.umount(target, in: session)
      end

      refute_received {:linx_process, _, _}
    end

    test "covers a mount with setattr, and the mounts below with recursive", context do
      %{session: session, pid: pid, source: source, below: below} = context
      :ok = Mount.setattr(source, [], idmap: @maps, recursive: true, in: session)
      for at <- [source, below], do: assert(owner(pid, at <> "/file").uid == 100_000)
      :ok = Mount.umount(source, flags: [:detach], in: session)
      for at <- [source, below], do: assert(owner(pid, at <> "/file").uid == 0)
    end

    test "is refused where it names nothing", context do
      %{session: session, source: source, target: target} = context
      bind = &Mount.bind(source, target, idmap: &1, in: session)
      assert bind.(:self) == {:error, {:bad_in, :self}}
      assert {:error, {:bad_map, _}} = bind.(uid: [{0, 0, 0}], gid: [{0, 0, 1}])
      assert {:error, {:bad_setup, {:missing, :gid}}} = bind.(uid: [{0, 0, 1}])
      assert {:error, %Error{operation: :open_ns, errno: :enoent}} = bind.({:path, "/no/such"})
      assert_raise ArgumentError, fn -> bind.(uids: []) end

      # The VM's own user namespace, and no namespace at all.
      for path <- ["/proc/self/ns/user", "/proc/self/ns/net", "/etc/passwd"] do
        assert {:error, %Error{operation: step, errno: errno}} = bind.({:path, path})
        assert step in [:setns, :mount_setattr] and errno in [:einval, :eperm, :ebadf]
      end

      assert options(context.pid, target) == nil
      {:ok, _} = Linx.Process.stop(session, 0)
    end
  end

  test "a source below the root stays inside it", context do
    %{session: session, folder: folder} = context
    rootfs = Path.join(folder, "rootfs")
    for name <- ~w(rootfs/in rootfs/real secret), do: File.mkdir_p!(Path.join(folder, name))
    File.write!(Path.join(folder, "secret/key"), "host")
    File.write!(Path.join(rootfs, "real/key"), "guest")
    File.ln_s!(Path.join(folder, "secret"), Path.join(rootfs, "absolute"))
    File.ln_s!("../secret", Path.join(rootfs, "relative"))
    File.ln_s!("/real", Path.join(rootfs, "inner"))

    for flags <- [[], [:ro]], into <- [[in: session], [in: {:pid, context.pid}]] do
      for link <- ~w(absolute relative absolute/key ./in/../relative),
          verb <- [&Mount.bind/3, &Mount.move/3],
          verb == (&Mount.bind/3) or flags == [] do
        assert {:error, %Error{operation: :mount}} =
                 verb.(Path.join(rootfs, link), "/in", [root: rootfs, flags: flags] ++ into)
      end

      # A link of the root's own meaning is followed there.
      :ok = Mount.bind(rootfs <> "/inner", "/in", [root: rootfs <> "/", flags: flags] ++ into)
      assert File.read!(inside(context.pid, rootfs <> "/in/key")) == "guest"
      :ok = Mount.umount("/in", root: rootfs, in: session)

      # A source named outside the session is resolved outside it.
      :ok = Mount.bind(folder <> "/secret", "/in", [root: rootfs, flags: flags] ++ into)
      assert File.read!(inside(context.pid, rootfs <> "/in/key")) == "host"
      :ok = Mount.umount("/in", root: rootfs, in: session)
    end
  end

  test "an error of a call that is refused says what it wants" do
    for step <- [:open_tree, :mount_setattr, :move_mount] do
      text = fn errno -> Exception.message(Error.from_posix(errno, "/x", step)) end
      assert text.(:eperm) =~ "CAP_SYS_ADMIN"
      assert text.(:enosys) =~ "#{step}(2)"
    end
  end
end
