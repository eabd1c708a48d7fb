defmodule Linx.Tty.Error do
  @moduledoc """
  A system call on a terminal that failed.

    * `:operation` - the call: `:open`, `:tcgetattr`, `:tcsetattr`, `:ioctl`, `:close`; taking a
      terminal over for `Linx.Tty.attach/3` adds `:pipe`, `:thread` and `:write`.
    * `:errno` - the error as an atom, `:unknown` for a number that is in no table.
    * `:code` - the number, or `nil` for an atom that has none here.

  Match on `:operation` and `:errno`; the text of `Exception.message/1` is for people.

      iex> Exception.message(Linx.Tty.Error.from_nif(:open, :enxio))
      "tty open failed: enxio (errno 6)"

  Conditions that are no system call's (`:no_process`, `:no_local_tty`, `:busy`, ...) are plain
  atoms in `{:error, atom}`; `Linx.Tty.format_error/1` explains both.
  """

  use Linx.Errno.Exception, subject: "tty", fields: [:operation, :errno, :code]

  @type t :: %__MODULE__{
          __exception__: true,
          code: pos_integer() | nil,
          errno: atom(),
          operation: atom()
        }

  @doc """
  Builds an error from `{stage, errno}` as `Linx.Tty.Native` gives it: an errno atom, or the raw
  number of one that has no name.

      iex> Linx.Tty.Error.from_nif(:open, :enxio).code
      6
      iex> Linx.Tty.Error.from_nif(:ioctl, 9999)
      %Linx.Tty.Error{operation: :ioctl, errno: :unknown, code: 9999}
  """
  @spec from_nif(atom(), atom() | integer()) :: t()
  def from_nif(stage, errno) when is_atom(stage), do: new(errno, operation: stage)
end
