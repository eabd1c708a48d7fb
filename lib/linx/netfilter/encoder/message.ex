defmodule Linx.Netfilter.Encoder.Message do
  @moduledoc false
  # The parts that the messages of all entities share: the nfgenmsg header and the flags of a
  # creating request.

  import Linx.Netlink.Constants

  alias Linx.Netfilter.Table
  alias Linx.Netlink.Message
  alias Linx.Netlink.Nfnl.Header

  @spec message(byte(), non_neg_integer(), Table.family() | :unspec, iodata()) :: Message.t()
  def message(type, flags, family, attrs) do
    payload = IO.iodata_to_binary([Header.encode(family, 0) | List.wrap(attrs)])
    %Message{type: 0x0A00 + type, flags: flags, payload: payload}
  end

  @doc "A message whose body a codec of Linx.Netfilter.Codec writes."
  @spec message(byte(), non_neg_integer(), struct()) :: Message.t()
  def message(type, flags, %codec{} = body),
    do: %Message{type: 0x0A00 + type, flags: flags, payload: codec.encode(body)}

  @doc "Flags that are not sent when none is set."
  @spec given([atom()] | non_neg_integer()) :: [atom()] | pos_integer() | nil
  def given(flags) when flags in [[], 0], do: nil
  def given(flags), do: flags

  @doc "NLM_F_CREATE, and with `excl: true` NLM_F_EXCL."
  @spec create(keyword()) :: non_neg_integer()
  def create(opts),
    do: if(opts[:excl], do: Bitwise.bor(nlm_f_create(), nlm_f_excl()), else: nlm_f_create())
end
