defmodule Linx.Test.Style do
  @moduledoc false
  # Lines that are too long, and comments that begin with a bare "What", "Who", "One of" or "Of".
  # The rows of a table in a documentation text cannot be broken, and may be longer.

  @type line :: {line :: pos_integer(), :long | :begun}

  @places ["lib/linx.ex", "lib/linx/*", "lib/mix", "native/*", "c_src_replacement", "fuzz"] ++
            ["test/linx", "test/integration", "test/support", "test/soak", "test/fixtures"] ++
            ["test/mutations", "test/mix", "test/package", "bench", "examples", "bin"]

  @doc "The offences of each place: a folder, with the module of its name."
  @spec offences(Path.t()) :: %{String.t() => [String.t()]}
  def offences(root) do
    for file <- files(root), reduce: %{} do
      found ->
        lines =
          for {line, fault} <- lines(file, File.read!(file)),
              do: "#{fault} #{relative(file, root)}:#{line}"

        Map.update(found, place(relative(file, root)), lines, &(&1 ++ lines))
    end
  end

  defp files(root) do
    for pattern <- @places,
        path <- Path.wildcard(Path.join(root, pattern)),
        file <- [path | Path.wildcard(Path.join(path, "**/*"))],
        Path.extname(file) in [".ex", ".exs", ".rs"],
        not (file =~ "/target/"),
        uniq: true,
        do: file
  end

  defp relative(file, root), do: Path.relative_to(file, root)

  defp place(file) do
    case Path.split(file) do
      ["lib", "linx", name | _] -> "lib/linx/" <> Path.rootname(name)
      [top, name | _] when top in ["lib", "native", "test"] -> top <> "/" <> name
      [top | _] -> top
    end
  end

  @doc "The offences of a text, by the language that the file's name tells."
  @spec lines(Path.t(), String.t()) :: [line()]
  def lines(file, text) do
    rust? = Path.extname(file) == ".rs"
    max = if rust?, do: 100, else: 98

    long =
      for {line, number} <- text |> String.split("\n") |> Enum.with_index(1),
          byte_size(line) > max and String.length(line) > max,
          not String.starts_with?(String.trim_leading(line), "| "),
          do: {number, :long}

    Enum.sort(long ++ begun(rust?, text))
  end

  # Few texts have the words at all, and the parser takes its time.
  defp begun(rust?, text) do
    cond do
      not (text =~ ~r/(#|\/\/[\/!]?)\s*(What|Who|One of|Of)\b/) -> []
      rust? -> rust(text)
      true -> elixir(text)
    end
  end

  defp elixir(text) do
    {:ok, _ast, comments} = Code.string_to_quoted_with_comments(text, emit_warnings: false)

    comments
    |> Enum.chunk_while([], &chunk/2, &{:cont, Enum.reverse(&1), []})
    |> Enum.reject(&(&1 == []))
    |> Enum.map(&hd/1)
    |> Enum.filter(&bare?(String.trim_leading(&1.text, "#")))
    |> Enum.map(&{&1.line, :begun})
  end

  # A comment goes on in the line below when that has no code.
  defp chunk(comment, []), do: {:cont, [comment]}

  defp chunk(comment, [last | _] = block) do
    if comment.line == last.line + 1 and comment.column == last.column,
      do: {:cont, [comment | block]},
      else: {:cont, Enum.reverse(block), [comment]}
  end

  defp rust(text) do
    lines = text |> String.split("\n") |> Enum.with_index(1)

    for {[{previous, _}, {line, number}], _} <- Enum.zip(pairs(lines), lines),
        [_, comment] <- [Regex.run(~r/^(?:[^"]|"[^"]*")*?\/\/[\/!]?(.*)$/, line)],
        not (line =~ ~r/^\s*\/\// and previous =~ ~r/^\s*\/\//),
        bare?(comment),
        do: {number, :begun}
  end

  defp pairs(lines), do: Enum.chunk_every([{"", 0} | lines], 2, 1, :discard)

  defp bare?(comment), do: comment =~ ~r/^\s*(What|Who|One of|Of)\b/
end
