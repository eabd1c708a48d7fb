defmodule Linx.DocumentationTest do
  use ExUnit.Case, async: true

  # Every documented module says what it follows, and every public function has a text and a spec.

  setup_all do
    modules =
      for beam <- Path.wildcard(Path.join(Application.app_dir(:linx, "ebin"), "*.beam")),
          module = beam |> Path.basename(".beam") |> String.to_atom(),
          String.starts_with?(inspect(module), ["Linx", "Mix.Tasks."]),
          not String.starts_with?(inspect(module), "Linx.Test."),
          {:docs_v1, _, _, _, doc, _, entries} <- [Code.fetch_docs(module)],
          doc != :hidden,
          do: {module, doc, entries}

    %{modules: modules}
  end

  defp public(entries) do
    for {{kind, name, arity}, _, signature, doc, meta} <- entries,
        kind in [:function, :macro],
        doc != :hidden,
        do: {kind, name, arity, signature, doc, meta}
  end

  defp text(%{"en" => text}), do: text
  defp text(_), do: ""

  # Callbacks and functions of a struct are documented where they are defined.
  defp callback?(module, name, arity) do
    behaviours = for {:behaviour, list} <- module.module_info(:attributes), b <- list, do: b

    Enum.any?(behaviours, fn b ->
      Code.ensure_loaded?(b) and function_exported?(b, :behaviour_info, 1) and
        {name, arity} in b.behaviour_info(:callbacks)
    end)
  end

  defp generated?(name, arity),
    do: {name, arity} in [__struct__: 0, __struct__: 1, exception: 1, message: 1, child_spec: 1]

  test "every public module has a moduledoc", %{modules: modules} do
    assert for({module, doc, _} <- modules, String.trim(text(doc)) == "", do: module) == []
  end

  test "every public function has a doc", %{modules: modules} do
    missing =
      for {module, _, entries} <- modules,
          {_, name, arity, _, doc, meta} <- public(entries),
          String.trim(text(doc)) == "" and not Map.has_key?(meta, :delegate_to),
          not callback?(module, name, arity) and not generated?(name, arity),
          do: "#{inspect(module)}.#{name}/#{arity}"

    assert missing == []
  end

  test "every public function has a spec", %{modules: modules} do
    missing =
      for {module, _, entries} <- modules,
          {:ok, specs} = Code.Typespec.fetch_specs(module),
          specified = MapSet.new(specs, &elem(&1, 0)),
          {:function, name, arity, _, _, _} <- public(entries),
          {name, arity} not in specified,
          not callback?(module, name, arity) and not generated?(name, arity),
          do: "#{inspect(module)}.#{name}/#{arity}"

    assert missing == []
  end

  # Functions that answer {:error, _} say which errors are worth matching, themselves or in their
  # module's text.
  test "functions that can fail say how", %{modules: modules} do
    missing =
      for {module, moduledoc, entries} <- modules,
          {:ok, specs} = Code.Typespec.fetch_specs(module),
          {:function, name, arity, _, doc, _} <- public(entries),
          {_, clauses} <- [List.keyfind(specs, {name, arity}, 0)],
          clauses
          |> inspect(limit: :infinity)
          |> String.match?(~r/:tuple, \[\{:atom, [^}]*:error\}/),
          not (text(doc) <> text(moduledoc) =~ ~r/errno|error|:bad_|:no_such_|:e[a-z]+/i),
          do: "#{inspect(module)}.#{name}/#{arity}"

    assert missing == []
  end

  # Markdown takes what is between two underscores for stress, across words too.
  test "names with a star stand in backticks", %{modules: modules} do
    texts =
      for {module, doc, entries} <- modules,
          text <- [text(doc) | Enum.map(public(entries), &text(elem(&1, 4)))],
          do: {inspect(module), text}

    texts = texts ++ for file <- Path.wildcard("docs/**/*.md"), do: {file, File.read!(file)}

    loose =
      for {where, text} <- texts,
          prose = Regex.replace(~r/```.*?```|`[^`]*`|^ {4}.*$/ms, text, ""),
          [name] <- Regex.scan(~r/\w+_\*/, prose),
          do: "#{where}: #{name}"

    assert loose == []
  end

  defp sourceless,
    do:
      ~r/^Linx($|\.Reconcile|\.Doctor|\.NFT\.(ParseError|Runtime))|Error$|Report$|Source$|^Mix\./

  test "every module with functions names its source", %{modules: modules} do
    missing =
      for {module, doc, entries} <- modules,
          public(entries) != [],
          not (inspect(module) =~ sourceless()),
          all = Enum.map_join(public(entries), "\n", &text(elem(&1, 4))) <> text(doc),
          not (all =~
                 ~r{\bSources?:|## (References|Sources?)|\w\([1-9]\)|include/uapi|linux/\w+\.h} or
                 all =~ ~r{RFC \d+|Documentation/}),
          do: module

    assert missing == []
  end

  describe "the configuration of mix docs" do
    defp docs, do: Mix.Project.config()[:docs]

    defp pages do
      for page <- docs()[:extras] do
        case page do
          {file, _options} -> file
          file -> file
        end
      end
    end

    test "every file it lists is there, and every guide is listed" do
      assert for(file <- pages(), not File.exists?(file), do: file) == []
      guides = Path.wildcard("docs/**/*.{md,livemd}")
      assert guides -- pages() == []
    end

    test "no two pages have one name, and a title says whose page it is" do
      names =
        for page <- docs()[:extras] do
          case page do
            {_file, options} -> options[:filename]
            file -> file |> Path.basename() |> Path.rootname() |> String.downcase()
          end
        end

      assert names -- Enum.uniq(names) == []

      bare =
        for file <- pages(),
            [title | _] = file |> File.read!() |> String.split("\n"),
            title in ["# Overview", "# Examples", "# References"],
            do: file

      assert bare == []
    end

    test "every subsystem has its overview, examples and references" do
      missing =
        for name <-
              ~w(process tty cgroup mount user capabilities seccomp sysctl netlink netns netfilter
                 reconcile),
            page <- ~w(overview examples references),
            file = "docs/#{name}/#{page}.md",
            not File.exists?(file),
            do: file

      assert missing == []
    end

    test "every group of modules and of guides holds something", %{modules: modules} do
      names = for {module, _, _} <- modules, do: inspect(module)

      for {group, pattern} <- docs()[:groups_for_modules] do
        assert Enum.any?(names, &(&1 =~ pattern)), "no module in #{group}"
      end

      for {group, pattern} <- docs()[:groups_for_extras] do
        assert Enum.any?(pages(), &(&1 =~ pattern)), "no guide in #{group}"
      end
    end

    # The modules that belong to no subsystem.
    defp ungrouped, do: ~r/^Linx(\.(Errno|Doctor)(\..*)?)?$|^Mix\./

    test "every module is in a group", %{modules: modules} do
      patterns = Keyword.values(docs()[:groups_for_modules])

      loose =
        for {module, _, _} <- modules,
            name = inspect(module),
            not Enum.any?([ungrouped() | patterns], &(name =~ &1)),
            do: name

      assert loose == []
    end

    test "links between the guides lead somewhere" do
      broken =
        for file <- Enum.filter(pages(), &String.ends_with?(&1, ".md")),
            [_, target] <- Regex.scan(~r/\]\(([^)#\s]+)(?:#[^)]*)?\)/, File.read!(file)),
            not String.contains?(target, "://") and not String.starts_with?(target, "mailto:"),
            not File.exists?(Path.join(Path.dirname(file), target)),
            do: "#{file}: #{target}"

      assert broken == []
    end
  end
end
