defmodule Linx.Target do
  @moduledoc false
  # Whose namespaces a verb means: the one reading of every `:in` option.
  #
  # A pid is pinned inside the native call, so that one recycled during the call is an error; one
  # recycled before the call cannot be told. A session was pinned when its process was made and
  # can never name another.

  alias Linx.{Native, Pool}

  @type t ::
          :self | {:pid, pos_integer()} | {:path, Path.t()} | Linx.Process.t() | Linx.Netns.t()

  @typedoc "A session's own answers, in place of a target."
  @type unready :: :not_ready | :no_process

  # PID_MAX_LIMIT is 2^22 on 64-bit kernels; pid_t itself is a signed int.
  @pid_t_max 0x7FFFFFFF
  @esrch 3

  @doc """
  The native target that `option` names.

  `{:bad_in, option}` says that it names nothing; `:not_ready` and `:no_process` are a session's
  own answers.
  """
  @spec resolve(t() | term()) ::
          {:ok, Native.target()} | {:error, {:bad_in, term()} | unready()}
  def resolve(:self), do: {:ok, ""}

  def resolve({:pid, pid}) when is_integer(pid) and pid in 1..@pid_t_max, do: {:ok, pid}

  def resolve({:path, path} = option) when is_binary(path) and path != "" do
    if String.contains?(path, "\0"), do: {:error, {:bad_in, option}}, else: {:ok, path}
  end

  # A network namespace that is held. Closed, it is EBADF in whatever call it is used for.
  def resolve(%{__struct__: Linx.Netns, handle: handle, number: number}),
    do: {:ok, {handle, number}}

  def resolve(session) when is_pid(session), do: Linx.Process.pin(session)
  def resolve(option), do: {:error, {:bad_in, option}}

  @doc """
  The target's file below `/proc` as a text for errors (nothing opens it), or the namespace file
  that it is.
  """
  @spec proc_path(Native.target(), String.t()) :: String.t()
  def proc_path(pid, name) when is_integer(pid), do: Path.join(["/proc", "#{pid}", name])
  def proc_path(path, _name) when is_binary(path), do: path
  def proc_path({_held, number}, _name), do: "/proc/self/fd/#{number}"
  def proc_path(pin, name), do: pin |> Native.pid_of() |> proc_path(name)

  @doc "Whether a fault says that a session's process has ended: its pid may be another's by now."
  @spec ended?(Native.target(), Linx.Native.errno()) :: boolean()
  def ended?(target, errno),
    do: errno == @esrch and is_reference(target)

  @doc """
  Calls `fun` with a descriptor of the target's network namespace, which is closed afterwards.

  For requests that name a namespace by descriptor: the kernel looks it up while it handles the
  request, and until `fun` returns it is open and its number is not another's.
  """
  @spec with_netns(Native.target(), (non_neg_integer() -> result)) :: result | Native.fault()
        when result: term()
  def with_netns(target, fun) do
    with {:ok, {namespace, fd}} <- target |> Native.netns_open() |> Pool.Native.await() do
      try do
        fun.(fd)
      after
        Native.netns_release(namespace)
      end
    end
  end
end
