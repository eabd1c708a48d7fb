defmodule Linx.Doctor.KernelConfigTest do
  use ExUnit.Case, async: true

  alias Linx.Doctor.{Finding, KernelConfig}

  @page "docs/development/boards.md"

  test "an option is there as y or m, and not otherwise" do
    config = """
    CONFIG_A=y
    CONFIG_B=m
    # CONFIG_C is not set
    CONFIG_D=n
    CONFIG_E="y"
    CONFIG_AB=y
    """

    assert KernelConfig.lacking(config, ~w(A B C D E F AB)) == ~w(C D E F)
    assert KernelConfig.lacking("", ["A"]) == ["A"]
  end

  test "each subsystem has a finding, or there is one that says why not" do
    findings = KernelConfig.findings()
    names = Enum.map(KernelConfig.subsystems(), &elem(&1, 0))
    assert Enum.map(findings, & &1.item) in [names, ["kernel options"]]
    assert Enum.all?(findings, &match?(%Finding{area: :config}, &1))
  end

  # The options of a subsystem that are not set, and what its finding says of them.
  defp config(unset) do
    for {_name, needed, features} <- KernelConfig.subsystems(),
        option <- needed ++ features,
        into: "" do
      if option in unset, do: "# CONFIG_#{option} is not set\n", else: "CONFIG_#{option}=m\n"
    end
  end

  test "a configuration that has everything lacks nothing" do
    for finding <- KernelConfig.findings("/proc/config.gz", config([])) do
      assert %Finding{status: :ok, detail: detail} = finding
      assert detail =~ ~r"^\d+ options in /proc/config.gz$"
    end
  end

  test "the poor configuration of a board lacks what it lacks, in each subsystem" do
    for {name, needed, features} <- KernelConfig.subsystems() do
      unset = [hd(needed) | Enum.take(features, -1)]
      findings = KernelConfig.findings("/proc/config.gz", config(unset))
      assert {[poor], rest} = Enum.split_with(findings, &(&1.item == name))
      assert poor.status == :missing

      assert poor.detail ==
               "not set in /proc/config.gz: " <> Enum.map_join(unset, ", ", &("CONFIG_" <> &1))

      assert poor.advice == "Nothing of it works without CONFIG_#{hd(needed)}."
      assert Enum.all?(rest, &(&1.status == :ok))

      for feature <- features do
        findings = KernelConfig.findings("/proc/config.gz", config([feature]))
        assert [%{status: :missing, item: ^name} = poor] = findings -- ok(findings)
        assert poor.detail == "not set in /proc/config.gz: CONFIG_#{feature}"
        assert poor.advice =~ "Features of the same names are missing"
      end
    end
  end

  test "an empty configuration has nothing" do
    assert Enum.all?(KernelConfig.findings("/boot/config-6.12", ""), &(&1.status == :missing))
  end

  defp ok(findings), do: Enum.filter(findings, &(&1.status == :ok))

  test "the page for boards lists the same options" do
    text = File.read!(@page)

    for {name, needed, features} <- KernelConfig.subsystems() do
      assert [_, listed, single] = Regex.run(~r/^\| #{name} \| (.*) \| (.*) \|$/m, text)
      assert words(listed) == needed
      assert words(single) == features
    end
  end

  defp words(cell), do: cell |> String.replace("`", "") |> String.split(", ", trim: true)
end
