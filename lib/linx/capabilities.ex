defmodule Linx.Capabilities do
  @moduledoc """
  Capabilities: root's powers, one by one.

  `read/1` tells what a process has. The other verbs take powers from a child that is parked at
  the checkpoint of `Linx.Process`, before the workload's first instruction: capset(2) and
  prctl(2) act on the thread that calls them, so the child does it to itself. Which powers a
  workload may keep is for the caller to know; Linx has no opinion. File capabilities are not
  touched.

      {:ok, session} = Linx.Process.spawn(argv: ["/usr/sbin/nginx"])
      keep = MapSet.new([:cap_net_bind_service, :cap_setuid, :cap_setgid])
      :ok =
        Linx.Capabilities.drop_bounding(
          session,
          MapSet.difference(Linx.Capabilities.Constants.all(), keep)
        )
      :ok = Linx.Process.proceed(session)

  A set is a `MapSet` of `:cap_*` atoms, the kernel's names in lower case; the verbs take any
  enumerable of them, and refuse anything else with `{:bad_capability, term}`.

  ## What counts after execve

  For root an execve(2) fills the permitted and effective sets up to the bounding set again. So
  what root must not have has to leave the *bounding* set; `set_thread_sets/2` alone changes
  nothing for it. For another user an execve(2) of a plain file leaves what is *ambient*, and
  nothing else.

  ## Errors

  The verbs for a parked child check their input, hand it over and return. `:not_ready` says that
  the child is not at the checkpoint yet, `:running` that it has left it, `:no_process` that it
  has ended. What the kernel then refuses comes to the session's owner as
  `{:linx_process, :error, errno, stage}`, `stage` being `:cap_drop_bounding`, `:cap_set_thread`
  or `:cap_set_ambient`, and ends the session: a workload never starts with more than it was to
  have.

  Source: capabilities(7), capset(2), PR_CAPBSET_DROP(2const), PR_CAP_AMBIENT(2const).
  """

  require Logger

  import Bitwise

  alias Linx.Capabilities.{Constants, Error, State}
  alias Linx.{KernelFile, Procfs}

  @typedoc "A capability: `:cap_net_admin` for CAP_NET_ADMIN."
  @type cap() :: atom()

  @typedoc "A set of capabilities. The verbs take any enumerable of `t:cap/0`."
  @type cap_set() :: MapSet.t(cap())

  @typedoc "Why a parked child cannot be told anything."
  @type refusal() :: :not_ready | :running | :no_process

  @own_status "/proc/self/status"

  # The status file's line of each set (proc_pid_status(5)).
  @lines [
    effective: "CapEff:",
    permitted: "CapPrm:",
    inheritable: "CapInh:",
    bounding: "CapBnd:",
    ambient: "CapAmb:"
  ]

  @doc """
  The capability sets of a process: a pid, `:self` for the VM, or a session of `Linx.Process` for
  its workload.

      iex> {:ok, state} = Linx.Capabilities.read(:self)
      iex> MapSet.subset?(state.effective, state.permitted)
      true

  A capability that a newer kernel has and Linx has no name for is left out, with one warning in
  the log.

  Errors: `%Linx.Capabilities.Error{}` with `:enoent` (no such process), `:eacces`, or
  `:bad_status` for a file without the five lines; for a session `:no_process` and `:not_ready`.
  Source: proc_pid_status(5).
  """
  @spec read(pos_integer() | :self | Linx.Process.t()) ::
          {:ok, State.t()} | {:error, Error.t() | :not_ready | :no_process}
  def read(:self), do: read_file(@own_status)

  def read(process) when (is_integer(process) and process > 0) or is_pid(process) do
    case Procfs.read(process, "status") do
      {:ok, text} ->
        parse(text, status_of(process))

      {:error, {:errno, errno, code, path}} ->
        {:error, %Error{path: path, operation: :read, errno: errno, code: code}}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @doc """
  Takes `caps` out of the bounding set of a parked child, for good.

  The child needs CAP_SETPCAP for it. What is not in the set any more is no error.

      :ok = Linx.Capabilities.drop_bounding(session, [:cap_sys_admin, :cap_sys_module])

  Errors: `{:bad_capability, term}` before anything is sent; `:not_ready`, `:running`,
  `:no_process`; later, as an event, `:cap_drop_bounding` with EPERM (1). Source:
  PR_CAPBSET_DROP(2const).
  """
  @spec drop_bounding(Linx.Process.t(), Enumerable.t()) ::
          :ok | {:error, refusal() | {:bad_capability, term()}}
  def drop_bounding(session, caps) do
    with {:ok, mask} <- Constants.to_mask(caps),
         do: Linx.Process.command(session, {:drop_bounding, mask})
  end

  @doc """
  Sets the effective, permitted and inheritable set of a parked child.

  `opts` has all three of `:effective`, `:permitted` and `:inheritable`. The kernel asks that the
  effective set is part of the permitted one, that the permitted one only shrinks, and that what
  is new among the inheritable is in the bounding set and, without CAP_SETPCAP, was permitted.

      keep = [:cap_net_bind_service]
      :ok =
        Linx.Capabilities.set_thread_sets(session,
          effective: keep,
          permitted: keep,
          inheritable: []
        )

  Errors: `{:bad_thread_sets, {:missing, key}}` and `{:bad_capability, term}` before anything is
  sent; `:not_ready`, `:running`, `:no_process`; later, as an event, `:cap_set_thread` with EPERM
  (1). Source: capset(2).
  """
  @spec set_thread_sets(Linx.Process.t(), keyword()) ::
          :ok
          | {:error,
             refusal() | {:bad_capability, term()} | {:bad_thread_sets, {:missing, atom()}}}
  def set_thread_sets(session, opts) do
    opts = Keyword.validate!(opts, [:effective, :permitted, :inheritable])

    with {:ok, effective} <- mask(opts, :effective),
         {:ok, permitted} <- mask(opts, :permitted),
         {:ok, inheritable} <- mask(opts, :inheritable) do
      Linx.Process.command(session, {:set_thread_sets, effective, permitted, inheritable})
    end
  end

  @doc """
  Makes `caps` the ambient set of a parked child: what it had is lowered, and each of `caps`
  raised.

  Each has to be permitted and inheritable by then, so `set_thread_sets/2` comes first.

      keep = [:cap_net_bind_service]
      :ok =
        Linx.Capabilities.set_thread_sets(session,
          effective: keep,
          permitted: keep,
          inheritable: keep
        )
      :ok = Linx.Capabilities.set_ambient(session, keep)

  Errors: `{:bad_capability, term}` before anything is sent; `:not_ready`, `:running`,
  `:no_process`; later, as an event, `:cap_set_ambient` with EPERM (1). Source:
  PR_CAP_AMBIENT(2const).
  """
  @spec set_ambient(Linx.Process.t(), Enumerable.t()) ::
          :ok | {:error, refusal() | {:bad_capability, term()}}
  def set_ambient(session, caps) do
    with {:ok, mask} <- Constants.to_mask(caps),
         do: Linx.Process.command(session, {:set_ambient, mask})
  end

  @doc """
  Whether this kernel tells of capability sets: whether `/proc/self/status` has a `CapBnd:` line.

  Source: proc_pid_status(5).
  """
  @spec supported?() :: boolean()
  def supported? do
    case KernelFile.read(@own_status) do
      {:ok, text} -> text =~ "CapBnd:"
      {:error, _} -> false
    end
  end

  defp mask(opts, key) do
    case Keyword.fetch(opts, key) do
      {:ok, caps} -> Constants.to_mask(caps)
      :error -> {:error, {:bad_thread_sets, {:missing, key}}}
    end
  end

  defp status_of(session) when is_pid(session), do: "the session's status"
  defp status_of(pid), do: Procfs.path(pid, "status")

  defp read_file(path) do
    case KernelFile.read(path) do
      {:ok, text} -> parse(text, path)
      # The process ended between the opening of its file and the reading.
      {:error, :esrch} -> {:error, Error.from_posix(:enoent, path, :read)}
      {:error, errno} -> {:error, Error.from_posix(errno, path, :read)}
    end
  end

  @doc false
  @spec parse(binary(), Path.t()) :: {:ok, State.t()} | {:error, Error.t()}
  def parse(text, path) do
    lines = String.split(text, "\n")
    masks = for {set, label} <- @lines, do: {set, set_mask(lines, label)}

    if Enum.any?(masks, fn {_, mask} -> mask == nil end) do
      {:error, Error.from_posix(:bad_status, path, :read)}
    else
      warn(masks, path)
      {:ok, struct!(State, for({set, mask} <- masks, do: {set, Constants.from_bits(mask)}))}
    end
  end

  defp set_mask(lines, label) do
    with line when is_binary(line) <- Enum.find(lines, &String.starts_with?(&1, label)),
         digits = line |> String.replace_prefix(label, "") |> String.trim(),
         {mask, ""} when mask >= 0 <- Integer.parse(digits, 16) do
      mask
    else
      _ -> nil
    end
  end

  defp warn(masks, path) do
    unknown = for {_, mask} <- masks, reduce: 0, do: (all -> all ||| Constants.unknown(mask))

    if unknown != 0 do
      Logger.warning(
        "#{path} has capabilities that Linx has no name for: 0x#{Integer.to_string(unknown, 16)}"
      )
    end
  end
end
