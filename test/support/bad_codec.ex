defmodule Linx.Test.BadCodec do
  @moduledoc false
  # Codec declarations that make no sense.

  import ExUnit.Assertions

  @doc "Asserts that a codec of these lines does not compile, and that the error's text matches."
  @spec refused!(String.t(), Regex.t(), String.t()) :: Exception.t()
  def refused!(lines, reason, opts \\ "") do
    code = "defmodule Bad#{System.unique_integer([:positive])} do
      use Linx.Netlink.Codec
      codec #{opts} do
        #{lines}
      end
    end"
    assert_raise ArgumentError, reason, fn -> Code.eval_string(code) end
  end
end
