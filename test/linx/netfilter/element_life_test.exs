defmodule Linx.Netfilter.ElementLifeTest do
  # How long an element lives, said in the ways that the kernel leaves out of its dumps.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Decoder, Diff, Element, Ruleset, Set}

  defp ops(from, to, opts) do
    ruleset = fn elements ->
      set = Set.new!("s", [key_type: :ipv4_addr, flags: [:timeout], elements: elements] ++ opts)
      Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_set!("t", set)
    end

    Enum.map(Diff.diff(ruleset.(from), ruleset.(to)).ops, &elem(&1, 0))
  end

  @key {192, 0, 2, 1}

  test "a life of 0 is read as one" do
    raw = [{:raw, %{key: <<192, 0, 2, 1>>, timeout: 0}}]

    assert [%Element{key: @key, timeout: 0} = element] =
             Decoder.materialize_elements(raw, :ipv4_addr, nil)

    assert Element.check(element) == :ok
  end

  test "without end is the same as unsaid where the set has no timeout" do
    assert ops([@key], [%Element{key: @key, timeout: 0}], []) == []
    assert ops([%Element{key: @key, timeout: 0}], [@key], []) == []
  end

  test "without end is a difference where the set has one" do
    changed = [:delete_set_elements, :add_set_elements]
    assert ops([@key], [%Element{key: @key, timeout: 0}], timeout: 3_600_000) == changed
    assert ops([%Element{key: @key, timeout: 0}], [@key], timeout: 3_600_000) == changed
  end

  test "the set's own timeout is the same as unsaid" do
    unsaid = [%Element{key: @key, expires: 1_000}]
    assert ops(unsaid, [%Element{key: @key, timeout: 60_000}], timeout: 60_000) == []
    assert ops(unsaid, [%Element{key: @key, timeout: 60_001}], timeout: 60_000) != []
  end
end
