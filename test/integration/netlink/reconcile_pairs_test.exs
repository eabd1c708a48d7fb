defmodule Linx.Netlink.ReconcilePairsTest do
  # Two desired states of one object behind each other, over values that the property test leaves
  # out.
  #
  #     LINX_SEED=1..500 mix test THIS      so many pairs of each sort
  use ExUnit.Case, async: true

  alias Linx.Test.Reconcile.{Pairs, Property}

  @moduletag :root
  @moduletag :netns
  @moduletag :newer_iproute2
  @moduletag timeout: :infinity

  for sort <- Pairs.sorts() do
    test "a state converges behind another one if it converges alone: #{sort}" do
      assert :ok = Pairs.check(unquote(sort), Property.seeds(12))
    end
  end
end
