defmodule Linx.Netfilter.Codec.Object do
  @moduledoc false
  # The messages that make, delete and describe a named object: `enum nft_object_attributes`.
  #
  # NFTA_OBJ_DATA depends on the kind. A counter, a quota, a limit, a connlimit and a synproxy
  # have the attributes of the expression of that name (Linx.Netfilter.Wire.Expressions); each
  # other kind has a codec below this module, `codec/1`.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Codec.{Comment, Object}
  alias Linx.Netfilter.Wire.Constants

  codec do
    enum(:kind, :u32_be, Constants.enum(:object))

    header do
      field(:family, :u8)
      pad(3)
    end

    attr(nfta_obj_table(), :table, :string, required: true)
    attr(nfta_obj_name(), :name, :string, required: true)
    attr(nfta_obj_type(), :kind, {:enum, :kind})
    attr(nfta_obj_userdata(), :comment, Comment)
    attr(nfta_obj_data(), :data, {:nested, :binary})
    attr(nfta_obj_handle(), :handle, :u64_be)
  end

  @doc "The codec of a kind's data, as maps; `nil` for the kinds that are expressions."
  @spec codec(atom() | integer()) :: module() | nil
  def codec(:ct_helper), do: Object.CtHelper
  def codec(:ct_timeout), do: Object.CtTimeout
  def codec(:ct_expectation), do: Object.CtExpectation
  def codec(:secmark), do: Object.Secmark
  def codec(:tunnel), do: Object.Tunnel
  def codec(_expression), do: nil
end
