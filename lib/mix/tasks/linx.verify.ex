defmodule Mix.Tasks.Linx.Verify do
  @shortdoc "Builds the package's archives again and compares"

  @moduledoc """
  Builds the archives of native code that the Hex package carries from the sources beside them,
  and compares what both hold, so that nobody has to trust whoever made the package.

      mix linx.verify [TRIPLE...]
      mix linx.verify --rebuilt FOLDER [TRIPLE...]

  Each archive in `precompiled/` is checked against the list of SHA-256 sums in `lib/`, unpacked,
  and compared file by file with what `bin/precompile` makes of the same version; `--rebuilt`
  names a folder of archives that were made elsewhere, and builds nothing. Without a triple all
  archives of the list are verified. A file that differs, an archive that is missing or refused,
  and an empty list end the task with an error.

  Building takes what `bin/precompile --help` says. Run it in the package's own folder,
  `deps/linx`.
  """

  use Mix.Task

  alias Mix.Tasks.Compile.LinxNative.Archive

  @impl true
  def run(args) do
    {options, triples} = OptionParser.parse!(args, strict: [rebuilt: :string])
    {:ok, list} = list()
    shipped = shipped(list, triples)
    rebuilt = options[:rebuilt] || rebuild(triples)
    lines = Enum.flat_map(shipped, &compare(&1, rebuilt))
    Enum.each(lines, fn {_result, line} -> Mix.shell().info(line) end)

    case Enum.count(lines, fn {result, _line} -> result != :same end) do
      0 -> Mix.shell().info("All files are the same.")
      count -> Mix.raise("#{count} of #{length(lines)} files differ from what the sources give")
    end
  end

  defp list do
    case Archive.list() do
      {:ok, list} when list == %{} ->
        Mix.raise("the list of archives is empty: this is no Hex package")

      {:ok, list} ->
        {:ok, list}

      {:error, message} ->
        Mix.raise(message)
    end
  end

  # {name, contents} of each archive that is verified.
  defp shipped(list, triples) do
    names = if triples == [], do: Map.keys(list), else: Enum.map(triples, &Archive.name/1)

    for name <- Enum.sort(names) do
      sum = list[name] || Mix.raise("#{name} is not in the list of archives")
      {name, read!(Path.join(Archive.folder(), name), sum)}
    end
  end

  defp read!(path, sum) do
    case Archive.read(path, sum) do
      {:ok, contents} -> contents
      {:error, message} -> Mix.raise(message)
    end
  end

  defp rebuild(triples) do
    folder = Path.join(Mix.Project.build_path(), "verify")
    File.rm_rf!(folder)

    # By bash: the name is no path to System.cmd/3, and a package may have lost the file's mode.
    case System.cmd("bash", ["bin/precompile", folder | triples], into: IO.stream()) do
      {_output, 0} -> folder
      {_output, status} -> Mix.raise("bin/precompile ended with #{status}")
    end
  end

  # An archive that was made again is compared by its contents: its own sum is nobody's promise.
  defp compare({name, shipped}, rebuilt) do
    path = Path.join(rebuilt, name)
    sum = if File.regular?(path), do: Archive.sha256(File.read!(path)), else: ""
    again = read!(path, sum)

    for part <- [:nif, :agent] do
      [was, is] = for contents <- [shipped, again], do: Archive.sha256(contents[part])
      result = if was == is, do: :same, else: :differs
      {result, "#{name}  #{part}  #{result}  #{was}" <> if(was == is, do: "", else: "  #{is}")}
    end
  end
end
