defmodule Linx.Integration.NetnsNamesTest do
  # Names, beside ip-netns(8), in a VM whose mounts are its own: /run is a file system that nobody
  # else sees.
  use ExUnit.Case, async: true

  alias Linx.Netns
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :netns

  @private [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-ec",
    "mount -t tmpfs tmpfs /run; exec \"$@\"",
    "sh"
  ]

  test "either program works on the names of the other" do
    answers =
      Vm.eval(
        @private,
        quote do
          ip = fn args ->
            {output, status} = System.cmd("ip", String.split(args), stderr_to_stdout: true)
            if status == 0, do: String.trim(output), else: {:failed, output}
          end

          mounts = fn ->
            for line <- File.stream!("/proc/self/mountinfo"),
                [_id, _parent, dev, root, target, opts, propagation | _] = String.split(line),
                String.starts_with?(target, "/run/netns"),
                do:
                  {dev, String.replace(root, ~r/\d+/, "n"), target, opts,
                   String.replace(propagation, ~r/\d+/, "n")}
          end

          # A name that Linx makes in an empty directory, and then one that ip makes.
          none = Netns.list()
          :ok = Netns.create("blue")
          ours = mounts.()
          mode = Bitwise.band(File.stat!("/run/netns").mode, 0o7777)
          file_mode = fn name -> File.stat!("/run/netns/" <> name).mode end
          seen = ip.("netns list")
          inside = ip.("netns exec blue ip -o link")
          :ok = Netns.delete("blue")
          after_delete = {ip.("netns list"), File.ls!("/run/netns")}
          {_, 0} = System.cmd("umount", ["/run/netns"])
          File.rmdir!("/run/netns")

          "" = ip.("netns add blue")
          theirs = mounts.()
          listed = Netns.list()
          {:ok, blue} = Netns.open("blue")
          {:ok, socket} = Linx.Netlink.Rtnl.open(blue)
          {:ok, links} = Linx.Netlink.Rtnl.Link.list(socket)
          taken = Netns.create("blue")
          :ok = Netns.create("red")
          {:failed, theirs_taken} = ip.("netns add red")
          both = {ip.("netns list") |> String.split("\n") |> Enum.sort(), Netns.list()}

          # A process in it, by ip's own means.
          port =
            Port.open({:spawn_executable, System.find_executable("ip")}, [
              :binary,
              args: ["netns", "exec", "red", "sh", "-c", "echo $$; exec cat"]
            ])

          pid =
            receive do
              {^port, {:data, text}} -> text |> String.trim() |> String.to_integer()
            end

          pids = {Netns.pids("red"), ip.("netns pids red"), Netns.pid_of("red")}
          identified = ip.("netns identify #{pid}")
          Port.close(port)

          # Ids, with names.
          {:ok, id} = Netns.set_id("blue", 9)
          ids = {id, Netns.ids(), ip.("netns list-id")}

          # A namespace that is there gets a second name, which ip can use and delete.
          :ok = Netns.create("again", from: blue)
          same = Netns.inode("again") == Netns.inode("blue")
          "" = ip.("netns delete again")

          # Either deletes the other's; who holds it goes on.
          "" = ip.("netns delete red")
          :ok = Netns.delete("blue")
          :ok = Linx.Netlink.Rtnl.Link.set_up(socket, "lo")
          state = Linx.Netlink.Rtnl.Link.get(socket, "lo")
          gone = Netns.delete("blue")
          :ok = Netns.create("blue")
          reused = Netns.inode("blue") != Netns.inode(blue)
          :ok = Netns.delete("blue")

          %{
            none: none,
            ours: ours,
            theirs: theirs,
            mode: mode,
            seen: seen,
            inside: inside,
            after_delete: after_delete,
            listed: listed,
            links: Enum.map(links, &{&1.name, Bitwise.band(&1.flags, 1)}),
            taken: taken,
            theirs_taken: theirs_taken,
            both: both,
            pid: pid,
            pids: pids,
            identified: identified,
            ids: ids,
            same: same,
            state: state,
            gone: gone,
            reused: reused,
            left: mounts.()
          }
        end
      )

    assert answers.none == {:ok, []}
    # The directory, shared, and the name on it.
    assert [
             {_, _, "/run/netns", _, "shared:n"},
             {_, "net:[n]", "/run/netns/blue", _, "shared:n"}
           ] =
             answers.ours

    assert answers.theirs == answers.ours
    assert answers.mode == 0o755
    assert answers.seen == "blue"
    assert answers.inside =~ ~r/^1: lo: <LOOPBACK> .* state DOWN /
    assert answers.after_delete == {"", []}
    assert answers.listed == {:ok, ["blue"]}
    assert answers.links == [{"lo", 0}]

    assert {:error, %Netns.Error{stage: :create, errno: :eexist, path: "/run/netns/blue"}} =
             answers.taken

    assert answers.theirs_taken =~ "File exists"
    assert answers.both == {["blue", "red"], {:ok, ["blue", "red"]}}
    pid = answers.pid
    assert answers.pids == {{:ok, [pid]}, "#{pid}", {:ok, pid}}
    assert answers.identified == "red"
    assert {9, {:ok, [9]}, "nsid 9 (iproute2 netns name: blue)" <> _} = answers.ids
    assert answers.same
    assert {:ok, %{name: "lo"}} = answers.state
    assert {:error, %Netns.Error{errno: :enoent, path: "/run/netns/blue"}} = answers.gone
    assert answers.reused
    assert [{_, _, "/run/netns", _, "shared:n"}] = answers.left
  end

  test "a name reaches mount namespaces that were copied before it was made" do
    assert Vm.eval(
             @private,
             quote do
               :ok = Linx.Netns.create("first")

               port =
                 Port.open({:spawn_executable, System.find_executable("unshare")}, [
                   :binary,
                   args:
                     ~w(--mount --propagation unchanged sh -c) ++
                       ["echo ready; read line; exec ip netns exec second ip -o link"]
                 ])

               receive do: ({^port, {:data, "ready\n"}} -> :ok)
               :ok = Linx.Netns.create("second")
               Port.command(port, "go\n")
               receive do: ({^port, {:data, text}} -> text)
             end
           ) =~ "1: lo:"
  end

  test "of many creators of a name one gets it, and the directory is mounted once" do
    answers =
      Vm.eval(
        @private,
        quote do
          create = fn n ->
            if rem(n, 3) == 0 do
              {_, status} = System.cmd("ip", ~w(netns add blue), stderr_to_stdout: true)
              if status == 0, do: :ok, else: :eexist
            else
              case Netns.create("blue") do
                :ok -> :ok
                {:error, %{errno: errno}} -> errno
              end
            end
          end

          rounds =
            for _ <- 1..5 do
              outcomes =
                1..12
                |> Task.async_stream(create, max_concurrency: 12, timeout: :infinity)
                |> Enum.map(&elem(&1, 1))

              usable = Netns.inode("blue")

              deleted =
                1..6
                |> Task.async_stream(fn _ -> Netns.delete("blue") end, timeout: :infinity)
                |> Enum.map(&elem(&1, 1))

              {outcomes, usable, deleted}
            end

          names = for n <- 1..40, do: "n#{n}"
          made = names |> Task.async_stream(&Netns.create/1, timeout: :infinity) |> Enum.uniq()
          listed = Netns.list()

          inodes =
            for(name <- names, {:ok, n} <- [Netns.inode(name)], do: n) |> Enum.uniq() |> length()

          mounted =
            for line <- File.stream!("/proc/self/mountinfo"),
                Enum.at(String.split(line), 4) == "/run/netns",
                do: line

          %{
            rounds: rounds,
            made: made,
            listed: listed,
            inodes: inodes,
            mounted: length(mounted),
            names: Enum.sort(names)
          }
        end
      )

    for {outcomes, usable, deleted} <- answers.rounds do
      assert Enum.count(outcomes, &(&1 == :ok)) == 1
      assert outcomes |> Enum.uniq() |> Enum.sort() == [:eexist, :ok]
      assert {:ok, _} = usable
      assert :ok in deleted
      for {:error, error} <- deleted, do: assert(error.errno in [:enoent, :ebusy])
    end

    assert answers.made == [ok: :ok]
    assert answers.listed == {:ok, answers.names}
    assert answers.inodes == 40
    assert answers.mounted == 1
  end

  # As root of a user namespace: no namespace may be made there once the limit is 0.
  test "a step that fails leaves no name behind, and nothing in the VM" do
    answers =
      Vm.eval(
        ["unshare", "--user", "--map-root-user"] ++ tl(@private),
        quote do
          held = fn ->
            for folder <- ["fd", "task"], do: length(File.ls!("/proc/self/" <> folder))
          end

          mounts = fn -> length(Enum.to_list(File.stream!("/proc/self/mountinfo"))) end
          :ok = Netns.create("works")
          {:ok, works} = Netns.open("works")
          File.write!("/proc/sys/user/max_net_namespaces", "0")
          refused = Netns.create("blue")
          refused_new = Netns.new()
          before = {held.(), mounts.()}
          for _ <- 1..50, do: {:error, _} = Netns.create("blue")
          for _ <- 1..50, do: {:error, _} = Netns.new()
          for _ <- 1..50, do: {:error, _} = Netns.create("blue", from: {:path, "/etc/passwd"})
          File.write!("/run/file", "")
          no_folder = Netns.create("blue", dir: "/run/file")
          no_parent = Netns.create("blue", dir: "/run/a/b")

          %{
            refused: refused,
            refused_new: refused_new,
            no_folder: no_folder,
            no_parent: no_parent,
            no_namespace: Netns.create("blue", from: {:path, "/etc/passwd"}),
            names: Netns.list(),
            balance: {before, {held.(), mounts.()}},
            works: Netns.pids(works)
          }
        end
      )

    assert {:error, %Netns.Error{stage: :unshare, errno: :enospc} = error} = answers.refused
    assert error.path == "/run/netns/blue"
    assert Exception.message(error) =~ "max_net_namespaces"

    assert {:error, %Netns.Error{operation: :new, stage: :unshare, errno: :enospc}} =
             answers.refused_new

    assert {:error, %{stage: :mkdir, errno: :enotdir, path: "/run/file"}} = answers.no_folder
    assert {:error, %{stage: :mkdir, errno: :enoent, path: "/run/a/b"}} = answers.no_parent

    assert {:error, %{stage: :setns, errno: :einval, path: "/etc/passwd"}} = answers.no_namespace
    assert answers.names == {:ok, ["works"]}
    {before, later} = answers.balance
    assert before == later
    assert answers.works == {:ok, []}
  end

  test "what others left in the directory: an interrupted creation is deleted, another file " <>
         "stays" do
    answers =
      Vm.eval(
        @private,
        quote do
          :ok = Netns.create("blue")
          File.write!("/run/netns/half", "")
          File.write!("/run/netns/text", "text")
          File.ln_s!("/run/netns/blue", "/run/netns/link")
          # Mounted twice, as two of ip's older versions at a time did.
          {_, 0} = System.cmd("mount", ~w(--bind /run/netns/blue /run/netns/blue))

          %{
            half: Netns.open("half"),
            text: Netns.delete("text"),
            link: Netns.delete("link"),
            deleted: {Netns.delete("half"), Netns.delete("blue")},
            left: Netns.list()
          }
        end
      )

    assert {:error, %Netns.Error{errno: :einval}} = answers.half
    assert {:error, %Netns.Error{errno: :einval} = error} = answers.text
    assert Exception.message(error) =~ "/run/netns/text"
    assert {:error, %Netns.Error{errno: :einval}} = answers.link
    assert answers.deleted == {:ok, :ok}
    assert answers.left == {:ok, ["link", "text"]}
  end

  test "nothing is held after many of each, whatever their owners and callers do" do
    answers =
      Vm.eval(
        @private,
        quote do
          held = fn ->
            Enum.each(Process.list(), &:erlang.garbage_collect/1)
            count = fn folder -> length(File.ls!("/proc/self/" <> folder)) end
            mounts = length(Enum.to_list(File.stream!("/proc/self/mountinfo")))
            {count.("fd"), count.("task"), mounts}
          end

          round = fn ->
            {:ok, netns} = Netns.new()
            {:ok, socket} = Linx.Netlink.Rtnl.open(netns)
            {:ok, _} = Linx.Netlink.Rtnl.Link.list(socket)
            {:ok, again} = Netns.open(netns)
            {:ok, _} = Linx.Sysctl.read("net.ipv4.ip_forward", in: again)
            {:ok, []} = Netns.pids(again)
            {:ok, _} = Netns.set_id(netns, :auto, in: again)
            {:error, _} = Netns.open({:path, "/etc/passwd"})
            :ok = Linx.Netlink.Socket.close(socket)
            :ok = Netns.close(again)
            :ok = Netns.close(netns)
            :ok = Netns.create("blue")
            {:error, _} = Netns.create("blue")
            {:ok, blue} = Netns.open("blue")
            :ok = Netns.delete("blue")
            :ok = Netns.close(blue)
          end

          # Callers that are killed in the midst of a call, or end with what they hold.
          killed = fn ->
            for n <- 1..40 do
              {pid, ref} =
                spawn_monitor(fn ->
                  {:ok, _} = Netns.new()
                  {:ok, _} = Netns.open(:host)
                  Netns.create("k#{n}")
                  Netns.delete("k#{n}")
                end)

              if rem(n, 2) == 0, do: Process.exit(pid, :kill)
              ref
            end
            |> Enum.each(fn ref -> receive do: ({:DOWN, ^ref, _, _, _} -> :ok) end)

            for n <- 1..40, do: Netns.delete("k#{n}")
          end

          # The native library closes what a killed caller held, a little later.
          still =
            fn still, last, times ->
              Process.sleep(20)

              case held.() do
                ^last when times == 0 -> last
                ^last -> still.(still, last, times - 1)
                now -> still.(still, now, 20)
              end
            end

          round.()
          killed.()
          before = still.(still, held.(), 20)
          for _ <- 1..50, do: round.()
          killed.()
          own = File.read_link!("/proc/self/ns/net")

          settled =
            Linx.Test.Poll.holds?(fn ->
              for n <- 1..40, do: Netns.delete("k#{n}")
              {fds, threads, mounts} = held.()
              fds <= elem(before, 0) and threads <= elem(before, 1) and mounts <= elem(before, 2)
            end)

          strangers = fn ->
            for task <- File.ls!("/proc/self/task"),
                {:ok, link} <- [File.read_link("/proc/self/task/#{task}/ns/net")],
                link != own,
                do: task
          end

          %{
            before: before,
            later: held.(),
            settled: settled,
            strangers: Linx.Test.Poll.holds?(fn -> strangers.() == [] end),
            names: Netns.list()
          }
        end
      )

    assert answers.settled, inspect(answers)
    assert answers.strangers
    assert answers.names == {:ok, []}
  end

  test "without root each verb says what is missing, and where" do
    answers =
      Vm.eval(
        Vm.ordinary_user(),
        quote do
          folder = Linx.Test.Scratch.path("netns")

          answers = %{
            new: Netns.new(),
            create: Netns.create("blue", dir: folder),
            folder: folder,
            made: Netns.list(dir: folder),
            other: Netns.open({:pid, 1}),
            own: Netns.open(:host) |> elem(0)
          }

          File.rm_rf!(folder)
          answers
        end
      )

    assert {:error, %Netns.Error{stage: :unshare, errno: :eperm} = error} = answers.new
    assert Exception.message(error) =~ "CAP_SYS_ADMIN"
    folder = answers.folder

    assert {:error, %Netns.Error{stage: :share, errno: :eperm, path: ^folder} = error} =
             answers.create

    assert Exception.message(error) =~ "CAP_SYS_ADMIN"
    assert answers.made == {:ok, []}
    assert {:error, %Netns.Error{errno: errno} = error} = answers.other
    assert errno in [:eacces, :eperm]
    assert Exception.message(error) =~ "CAP_SYS_PTRACE"
    assert answers.own == :ok
  end
end
