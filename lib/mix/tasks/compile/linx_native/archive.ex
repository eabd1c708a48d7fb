defmodule Mix.Tasks.Compile.LinxNative.Archive do
  @moduledoc false
  # The archives that the Hex package carries: for each target the NIF library and the agent, made
  # by bin/precompile.
  #
  # An archive is taken only if its SHA-256 is that of the list beside this file, and its two
  # files are for the target's processor. Any other archive is an error and never a reason to
  # build from source: whoever damaged it must be noticed.

  alias Mix.Tasks.Compile.LinxNative.Target

  # The package's folder for them, outside of priv, so that a release carries the built parts
  # alone.
  @folder "precompiled"
  @list "lib/mix/tasks/compile/linx_native/checksums.txt"

  # NIF version of the library (Cargo.toml, rustler's nif_version_2_17).
  @nif "2.17"

  # More than ten times the size of an archive, and of what it holds.
  @max_archive 16 * 1024 * 1024
  @max_unpacked 64 * 1024 * 1024

  @members ["priv/linx_nif.so", "priv/linx_process"]

  @type contents :: %{nif: binary(), agent: binary()}

  @doc "The name of a target's archive."
  @spec name(String.t()) :: String.t()
  def name(triple), do: "linx-#{Mix.Project.config()[:version]}-nif-#{@nif}-#{triple}.tar.gz"

  @doc "Where the archives lie, in the package's own folder."
  @spec folder() :: Path.t()
  def folder, do: @folder

  @doc "The list of sums by archive name."
  @spec list() :: {:ok, %{String.t() => String.t()}} | {:error, String.t()}
  def list do
    case File.read(@list) do
      {:ok, text} ->
        {:ok,
         for line <- String.split(text, "\n", trim: true),
             not String.starts_with?(line, "#"),
             [sum, name] <- [String.split(line)],
             into: %{} do
           {name, sum}
         end}

      {:error, reason} ->
        {:error, "cannot read #{@list}: #{:file.format_error(reason)}"}
    end
  end

  @doc """
  The contents of a target's archive, `:none` where the package has none for it, or the reason for
  which the archive is refused.
  """
  @spec fetch(String.t()) :: {:ok, contents()} | :none | {:error, String.t()}
  def fetch(triple) do
    name = name(triple)
    path = Path.join(@folder, name)

    with {:ok, list} <- list() do
      case {File.lstat(path), list} do
        {{:error, :enoent}, _list} -> :none
        {{:error, reason}, _list} -> refused(path, to_string(:file.format_error(reason)))
        {{:ok, stat}, %{^name => sum}} -> made_for(triple, path, checked(path, stat, sum))
        {{:ok, _stat}, _list} -> refused(path, "it is not in #{@list}")
      end
    end
  end

  @doc "The contents of the archive `path`, if it has the SHA-256 `sum`."
  @spec read(Path.t(), String.t()) :: {:ok, contents()} | {:error, String.t()}
  def read(path, sum) do
    case File.lstat(path) do
      {:ok, stat} -> checked(path, stat, sum)
      {:error, reason} -> refused(path, to_string(:file.format_error(reason)))
    end
  end

  defp made_for(triple, path, {:ok, contents}) do
    case for part <- [:nif, :agent], not Target.runs?(contents[part], triple), do: part do
      [] -> {:ok, contents}
      parts -> refused(path, "not for #{triple}'s processor: #{Enum.join(parts, ", ")}")
    end
  end

  defp made_for(_triple, _path, refusal), do: refusal

  defp checked(path, %File.Stat{type: :regular, size: size}, sum) when size <= @max_archive do
    with {:ok, archive} <- File.read(path),
         {:sum, ^sum} <- {:sum, sha256(archive)},
         {:ok, tar} <- inflate(archive),
         {:ok, contents} <- members(tar) do
      {:ok, contents}
    else
      {:sum, found} -> refused(path, "its SHA-256 is\n    #{found}, not\n    #{sum}")
      {:error, reason} when is_atom(reason) -> refused(path, "#{:file.format_error(reason)}")
      {:error, reason} -> refused(path, reason)
    end
  end

  defp checked(path, %File.Stat{type: :regular, size: size}, _sum),
    do: refused(path, "it has #{size} bytes, and #{@max_archive} are the most")

  defp checked(path, %File.Stat{type: type}, _sum), do: refused(path, "it is a #{type}")

  defp refused(path, reason), do: {:error, "#{path} is refused: #{reason}"}

  @doc "SHA-256 in the form of the list."
  @spec sha256(binary()) :: String.t()
  def sha256(binary), do: :crypto.hash(:sha256, binary) |> Base.encode16(case: :lower)

  # Piece by piece, so that no more than the limit is ever in memory. 31 is zlib's number for gzip
  # with the largest window.
  defp inflate(archive) do
    zlib = :zlib.open()

    try do
      :ok = :zlib.inflateInit(zlib, 31)
      pieces(zlib, :zlib.safeInflate(zlib, archive), [], 0)
    rescue
      ErlangError -> {:error, "it is no whole gzip file"}
    after
      :zlib.close(zlib)
    end
  end

  defp pieces(zlib, {state, output}, done, size) do
    size = size + IO.iodata_length(output)

    cond do
      size > @max_unpacked ->
        {:error, "it unpacks to more than #{@max_unpacked} bytes"}

      state == :finished ->
        :ok = :zlib.inflateEnd(zlib)
        {:ok, IO.iodata_to_binary([done, output])}

      true ->
        pieces(zlib, :zlib.safeInflate(zlib, []), [done, output], size)
    end
  end

  # In memory: a name in the archive is compared and never becomes a path.
  defp members(tar) do
    with {:ok, table} <- :erl_tar.table({:binary, tar}, [:verbose]),
         entries = for({name, type, _, _, _, _, _} <- table, do: {to_string(name), type}),
         true <- Enum.sort(entries) == for(name <- @members, do: {name, :regular}),
         {:ok, files} <- :erl_tar.extract({:binary, tar}, [:memory]),
         %{"priv/linx_nif.so" => nif, "priv/linx_process" => agent} <-
           Map.new(files, fn {name, content} -> {to_string(name), content} end) do
      {:ok, %{nif: nif, agent: agent}}
    else
      {:error, reason} -> {:error, "it is no tar file (#{inspect(reason)})"}
      _other_entries -> {:error, "it holds other entries than #{Enum.join(@members, " and ")}"}
    end
  end
end
