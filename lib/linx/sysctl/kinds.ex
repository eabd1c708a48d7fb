defmodule Linx.Sysctl.Kinds do
  @moduledoc false
  # Which kind of namespace a knob below /proc/sys belongs to, as the CLONE_NEW* flag that names
  # it. Sources: proc_sys(5), network_namespaces(7), uts_namespaces(7), ipc_namespaces(7),
  # pid_namespaces(7), user_namespaces(7).

  @uts 0x04000000
  @ipc 0x08000000
  @user 0x10000000
  @pid 0x20000000
  @net 0x40000000

  @doc """
  The kind that the knob at `path` belongs to; nil for one of the whole machine, and for a
  directory of several.
  """
  @spec of(String.t()) :: pos_integer() | nil
  def of("net"), do: @net
  def of("net/" <> _), do: @net
  def of("user"), do: @user
  def of("user/" <> _), do: @user
  def of("fs/mqueue"), do: @ipc
  def of("fs/mqueue/" <> _), do: @ipc
  def of("kernel/hostname"), do: @uts
  def of("kernel/domainname"), do: @uts
  def of("kernel/shm" <> _), do: @ipc
  def of("kernel/msg" <> _), do: @ipc
  def of("kernel/auto_msgmni"), do: @ipc
  def of("kernel/sem" <> _), do: @ipc
  def of("kernel/ns_last_pid"), do: @pid
  def of("kernel/pid_max"), do: @pid
  def of("vm/memfd_noexec"), do: @pid
  def of(_path), do: nil

  @doc """
  The kinds that values at or below `path` may depend on. A user and a pid namespace cost a
  process to join, so they are among them only where the path is, or may hold, a knob of theirs.
  """
  @spec needed(String.t()) :: [pos_integer()]
  def needed(path) do
    user = if path == "" or of(path) == @user, do: [@user], else: []
    pid = if path in ["", "kernel", "vm"] or of(path) == @pid, do: [@pid], else: []
    [@net, @uts, @ipc] ++ user ++ pid
  end
end
