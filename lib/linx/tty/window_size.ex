defmodule Linx.Tty.WindowSize do
  @moduledoc """
  The size of a terminal, as `struct winsize` has it.

  `:rows` and `:cols` count characters. `:xpixel` and `:ypixel` are the size in pixels; most
  terminals leave them 0. Each is at most 65535. The text form is columns by rows, the way
  terminals are spoken of:

      iex> inspect(%Linx.Tty.WindowSize{rows: 42, cols: 132, xpixel: 0, ypixel: 0})
      "%Linx.Tty.WindowSize<132x42>"

  `Linx.Process.pty_set_winsize/2` takes it as it is.
  """

  defstruct rows: 0, cols: 0, xpixel: 0, ypixel: 0

  @type t :: %__MODULE__{
          cols: non_neg_integer(),
          rows: non_neg_integer(),
          xpixel: non_neg_integer(),
          ypixel: non_neg_integer()
        }

  defimpl Inspect do
    def inspect(%{rows: rows, cols: cols}, _opts),
      do: "%Linx.Tty.WindowSize<#{cols}x#{rows}>"
  end
end
