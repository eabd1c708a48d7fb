defmodule Linx.Integration.OrdinaryUserTest do
  # Options of spawn/1 and subordinate ids in a VM of an ordinary user.
  use ExUnit.Case, async: true

  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :userns
  @moduletag :tmp_dir

  test "priorities, descriptors, host name and clocks need no root" do
    code =
      quote do
        {:ok, listener} = :gen_tcp.listen(0, [])

        script =
          "nice; cat /proc/self/oom_score_adj; hostname; echo $LISTEN_FDS; " <>
            "grep -c ':' /proc/self/timens_offsets; cat /proc/self/timens_offsets"

        {:ok, session} =
          Linx.Process.spawn(
            argv: ["/bin/sh", "-c", script],
            namespaces: [:user, :uts, :time],
            nice: 5,
            cpus: [0],
            oom_score_adj: 400,
            scheduler: :batch,
            io_priority: :idle,
            hostname: "box",
            time_offsets: [boottime: 100],
            listen_fds: [listener],
            stdio: [stdout: :pipe]
          )

        refused =
          for options <- [[nice: -5], [scheduler: {:fifo, 1}], [oom_score_adj: -1000]] do
            {:ok, other} =
              Linx.Process.spawn([argv: ["/bin/true"], auto_proceed: true] ++ options)

            {:error, error} = Linx.Process.wait(other, 60_000)
            {error.stage, error.errno}
          end

        maps = Linx.User.setup_maps(session, uid: [{0, 1000, 1}], gid: [{0, 1000, 1}])
        {maps, refused, Linx.Test.Workload.run(session)}
      end

    {maps, refused, {out, outcome}} = Vm.eval(Vm.ordinary_user(), code, [])
    assert maps == :ok
    assert refused == [nice: :eacces, scheduler: :eperm, oom_score_adj: :eacces]
    assert outcome == {:exited, 0}
    assert ["5", "400", "box", "1" | offsets] = String.split(out, "\n", trim: true)
    assert Enum.any?(offsets, &(&1 =~ ~r/boottime +100 +0/))
  end

  @tag :newuidmap
  test "subordinate ids: the user's by newuidmap, root's own, and their " <>
         "absence",
       %{tmp_dir: dir} do
    file = Path.join(dir, "subids")
    File.write!(file, "root:500000:1000\n1000:600000:1000\nother:1:1\n1000:700000:10\n")

    # Bound over the machine's in a mount namespace of the test's.
    bound = fn file ->
      script =
        "for f in subuid subgid; do [ -e /etc/$f ] || exit 1; " <>
          ~s(mount --bind "#{file}" /etc/$f || exit 1; done; exec "$@")

      ["unshare", "--mount", "sh", "-c", script, "sh"]
    end

    code =
      quote do
        {:ok, session} =
          Linx.Process.spawn(
            argv: ["/bin/sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map"],
            namespaces: [:user],
            stdio: [stdout: :pipe]
          )

        maps = Linx.User.setup_maps(session, uid: :subuid, gid: :subgid)
        {maps, Linx.Test.Workload.run(session)}
      end

    # A set-user-ID program has no more than the bounding set.
    user =
      for word <- Vm.ordinary_user(), do: String.replace(word, ~r/--bounding-set=\S+/, "")

    numbers = fn {maps, {out, outcome}} ->
      {maps, outcome, out |> String.split() |> Enum.join(" ")}
    end

    own = "0 1000 1 1 600000 1000 1001 700000 10"

    assert {:ok, {:exited, 0}, "#{own} #{own}"} ==
             numbers.(Vm.eval(bound.(file) ++ user, code, []))

    assert {:ok, {:exited, 0}, "0 500000 1000 0 500000 1000"} ==
             numbers.(Vm.eval(bound.(file) ++ ["env"], code, []))

    File.write!(file, "other:1:1\n")

    assert {{:error, {:bad_map, {:no_subordinate_ids, "/etc/subuid"}}}, _, _} =
             numbers.(Vm.eval(bound.(file) ++ user, code, []))
  end
end
