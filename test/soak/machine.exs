defmodule Soak.Machine do
  # Resources that run out: room on a disk, inodes, memory, descriptors. And cgroups.
  import Soak.Ends

  alias Linx.{Cgroup, Mount, Process}

  def scenarios do
    [
      cgroup: &cgroup/2,
      full_disk: &full_disk/2,
      full_tree: &full_tree/2,
      rlimit: &rlimit/2,
      starved_vm: &starved_vm/2
    ]
  end

  defp cgroup(tag, places) do
    path = Path.join(places.cgroup, "#{System.unique_integer([:positive])}")
    {:ok, cg} = Cgroup.create(path)

    {:ok, session} =
      spawn_tagged(tag,
        argv: ["/bin/sh", "-c", "sleep 5 & sleep 5"],
        cgroup: path,
        auto_proceed: true
      )

    Cgroup.freeze(cg)
    Cgroup.stats(cg)
    Cgroup.thaw(cg)
    finish(session)
    destroy(cg, 100)
  end

  # A killed process leaves its cgroup a moment after it is reaped.
  defp destroy(cg, tries) do
    case Cgroup.destroy(cg) do
      {:error, %{errno: :ebusy}} when tries > 0 ->
        Elixir.Process.sleep(10)
        destroy(cg, tries - 1)

      other ->
        :ok = other
    end
  end

  defp full_disk(tag, places) do
    file = Path.join(places.full, "out#{System.unique_integer([:positive])}")

    case Process.spawn(
           argv: ["/bin/sh", "-c", "head -c 100000 /dev/zero"],
           env: {:clean, [tag]},
           stdio: [stdin: :devnull, stdout: {:file, file, :write}, stderr: :devnull],
           auto_proceed: true
         ) do
      {:ok, session} -> Process.wait(session, 10_000)
      {:error, _} -> :ok
    end

    File.rm(file)
  end

  # No memory and no descriptors, for the workload and for the agent.
  defp rlimit(tag, _places) do
    limit = Enum.random(as: 65_536, nofile: 3, nproc: 1, fsize: 0, data: 4096)

    {:ok, session} =
      spawn_tagged(tag, argv: ["/bin/sh", "-c", "cat /etc/hostname; sleep 1"], rlimits: [limit])

    agent = session |> workload() |> parent()

    if agent,
      do:
        System.cmd("prlimit", ["--pid=#{agent}", Enum.random(["--nofile=5", "--as=1000000"])],
          stderr_to_stdout: true
        )

    Process.proceed(session)
    Process.wait(session, 100)
    finish(session)
  end

  # No inode is left for what `create:` has to make.
  defp full_tree(tag, _places) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:mount])
    saboteur = sabotage(session)
    Mount.mount("tmpfs", "/mnt", "tmpfs", in: session, data: "nr_inodes=3,size=8k")

    for name <- ~w(a b c d),
        do: Mount.mount("tmpfs", "/mnt/#{name}", "tmpfs", in: session, create: true)

    Mount.list(session)
    Mount.umount("/mnt/a", in: session)
    join(saboteur)
    finish(session)
  end

  # A VM of its own, since what it lacks its neighbours would lack too.
  defp starved_vm(tag, _places) do
    elixir = [System.find_executable("elixir"), "-pa", Application.app_dir(:linx, "ebin")]
    limit = "--nofile=#{40 + :rand.uniform(40)}"
    args = [limit | elixir] ++ [Path.join(__DIR__, "starved.exs"), tag]
    {"well\n", 0} = System.cmd("prlimit", args, stderr_to_stdout: true)
  end
end
