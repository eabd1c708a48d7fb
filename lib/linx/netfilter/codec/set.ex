defmodule Linx.Netfilter.Codec.Set do
  @moduledoc false
  # The messages that make, delete and describe a set or a map: `enum nft_set_attributes`.
  # Elements have messages of their own.

  use Linx.Netlink.Codec

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Wire.Constants

  defmodule Field do
    @moduledoc false
    # One part of a concatenation: `enum nft_set_field_attributes`.

    use Linx.Netlink.Codec

    codec do
      attr(nfta_set_field_len(), :length, :u32_be)
    end
  end

  defmodule Description do
    @moduledoc false
    # NFTA_SET_DESC: `enum nft_set_desc_attributes`.

    use Linx.Netlink.Codec

    codec do
      attr(nfta_set_desc_size(), :size, :u32_be)

      attr(
        nfta_set_desc_concat(),
        :concat,
        {:nested, {:list, nfta_list_elem(), {:nested, Field}}}
      )
    end
  end

  codec do
    flags(:flag, :u32_be, Constants.flags(:set))
    enum(:policy, :u32_be, Constants.enum(:set_policy))
    enum(:object, :u32_be, Constants.enum(:object))

    header do
      field(:family, :u8)
      pad(3)
    end

    attr(nfta_set_table(), :table, :string, required: true)
    attr(nfta_set_name(), :name, :string, required: true)
    attr(nfta_set_flags(), :flags, {:flags, :flag})
    attr(nfta_set_key_type(), :key_type, :u32_be)
    attr(nfta_set_key_len(), :key_length, :u32_be)
    attr(nfta_set_data_type(), :data_type, :u32_be)
    attr(nfta_set_data_len(), :data_length, :u32_be)
    attr(nfta_set_obj_type(), :object, {:enum, :object})
    attr(nfta_set_policy(), :policy, {:enum, :policy})
    attr(nfta_set_id(), :id, :u32_be)
    attr(nfta_set_desc(), :description, {:nested, Description})
    attr(nfta_set_timeout(), :timeout, :u64_be)
    attr(nfta_set_gc_interval(), :gc_interval, :u32_be)
    attr(nfta_set_userdata(), :userdata, :binary)
    # One expression as such, several as a list: both as Encoder.Expressions writes them.
    attr(nfta_set_expr(), :expr, {:nested, :binary})
    attr(nfta_set_expressions(), :exprs, {:nested, :binary})
    attr(nfta_set_handle(), :handle, :u64_be)
  end
end
