defmodule Linx.Integration.MountTest do
  use ExUnit.Case, async: true

  import Linx.Test.Workload

  alias Linx.Mount
  alias Linx.Mount.{Entry, Error}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :tmp_dir

  # A child with its own mount namespace, detached from the machine's, and a folder of the test's
  # with a tmpfs in it.
  defp child(%{tmp_dir: folder}, namespaces \\ [:mount]) do
    {session, pid} = parked(namespaces)
    :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)
    %{session: session, pid: pid, folder: folder}
  end

  defp entry(session, mount_point) do
    {:ok, entries} = Mount.list(session)
    Enum.find(Enum.reverse(entries), &(&1.mount_point == mount_point))
  end

  defp options(session, mount_point),
    do: String.split(entry(session, mount_point).mount_options, ",")

  describe "in another mount namespace" do
    test "a mount is there and not here, by session, pid and path", context do
      %{session: session, pid: pid, folder: folder} = child(context)
      {:ok, before} = Mount.list()

      for target <- [session, {:pid, pid}, {:path, "/proc/#{pid}/ns/mnt"}] do
        :ok = Mount.mount("tmpfs", folder, "tmpfs", data: "size=1M,mode=700", in: target)
        assert %Entry{fstype: "tmpfs"} = entry(session, folder)
        assert {:ok, entries} = Mount.list({:pid, pid})

        assert Enum.any?(
                 entries,
                 &(&1.mount_point == folder and &1.super_options =~ "size=1024k")
               )

        :ok = Mount.umount(folder, in: target)
        assert entry(session, folder) == nil
      end

      assert Mount.list() == {:ok, before}
    end

    test "each flag of a mount is in force", context do
      %{session: session, folder: folder} = child(context)

      flags = [
        ro: "ro",
        nosuid: "nosuid",
        nodev: "nodev",
        noexec: "noexec",
        noatime: "noatime",
        nodiratime: "nodiratime",
        relatime: "relatime",
        nosymfollow: "nosymfollow"
      ]

      for {flag, option} <- flags do
        :ok = Mount.mount("tmpfs", folder, "tmpfs", flags: [flag], in: session)
        assert option in options(session, folder)
        :ok = Mount.umount(folder, in: session)
      end

      for flag <- [:sync, :dirsync, :mandlock, :silent, :strictatime, :lazytime] do
        assert :ok = Mount.mount("tmpfs", folder, "tmpfs", flags: [flag], in: session)
        :ok = Mount.umount(folder, in: session)
      end
    end

    test "propagation is set and shown", context do
      %{session: session, folder: folder} = child(context)
      :ok = Mount.mount("tmpfs", folder, "tmpfs", in: session)

      for {flag, shown} <- [shared: :shared, slave: nil, unbindable: :unbindable, private: nil] do
        :ok = Mount.mount("", folder, "", flags: [flag], in: session)

        assert {flag, Enum.map(entry(session, folder).propagation, &kind/1)} ==
                 {flag, List.wrap(shown)}
      end
    end

    defp kind({name, _}), do: name
    defp kind(name), do: name

    test "bind, remount read-only, move and unmount", context do
      %{session: session, pid: pid, folder: folder} = child(context)
      [source, target, moved] = for name <- ~w(source target moved), do: Path.join(folder, name)
      Enum.each([source, target, moved], &File.mkdir_p!/1)
      File.write!(Path.join(source, "file"), "here")

      :ok = Mount.mount("tmpfs", moved, "tmpfs", in: session)
      :ok = Mount.umount(moved, in: session)
      :ok = Mount.bind(source, target, in: session)
      assert File.read!(inside(pid, Path.join(target, "file"))) == "here"
      assert entry(session, target).root =~ "/source"

      :ok = Mount.remount(target, flags: [:bind, :ro, :nosuid], in: session)
      assert ["ro", "nosuid"] -- options(session, target) == []
      assert File.write(inside(pid, Path.join(target, "new")), "") == {:error, :erofs}

      :ok = Mount.move(target, moved, in: session)
      assert entry(session, target) == nil
      assert "ro" in options(session, moved)
      :ok = Mount.umount(moved, flags: [:detach], in: session)
      assert entry(session, moved) == nil
    end

    test "a recursive bind takes along what is mounted below", context do
      %{session: session, folder: folder} = child(context)
      [source, target] = for name <- ~w(source target), do: Path.join(folder, name)
      Enum.each([Path.join(source, "sub"), target], &File.mkdir_p!/1)
      :ok = Mount.mount("tmpfs", Path.join(source, "sub"), "tmpfs", in: session)

      :ok = Mount.bind(source, target, in: session)
      assert entry(session, Path.join(target, "sub")) == nil
      :ok = Mount.umount(target, in: session)
      :ok = Mount.bind(source, target, flags: [:rec], in: session)
      assert %Entry{fstype: "tmpfs"} = entry(session, Path.join(target, "sub"))
    end

    test "create makes the place for a device node, once", context do
      %{session: session, pid: pid, folder: folder} = child(context)
      :ok = Mount.mount("tmpfs", folder, "tmpfs", in: session)
      null = Path.join(folder, "null")

      assert {:error, %Error{operation: :mount, errno: :enoent}} =
               Mount.bind("/dev/null", null, in: session)

      for _ <- 1..2, do: assert(:ok = Mount.bind("/dev/null", null, create: true, in: session))
      assert %File.Stat{type: :device, major_device: _} = File.stat!(inside(pid, null))
      refute File.exists?(null)

      assert {:error, %Error{operation: :create, errno: :enoent, path: path}} =
               Mount.bind("/dev/null", folder <> "/no/null", create: true, in: session)

      assert path == folder <> "/no/null"

      assert {:error, %Error{operation: :mount, errno: :enoent}} =
               Mount.bind("/no/such", folder <> "/left", create: true, in: session)

      refute File.exists?(inside(pid, folder <> "/left"))
    end

    test "umount says what the kernel says", context do
      %{session: session, folder: folder} = child(context)

      assert {:error, %Error{operation: :umount, errno: :einval, path: ^folder}} =
               Mount.umount(folder, in: session)

      assert {:error, %Error{operation: :umount, errno: :enoent}} =
               Mount.umount(folder <> "/gone", in: session)

      :ok = Mount.mount("tmpfs", folder, "tmpfs", in: session)
      :ok = Mount.mount("tmpfs", folder, "tmpfs", in: session)

      assert {:error, %Error{errno: :eagain}} =
               Mount.umount(folder, flags: [:expire], in: session)

      assert :ok = Mount.umount(folder, flags: [:expire], in: session)
      assert :ok = Mount.umount(folder <> "/", flags: [:no_follow, :force], in: session)
      assert {:error, %Error{errno: :einval}} = Mount.umount(folder, in: session)
      assert {:error, %Error{operation: :umount}} = Mount.umount("/", in: session)
    end

    test "the kernel's refusals come with their step, path and number", context do
      %{session: session, pid: pid, folder: folder} = child(context)

      assert Mount.mount("x", folder, "no-such-fs", in: session) ==
               {:error, %Error{path: folder, operation: :mount, errno: :enodev, code: 19}}

      assert {:error, %Error{errno: :e2big}} =
               Mount.mount("x", folder, "tmpfs", data: String.duplicate("a", 70_000), in: session)

      assert {:error, %Error{errno: :enametoolong}} =
               Mount.mount("x", "/" <> String.duplicate("a", 5000), "tmpfs", in: session)

      # A file that is no namespace, and a namespace of another type.
      assert {:error, %Error{operation: :setns, errno: :einval, path: "/etc/passwd"}} =
               Mount.mount("x", folder, "tmpfs", in: {:path, "/etc/passwd"})

      # A FIFO that nobody writes to holds nobody up.
      fifo = Path.join(folder, "fifo")
      {_, 0} = System.cmd("mkfifo", [fifo])

      assert {:error, %Error{operation: :setns, errno: :einval, path: ^fifo}} =
               Mount.mount("x", folder, "tmpfs", in: {:path, fifo})

      wrong = "/proc/#{pid}/ns/uts"

      assert {:error, %Error{operation: :setns, errno: :einval, path: ^wrong}} =
               Mount.mount("x", folder, "tmpfs", in: {:path, wrong})

      assert {:error, %Error{operation: :open_ns, errno: :enoent}} =
               Mount.umount(folder, in: {:path, "/no/such"})
    end

    test "a session that has ended is told so, and so is its number", context do
      %{session: session, pid: pid, folder: folder} = child(context)
      :ok = Linx.Process.abort(session)
      {:ok, :aborted} = Linx.Process.wait(session)

      assert Mount.mount("x", folder, "tmpfs", in: session) == {:error, :no_process}
      assert Mount.umount(folder, in: session) == {:error, :no_process}
      assert Mount.pivot_root(folder, folder, in: session) == {:error, :no_process}
      assert Mount.list(session) == {:error, :no_process}

      path = "/proc/#{pid}/ns/mnt"

      assert Mount.mount("x", folder, "tmpfs", in: {:pid, pid}) ==
               {:error, %Error{path: path, operation: :open_ns, errno: :enoent, code: 2}}
    end
  end

  describe "what shows the namespace of who mounts it" do
    test "a proc shows the processes of the target's pid namespace", context do
      %{session: session, pid: pid, folder: folder} = child(context, [:mount, :pid])
      :ok = Mount.mount("proc", folder, "proc", in: session)
      assert numbers(inside(pid, folder)) == ["1"]
      :ok = Mount.umount(folder, in: session)

      :ok =
        Mount.mount("proc", folder, "proc", flags: [:nosuid, :nodev, :noexec], in: {:pid, pid})

      assert numbers(inside(pid, folder)) == ["1"]
      :ok = Mount.umount(folder, in: session)

      # By path there is no process to ask for its pid namespace.
      :ok = Mount.mount("proc", folder, "proc", in: {:path, "/proc/#{pid}/ns/mnt"})
      assert System.pid() in numbers(inside(pid, folder))
    end

    test "the same where the target has a user namespace of its own", context do
      %{session: session, pid: pid, folder: folder} = child(context, [:mount, :pid, :user])
      :ok = Mount.mount("proc", folder, "proc", in: session)
      assert numbers(inside(pid, folder)) == ["1"]
    end

    defp numbers(folder), do: Enum.filter(File.ls!(folder), &(&1 =~ ~r/\A\d+\z/))

    test "a sysfs shows the devices of the target's network namespace", context do
      %{session: session, pid: pid, folder: folder} = child(context, [:mount, :net])
      :ok = Mount.mount("sysfs", folder, "sysfs", in: session)
      assert File.ls!(inside(pid, folder <> "/class/net")) == ["lo"]
    end

    test "what a step on that way refuses is told with the pid namespace's file", context do
      %{pid: pid} = child(context)

      assert Mount.Native.mount("proc", "/proc", "proc", 0, "", "", "/proc/#{pid}/ns/none", 0) ==
               {:error, {:open_pidns, :enoent}}
    end
  end

  describe "a symlink that somebody planted" do
    # rootfs and, beside it, what no mount may reach.
    defp planted(context) do
      %{folder: folder} = context = child(context)
      [rootfs, outside] = for name <- ~w(rootfs outside), do: Path.join(folder, name)
      Enum.each([rootfs, outside, Path.join(rootfs, "within")], &File.mkdir_p!/1)
      File.ln_s!(outside, Path.join(rootfs, "absolute"))
      File.ln_s!("../outside", Path.join(rootfs, "relative"))
      File.ln_s!("/within", Path.join(rootfs, "inner"))
      # For the thread that follows it this is the VM's own root.
      File.ln_s!("/proc/self/root#{outside}", Path.join(rootfs, "magic"))
      File.ln_s!(Path.join(outside, "dangling"), Path.join(rootfs, "dangling"))
      Map.merge(context, %{rootfs: rootfs, outside: outside})
    end

    defp assert_untouched(%{session: session, outside: outside}) do
      assert File.ls!(outside) == []
      {:ok, entries} = Mount.list(session)
      assert Enum.filter(entries, &String.starts_with?(&1.mount_point, outside)) == []
      {:ok, ours} = Mount.list()
      assert Enum.filter(ours, &String.starts_with?(&1.mount_point, outside)) == []
    end

    test "is refused while the root is still the host's", context do
      %{session: session, rootfs: rootfs} = context = planted(context)

      for link <- ~w(absolute relative inner magic dangling) do
        target = Path.join(rootfs, link)
        assert {:error, %Error{operation: :mount, errno: :eloop}} = mount_tmpfs(target, session)

        for path <- [target, Path.join(target, "null")] do
          assert {:error, %Error{errno: errno}} =
                   Mount.bind("/dev/null", path, create: true, in: session)

          assert errno in [:eloop, :enoent]
        end

        assert {:error, %Error{errno: :eloop}} = Mount.umount(target, in: session)
      end

      assert_untouched(context)
    end

    defp mount_tmpfs(target, session, opts \\ []),
      do: Mount.mount("tmpfs", target, "tmpfs", [in: session] ++ opts)

    test "with a root given is followed inside that", context do
      %{session: session, rootfs: rootfs} = context = planted(context)
      within = Path.join(rootfs, "within")

      assert :ok = mount_tmpfs("/inner", session, root: rootfs)
      assert %Entry{fstype: "tmpfs"} = entry(session, within)
      assert :ok = Mount.umount("/inner", root: rootfs, in: session)
      assert entry(session, within) == nil

      assert :ok = Mount.bind("/dev/null", "/inner/null", root: rootfs, create: true, in: session)
      assert %Entry{} = entry(session, within <> "/null")
      assert :ok = Mount.umount("../../inner/../inner/null", root: rootfs, in: session)

      for link <- ~w(absolute relative magic dangling) do
        assert {:error, %Error{errno: errno}} = mount_tmpfs(link, session, root: rootfs)
        assert errno in [:enoent, :eloop]

        assert {:error, %Error{}} =
                 Mount.bind("/dev/null", "/#{link}/null", root: rootfs, create: true, in: session)

        assert {:error, %Error{}} = Mount.umount(link, root: rootfs, in: session)
      end

      assert {:error, %Error{errno: :eloop}} =
               mount_tmpfs("/inner", session, root: rootfs, no_symlinks: true)

      assert {:error, %Error{errno: :eloop}} =
               Mount.umount("/inner", root: rootfs, no_symlinks: true, in: session)

      assert_untouched(context)
    end

    test "does not lead a bind's source astray with no_symlinks", context do
      %{session: session, rootfs: rootfs} = planted(context)
      target = Path.join(rootfs, "within")

      assert {:error, %Error{errno: :eloop}} =
               Mount.bind(Path.join(rootfs, "absolute"), target, no_symlinks: true, in: session)

      assert :ok = Mount.bind(Path.join(rootfs, "absolute"), target, in: session)
    end

    test "does not lead a bind's source through a magic link to the host", context do
      %{session: session, pid: pid, folder: folder, rootfs: rootfs} = planted(context)
      target = Path.join(rootfs, "within")
      # A mount that the child made over the folder is not seen through the VM's root.
      :ok = Mount.mount("tmpfs", Path.join(folder, "outside"), "tmpfs", in: session)
      File.ln_s!("/proc/#{System.pid()}/root/etc", Path.join(rootfs, "by-pid"))

      for source <- ["magic", "by-pid", "magic/x"], verb <- [&Mount.bind/3, &Mount.move/3] do
        assert {:error, %Error{operation: :mount, errno: :eloop}} =
                 verb.(Path.join(rootfs, source), target, in: session)
      end

      for source <- ["/proc/self/root/etc", "/proc/#{pid}/root/etc", "/proc/self/ns/net"] do
        assert {:error, %Error{errno: :eloop}} = Mount.bind(source, target, in: session)
      end

      assert entry(session, target) == nil

      # Named in full it is what the caller means.
      place = Path.join(rootfs, "netns")
      assert :ok = Mount.bind("/proc/#{pid}/ns/net", place, create: true, in: session)
      assert %Entry{fstype: "nsfs"} = entry(session, place)

      assert {:error, %Error{errno: :eloop}} =
               Mount.bind("/proc/#{pid}/ns/net", place, no_symlinks: true, in: session)
    end

    test "after pivot_root is followed inside the new root only", context do
      %{session: session, rootfs: rootfs} = context = planted(context)
      old = Path.join(rootfs, "old")
      Enum.each([old, Path.join(rootfs, "proc")], &File.mkdir_p!/1)
      :ok = Mount.bind(rootfs, rootfs, in: session)
      :ok = Mount.pivot_root(rootfs, old, in: session)
      :ok = Mount.mount("proc", "/proc", "proc", in: session)
      :ok = Mount.umount("/old", flags: [:detach], in: session)

      assert :ok = mount_tmpfs("/inner", session)
      assert %Entry{fstype: "tmpfs"} = entry(session, "/within")
      assert :ok = Mount.umount("/inner", in: session)
      assert entry(session, "/within") == nil

      for link <- ~w(/absolute /relative /magic /dangling) do
        assert {:error, %Error{errno: errno}} = mount_tmpfs(link, session)
        assert errno in [:enoent, :eloop]

        assert {:error, %Error{}} =
                 Mount.bind("/dev/null", link <> "/null", create: true, in: session)

        assert {:error, %Error{}} = Mount.bind("/dev/null", link, create: true, in: session)
      end

      assert_untouched(context)
    end

    # 2000 rounds of some calls each, which a busy machine makes one by one.
    @tag timeout: 1_800_000
    test "does not win a race against the lookup", context do
      %{session: session, rootfs: rootfs} = context = planted(context)
      [target, good, evil] = for name <- ~w(target good evil), do: Path.join(rootfs, name)
      File.mkdir_p!(target)
      File.ln_s!("../outside", evil)
      racer = Task.async(fn -> flip(target, good, evil) end)

      outcomes =
        for n <- 1..2000 do
          opts = [in: session] ++ if rem(n, 2) == 0, do: [root: rootfs], else: []
          path = if rem(n, 2) == 0, do: "target", else: target
          made = Mount.bind("/dev/null", Path.join(path, "null"), [create: true] ++ opts)

          {:ok, entries} = Mount.list(session)
          mounted = for e <- entries, e.mount_point =~ "/null", do: e.mount_point
          assert Enum.all?(mounted, &String.starts_with?(&1, rootfs))
          for point <- mounted, do: Mount.umount(point, flags: [:detach], in: session)
          made
        end

      send(racer.pid, :stop)
      Task.await(racer, 60_000)
      assert_untouched(context)
      # Both sides of the race were seen.
      assert :ok in outcomes
      assert Enum.any?(outcomes, &match?({:error, _}, &1))
    end

    # target is the directory, then the symlink, then the directory again.
    defp flip(target, good, evil) do
      :ok = :prim_file.rename(target, good)
      :ok = :prim_file.rename(evil, target)
      :ok = :prim_file.rename(target, evil)
      :ok = :prim_file.rename(good, target)

      receive do
        :stop -> :ok
      after
        0 -> flip(target, good, evil)
      end
    end
  end

  describe "pivot_root" do
    test "gives a workload that is pid 1 a busybox of its own", %{tmp_dir: folder} do
      rootfs = Path.join(folder, "rootfs")
      Enum.each(~w(bin proc old_root), &File.mkdir_p!(Path.join(rootfs, &1)))
      File.cp!(System.find_executable("busybox"), Path.join(rootfs, "bin/busybox"))
      {:ok, table} = Mount.list()

      {session, pid} =
        parked([:mount, :pid, :uts, :ipc],
          argv: ["/bin/busybox", "sh", "-c", "echo $$; /bin/busybox ls /; /bin/busybox ps"],
          stdio: [stdout: :pipe]
        )

      on = {:pid, pid}
      :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: on)
      :ok = Mount.bind(rootfs, rootfs, in: on)
      :ok = Mount.pivot_root(rootfs, Path.join(rootfs, "old_root"), in: on)
      :ok = Mount.mount("proc", "/proc", "proc", in: on)
      assert File.ls!(inside(pid, "/old_root")) != []
      :ok = Mount.umount("/old_root", flags: [:detach], in: on)

      assert {:ok, [%Entry{mount_point: "/"}, %Entry{mount_point: "/proc"}]} = Mount.list(on)
      assert {output, {:exited, 0}} = run(session)
      assert ["1", "bin", "old_root", "proc" | ps] = String.split(output, "\n", trim: true)
      assert Enum.any?(ps, &(&1 =~ ~r{^\s+1 .*/bin/busybox}))
      refute Enum.any?(ps, &(&1 =~ "beam"))
      assert Mount.list() == {:ok, table}
    end

    test "says which step failed", context do
      %{session: session, pid: pid, folder: folder} = child(context)
      [plain, file] = for name <- ~w(plain file), do: Path.join(folder, name)
      File.mkdir_p!(plain)
      File.write!(file, "")

      assert {:error, %Error{operation: :chdir, errno: :enotdir, path: ^file}} =
               Mount.pivot_root(file, file, in: session)

      assert {:error, %Error{operation: :chdir, errno: :enoent}} =
               Mount.pivot_root(folder <> "/gone", folder, in: session)

      assert {:error, %Error{operation: :pivot_root, errno: :enoent, path: ^plain}} =
               Mount.pivot_root(plain, folder <> "/gone", in: session)

      # On the root mount itself.
      assert {:error, %Error{operation: :pivot_root, errno: :ebusy}} =
               Mount.pivot_root(plain, plain, in: session)

      assert {:error, %Error{operation: :open_ns}} =
               Mount.pivot_root(plain, plain, in: {:path, "/proc/#{pid}/ns/none"})
    end

    test "does not put the old root outside the new one", context do
      %{session: session, folder: folder} = child(context)
      [rootfs, outside] = for name <- ~w(rootfs outside), do: Path.join(folder, name)
      Enum.each([rootfs, outside], &File.mkdir_p!/1)
      File.ln_s!(outside, Path.join(rootfs, "old"))
      :ok = Mount.bind(rootfs, rootfs, in: session)
      :ok = Mount.mount("tmpfs", outside, "tmpfs", in: session)

      assert {:error, %Error{operation: :pivot_root, errno: :einval}} =
               Mount.pivot_root(rootfs, Path.join(rootfs, "old"), in: session)
    end
  end

  describe "in the VM's own namespace" do
    test "mount, bind, remount, move, umount and create", %{tmp_dir: folder} do
      code =
        quote do
          at = fn point -> Enum.find(elem(Mount.list(), 1), &(&1.mount_point == point)) end
          File.cd!(var!(folder))
          {:ok, cwd} = File.cwd()

          made = [
            Mount.mount("tmpfs", var!(folder), "tmpfs", flags: [:nosuid], data: "size=1M"),
            Mount.mount("", var!(folder), "", flags: [:private])
          ]

          for name <- ~w(source target moved), do: File.mkdir!(Path.join(var!(folder), name))
          [s, t, m] = for name <- ~w(source target moved), do: Path.join(var!(folder), name)
          File.ln_s!(s, Path.join(var!(folder), "link"))

          rest = [
            Mount.bind(Path.join(var!(folder), "link"), t),
            Mount.remount(t, flags: [:bind, :ro]),
            Mount.move(t, m),
            Mount.bind("/dev/null", Path.join(s, "null"), create: true),
            Mount.bind("/dev/zero", "null", root: s, create: true),
            Mount.umount("/null", root: s),
            Mount.umount(Path.join(s, "null"))
          ]

          options = at.(m).mount_options
          {:error, loop} = Mount.umount(Path.join(var!(folder), "link"), flags: [:no_follow])
          umounts = [Mount.umount(m), Mount.umount(var!(folder), flags: [:detach])]
          {made, rest, options, loop.errno, umounts, {:ok, cwd} == File.cwd()}
        end

      assert {made, rest, "ro" <> _, :einval, umounts, true} =
               Vm.eval(private(), code, folder: folder)

      assert Enum.uniq(made ++ rest ++ umounts) == [:ok]
    end

    test "pivot_root moves the VM and what shares its namespace", %{tmp_dir: folder} do
      rootfs = Path.join(folder, "rootfs")
      File.mkdir_p!(Path.join(rootfs, "old"))

      code =
        quote do
          # The files that modules are loaded from will be out of reach.
          for app <- [:stdlib, :elixir, :linx] do
            Application.load(app)
            {:ok, modules} = :application.get_key(app, :modules)
            :code.ensure_modules_loaded(modules)
          end

          :ok = Mount.bind(var!(rootfs), var!(rootfs))
          first = Mount.pivot_root(var!(rootfs), Path.join(var!(rootfs), "old"))
          ls = File.ls("/")
          back = Mount.pivot_root("/old", "/old" <> var!(rootfs))
          {first, ls, back, File.dir?(var!(rootfs))}
        end

      assert Vm.eval(private(), code, rootfs: rootfs) == {:ok, {:ok, ["old"]}, :ok, true}
    end

    defp private, do: ["unshare", "--mount", "--propagation", "private"]
  end

  describe "a VM without capabilities" do
    @describetag :userns

    # uid 0 without a capability to its name is as unprivileged as any.
    defp powerless, do: ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    test "mounts in the user namespace of its own child, a proc too", %{tmp_dir: folder} do
      code =
        quote do
          {session, pid} = Linx.Test.Workload.parked([:user, :mount, :pid, :net, :uts])
          tmpfs = Mount.mount("tmpfs", var!(folder), "tmpfs", in: session)
          proc = Mount.mount("proc", "/proc", "proc", in: session)
          sysfs = Mount.mount("sysfs", var!(folder), "sysfs", in: {:pid, pid})
          {:ok, entries} = Mount.list(session)
          types = for e <- entries, e.mount_point in ["/proc", var!(folder)], do: e.fstype
          own = Mount.mount("tmpfs", var!(folder), "tmpfs")
          host = Mount.mount("tmpfs", var!(folder), "tmpfs", in: {:pid, 1})
          {tmpfs, proc, sysfs, types, own, host}
        end

      assert {:ok, :ok, :ok, types, own, host} = Vm.eval(powerless(), code, folder: folder)
      assert Enum.sort(types) == ~w(proc proc sysfs tmpfs)
      assert {:error, %Error{operation: :mount, errno: :eperm, path: ^folder}} = own
      assert {:error, %Error{operation: operation, errno: errno}} = host
      assert {operation, errno} in [{:open_ns, :eacces}, {:open_ns, :eperm}]
    end
  end
end
