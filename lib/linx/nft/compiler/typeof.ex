defmodule Linx.NFT.Compiler.Typeof do
  @moduledoc false
  # What nft remembers of `typeof EXPRESSION` in a set's userdata: which expression it was, so that it can be listed again.

  @doc false
  def record(_opts, _key, _data), do: nil
end
