defmodule Linx.Test.DocExamples do
  @moduledoc false
  # Runs the Elixir in the documentation. A file is one session: its fenced `elixir` blocks run in
  # order, in one process, and share variables and aliases. A top-level expression followed by a
  # comment `# => expected` must give that:
  #
  #     1 + 1
  #     # => 2                      a pattern, where it parses as one
  #     Linx.Tty.window_size(fd)
  #     # => {:ok, %Linx.Tty.WindowSize<...>}
  #                               else the text of inspect/1, `...` standing for anything
  #     raise "no"
  #     # ** (RuntimeError) no      an exception, and what its message begins with
  #
  # A block written as an `iex>` transcript means the same. An HTML comment on the line before a
  # fence says more: `<!-- no-run: reason -->` keeps the block from running,
  # `<!-- needs: root netns -->` tags the whole file with what test_helper.exs probes, and
  # `<!-- fresh -->` forgets the variables and aliases of the blocks above.

  @enforce_keys [:file, :line, :code]
  defstruct [:file, :line, :code, no_run: nil, needs: [], fresh: false]

  @type t :: %__MODULE__{
          file: Path.t(),
          line: pos_integer(),
          code: String.t(),
          no_run: String.t() | nil,
          needs: [atom()],
          fresh: boolean()
        }

  @spec files() :: [Path.t()]
  def files, do: Enum.sort(Path.wildcard("docs/**/*.md")) ++ ["README.md"]

  @doc "The `elixir` blocks of a file, in order."
  @spec blocks(Path.t()) :: [t()]
  def blocks(file) do
    file
    |> File.read!()
    |> String.split("\n")
    |> Enum.with_index(1)
    |> scan(file, [], [])
  end

  defp scan([], _file, _marks, found), do: Enum.reverse(found)

  defp scan([{line, number} | rest], file, marks, found) do
    case String.trim(line) do
      "```elixir" <> _ ->
        {code, rest} = Enum.split_while(rest, fn {line, _} -> String.trim(line) != "```" end)

        block =
          Enum.reduce(
            marks,
            %__MODULE__{file: file, line: number + 1, code: text(line, code)},
            &mark/2
          )

        scan(Enum.drop(rest, 1), file, [], [block | found])

      "```" <> _ ->
        {_other, rest} = Enum.split_while(rest, fn {line, _} -> String.trim(line) != "```" end)
        scan(Enum.drop(rest, 1), file, [], found)

      "<!--" <> comment ->
        comment = comment |> String.trim_trailing("-->") |> String.trim()
        scan(rest, file, [comment | marks], found)

      "" ->
        scan(rest, file, marks, found)

      _prose ->
        scan(rest, file, [], found)
    end
  end

  # A fence inside a list is indented; so is its code.
  defp text(fence, lines) do
    indent = byte_size(fence) - byte_size(String.trim_leading(fence))
    Enum.map_join(lines, "\n", fn {line, _} -> String.replace_prefix(line, pad(indent), "") end)
  end

  defp pad(n), do: String.duplicate(" ", n)

  defp mark("no-run:" <> reason, block), do: %{block | no_run: String.trim(reason)}
  defp mark("fresh", block), do: %{block | fresh: true}

  # The names are those of Linx.Test.Host; an unknown one must not go unseen.
  defp mark("needs:" <> names, block),
    do: %{block | needs: names |> String.split() |> Enum.map(&String.to_existing_atom/1)}

  defp mark(_remark, block), do: block

  @doc "What the host needs to run a file's blocks."
  @spec needs(Path.t()) :: [atom()]
  def needs(file), do: file |> blocks() |> Enum.flat_map(& &1.needs) |> Enum.uniq()

  @doc "Runs a file's blocks; `:ok`, or the text of the first that does not hold."
  @spec run(Path.t(), timeout()) :: :ok | {:error, String.t()}
  def run(file, timeout \\ 300_000) do
    blocks = file |> blocks() |> Enum.filter(&is_nil(&1.no_run))
    {:ok, quiet} = StringIO.open("")

    task =
      Task.async(fn ->
        Process.group_leader(self(), quiet)
        session(blocks)
      end)

    case Task.yield(task, timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, result} -> result
      {:exit, reason} -> {:error, "#{file}: the session ended: #{inspect(reason)}"}
      nil -> {:error, "#{file}: still running after #{div(timeout, 1000)} s"}
    end
  end

  defp session(blocks) do
    fresh = {[], Code.env_for_eval(file: "docs", module: nil)}

    Enum.reduce_while(blocks, {:ok, fresh}, fn block, {:ok, session} ->
      case run_block(block, if(block.fresh, do: fresh, else: session)) do
        {:ok, session} -> {:cont, {:ok, session}}
        {:error, _} = error -> {:halt, error}
      end
    end)
    |> case do
      {:ok, _session} -> :ok
      error -> error
    end
  end

  defp run_block(block, session) do
    code = plain(block.code)

    case Code.string_to_quoted_with_comments(code,
           file: block.file,
           line: block.line,
           columns: true,
           token_metadata: true
         ) do
      {:ok, quoted, comments} ->
        expressions = expressions(quoted)
        expected = expectations(comments, expressions)

        Enum.reduce_while(expressions, {:ok, session}, fn expression, {:ok, session} ->
          case run_expression(expression, expected[expression], session) do
            {:ok, session} -> {:cont, {:ok, session}}
            {:error, text} -> {:halt, {:error, "#{block.file}:#{first(expression)}: #{text}"}}
          end
        end)

      {:error, {meta, message, token}} ->
        {:error, "#{block.file}:#{meta[:line]}: does not parse: #{inspect(message)} #{token}"}
    end
  end

  # An iex transcript, as the plain form.
  defp plain(code) do
    if String.starts_with?(String.trim_leading(code), "iex") do
      code |> String.split("\n") |> Enum.map_join("\n", &plain_line/1)
    else
      code
    end
  end

  defp plain_line(line) do
    cond do
      match = Regex.run(~r/^\s*iex(?:\(\d+\))?> ?(.*)$/, line) -> List.last(match)
      match = Regex.run(~r/^\s*\.\.\.(?:\(\d+\))?> ?(.*)$/, line) -> List.last(match)
      String.trim(line) == "" -> ""
      String.starts_with?(line, "** (") -> "# " <> line
      true -> "# => " <> line
    end
  end

  defp expressions({:__block__, _, expressions}), do: expressions
  defp expressions(expression), do: [expression]

  # Comments that state a result, each with the expression above it. Lines that follow continue
  # it.
  defp expectations(comments, expressions) do
    comments
    |> Enum.chunk_while(nil, &chunk/2, &{:cont, &1, nil})
    |> Enum.reject(&is_nil/1)
    |> Map.new(fn {line, text} ->
      {expressions |> Enum.filter(&(first(&1) <= line)) |> List.last(), text}
    end)
  end

  defp chunk(%{text: "# =>" <> text, line: line}, open),
    do: {:cont, open, {line, String.trim(text)}}

  defp chunk(%{text: "# ** (" <> _ = "# " <> text, line: line}, open),
    do: {:cont, open, {line, String.trim(text)}}

  defp chunk(%{text: "#  " <> text, previous_eol_count: 1}, {line, so_far}),
    do: {:cont, {line, so_far <> " " <> String.trim(text)}}

  defp chunk(_remark, open), do: {:cont, open, nil}

  defp first(expression) do
    {_, line} =
      Macro.prewalk(expression, nil, fn
        {_, meta, _} = node, least when is_list(meta) ->
          {node, min(least || meta[:line], meta[:line] || least)}

        node, least ->
          {node, least}
      end)

    line || 0
  end

  defp run_expression(expression, expected, {binding, env}) do
    {value, binding, env} =
      Code.eval_quoted_with_env(expression, binding, env, prune_binding: false)

    case expected do
      nil -> {:ok, {binding, env}}
      "** (" <> _ -> {:error, "gave #{inspect(value)}, not #{expected}"}
      _ -> check(holds?(expected, value, binding, env), expected, value, {binding, env})
    end
  rescue
    exception ->
      text = "** (#{inspect(exception.__struct__)}) #{Exception.message(exception)}"

      if expected && String.starts_with?(text, String.trim_trailing(expected, "...")),
        do: {:ok, {binding, env}},
        else: {:error, Exception.format(:error, exception, __STACKTRACE__)}
  catch
    kind, reason -> {:error, Exception.format(kind, reason, __STACKTRACE__)}
  end

  defp check(true, _expected, _value, session), do: {:ok, session}

  defp check(false, expected, value, _session),
    do: {:error, "gave #{inspect(value)}, not #{expected}"}

  defp holds?(expected, value, binding, env) do
    case Code.string_to_quoted(expected) do
      {:ok, pattern} -> matches?(pattern, value, binding, env) or reads?(expected, value)
      {:error, _} -> reads?(expected, value)
    end
  end

  # A pattern with variables binds nothing in the session.
  defp matches?(pattern, value, binding, env) do
    question = quote do: match?(unquote(pattern), var!(doc_example_value))
    binding = Keyword.put(binding, :doc_example_value, value)

    {holds, _} =
      Code.with_diagnostics(fn ->
        try do
          question |> Code.eval_quoted_with_env(binding, env) |> elem(0)
        rescue
          CompileError -> false
        end
      end)

    holds
  end

  defp reads?(expected, value) do
    pattern = expected |> String.split("...") |> Enum.map_join(".*", &loose/1)
    Regex.match?(Regex.compile!("\\A" <> pattern <> "\\z", "su"), squeeze(inspect(value)))
  end

  defp loose(text), do: text |> squeeze() |> Regex.escape()
  defp squeeze(text), do: String.replace(text, ~r/\s+/u, " ")
end
