defmodule Linx.Sysctl.ReconcileTest do
  use ExUnit.Case, async: true
  doctest Linx.Sysctl.Reconcile

  alias Linx.Sysctl.Reconcile
  alias Linx.Sysctl.Reconcile.{Report, Source}

  describe "diff" do
    test "takes numbers as equal however they are spaced, and texts only as they are" do
      for {text, value, same} <- [
            {"4\t4\t1\t7", [4, 4, 1, 7], true},
            {"4\t4\t1\t7", "4 4 1 7", true},
            {"4\t4\t1\t7", [4, 4, 1], false},
            {"1", 1, true},
            {"1", "1", true},
            {"10", 1, false},
            {"-1", -1, true},
            {"a b", "a b", true},
            {"a  b", "a b", false},
            {"ct0", "ct0", true},
            {"", "", true}
          ] do
        expected = if same, do: [], else: [{:set, "k", value}]
        assert {text, Reconcile.diff(%{"k" => text}, %{"k" => value})} == {text, expected}
      end
    end

    test "a desired key is not released, whatever owns it" do
      owned = %{"k" => %{applied: 1, original: "0"}}
      assert Reconcile.diff(%{"k" => "1"}, %{"k" => 1}, owned, revert_on_release: true) == []
    end

    test "refuses unknown options" do
      assert_raise ArgumentError, fn -> Reconcile.diff(%{}, %{}, %{}, revert: true) end
      assert_raise ArgumentError, fn -> Reconcile.diff(%{}, %{}, %{}, revert_on_release: 1) end
    end
  end

  test "input that no kernel is asked about fails by itself" do
    desired = %{"kernel.ostype" => "Linux", "no/slashes" => 1, "kernel.hostname" => "a\nb"}
    {:ok, report} = Reconcile.reconcile(desired)

    assert Enum.sort(report.failed) == [
             {{:set, "kernel.hostname", "a\nb"}, {:bad_value, {:contains, :newline}}},
             {{:set, "no/slashes", 1}, {:bad_key, "no/slashes"}}
           ]

    assert report.last_applied == %{}
  end

  test "an :in that names nothing raises" do
    assert_raise ArgumentError, ~r/:in/, fn ->
      Reconcile.reconcile(%{"kernel.ostype" => 1}, %{}, in: :nowhere)
    end

    assert_raise ArgumentError, ~r/:in/, fn -> Reconcile.reconcile(%{}, %{}, in: :nowhere) end

    assert_raise ArgumentError, ~r/:in/, fn ->
      Source.reconcile(:nowhere, %{"kernel.ostype" => 1}, %{}, [])
    end
  end

  test "to the loop a description that is none is a pass that could not be made" do
    assert {:error, %ArgumentError{}} = Source.reconcile(:self, [:no_map], %{}, [])
  end

  test "the source reads too" do
    assert Source.observe(:self, keys: ["kernel.ostype", "no.such.key"]) ==
             {:ok, %{"kernel.ostype" => "Linux"}}
  end

  test "a report with something left to do says so" do
    report = %Report{converged?: false, applied: [1], failed: [{2, :e}], pending: [3, 4]}
    assert inspect(report) == "#Linx.Sysctl.Reconcile.Report<1 applied, 1 failed, 2 pending>"
  end

  test "an original of several lines is released, since no write takes it back" do
    owned = %{"fs.x" => %{applied: 1, original: "enabled\ninterpreter /x"}}

    assert Linx.Sysctl.Reconcile.diff(%{"fs.x" => "disabled"}, %{}, owned,
             revert_on_release: true
           ) ==
             [{:release, "fs.x"}]
  end
end
