defmodule Linx.Mount.Attributes do
  @moduledoc false
  # The MOUNT_ATTR_* of linux/mount.h (Linux 6.18) by the words of mount(8), as mount_setattr(2)
  # takes them: bits to set, bits to clear, and a propagation type.

  import Bitwise

  @flags [ro: 0x1, nosuid: 0x2, nodev: 0x4, noexec: 0x8, nodiratime: 0x80, nosymfollow: 0x200000]
  @opposites [
    rw: :ro,
    suid: :nosuid,
    dev: :nodev,
    exec: :noexec,
    diratime: :nodiratime,
    symfollow: :nosymfollow
  ]

  # MOUNT_ATTR__ATIME is a field of three bits: a value is set after all of it is cleared.
  @atime_field 0x70
  @atime [relatime: 0x00, noatime: 0x10, strictatime: 0x20]

  # MS_*, of which the call takes one.
  @propagation [unbindable: 1 <<< 17, private: 1 <<< 18, slave: 1 <<< 19, shared: 1 <<< 20]

  @type t() :: Linx.Native.attributes()

  @doc "The mount(2) flags that are attributes of one mount, not of a file system."
  @spec flags() :: [atom()]
  def flags, do: Keyword.keys(@flags) ++ Keyword.keys(@atime)

  @doc "The attributes that `words` set and clear."
  @spec parse([atom()], boolean()) :: {:ok, t()} | {:error, {:bad_flag, term()}}
  def parse(words, recursive?) when length(words) >= 0 do
    words
    |> Enum.uniq()
    |> Enum.reduce_while({:ok, {0, 0, 0, recursive?}}, fn word, {:ok, attributes} ->
      case add(word, attributes) do
        :error -> {:halt, {:error, {:bad_flag, word}}}
        attributes -> {:cont, {:ok, attributes}}
      end
    end)
  end

  def parse(words, _recursive?),
    do: raise(ArgumentError, "expected a list of attributes, got: #{inspect(words)}")

  # A word that contradicts one before it is an error: the kernel would take one of the two.
  defp add(word, {set, clear, propagation, recursive?}) do
    cond do
      not is_atom(word) -> :error
      bit = @flags[word] -> (clear &&& bit) == 0 && {set ||| bit, clear, propagation, recursive?}
      flag = @opposites[word] -> remove(@flags[flag], {set, clear, propagation, recursive?})
      value = @atime[word] -> atime(value, {set, clear, propagation, recursive?})
      type = propagation == 0 && @propagation[word] -> {set, clear, type, recursive?}
      true -> :error
    end || :error
  end

  defp remove(bit, {set, clear, propagation, recursive?}),
    do: (set &&& bit) == 0 && {set, clear ||| bit, propagation, recursive?}

  defp atime(value, {set, clear, propagation, recursive?}),
    do:
      (clear &&& @atime_field) == 0 &&
        {set ||| value, clear ||| @atime_field, propagation, recursive?}
end
