defmodule Linx.Test.Package do
  @moduledoc false
  # The Hex package laid out in a folder: the files that package/0 in mix.exs lists, and no other.

  @doc "Unpacks the package into `folder`, which must not exist yet."
  @spec unpack!(Path.t()) :: :ok
  def unpack!(folder) do
    package = Mix.Project.config()[:package]
    File.mkdir_p!(folder)

    for entry <- package[:files] do
      File.exists?(entry) || raise "package/0 lists #{entry}, which is not there"

      for file <- files(entry), not excluded?(file, package) do
        to = Path.join(folder, file)
        File.mkdir_p!(Path.dirname(to))
        # With its time, by which Mix tells a source that has changed.
        File.cp!(file, to)
        File.touch!(to, File.stat!(file, time: :posix).mtime)
      end
    end

    :ok
  end

  defp files(entry) do
    if File.dir?(entry),
      do: Enum.filter(Path.wildcard(entry <> "/**", match_dot: true), &File.regular?/1),
      else: [entry]
  end

  defp excluded?(file, package), do: Enum.any?(package[:exclude_patterns], &(file =~ &1))
end
