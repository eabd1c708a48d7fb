defmodule Linx.ProcPathsTest do
  use ExUnit.Case, async: true

  # A number in a /proc path names whatever process has it in the /proc in view, and a plain file
  # call believes whatever is mounted there. Processes are found by pidfd (linx_sys::pidfd), files
  # below /proc and /sys/fs/cgroup are read and written by Linx.KernelFile and linx_sys, which
  # look at the file system.

  # Texts for errors and documents, which nothing opens.
  @texts ["lib/linx/target.ex"]

  # The agent's own children, by the numbers that this /proc itself lists; each is signalled
  # through its directory.
  @listed ["c_src_replacement/src/kill.rs"]

  @file_calls ~w(read read! write write! stream! open open! read_link read_link! read_link_all
    read_file write_file read_file_info list_dir ls ls! stat stat! lstat exists? dir? regular?)a

  defp sources(patterns), do: Enum.flat_map(patterns, &Path.wildcard/1)

  defp tree(file), do: file |> File.read!() |> Code.string_to_quoted!(file: file)

  defp found(files, finder) do
    for file <- files, reason <- finder.(file), do: "#{file}: #{reason}"
  end

  test "no Elixir module formats a value into a /proc path" do
    numbered = fn file ->
      {_, found} =
        Macro.prewalk(tree(file), [], fn
          # A descriptor of the VM's own, for OTP to open: no number of a process.
          {:<<>>, _, ["/proc/self/fd/", _number]} = node, found ->
            {node, found}

          {:<<>>, _, ["/proc/" <> _ | [_ | _] = rest]} = node, found ->
            if Enum.any?(rest, &is_tuple/1),
              do: {node, [Macro.to_string(node) | found]},
              else: {node, found}

          {:<>, _, ["/proc/" <> _, {_, _, _}]} = node, found ->
            # A pattern for what follows is no path that is made.
            case node do
              {:<>, _, [_, {name, _, context}]} when is_atom(name) and is_atom(context) ->
                {node, found}

              _ ->
                {node, [Macro.to_string(node) | found]}
            end

          {:++, _, [~c"/proc/", _]} = node, found ->
            {node, [Macro.to_string(node) | found]}

          node, found ->
            {node, found}
        end)

      found
    end

    assert found(sources(["lib/**/*.ex"]) -- @texts, numbered) == []
  end

  test "no Elixir module opens a file below /proc or /sys/fs/cgroup by itself" do
    opened = fn file ->
      {_, found} =
        Macro.prewalk(tree(file), [], fn
          {{:., _, [module, call]}, _, [argument | _]} = node, found when call in @file_calls ->
            file? = match?({:__aliases__, _, [:File]}, module) or module == :file

            if file? and Macro.to_string(argument) =~ ~r"/proc\b|/sys/fs/cgroup",
              do: {node, [Macro.to_string(node) | found]},
              else: {node, found}

          node, found ->
            {node, found}
        end)

      found
    end

    assert found(sources(["lib/linx/**/*.ex"]), opened) == []
  end

  test "no Rust module formats a value into a /proc path" do
    numbered = fn file ->
      [code | _tests] = file |> File.read!() |> String.split("#[cfg(test)]")

      for line <- String.split(code, "\n"),
          not (line =~ ~r"^\s*//"),
          line =~ ~r"/proc/[^\"]*\{" or line =~ ~r"push(_str)?\(.*/proc/",
          do: String.trim(line)
    end

    files = sources(["native/*/src/**/*.rs", "c_src_replacement/src/**/*.rs"])
    assert found(files -- @listed, numbered) == []
  end

  test "no module takes the VM's own number for one of /proc's" do
    pids = fn file ->
      for call <- ~w(System.pid :os.getpid), File.read!(file) =~ call <> "(", do: call
    end

    # The peer of a socket is compared with it (SO_PEERCRED), which is a number of the VM's own
    # pid namespace. The agent, which is in that namespace too, opens the VM's pidfd by it.
    compared = ["lib/linx/process/options/descriptors.ex", "lib/linx/process.ex"]
    assert found(sources(["lib/linx/**/*.ex"]) -- compared, pids) == []
  end
end
