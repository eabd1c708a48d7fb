defmodule Linx.Process.Subject do
  @moduledoc false
  # The parts of a request that a session's reports and errors name, each bounded. The environment
  # is none of them.

  # Bytes of a text, and words of argv.
  @longest 200
  @words 8

  @enforce_keys [:mode]
  defstruct [
    :mode,
    :id,
    :target,
    :path,
    :cwd,
    :cgroup,
    :uid,
    :gid,
    argv: [],
    namespaces: 0,
    files: [],
    cpus: [],
    rlimits: []
  ]

  @type t() :: %__MODULE__{
          mode: :spawn | :enter,
          id: term(),
          target: pos_integer() | nil,
          path: String.t() | nil,
          cwd: String.t() | nil,
          cgroup: String.t() | nil,
          uid: non_neg_integer() | nil,
          gid: non_neg_integer() | nil,
          argv: [String.t()],
          namespaces: non_neg_integer(),
          files: [String.t()],
          cpus: [non_neg_integer()],
          rlimits: [{non_neg_integer(), non_neg_integer(), non_neg_integer()}]
        }

  @doc "The subject of what goes to the agent. `id` is the name that the caller gave the session."
  @spec new(tuple(), term()) :: t()
  def new({:spawn, request}, id), do: new(:spawn, nil, request, id)
  def new({:enter, target, request}, id), do: new(:enter, target, request, id)

  defp new(mode, target, request, id) do
    [first | _] = request.argv

    %__MODULE__{
      mode: mode,
      id: id,
      target: target_pid(target, request[:join]),
      path: cut(request[:path] || first),
      cwd: cut(request[:cwd]),
      cgroup: cut(request[:cgroup]),
      uid: request[:uid],
      gid: request[:gid],
      argv: words(request.argv),
      namespaces: request[:namespaces] || 0,
      files: request[:stdio] |> files() |> Enum.map(&cut/1),
      cpus: request[:cpus] || [],
      rlimits: request[:rlimits] || []
    }
  end

  defp target_pid(target, _join) when is_integer(target), do: target
  defp target_pid(_target, {pid, _kinds}) when is_integer(pid), do: pid
  defp target_pid(_target, _join), do: nil

  # A copy: part of a binary would keep all of it.
  defp cut(nil), do: nil
  defp cut(text) when byte_size(text) <= @longest, do: :binary.copy(text)
  defp cut(text), do: binary_part(text, 0, @longest) <> "..."

  defp words(argv) do
    {words, rest} = Enum.split(argv, @words)
    {words, _left} = Enum.map_reduce(words, @longest, &word/2)
    words = Enum.reject(words, &is_nil/1)
    if rest == [] and length(words) == length(argv), do: words, else: words ++ ["..."]
  end

  defp word(_word, left) when left <= 0, do: {nil, 0}

  defp word(word, left) when byte_size(word) <= left,
    do: {:binary.copy(word), left - byte_size(word)}

  defp word(word, left), do: {binary_part(word, 0, left) <> "...", 0}

  defp files(stdio) when is_tuple(stdio) do
    for each <- Tuple.to_list(stdio), path <- file(each), uniq: true, do: path
  end

  defp files(_stdio), do: []

  defp file({:file, path, _mode}) when is_binary(path), do: [path]
  defp file({:connect_unix, path}) when is_binary(path), do: [path]
  defp file(_direction), do: []

  defimpl Inspect do
    # One line: Linx.Process<:job, ["/bin/sh", "-c", "exit 7"]>.
    def inspect(subject, _opts) do
      id =
        if subject.id != nil,
          do: "#{Kernel.inspect(subject.id, limit: 20, printable_limit: 60)}, "

      "#Linx.Process<#{id}#{Kernel.inspect(subject.argv)}>"
    end
  end
end
