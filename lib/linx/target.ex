defmodule Linx.Target do
  @moduledoc false
  # Whose namespaces a verb means: the one reading of every `:in` option.
  #
  # A pid is pinned inside the native call, so that one recycled during the call is an error; one recycled before the
  # call cannot be told. A session was pinned when its process was made and can never name another.

  alias Linx.Native

  @type t :: :self | {:pid, pos_integer()} | {:path, Path.t()} | Linx.Process.t()

  # PID_MAX_LIMIT is 2^22 on 64-bit kernels; pid_t itself is a signed int.
  @pid_t_max 0x7FFFFFFF

  @doc """
  The native target that `option` names.

  `{:bad_in, option}` says that it names nothing; `:not_ready` and `:no_process` are a session's own answers.
  """
  @spec resolve(t() | term()) ::
          {:ok, Native.target()} | {:error, {:bad_in, term()} | :not_ready | :no_process}
  def resolve(:self), do: {:ok, ""}

  def resolve({:pid, pid}) when is_integer(pid) and pid in 1..@pid_t_max, do: {:ok, pid}

  def resolve({:path, path} = option) when is_binary(path) and path != "" do
    if String.contains?(path, "\0"), do: {:error, {:bad_in, option}}, else: {:ok, path}
  end

  def resolve(session) when is_pid(session), do: pin(session)
  def resolve(option), do: {:error, {:bad_in, option}}

  # Linx.Process may be absent from a build that is only half there.
  defp pin(session), do: apply(Linx.Process, :pin, [session])
end
