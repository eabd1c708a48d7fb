defmodule Linx.Mount.Flags do
  @moduledoc false
  # The MS_* of linux/mount.h and the MNT_* and UMOUNT_* of umount2(2), in the kernel's order.

  import Bitwise

  @mount [
    ro: 1,
    nosuid: 2,
    nodev: 4,
    noexec: 8,
    sync: 16,
    remount: 32,
    mandlock: 64,
    dirsync: 128,
    nosymfollow: 256,
    # 512 is not taken.
    noatime: 1024,
    nodiratime: 2048,
    bind: 4096,
    move: 8192,
    rec: 16384,
    silent: 32768,
    posixacl: 1 <<< 16,
    unbindable: 1 <<< 17,
    private: 1 <<< 18,
    slave: 1 <<< 19,
    shared: 1 <<< 20,
    relatime: 1 <<< 21,
    # 1 <<< 22 is the kernel's own (MS_KERNMOUNT).
    i_version: 1 <<< 23,
    strictatime: 1 <<< 24,
    lazytime: 1 <<< 25
  ]

  @umount [force: 1, detach: 2, expire: 4, no_follow: 8]

  # Those that change a mount that is there, or make one out of one; the rest make a new file
  # system mount.
  @existing [:remount, :bind, :move, :unbindable, :private, :slave, :shared]
  @existing_mask @existing |> Enum.map(&Keyword.fetch!(@mount, &1)) |> Enum.reduce(0, &|||/2)

  @doc "The bits of mount(2) flags."
  @spec mount([atom()]) :: {:ok, non_neg_integer()} | {:error, {:bad_flag, term()}}
  def mount(flags), do: bits(flags, @mount)

  @doc "The bits of umount2(2) flags."
  @spec umount([atom()]) :: {:ok, non_neg_integer()} | {:error, {:bad_flag, term()}}
  def umount(flags), do: bits(flags, @umount)

  @doc "Whether mount(2) with `bits` makes a new mount of a file system."
  @spec new?(non_neg_integer()) :: boolean()
  def new?(bits), do: (bits &&& @existing_mask) == 0

  @doc "Whether mount(2) with `bits` takes the mounts below along."
  @spec recursive?(non_neg_integer()) :: boolean()
  def recursive?(bits), do: (bits &&& @mount[:rec]) != 0

  @doc "Every mount(2) flag with its bit."
  @spec all() :: [{atom(), pos_integer()}]
  def all, do: @mount

  # length/1 fails the guard for an improper list.
  defp bits(flags, table) when length(flags) >= 0 do
    Enum.reduce_while(flags, {:ok, 0}, fn flag, {:ok, bits} ->
      case is_atom(flag) and Keyword.fetch(table, flag) do
        {:ok, bit} -> {:cont, {:ok, bits ||| bit}}
        _ -> {:halt, {:error, {:bad_flag, flag}}}
      end
    end)
  end

  defp bits(flags, _table) do
    raise ArgumentError, ":flags is a list of atoms, got: #{inspect(flags)}"
  end
end
