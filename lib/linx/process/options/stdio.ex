defmodule Linx.Process.Options.Stdio do
  @moduledoc false
  # The options :stdio and :pty: what becomes of the workload's descriptors 0 to 2.

  import Bitwise

  # struct sockaddr_un has 108 bytes for the path and its NUL.
  @max_socket_path 107

  @doc "The request's `stdio` for the agent; `{:error, {:bad_stdio | :bad_pty, value}}`."
  @spec parse(term(), term()) :: {:ok, tuple()} | {:error, term()}
  def parse(stdio, pty) when pty != nil and stdio not in [nil, :pty],
    do: {:error, {:bad_pty, pty}}

  def parse(nil, nil), do: {:ok, {:inherit, :inherit, :inherit}}
  def parse(:pty, pty), do: pty(pty || [])
  def parse(nil, pty), do: pty(pty)

  def parse(all, nil) when all in [:inherit, :devnull, :pipe], do: {:ok, {all, all, all}}

  def parse(each, nil) do
    with true <- Keyword.keyword?(each),
         [] <- Keyword.keys(each) -- [:stdin, :stdout, :stderr],
         directions = for(fd <- [:stdin, :stdout, :stderr], do: direction(fd, each[fd])),
         false <- :error in directions,
         false <- conflict?(directions) do
      {:ok, List.to_tuple(directions)}
    else
      _ -> {:error, {:bad_stdio, each}}
    end
  end

  defp direction(_fd, nil), do: :inherit
  defp direction(_fd, direction) when direction in [:inherit, :devnull, :pipe], do: direction
  defp direction(:stderr, :stdout), do: :stdout

  defp direction(_fd, {:connect_unix, path})
       when is_binary(path) and byte_size(path) in 1..@max_socket_path do
    if string?(path) and not other_file?(path), do: {:connect_unix, path}, else: :error
  end

  defp direction(fd, {:file, path, mode})
       when (fd == :stdin and mode == :read) or (fd != :stdin and mode in [:write, :append]) do
    if string?(path) and path != "", do: {:file, path, mode}, else: :error
  end

  defp direction(_fd, _direction), do: :error

  # A listener that is made at the checkpoint is not there yet. A file of another kind never
  # becomes one: better said now than after the whole set-up. File's `:other` is a socket or a
  # fifo, which the mode tells apart (inode(7)). OTP's file server, which all of the VM uses, does
  # not look at the path: a file system may not answer.
  defp other_file?(path) do
    case :file.read_file_info(path, [:raw, time: :posix]) do
      {:ok, info} ->
        %File.Stat{type: type, mode: mode} = File.Stat.from_record(info)
        type != :other or band(mode, 0o170000) == 0o010000

      {:error, _reason} ->
        false
    end
  end

  # One file that is truncated by the one descriptor and appended to by the other.
  defp conflict?([_stdin, {:file, path, one}, {:file, path, other}]), do: one != other
  defp conflict?(_directions), do: false

  # The kernel's strings end at their first NUL: what follows one would be lost without a word.
  defp string?(value), do: is_binary(value) and not String.contains?(value, <<0>>)

  defp pty(options) do
    known = [:rows, :cols, :xpixel, :ypixel, :echo, :onlcr]

    with true <- Keyword.keyword?(options),
         [] <- Keyword.keys(options) -- known,
         {numbers, flags} = Keyword.split(options, [:rows, :cols, :xpixel, :ypixel]),
         true <- Enum.all?(Keyword.values(numbers), &(is_integer(&1) and &1 in 0..0xFFFF)),
         true <- Enum.all?(Keyword.values(flags), &is_boolean/1) do
      {:ok,
       {:pty, size(numbers), Keyword.get(flags, :echo, true), Keyword.get(flags, :onlcr, true)}}
    else
      _ -> {:error, {:bad_pty, options}}
    end
  end

  defp size([]), do: nil

  defp size(numbers),
    do:
      [:rows, :cols, :xpixel, :ypixel]
      |> Enum.map(&Keyword.get(numbers, &1, 0))
      |> List.to_tuple()
end
