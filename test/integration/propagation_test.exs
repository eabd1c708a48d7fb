defmodule Linx.Integration.PropagationTest do
  # Mount events between a workload's mount namespace and the VM's, under a shared root as systemd
  # makes it.
  use ExUnit.Case, async: true

  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :tmp_dir

  # A VM whose tree is shared, and a mount point of its own.
  defp under_shared(folder, code, wrapper \\ []) do
    shared = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
    script = "mount --bind #{folder} #{folder}; mount --make-rshared /; exec \"$@\""
    Vm.eval(shared ++ [script, "sh"] ++ wrapper, code, folder: folder)
  end

  # Whether a mount in the workload's namespace appears here, and one made here appears there.
  defp crossing do
    quote do
      fn opts ->
        {session, pid} =
          Linx.Test.Workload.parked(opts[:namespaces], Keyword.delete(opts, :namespaces))

        at = fn target, point ->
          {:ok, entries} = Linx.Mount.list(target)
          Enum.any?(entries, &(&1.mount_point == point))
        end

        [inner, outer] = for name <- ~w(inner outer), do: Path.join(var!(folder), name)
        for path <- [inner, outer], do: File.mkdir_p!(path)
        :ok = Linx.Mount.mount("tmpfs", inner, "tmpfs", in: session)
        :ok = Linx.Mount.mount("tmpfs", outer, "tmpfs")
        me = {:pid, String.to_integer(System.pid())}
        answer = %{out: at.(me, inner), in: at.(session, outer), there: at.(session, inner)}
        :ok = Linx.Mount.umount(outer)
        if answer.out, do: :ok = Linx.Mount.umount(inner)
        {:ok, _} = Linx.Process.stop(session, 0)
        answer
      end
    end
  end

  test "a new mount namespace is private, unless propagation: says " <>
         "otherwise",
       %{tmp_dir: folder} do
    code =
      quote do
        crossing = unquote(crossing())

        for opts <- [
              [],
              [propagation: :private],
              [init: true],
              [propagation: :slave],
              [propagation: :shared],
              [propagation: :unchanged]
            ],
            do: crossing.([namespaces: [:mount, :pid]] ++ opts)
      end

    assert under_shared(folder, code) == [
             %{out: false, in: false, there: true},
             %{out: false, in: false, there: true},
             %{out: false, in: false, there: true},
             %{out: false, in: true, there: true},
             %{out: true, in: true, there: true},
             %{out: true, in: true, there: true}
           ]
  end

  test "one with a user namespace too is private, also for a VM without capabilities", context do
    code =
      quote do
        {session, _} = Linx.Test.Workload.parked([:mount, :user])
        {:ok, entries} = Linx.Mount.list(session)
        Enum.uniq(Enum.flat_map(entries, & &1.propagation))
      end

    for wrapper <- [[], ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]],
        do: assert(under_shared(context.tmp_dir, code, wrapper) == [])
  end

  test "a VM in a chroot has its mounts made private too, and the workload its root", %{
    tmp_dir: folder
  } do
    # The root of the chroot is no mount point.
    code =
      quote do
        {session, pid} = Linx.Test.Workload.parked([:mount])
        {:ok, entries} = Linx.Mount.list({:path, "/proc/#{pid}/mountinfo"})
        propagation = Enum.uniq(Enum.flat_map(entries, & &1.propagation))

        {propagation, File.dir?("/proc/#{pid}/root/marker-of-the-chroot")}
      end

    root = Path.join(folder, "root")

    script = """
    mkdir -p #{root}/root; mount -t tmpfs none #{root}; mkdir -p #{root}/in/marker-of-the-chroot
    for d in /*; do
      test -d "$d" || continue; mkdir -p "#{root}/in$d"; mount --rbind "$d" "#{root}/in$d"
    done
    mount --make-rshared /
    exec chroot #{root}/in "$@"
    """

    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"]
    assert Vm.eval(wrapper, code, []) == {[], true}
  end

  test "what is no propagation, or has no namespace to be given to, is refused" do
    spawn = &Linx.Process.spawn([argv: ["/bin/true"]] ++ &1)

    assert spawn.(namespaces: [:mount], propagation: :rprivate) ==
             {:error, {:bad_propagation, :rprivate}}

    assert spawn.(propagation: :private) == {:error, {:bad_propagation, :private}}
    assert spawn.(namespaces: [:uts], propagation: :slave) == {:error, {:bad_propagation, :slave}}

    assert Linx.Process.enter(1, argv: ["/bin/true"], propagation: :private) ==
             {:error, {:bad_propagation, :private}}
  end

  test "a refused call ends the session before anything runs, at its stage", %{tmp_dir: folder} do
    {:ok, session} =
      Linx.Process.spawn(
        argv: ["/bin/touch", Path.join(folder, "ran")],
        cgroup: folder,
        auto_proceed: true
      )

    # EXDEV: no cgroup2.
    assert_receive {:linx_process, :error, 18, :cgroup}
    refute File.exists?(Path.join(folder, "ran"))
    assert {:error, _} = Linx.Process.host_pid(session)
  end
end
