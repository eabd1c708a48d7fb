defmodule Linx.Sysctl.Tree do
  @moduledoc false
  # /proc/sys as the VM itself sees it: plain files, of any of the paths that a key may mean.

  alias Linx.Sysctl.Key

  @absent [:enoent, :enotdir, :enametoolong]

  @doc "The content of the first of `paths` that exists."
  @spec read([String.t()]) :: {:ok, binary()} | {:error, atom()}
  def read(paths), do: first(paths, &read_file/1)

  @doc "Writes to the first of `paths` that exists."
  @spec write([String.t()], binary()) :: :ok | {:error, atom()}
  def write(paths, data), do: first(paths, &write_file(&1, data))

  @doc "`{path, content}` of all that can be read below the first of `paths` that exists."
  @spec list([String.t()]) :: {:ok, [{String.t(), binary()}]} | {:error, atom()}
  def list(paths), do: first(paths, &node(&1, []))

  defp first([path], work), do: work.(path)

  defp first([path | others], work) do
    case work.(path) do
      {:error, reason} when reason in @absent ->
        # The plain path's own reason, if none of the others is there either.
        case first(others, work) do
          {:error, again} when again in @absent -> {:error, reason}
          answer -> answer
        end

      answer ->
        answer
    end
  end

  defp node(path, found) do
    case read_file(path) do
      {:ok, content} -> {:ok, [{path, content} | found]}
      {:error, :eisdir} -> walk(path, found)
      {:error, reason} when reason in @absent -> {:error, reason}
      # What is there but may not be read is left out.
      {:error, _} -> {:ok, found}
    end
  end

  defp walk(path, found) do
    case :file.list_dir(Key.absolute(path)) do
      {:ok, names} ->
        {:ok,
         Enum.reduce(names, found, fn name, found -> child(path, to_string(name), found) end)}

      {:error, _} ->
        {:ok, found}
    end
  end

  defp child(directory, name, found) do
    path = if directory == "", do: name, else: directory <> "/" <> name

    case node(path, found) do
      {:ok, found} -> found
      # Gone meanwhile.
      {:error, _} -> found
    end
  end

  defp read_file(path), do: :file.read_file(Key.absolute(path), [:raw])

  # Opening for writing would try to make a file that is not there, which /proc/sys refuses with another errno.
  defp write_file(path, data) do
    file = Key.absolute(path)

    with {:ok, _} <- :file.read_file_info(file, [:raw, time: :posix]),
         do: :file.write_file(file, data, [:raw])
  end
end
