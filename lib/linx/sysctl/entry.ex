defmodule Linx.Sysctl.Entry do
  @moduledoc """
  One knob as `Linx.Sysctl.list/1` found it: its `:key`, in dot form or as a list
  (`t:Linx.Sysctl.key/0`), and its `:value`, without the line end that the kernel puts behind it.

  It is inspected as `#Linx.Sysctl.Entry<net.ipv4.ip_forward = "0">`. Of a value of more than 60
  bytes the text shows as many and `...`; the field has it all.

  Source: proc_sys(5).
  """

  @type t() :: %__MODULE__{key: Linx.Sysctl.key(), value: binary()}

  @enforce_keys [:key, :value]
  defstruct [:key, :value]

  defimpl Inspect do
    @max_shown 60

    def inspect(%{key: key, value: value}, _opts) when is_binary(value) do
      "#Linx.Sysctl.Entry<#{name(key)} = #{text(value)}>"
    end

    def inspect(entry, _opts) do
      "#Linx.Sysctl.Entry<#{Kernel.inspect(entry.key)} = #{Kernel.inspect(entry.value)}>"
    end

    defp name(key) when is_binary(key), do: key
    defp name(key), do: Kernel.inspect(key)

    defp text(value) when byte_size(value) <= @max_shown, do: quoted(value)

    defp text(value) do
      cut = value |> binary_part(0, @max_shown) |> whole_characters()
      quoted(cut <> "...")
    end

    # A character that the cut went through would turn the whole text into a list of bytes.
    defp whole_characters(bytes) do
      case :unicode.characters_to_binary(bytes) do
        {:incomplete, whole, _rest} -> whole
        _ -> bytes
      end
    end

    defp quoted(bytes),
      do: Kernel.inspect(bytes, binaries: :as_strings, printable_limit: :infinity)
  end
end
