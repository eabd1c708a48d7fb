defmodule Linx.DocsTest do
  # One session a file, in order: Linx.Test.DocExamples says how a block is marked.
  use ExUnit.Case, async: false

  alias Linx.Test.DocExamples

  for file <- DocExamples.files() do
    for need <- DocExamples.needs(file), do: @tag([{need, true}])
    @tag timeout: 600_000
    test "the examples of #{file} run and give what they say" do
      case DocExamples.run(unquote(file)) do
        :ok -> :ok
        {:error, text} -> flunk(text)
      end
    end
  end

  test "a block that does not run says why" do
    silent =
      for file <- DocExamples.files(),
          block <- DocExamples.blocks(file),
          block.no_run,
          String.length(block.no_run) < 8,
          do: "#{file}:#{block.line}"

    assert silent == []
  end

  # iex evaluates `x = a` before it sees the `|> b` on the line below, and refuses that.
  describe "what can be typed at iex" do
    test "no guide has a match whose pipeline goes on below without parentheses" do
      broken =
        for file <- DocExamples.files(),
            block <- DocExamples.blocks(file),
            line <- untypeable(block.code, block.line),
            do: "#{file}:#{line}"

      assert broken == []
    end

    test "no module's documentation has one" do
      broken =
        for beam <- Path.wildcard(Path.join(Application.app_dir(:linx, "ebin"), "*.beam")),
            module = beam |> Path.basename(".beam") |> String.to_atom(),
            {:docs_v1, _, _, _, moduledoc, _, entries} <- [Code.fetch_docs(module)],
            %{"en" => text} <- [moduledoc | Enum.map(entries, &elem(&1, 3))],
            code <- indented(text),
            _line <- untypeable(code, 1),
            do: {module, code}

      assert broken == []
    end

    # Runs of lines that markdown takes for code.
    defp indented(text) do
      text
      |> String.split("\n")
      |> Enum.chunk_by(&(String.starts_with?(&1, "    ") or String.trim(&1) == ""))
      |> Enum.map(&Enum.join(&1, "\n"))
      |> Enum.filter(&String.starts_with?(String.trim_leading(&1, "\n"), "    "))
    end

    defp untypeable(code, first_line) do
      case Code.string_to_quoted(code,
             line: first_line,
             token_metadata: true,
             emit_warnings: false
           ) do
        {:ok, {:__block__, _, expressions}} -> Enum.flat_map(expressions, &broken_match/1)
        {:ok, expression} -> broken_match(expression)
        {:error, _} -> []
      end
    end

    defp broken_match({:=, meta, [_, {:|>, pipe, _} = pipeline]}) do
      {_, broken?} =
        Macro.prewalk(pipeline, false, fn
          {:|>, meta, _} = node, broken? -> {node, broken? or Keyword.has_key?(meta, :newlines)}
          node, broken? -> {node, broken?}
        end)

      if broken? and not Keyword.has_key?(pipe, :parens), do: [meta[:line]], else: []
    end

    defp broken_match(_expression), do: []

    test "the check sees them" do
      assert untypeable("x =\n  a()\n  |> b()\n", 1) == [1]
      assert untypeable("y\n\nx = a()\n|> b()\n", 1) == [3]
      assert untypeable("x = a() |> b()\nx =\n  (a()\n   |> b())\na()\n|> b()\n", 1) == []
    end
  end

  # LINX_DOCS=1 lists them.
  if System.get_env("LINX_DOCS") do
    for file <- DocExamples.files(), block <- DocExamples.blocks(file), block.no_run do
      IO.puts("not run: #{file}:#{block.line}: #{block.no_run}")
    end
  end

  describe "the runner" do
    @describetag :tmp_dir

    test "fails on a result that does not hold", %{tmp_dir: dir} do
      assert {:error, text} = run(dir, "1 + 1\n# => 3")
      assert text =~ "gave 2, not 3"
    end

    test "names the line of the expression that fails", %{tmp_dir: dir} do
      assert {:error, text} = run(dir, "x = 1\n\nx + 1\n# => 2\n\nx + 2\n# => 4\n")
      assert text =~ ~r/doc\.md:7: gave 3, not 4/
    end

    test "matches patterns and texts, and exceptions", %{tmp_dir: dir} do
      assert :ok = run(dir, "{:ok, 1}\n# => {:ok, n} when n > 0")
      assert :ok = run(dir, "self()\n# => #PID<...>")
      assert :ok = run(dir, "%{a: 1,\n  b: 2}\n# => %{b: 2,\n#     a: 1}")
      assert :ok = run(dir, "raise \"no\"\n# ** (RuntimeError) no")
      assert {:error, _} = run(dir, "raise \"no\"\n# ** (ArgumentError) no")
      assert {:error, _} = run(dir, "raise \"no\"")
      assert :ok = run(dir, "iex> x = 1\n1\niex> x +\n...> 1\n2")
      assert {:error, _} = run(dir, "iex> 1 + 1\n3")
    end

    test "a file is one session, and a block may be kept from running", %{tmp_dir: dir} do
      file = Path.join(dir, "doc.md")

      File.write!(file, """
      ```elixir
      alias Linx.Errno
      x = 1
      ```
      <!-- no-run: it would not end -->
      ```elixir
      Process.sleep(:infinity)
      ```
      ```console
      $ not elixir
      ```
      ```elixir
      {x, Errno.name(1)}
      # => {1, :eperm}
      ```
      """)

      assert :ok = DocExamples.run(file)
      assert [nil, "it would not end", nil] = Enum.map(DocExamples.blocks(file), & &1.no_run)
    end

    defp run(dir, code) do
      file = Path.join(dir, "doc.md")
      File.write!(file, "```elixir\n#{code}\n```\n")
      DocExamples.run(file)
    end
  end
end
