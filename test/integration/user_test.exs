defmodule Linx.Integration.UserTest do
  use ExUnit.Case, async: true

  import Linx.Test.Workload

  alias Linx.Test.Vm
  alias Linx.User
  alias Linx.User.Error

  @moduletag :root

  test "maps are written once, read back, and in force" do
    {session, pid} =
      parked([:user], argv: ["/bin/sh", "-c", "id -u; id -g"], stdio: [stdout: :pipe])

    assert User.read_uid_map(session) == {:ok, []}
    uid = [{0, 100_000, 1000}, {5000, 200_000, 1}]
    assert :ok = User.deny_setgroups(session)
    assert :ok = User.deny_setgroups(pid)
    assert :ok = User.set_uid_map(session, uid)
    assert :ok = User.set_gid_map(pid, [{0, 0, 1}])

    assert {:ok, maps} = User.read_uid_map(pid)
    assert Enum.map(maps, &{&1.inside, &1.outside, &1.length}) == uid
    assert inspect(hd(maps)) == "#Linx.User.Map<0..999 -> 100000..100999>"
    assert {:ok, [%User.Map{inside: 0, outside: 0, length: 1}]} = User.read_gid_map(session)
    assert File.read!("/proc/#{pid}/setgroups") == "deny\n"

    assert User.set_uid_map(pid, uid) ==
             {:error,
              %Error{
                path: "/proc/#{pid}/uid_map",
                operation: :set_uid_map,
                errno: :eperm,
                code: 1
              }}

    # Whoever is not in the map becomes its root.
    assert {"0\n0\n", {:exited, 0}} = run(session)
  end

  test "the workload's ids are those of the map" do
    {session, _pid} =
      parked([:user], argv: ["/bin/sh", "-c", "id -u; id -g"], stdio: [stdout: :pipe])

    assert :ok = User.setup_maps(session, uid: [{7, 0, 1}], gid: [{8, 0, 1}])
    assert {"7\n8\n", {:exited, 0}} = run(session)
  end

  test "setup_maps writes all three, and stops at the first that fails" do
    {session, pid} = parked([:user], argv: ["/usr/bin/id", "-u"], stdio: [stdout: :pipe])
    maps = [uid: [{0, 0, 1}], gid: [{0, 0, 1}]]
    assert :ok = User.setup_maps(session, maps)
    assert File.read!("/proc/#{pid}/setgroups") == "deny\n"

    # The gid map is there by now, so denying is refused first, or allowed as it is denied
    # already.
    assert {:error, %Error{operation: operation, errno: :eperm}} = User.setup_maps(pid, maps)
    assert operation in [:deny_setgroups, :set_uid_map]
    assert {"0\n", {:exited, 0}} = run(session)
  end

  test "skip leaves setgroups alone" do
    {session, pid} = parked([:user])
    assert :ok = User.setup_maps(session, uid: [{0, 0, 1}], gid: [{0, 0, 1}], setgroups: :skip)
    assert File.read!("/proc/#{pid}/setgroups") == "allow\n"

    assert {:error, %Error{operation: :deny_setgroups, errno: :eperm}} =
             User.deny_setgroups(session)
  end

  test "bad input is refused before anything is written" do
    {session, pid} = parked([:user])

    assert {:error, {:bad_map, _}} =
             User.setup_maps(session, uid: [{0, 0, 1}], gid: [{0, 4_294_967_296, 1}])

    assert {:error, {:bad_setgroups, :maybe}} =
             User.setup_maps(pid, uid: [{0, 0, 1}], gid: [{0, 0, 1}], setgroups: :maybe)

    assert User.read_uid_map(session) == {:ok, []}
    assert File.read!("/proc/#{pid}/setgroups") == "allow\n"
  end

  test "what overlaps is the kernel's to refuse" do
    {session, _pid} = parked([:user])

    assert {:error, %Error{operation: :set_uid_map, errno: :einval, code: 22}} =
             User.set_uid_map(session, [{0, 1000, 10}, {5, 2000, 10}])

    assert User.read_uid_map(session) == {:ok, []}
  end

  test "the longest map the kernel takes goes through in one write" do
    {session, _pid} = parked([:user])
    mappings = for n <- 0..339, do: {n, 1000 + 2 * n, 1}
    assert :ok = User.set_uid_map(session, mappings)
    assert {:ok, maps} = User.read_uid_map(session)
    assert Enum.map(maps, &{&1.inside, &1.outside, &1.length}) == mappings
    assert User.set_gid_map(session, [{340, 1, 1} | mappings]) == {:error, {:bad_map, :too_many}}
  end

  test "a file that is mounted over /proc is not written to" do
    code =
      quote do
        {session, pid} = Linx.Test.Workload.parked([:user])
        folder = Linx.Test.Scratch.path("false-proc")
        File.mkdir_p!("#{folder}/#{pid}")
        for name <- ~w(uid_map gid_map setgroups), do: File.write!("#{folder}/#{pid}/#{name}", "")
        :ok = Linx.Mount.bind(folder, "/proc")
        answers = {Linx.User.set_uid_map(session, [{0, 0, 1}]), Linx.User.deny_setgroups(pid)}
        :ok = Linx.Mount.umount("/proc", flags: [:detach])
        files = for name <- ~w(uid_map setgroups), do: File.read!("#{folder}/#{pid}/#{name}")
        File.rm_rf!(folder)
        {answers, files, Linx.User.read_uid_map(session)}
      end

    assert {{{:error, %Error{operation: :set_uid_map, errno: :exdev}},
             {:error, %Error{operation: :deny_setgroups, errno: :exdev}}}, ["", ""], {:ok, []}} =
             Vm.eval(["unshare", "--mount", "--propagation", "private"], code)
  end

  @tag :userns
  test "a VM without capabilities may not map root" do
    code =
      quote do
        {session, _pid} = Linx.Test.Workload.parked([:user])

        {Linx.User.deny_setgroups(session),
         Linx.User.set_uid_map(session, [{0, 0, 1}, {1, 1, 9}])}
      end

    assert {:ok, {:error, %Error{operation: :set_uid_map, errno: :eperm}}} =
             Vm.eval(["setpriv", "--bounding-set=-all", "--inh-caps=-all"], code)
  end
end
