defmodule Linx.User.Subordinate do
  @moduledoc false
  # Subordinate ids of the VM's user: the ranges of /etc/subuid and /etc/subgid, and the
  # set-user-ID programs that map them for a user who may not (subuid(5), newuidmap(1)).

  alias Linx.KernelFile

  @type kind() :: :uid | :gid
  @type mapping() :: Linx.User.mapping()

  @files %{uid: "/etc/subuid", gid: "/etc/subgid"}
  @programs %{uid: "newuidmap", gid: "newgidmap"}

  # More words than this are no map either (UID_GID_MAP_MAX_EXTENTS).
  @max_ranges 340

  @doc """
  The map of the user's subordinate ids. The user's own id comes first, as 0, but for root: the
  container's root is not the host's.
  """
  @spec mappings(kind()) :: {:ok, [mapping()]} | {:error, {:bad_map, term()}}
  def mappings(kind) do
    file = @files[kind]

    with {:ok, {uid, id}} <- own(kind),
         names = names(uid),
         {:ok, text} <- File.read(file),
         [_ | _] = ranges <- ranges(text, names) do
      own = if uid == 0, do: [], else: [{0, id, 1}]
      {:ok, own ++ lay(ranges, length(own))}
    else
      {:error, {:bad_map, _}} = error -> error
      _none -> {:error, {:bad_map, {:no_subordinate_ids, file}}}
    end
  end

  # The lines of the file that are of one of `names`, as `{first, count}`.
  defp ranges(text, names) do
    for line <- String.split(text, "\n", trim: true),
        [name, first, count] <- [String.split(String.trim(line), ":")],
        name in names,
        {first, ""} <- [Integer.parse(first)],
        {count, ""} <- [Integer.parse(count)],
        first >= 0 and count > 0,
        do: {first, count}
  end

  # Ranges one after the other, from the id `inside` on.
  defp lay(ranges, inside) do
    {mappings, _next} =
      ranges
      |> Enum.take(@max_ranges - 1)
      |> Enum.map_reduce(inside, fn {first, count}, at -> {{at, first, count}, at + count} end)

    mappings
  end

  @doc "Whether this VM writes the map itself: root does."
  @spec root?() :: boolean()
  def root?, do: match?({:ok, {0, _}}, own(:uid))

  @doc "Has newuidmap(1) or newgidmap(1) write the map of process `pid`."
  @spec run(kind(), pos_integer(), [mapping()]) ::
          :ok | {:error, {:newuidmap | :newgidmap, :not_found | {pos_integer(), String.t()}}}
  def run(kind, pid, mappings) do
    name = @programs[kind]
    numbers = for mapping <- mappings, number <- Tuple.to_list(mapping), do: "#{number}"

    case System.find_executable(name) do
      nil ->
        {:error, {String.to_existing_atom(name), :not_found}}

      path ->
        case System.cmd(path, ["#{pid}" | numbers], stderr_to_stdout: true) do
          {_output, 0} ->
            :ok

          {output, status} ->
            {:error, {String.to_existing_atom(name), {status, String.trim(output)}}}
        end
    end
  end

  # The user, and the effective id of the kind.
  defp own(kind) do
    with {:ok, status} <- KernelFile.read("/proc/self/status"),
         [_, uid] <- Regex.run(~r/^Uid:\t\d+\t(\d+)/m, status),
         [_, gid] <- Regex.run(~r/^Gid:\t\d+\t(\d+)/m, status) do
      {uid, gid} = {String.to_integer(uid), String.to_integer(gid)}
      {:ok, {uid, if(kind == :uid, do: uid, else: gid)}}
    else
      _ -> {:error, {:bad_map, {:no_subordinate_ids, "/proc/self/status"}}}
    end
  end

  # The files name a user by its name or by its number.
  defp names(uid) do
    number = "#{uid}"

    case File.read("/etc/passwd") do
      {:ok, text} ->
        named =
          for line <- String.split(text, "\n"),
              [name, _, ^number | _] <- [String.split(line, ":")],
              do: name

        [number | named]

      {:error, _reason} ->
        [number]
    end
  end
end
