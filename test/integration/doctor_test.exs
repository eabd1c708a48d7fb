defmodule Linx.DoctorTest do
  use ExUnit.Case, async: false

  alias Linx.Doctor
  alias Linx.Doctor.Finding

  test "every finding says what was seen, and what is missing says what to do" do
    for finding <- Doctor.report() do
      assert %Finding{status: status, detail: detail} = finding
      assert status in [:ok, :missing]
      assert is_binary(detail) and detail != ""
      if status == :missing, do: assert(is_binary(finding.advice))
      if status == :ok, do: assert(finding.advice == nil)
    end
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
  test "it leaves no link, table or process behind" do
    before = traces()
    Doctor.report()
    assert traces() == before
  end

  defp traces do
    {links, 0} = System.cmd("ip", ["-o", "link"])
    {tables, _} = System.cmd("nft", ["list", "tables"], stderr_to_stdout: true)
    {links |> String.split("\n") |> length(), tables, length(Port.list())}
  end

  test "the task prints a line for each finding" do
    output = ExUnit.CaptureIO.capture_io(fn -> Mix.Tasks.Linx.Doctor.run([]) end)
    assert output =~ "linx_process"
    assert output =~ ~r/\d+ of \d+ are there/
  end
end
