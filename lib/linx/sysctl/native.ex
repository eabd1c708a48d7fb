defmodule Linx.Sysctl.Native do
  @moduledoc """
  Knobs in other namespaces, by path: what `Linx.Sysctl` calls for `:in`.

  Use `Linx.Sysctl`: it checks keys and values, takes pids and sessions and gives
  `%Linx.Sysctl.Error{}`.

  `ns_paths` is a list of namespace files; `[]` stands for the VM's own. They may be of any kinds,
  but where the knob belongs to a kind of namespace, one of that kind is among them, or it is
  `{:error, {:setns, :einval}}`. They are opened here, a thread joins them, works and ends.
  `/proc/sys` is opened before the thread leaves and is always the VM's own: the kernel shows a
  task the values of the task's namespaces whichever `/proc` it looks through, and one that a
  container has mounted is not to be trusted.

  Every function gives `{:error, {stage, errno}}` when it fails, `errno` being an atom, or the
  number where the kernel's error has no name here. A path outside `/proc/sys` is `:einval` if
  there is such a file, and `:enoent` if not.

  Source: proc_sys(5), setns(2).
  """

  alias Linx.{Errno, Native, Process.AgentImage}
  alias Linx.Pool
  alias Linx.Sysctl.Kinds

  @clone_newnet 0x40000000

  @typedoc "The step that failed."
  @type stage() :: :read | :write | :list | :open_ns | :unshare | :setns | :thread

  @typedoc "What a call that failed gives."
  @type error() :: {:error, {stage(), atom() | pos_integer()}}

  @doc """
  The bytes of the knob at `path`, line end included.

  Errors: `{:error, {stage, errno}}`.
  """
  @spec read_in_ns(binary(), [binary()]) :: {:ok, binary()} | error()
  def read_in_ns(path, ns_paths) do
    with {:ok, below} <- below(path, :read),
         {:ok, places} <- paths(ns_paths, below),
         do: read_at(places, [below])
  end

  @doc """
  Writes `data` to the knob at `path`, in one write(2) and as it is.

  Errors: `{:error, {stage, errno}}`.
  """
  @spec write_in_ns(binary(), binary(), [binary()]) :: :ok | error()
  def write_in_ns(path, data, ns_paths) do
    with {:ok, below} <- below(path, :write),
         {:ok, places} <- paths(ns_paths, below),
         do: write_at(places, [below], data)
  end

  @doc """
  Every knob below `root` that can be read, as `{path, bytes}` in no order.

  Errors: `{:error, {stage, errno}}`, `:list` with `:enoent` or `:enotdir` where `root` is no
  directory.
  """
  @spec list_in_ns(binary(), [binary()]) :: {:ok, [{binary(), binary()}]} | error()
  def list_in_ns(root, ns_paths) do
    with {:ok, below} <- below(root, :list),
         {:ok, places} <- paths(ns_paths, below),
         {:ok, entries} <- list_at(places, [below]) do
      case entries do
        [{^below, _}] -> {:error, {:list, :enotdir}}
        _ -> {:ok, for({path, bytes} <- entries, do: {"/proc/sys/" <> path, bytes})}
      end
    end
  end

  @doc "The name of the native library."
  @spec version() :: charlist()
  def version, do: String.to_charlist(Native.nif_version())

  @doc false
  @spec read_at(Native.places(), [binary()]) :: {:ok, binary()} | error()
  def read_at(places, paths),
    do: agent(places) |> Native.sysctl_read(places, paths) |> Pool.Native.await() |> named()

  @doc false
  @spec write_at(Native.places(), [binary()], binary()) :: :ok | error()
  def write_at(places, paths, data),
    do:
      agent(places)
      |> Native.sysctl_write(places, paths, data)
      |> Pool.Native.await()
      |> named()

  @doc false
  @spec list_at(Native.places(), [binary()]) :: {:ok, [{binary(), binary()}]} | error()
  def list_at(places, paths),
    do: agent(places) |> Native.sysctl_list(places, paths) |> Pool.Native.await() |> named()

  # The namespaces of `target` that values below `path` may depend on. A file has to be of the
  # kind that the knob belongs to: in one of another kind the knob would be the VM's own.
  @doc false
  @spec places(Native.target(), String.t()) :: {:ok, Native.places()} | error()
  def places("", _path), do: {:ok, []}
  def places(file, path) when is_binary(file), do: {:ok, [{file, [Kinds.of(path) || 0], false}]}

  def places({_held, _number} = netns, path),
    do: {:ok, [{netns, [Kinds.of(path) || @clone_newnet], false}]}

  def places(target, path), do: {:ok, [{target, Kinds.needed(path), true}]}

  @doc false
  @spec kind(Native.target()) :: {:ok, pos_integer()} | error()
  def kind({_held, _number}), do: {:ok, @clone_newnet}
  def kind(file), do: file |> Native.namespace_kind() |> Pool.Native.await() |> named()

  defp paths([], _path), do: {:ok, []}

  defp paths(files, path) do
    with {:ok, kinds} <- kinds(files) do
      wanted = Kinds.of(path)

      if wanted == nil or wanted in kinds,
        do: {:ok, Enum.zip_with(files, kinds, &{&1, [&2], false})},
        else: {:error, {:setns, :einval}}
    end
  end

  defp kinds(files) do
    Enum.reduce_while(files, {:ok, []}, fn file, {:ok, kinds} ->
      case kind(file) do
        {:ok, kind} -> {:cont, {:ok, kinds ++ [kind]}}
        error -> {:halt, error}
      end
    end)
  end

  defp below("/proc/sys", _stage), do: {:ok, ""}
  defp below("/proc/sys/" <> path, _stage), do: {:ok, String.trim_trailing(path, "/")}

  defp below(path, stage),
    do: {:error, {stage, if(File.exists?(path), do: :einval, else: :enoent)}}

  # The agent that does a job runs from memory that no container can write to.
  defp agent([]), do: ""
  defp agent(_places), do: List.to_string(AgentImage.path())

  defp named({:error, {stage, code}}), do: {:error, {stage, Errno.name_or_code(code)}}

  defp named(answer), do: answer
end
