defmodule Linx.Tty.Error do
  @moduledoc """
  A system call on a terminal that failed.

    * `:operation` - the call: `:open`, `:tcgetattr`, `:tcsetattr`, `:ioctl`, `:close`; taking a
      terminal over for `Linx.Tty.attach/3` adds `:pipe`, `:thread` and `:write`.
    * `:errno` - the error as an atom, `:unknown` for a number that is in no table.
    * `:code` - the number, or `nil` for an atom that has none here.

  Match on `:operation` and `:errno`; the text of `Exception.message/1` is for people.

      iex> Exception.message(Linx.Tty.Error.from_nif(:open, :enxio))
      "tty open: enxio (6)"

  Conditions that are no system call's (`:no_process`, `:no_local_tty`, `:busy`, ...) are plain
  atoms in `{:error, atom}`; `Linx.Tty.format_error/1` explains both.
  """

  alias Linx.Errno

  @type t :: %__MODULE__{
          __exception__: true,
          code: pos_integer() | nil,
          errno: atom(),
          operation: atom()
        }

  defexception [:operation, :errno, :code]

  @doc """
  Builds an error from `{stage, errno}` as `Linx.Tty.Native` gives it: an errno atom, or the raw
  number of one that has no name.

      iex> Linx.Tty.Error.from_nif(:open, :enxio).code
      6
      iex> Linx.Tty.Error.from_nif(:ioctl, 9999)
      %Linx.Tty.Error{operation: :ioctl, errno: :unknown, code: 9999}
  """
  @spec from_nif(atom(), atom() | integer()) :: t()
  def from_nif(stage, errno) when is_atom(stage) do
    {errno, code} = Errno.pair(errno)
    %__MODULE__{operation: stage, errno: errno, code: code}
  end

  @impl true
  def message(%__MODULE__{operation: operation, errno: errno, code: nil}),
    do: "tty #{operation}: #{errno}"

  def message(%__MODULE__{operation: operation, errno: errno, code: code}),
    do: "tty #{operation}: #{errno} (#{code})"
end
