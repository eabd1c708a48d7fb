defmodule Linx.RequiredTagsTest do
  # LINX_REQUIRE makes an error of a test that this host would leave out.
  use ExUnit.Case, async: true

  alias Linx.Test.Host

  test "a required tag that is excluded is missing, with the reason" do
    assert Host.missing("root, newer_nft", newer_nft: "no nft", tty: "none") == [
             "newer_nft: no nft"
           ]

    assert Host.missing("", newer_nft: "no nft") == []
    assert Host.missing("root,tty", []) == []
  end

  test "a required tag that no probe has is missing" do
    assert Host.missing("newer_ntf", []) == ["newer_ntf: no probe has this name"]
  end
end
