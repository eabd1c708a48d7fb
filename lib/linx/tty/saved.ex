defmodule Linx.Tty.Saved do
  @moduledoc """
  The settings of a terminal as they were before `Linx.Tty.open_controlling_raw/0` changed them.

  Opaque: the kernel's `struct termios2` and the identity of the terminal they were read from.
  Hand it to `Linx.Tty.restore_and_close/2` with the descriptor it came with, and do not look
  inside.
  """

  @enforce_keys [:termios]
  defstruct [:termios]

  @type t :: %__MODULE__{termios: binary()}
end
