defmodule Linx.HouseTest do
  # The files that a newcomer meets: what they name is there, and lines and comments keep to
  # docs/development/style.md.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  defp read(file), do: File.read!(Path.join(@root, file))
  defp there?(file), do: File.exists?(Path.join(@root, file))

  # The package leaves out what only a checkout needs.
  defp checkout?, do: there?("fuzz/Cargo.toml")

  describe "SECURITY.md" do
    test "has a test for each defence, and each test is there" do
      rows =
        for "| " <> row <- String.split(read("SECURITY.md"), "\n"),
            [against, _defence, tests] <- [row |> String.trim(" |") |> String.split(" | ")],
            against != "Against",
            do: {against, tests}

      assert length(rows) >= 18

      named = for {_, tests} <- rows, [_, file] <- Regex.scan(~r/`([\w\/.]+)`/, tests), do: file
      files = for file <- named, Path.extname(file) == ".exs" or file =~ "/", do: file
      assert length(files) >= 18
      assert for(file <- files, not test?(file), do: file) == []

      # "the same" is the row above; a name in backticks alone is a case of the hostile suite.
      bare = for {against, tests} <- rows, not (tests =~ ~r/\.exs|the same|test\//), do: against
      assert bare == []
    end

    # A name without a folder is that of a test beside the one that an earlier row names.
    defp test?(file) do
      there?(file) or
        Path.wildcard(Path.join(@root, "test/**/#{Path.basename(file)}")) != []
    end

    test "names attacks that the hostile suite makes" do
      attacks =
        read("test/support/attack.c") <> read("test/integration/hostile/container_test.exs")

      rows =
        for line <- String.split(read("SECURITY.md"), "\n"),
            line =~ "container_test.exs`:",
            do: line

      names =
        for row <- rows,
            [_, list] <- Regex.scan(~r/container_test\.exs`: ([^;|]+)/, row),
            [_, name] <- Regex.scan(~r/`(\w+)`/, list),
            do: name

      assert length(names) >= 10
      assert for(name <- names, not (attacks =~ ~r/"#{name}\b/), do: name) == []
    end
  end

  describe "CONTRIBUTING.md" do
    # In capitals: the name that the change gives.
    test "names files that are there" do
      files =
        for [_, file] <-
              Regex.scan(~r/`([\w.\/]+\/[\w.]+\.(?:exs?|rs|md|txt))`/, read("CONTRIBUTING.md")),
            not (file =~ ~r/[A-Z]{4}/) or file in ["CHANGELOG.md", "CONTRIBUTING.md"],
            do: file

      assert length(files) >= 30
      assert for(file <- Enum.uniq(files), not there?(file), do: file) == []
    end
  end

  describe "the map and the pages of the folders" do
    @map ["docs/development/architecture.md", "CONTRIBUTING.md"]

    test "name files and modules that are there" do
      pages =
        for folder <- ~w(native/linx_wire native/linx_sys native/linx_nif c_src_replacement fuzz),
            there?(folder),
            do: "#{folder}/README.md"

      texts = Map.new(@map ++ pages, &{&1, read(&1)})
      assert length(texts |> Map.values() |> Enum.flat_map(&named_files/1)) >= 60
      assert length(texts |> Map.values() |> Enum.flat_map(&named_modules/1)) >= 60

      files = files()
      modules = modules()

      assert for({page, text} <- texts, name <- absent(text, files, modules), do: {page, name}) ==
               []
    end

    test "a name of nothing is found" do
      text = "`session/ending.rs`, `session/beginning.rs`; Linx.Process, Linx.Progress.*"

      assert absent(text, files(), modules()) == ["session/beginning.rs", "Linx.Progress"]
    end

    defp absent(text, files, modules) do
      for(name <- named_files(text), not String.contains?(files, "/#{name}\n"), do: name) ++
        for name <- named_modules(text), not String.contains?(modules, ".#{name}."), do: name
    end

    # A name in capitals stands for the one that a change gives.
    defp named_files(text) do
      for [name] <- Regex.scan(~r/[\w-]+(?:\/[\w.-]+)*\.(?:rs|exs?|c|md)\b(?!\/)/, text),
          not (name =~ ~r/[A-Z]{4}/),
          uniq: true,
          do: name
    end

    defp named_modules(text) do
      for [name] <- Regex.scan(~r/\b[A-Z]\w*[a-z]\w*(?:\.[A-Z]\w*)+|\bNFT(?:\.[A-Z]\w*)+/, text),
          uniq: true,
          do: name
    end

    # The names of a page may leave out the folders or the modules above, and `src`.
    defp files do
      folders = "{lib,native,c_src_replacement,fuzz,test,docs,bench,examples,bin}"

      for path <- Path.wildcard(Path.join(@root, folders <> "/**/*.{rs,ex,exs,c,md}")),
          not (path =~ ~r/\/(target|_build|deps)\//),
          into: Enum.map_join(Path.wildcard(Path.join(@root, "*.{md,exs}")), &"#{&1}\n"),
          do: path <> "\n" <> String.replace(path, "/src/", "/") <> "\n"
    end

    defp modules do
      {:ok, modules} = :application.get_key(:linx, :modules)
      Enum.map_join(modules, ".\n", &".#{inspect(&1)}") <> "."
    end
  end

  test "every crate is a line of dependencies.md, with what it does for us" do
    page = read("docs/development/dependencies.md")

    manifests =
      for folder <- ["native/*", "c_src_replacement", "fuzz"],
          manifest <- Path.wildcard(Path.join([@root, folder, "Cargo.toml"])),
          do: manifest

    own = ~w(linx_wire linx_sys linx_process)

    crates =
      for manifest <- manifests,
          [section] <-
            Regex.scan(~r/^\[(?:dev-)?dependencies\]\n(?:.+\n)*/m, File.read!(manifest)),
          [_, crate] <- Regex.scan(~r/^([\w-]+) = /m, section),
          crate not in own,
          uniq: true,
          do: crate

    assert length(crates) >= 9
    lines = for "| " <> row <- String.split(page, "\n"), do: row |> String.split(" | ") |> hd()
    assert for(crate <- crates, not Enum.any?(lines, &(&1 =~ ~r/\b#{crate}\b/)), do: crate) == []
  end

  test "every folder of Rust says in a page of its own what it is" do
    for folder <- ~w(native/linx_wire native/linx_sys native/linx_nif c_src_replacement fuzz),
        there?(folder) do
      assert length(String.split(read("#{folder}/README.md"), "\n")) in 10..30
    end
  end

  # One width: the formatters', the editor's and the test's below.
  test "the formatters and the editor have one width" do
    if checkout?() do
      assert read(".formatter.exs") =~ "line_length: 98"
      assert read("rustfmt.toml") =~ "max_width = 100"
      assert read(".editorconfig") =~ "max_line_length = 98"
      assert read(".editorconfig") =~ "max_line_length = 100"
    end
  end

  describe "the issue template" do
    test "asks for a task that there is" do
      if checkout?() do
        assert read(".github/ISSUE_TEMPLATE/bug.md") =~ "mix linx.doctor"
        assert Mix.Task.task?(Mix.Tasks.Linx.Doctor)
      end
    end
  end

  describe "lines and comments" do
    alias Linx.Test.Style

    test "have at most 98 columns in Elixir and 100 in Rust, and no bare beginning" do
      found = Style.offences(@root)
      assert map_size(found) >= 20
      assert for({_place, lines} <- found, line <- lines, do: line) == []
    end

    test "a fault is found, in both languages" do
      elixir = """
      defmodule A do
        # What it is.
        # Of two lines the first counts.
        @text "# Who is no comment"
        def a, do: 1 # One of these.
        # Whatever is a word of its own.
        # #{String.duplicate("x", 98)}
      end
      """

      assert [{2, :begun}, {5, :begun}, {7, :long}] = Style.lines("a.ex", elixir)

      rust = """
      //! Of course not.
      /// Offers are fine.
      fn a() -> &'static str { "// Who" } // Who asks
      #{String.duplicate("y", 101)}
      """

      assert [{1, :begun}, {3, :begun}, {4, :long}] = Style.lines("a.rs", rust)
    end
  end
end
