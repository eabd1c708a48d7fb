defmodule Linx.Netlink.Nfnl.Batch do
  @moduledoc false
  # NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END: `enum nfnl_batch_attributes`. The resource id is
  # the subsystem that carries the batch out.

  use Linx.Netlink.Codec

  codec do
    header do
      # struct nfgenmsg: no family, and version 0.
      pad(2)
      field(:subsystem, :u16_be)
    end

    attr(1, :genid, :u32_be)
  end
end
