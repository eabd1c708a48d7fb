defmodule Linx.DoctorTest do
  use ExUnit.Case, async: false

  alias Linx.Doctor
  alias Linx.Doctor.Finding
  alias Linx.Test.Vm

  @areas [
    :kernel,
    :library,
    :privilege,
    :namespaces,
    :cgroup,
    :seccomp,
    :terminal,
    :links,
    :netfilter,
    :tools,
    :config
  ]

  # Whatever is missing, in whichever VM.
  defp assert_whole(findings) do
    for finding <- findings do
      assert %Finding{status: status, detail: detail} = finding
      assert status in [:ok, :missing]
      assert is_binary(detail) and detail != ""
      if status == :missing, do: assert(is_binary(finding.advice))
      if status == :ok, do: assert(finding.advice == nil)
    end

    areas = findings |> Enum.map(& &1.area) |> Enum.uniq()
    assert Enum.sort(areas) == Enum.sort(@areas)
  end

  defp finding(findings, area, item),
    do: Enum.find(findings, &(&1.area == area and &1.item == item))

  defp report_under(command), do: Vm.eval(command, quote(do: Linx.Doctor.report()))

  test "a release prints the table without mix" do
    text = ExUnit.CaptureIO.capture_io(fn -> assert Doctor.print() == :ok end)
    for finding <- Doctor.report(), do: assert(text =~ finding.item)
    assert text =~ ~r/\d+ of \d+ are there\.\n\z/
  end

  test "every finding says what was seen, and what is missing says what to do" do
    assert_whole(Doctor.report())
  end

  @tag :netns
  test "what the kernel lacks comes with the name of its module" do
    for %Finding{area: area, item: item, status: :missing, advice: advice} <- Doctor.report(),
        area in [:links, :netfilter],
        item not in ["network namespace", "socket"],
        do: assert(advice =~ ~r/or modprobe [-\w ]+\.$/)
  end

  @tag :root
  @tag :userns
  test "a VM of an ordinary user is told of its user namespaces and of what root could do" do
    findings = report_under(Vm.ordinary_user())
    assert_whole(findings)
    assert %{status: :ok} = finding(findings, :library, "linx_process")

    assert %{status: :missing, advice: "Run as root, or" <> _} =
             finding(findings, :privilege, "cap_sys_admin")

    assert %{status: :ok, detail: "can be made"} = finding(findings, :namespaces, "user")

    assert %{status: :ok, detail: "can be made inside a user namespace"} =
             finding(findings, :namespaces, "mount")

    assert %{status: :ok} = finding(findings, :links, "veth")
  end

  @tag :userns
  test "a VM that may make no namespace at all is told so" do
    hardened = """
    echo 0 >/proc/sys/user/max_user_namespaces
    exec setpriv --bounding-set=-all --inh-caps=-all "$@"
    """

    findings = report_under(["unshare", "--user", "--map-root-user", "sh", "-ec", hardened, "sh"])
    assert_whole(findings)

    for item <- ~w(user net),
        do: assert(%{status: :missing} = finding(findings, :namespaces, item))

    for area <- [:links, :netfilter] do
      assert %{status: :missing, detail: "none to try in: clone: " <> _, advice: advice} =
               finding(findings, area, "network namespace")

      assert advice =~ "user namespaces"
    end
  end

  @tag :userns
  test "root of a user namespace is told where its powers end" do
    findings = report_under(["unshare", "--user", "--map-root-user"])
    assert_whole(findings)

    assert %{status: :ok, detail: "held inside this user namespace: " <> _} =
             finding(findings, :privilege, "cap_sys_admin")

    assert %{status: :ok} = finding(findings, :links, "veth")
  end

  @tag :root
  test "root without a power is told who keeps it back" do
    findings =
      report_under(["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"])

    assert %{status: :missing, advice: advice} =
             finding(findings, :privilege, "cap_sys_resource")

    assert advice =~ "keeps it back"
  end

  @tag :root
  @tag :cgroup_controllers
  test "controllers of the unified hierarchy are found" do
    findings = Doctor.report()
    assert %{status: :ok, detail: "/sys/fs/cgroup"} = finding(findings, :cgroup, "cgroup v2")

    for item <- ~w(cpu memory pids),
        do: assert(%{status: :ok} = finding(findings, :cgroup, item))
  end

  for kind <- [:dummy, :vlan, :ipvlan] do
    @tag :root
    @tag kind
    test "links of kind #{kind} are found" do
      assert %{status: :ok} = finding(Doctor.report(), :links, unquote(to_string(kind)))
    end
  end

  @tag :tmp_dir
  test "without the native parts it says so, and all the rest", %{tmp_dir: folder} do
    ebin = Path.join(folder, "linx/ebin")
    File.mkdir_p!(Path.dirname(ebin))
    File.cp_r!(Application.app_dir(:linx, "ebin"), ebin)

    code = """
    findings = Linx.Doctor.report()
    IO.puts(Base.encode64(:erlang.term_to_binary(findings)))
    """

    {output, 0} = System.cmd(System.find_executable("elixir"), ["-pa", ebin, "-e", code])
    findings = output |> String.trim() |> Base.decode64!() |> :erlang.binary_to_term()
    assert_whole(findings)

    for item <- ["linx_nif", "linx_process"],
        do: assert(%{status: :missing} = finding(findings, :library, item))
  end

  @tag :root
  @tag :nftables
  test "what this machine is known to have is found" do
    found =
      for finding <- Doctor.report(), finding.status == :ok, do: {finding.area, finding.item}

    for known <- [
          {:library, "linx_nif"},
          {:library, "linx_process"},
          {:namespaces, "net"},
          {:links, "veth"},
          {:netfilter, "family inet"},
          {:seccomp, "actions"}
        ] do
      assert known in found
    end
  end

  @tag :root
  test "it leaves no link, table, process, descriptor or message behind" do
    # The first report loads modules, which stay.
    Doctor.report()
    before = traces()
    for _ <- 1..3, do: Doctor.report()
    # Fewer are those of an earlier test that have ended meanwhile.
    Linx.Test.Poll.until(fn ->
      now = traces()

      Enum.all?(before, fn {what, had} ->
        now[what] == had or (is_integer(had) and now[what] < had)
      end)
    end)

    refute_received _
  end

  defp traces do
    {links, 0} = System.cmd("ip", ["-o", "link"])
    {tables, _} = System.cmd("nft", ["list", "tables"], stderr_to_stdout: true)
    {:links, linked} = Process.info(self(), :links)

    %{
      links: links |> String.split("\n") |> length(),
      tables: tables,
      ports: length(Port.list()),
      processes: length(Process.list()),
      linked: linked,
      descriptors: length(File.ls!("/proc/self/fd")),
      mounts: Linx.Mount.list()
    }
  end

  test "the task prints a line for each finding" do
    output = ExUnit.CaptureIO.capture_io(fn -> Mix.Tasks.Linx.Doctor.run([]) end)
    assert output =~ "linx_process"
    assert output =~ ~r/\d+ of \d+ are there/
  end
end
