defmodule Linx.Test.Scratch do
  @moduledoc false
  # Short paths that nobody else has: not another test, nor another run on the same machine, nor
  # one that was killed and left its files behind. For what ExUnit's :tmp_dir is too long for, or
  # must not lie in the checkout.

  @doc "A path in the machine's temporary folder, ending in `name`; nothing is made there."
  @spec path(String.t()) :: Path.t()
  def path(name) do
    # Not :rand, which ExUnit seeds alike in every test.
    random = Base.encode32(:crypto.strong_rand_bytes(10), case: :lower, padding: false)
    Path.join(System.tmp_dir!(), "linx-#{random}-#{name}")
  end
end
