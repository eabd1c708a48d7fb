defmodule Linx.Netfilter.Wire.Reader do
  @moduledoc false
  # Attributes of received messages. Total: a broken tail ends the list, an attribute of
  # unexpected length is absent.

  alias Linx.Netfilter.Wire
  alias Linx.Netlink.Attr

  @doc "As a map; of two alike the last counts, as in the kernel."
  @spec map(binary()) :: %{optional(0..0x3FFF) => binary()}
  def map(bytes), do: bytes |> Attr.scan() |> :maps.from_list()

  @spec uint(binary() | nil) :: non_neg_integer() | nil
  def uint(<<v::32>>), do: v
  def uint(<<v::64>>), do: v
  def uint(<<v::16>>), do: v
  def uint(<<v>>), do: v
  def uint(_other), do: nil

  @doc "Text up to its NUL; bytes that are no UTF-8 stay as they are."
  @spec text(binary() | nil) :: String.t() | nil
  def text(nil), do: nil

  def text(bytes) do
    size = byte_size(bytes) - 1

    case bytes do
      <<text::binary-size(^size), 0>> when size >= 0 -> cut(text)
      _ -> cut(bytes)
    end
  end

  # A copy: the name must not keep the whole dump alive.
  defp cut(text) do
    case :binary.split(text, <<0>>) do
      [text | _] -> :binary.copy(text)
    end
  end

  @doc "The family and the attributes, as a map, behind a message's nfgenmsg header."
  @spec message(binary()) :: {atom(), %{optional(0..0x3FFF) => binary()}}
  def message(<<family, _version, _res_id::16, attrs::binary>>),
    do: {Wire.family_atom(family), attrs |> Attr.scan() |> :maps.from_list()}

  def message(_short), do: {:unknown, %{}}

  @doc "As `text/1`, empty when absent."
  @spec name(binary() | nil) :: String.t()
  def name(bytes), do: text(bytes) || ""
end
