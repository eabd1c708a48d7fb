defmodule Linx.Netlink.Nfnl.Generation do
  @moduledoc false
  # NFT_MSG_NEWGEN: the generation of a namespace's ruleset, and the process that made its last
  # commit. `enum nft_gen_attributes`.

  use Linx.Netlink.Codec

  codec do
    header do
      pad(4)
    end

    attr(1, :id, :u32_be, default: 0)
    attr(2, :proc_pid, :u32_be)
    attr(3, :proc_name, :string)
  end

  @doc "The generation in a payload, as `Linx.Netlink.Nfnl.Codec.get_gen/1` documents it."
  @spec read(binary()) :: %{
          id: non_neg_integer(),
          proc_pid: non_neg_integer() | nil,
          proc_name: String.t() | nil
        }
  def read(body), do: body |> decode() |> Map.from_struct()
end
