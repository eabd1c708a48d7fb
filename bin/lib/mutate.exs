# bin/mutate says what this does. A file of test/mutations evaluates to a list of maps:
#
#   name:     short and unique
#   promise:  the sentence that the mutant makes false
#   file:     path of the source
#   replace:  text that occurs in it exactly once
#   with:     text in its place
#   run:      the command of the tests that claim the promise, as a list of strings
defmodule Mutate do
  @timeout_s 300

  # A runner's line about failed tests; a test that was not found or does not compile has another.
  @failures [
    ~r/^Failed: [1-9]\d* tests?$/m,
    ~r/\b[1-9]\d* failures?\b/,
    ~r/^test result: FAILED/m,
    # A test that the compiler carries out.
    ~r/^error\[E0080\]: evaluation panicked: assertion failed/m
  ]

  def main(args) do
    {options, names, unknown} =
      OptionParser.parse(args, strict: [list: :boolean, baseline: :boolean, output: :string])

    for {option, _value} <- unknown, do: abort("no option #{option}; see bin/mutate --help")

    mutations = load(names)
    unique!(mutations)

    if options[:list] do
      Enum.each(mutations, &IO.puts("#{&1.area}/#{&1.name}: #{inspect(state(&1, File.cwd!()))}"))
      if Enum.any?(mutations, &(state(&1, File.cwd!()) != :applies)), do: System.halt(1)
    else
      if not in_worktree(&run(mutations, &1, options)), do: System.halt(1)
    end
  end

  defp load(names) do
    files = "test/mutations/*.exs" |> Path.wildcard() |> Enum.sort()

    all =
      for file <- files,
          area = Path.basename(file, ".exs"),
          {mutations, _binding} = Code.eval_file(file),
          mutation <- mutations,
          do: Map.put(mutation, :area, area)

    case names do
      [] ->
        all

      names ->
        chosen = Enum.filter(all, &(&1.area in names or &1.name in names))
        known = Enum.flat_map(chosen, &[&1.area, &1.name])
        Enum.each(names -- known, &abort("no area and no mutation is called #{&1}"))
        chosen
    end
  end

  defp unique!(mutations) do
    names = Enum.map(mutations, & &1.name)
    Enum.each(Enum.uniq(names -- Enum.uniq(names)), &abort("two mutations are called #{&1}"))
  end

  defp state(mutation, tree) do
    with {:ok, source} <- File.read(Path.join(tree, mutation.file)),
         [_before, _behind] <- String.split(source, mutation.replace) do
      :applies
    else
      {:error, reason} -> {:unreadable, mutation.file, reason}
      parts -> {:found, length(parts) - 1, :times}
    end
  end

  # -- the run -----------------------------------------------------------------------------------

  defp run(mutations, tree, options) do
    build!(tree)
    if Keyword.get(options, :baseline, true), do: baseline!(mutations, tree)

    results =
      Enum.reduce(mutations, [], fn mutation, results ->
        {microseconds, result} = :timer.tc(fn -> try_one(mutation, tree) end)
        seconds = div(microseconds, 1_000_000)
        IO.puts("#{mutation.area}/#{mutation.name}: #{text(result)} (#{seconds} s)")
        results = [{mutation, result} | results]
        # After each row, so that a run which is stopped leaves those that it had.
        if path = options[:output], do: File.write!(path, page(Enum.reverse(results)))
        results
      end)

    caught = caught(results)
    IO.puts("#{caught} of #{length(results)} caught")
    caught == length(results)
  end

  defp baseline!(mutations, tree) do
    for command <- mutations |> Enum.map(& &1.run) |> Enum.uniq() do
      case test(command, tree) do
        {_out, 0} -> :ok
        {out, _status} -> abort("fails unbroken: #{Enum.join(command, " ")}\n#{tail(out)}")
      end
    end
  end

  defp try_one(mutation, tree) do
    case state(mutation, tree) do
      :applies -> broken(mutation, tree)
      other -> {:stale, inspect(other)}
    end
  end

  defp broken(mutation, tree) do
    path = Path.join(tree, mutation.file)
    source = File.read!(path)

    try do
      write(path, String.replace(source, mutation.replace, mutation.with))

      case build(tree) do
        {_out, 0} -> mutation.run |> to_first_failure() |> test(tree) |> verdict()
        {out, _status} -> {:does_not_compile, tail(out)}
      end
    after
      write(path, source)
    end
  end

  # One failure is enough, and those behind it may each wait for what never comes.
  defp to_first_failure(["mix", "test" | args]), do: ["mix", "test", "--max-failures", "1" | args]
  defp to_first_failure(command), do: command

  # The build goes by the time of a file; two writes within its resolution would look like none.
  defp write(path, source) do
    before = File.stat!(path, time: :posix).mtime
    File.write!(path, source)
    if File.stat!(path, time: :posix).mtime <= before, do: File.touch!(path, before + 1)
  end

  defp verdict({_out, 0}), do: :survived
  defp verdict({_out, status}) when status in [124, 137], do: :caught_by_time

  defp verdict({out, _status}) do
    if Enum.any?(@failures, &(out =~ &1)), do: :caught, else: {:no_test_failed, tail(out)}
  end

  defp caught?(result), do: result in [:caught, :caught_by_time]

  # -- commands ----------------------------------------------------------------------------------

  # Without link time optimisation and with what was built last: a mutant is built in seconds.
  # cargo's own tests are built by the profile of tests.
  @environment [
    {"MIX_ENV", "test"},
    {"CARGO_PROFILE_RELEASE_LTO", "off"},
    {"CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"},
    {"CARGO_PROFILE_RELEASE_INCREMENTAL", "true"},
    {"CARGO_PROFILE_AGENT_LTO", "off"},
    {"CARGO_PROFILE_AGENT_CODEGEN_UNITS", "16"},
    {"CARGO_PROFILE_AGENT_INCREMENTAL", "true"},
    # A test that waits for what a mutant never does.
    {"LINX_TEST_PATIENCE", "10000"}
  ]

  # Warnings are expected: a mutant leaves things unused.
  defp build(tree), do: cmd(["mix", "compile"], tree)

  defp build!(tree) do
    with {out, status} when status != 0 <- build(tree),
         do: abort("HEAD is not built\n" <> tail(out))
  end

  # Under `timeout`, which kills; in a pid namespace of its own where that can be made, so that
  # all goes with it.
  defp test(command, tree) do
    alone = ~w(unshare --pid --fork --kill-child --mount-proc)
    alone = if match?({_, 0}, cmd(alone ++ ["true"], tree)), do: alone, else: []
    cmd(~w(timeout -k 5 #{@timeout_s}) ++ alone ++ command, tree)
  end

  defp cmd([program | args], tree),
    do: System.cmd(program, args, cd: tree, env: @environment, stderr_to_stdout: true)

  defp in_worktree(fun) do
    tree = Path.join(System.tmp_dir!(), "linx-mutate-#{System.pid()}")
    git!(["worktree", "add", "--quiet", "--detach", tree, "HEAD"])

    try do
      fun.(tree)
    after
      git!(["worktree", "remove", "--force", tree])
    end
  end

  defp git!(args) do
    with {out, status} when status != 0 <- System.cmd("git", args, stderr_to_stdout: true),
         do: abort(out)
  end

  # -- words -------------------------------------------------------------------------------------

  defp text(:caught), do: "caught"
  defp text(:caught_by_time), do: "caught (the tests did not end)"
  defp text(:survived), do: "SURVIVED"
  defp text({kind, detail}), do: "#{kind |> to_string() |> String.upcase()}\n#{detail}"

  defp tail(out), do: out |> String.split("\n") |> Enum.take(-25) |> Enum.join("\n")

  defp caught(results), do: Enum.count(results, fn {_mutation, result} -> caught?(result) end)

  defp page(results) do
    rows =
      for {mutation, result} <- results do
        cells = [
          "#{mutation.area}/#{mutation.name}",
          mutation.promise,
          "`#{mutation.file}`",
          "`#{Enum.join(mutation.run, " ")}`",
          result |> text() |> String.split("\n") |> hd()
        ]

        "| " <> Enum.map_join(cells, " | ", &String.replace(&1, "|", "\\|")) <> " |\n"
      end

    """
    # Mutations

    Each row is a promise that `bin/mutate` breaks, the source that it breaks, the tests that \
    claim the promise and what
    they did: #{caught(results)} of #{length(results)} caught. \
    `bin/mutate --output FILE` writes this
    page; the mutations are in `test/mutations/`.

    | Mutation | Promise | Source | Tests | Outcome |
    |---|---|---|---|---|
    #{rows}
    """
    |> String.trim_trailing()
    |> Kernel.<>("\n")
  end

  defp abort(message) do
    IO.puts(:stderr, "mutate: #{message}")
    exit({:shutdown, 1})
  end
end

Mutate.main(System.argv())
