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
