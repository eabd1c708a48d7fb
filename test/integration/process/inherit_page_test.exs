defmodule Linx.Process.InheritPageTest do
  # The table of docs/process/inheritance.md is what the probe prints here: LINX_WRITE_DOCS=1
  # writes it anew.
  use ExUnit.Case, async: true

  alias Linx.Test.Inheritance

  setup_all {Inheritance, :prepare}

  @page "docs/process/inheritance.md"
  @mark "<!-- made by test/integration/process/inherit_page_test.exs -->"

  # Run by a VM under `probe dirty`: SIGPIPE and SIGFPE ignored, SIGUSR1 blocked, descriptors 57
  # and 900 on /etc, umask 077, RELEASE_COOKIE set.
  @script ~S"""
  [probe, out] = System.argv()
  write = fn name, text ->
    File.write!(Path.join(out, name), String.replace(text, "\r\n", "\n"))
  end

  linx = fn name, opts ->
    {:ok, session} = Linx.Process.spawn([argv: [probe], stdio: :pipe, auto_proceed: true] ++ opts)
    {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
    drain = fn drain, text ->
      receive do
        {:linx_process, stream, bytes} when stream in [:stdout, :pty_out] ->
          drain.(drain, text <> bytes)
      after
        0 -> text
      end
    end
    write.(name, drain.(drain, ""))
  end

  linx.("linx", [])
  write.("system_cmd", elem(System.cmd(probe, []), 0))
  """

  @columns [
    {"parent", "fork, exec"},
    {"system_cmd", "`System.cmd/3`"},
    {"linx", "`Linx.Process`"}
  ]

  @tag :tmp_dir
  test "the page says what a workload inherits", %{tmp_dir: dir} do
    probes = probes(dir)

    table =
      for {name, option, cell} <- rows() do
        cells = for {launcher, _} <- @columns, do: cell.(probes[launcher], probes["parent"])
        "| #{Enum.join([name | cells] ++ [option], " | ")} |\n"
      end

    titles = ["What" | Enum.map(@columns, &elem(&1, 1))] ++ ["Option"]
    rule = "|#{String.duplicate("---|", length(titles))}\n"
    table = IO.iodata_to_binary(["| #{Enum.join(titles, " | ")} |\n", rule | table])

    [before, written, rest] = String.split(File.read!(@page), @mark)

    if System.get_env("LINX_WRITE_DOCS"),
      do: File.write!(@page, Enum.join([before, "\n\n" <> table <> "\n", rest], @mark)),
      else: assert(String.trim(written) == String.trim(table))
  end

  defp probes(dir) do
    probe = Inheritance.path()
    script = Path.join(dir, "script.exs")
    File.write!(script, @script)

    # The programs that start a VM are shell scripts, and a shell cleans some of the dirt away:
    # without them.
    erlexec = Path.join(System.fetch_env!("BINDIR"), "erlexec")
    elixir = Path.dirname(to_string(:code.lib_dir(:elixir)))
    paths = ["-pa", "#{elixir}/elixir/ebin", "-pa", Application.app_dir(:linx, "ebin")]
    vm = [erlexec, "-noshell", "-elixir_root", elixir] ++ paths ++ ~w(-s elixir start_cli -extra)

    # Behind a shell that stays: a program that the VM starts leads a session.
    assert {text, 0} = System.cmd("sh", ["-c", "'#{probe}' dirty '#{probe}'; :"])
    File.write!(Path.join(dir, "parent"), text)

    assert {"", 0} =
             System.cmd(probe, ["dirty" | vm] ++ [script, probe, dir], stderr_to_stdout: true)

    for {launcher, _} <- @columns, into: %{} do
      probe = dir |> Path.join(launcher) |> File.read!() |> Inheritance.parse()
      {launcher, Map.put(probe, "launcher", launcher)}
    end
  end

  defp rows do
    [
      {"descriptors besides 0, 1, 2", "`:stdio`, `:fds`", &descriptors/2},
      {"signals ignored", "", &signals(&1["status"]["SigIgn"], &2)},
      {"signals blocked", "", &signals(&1["status"]["SigBlk"], &2)},
      {"umask", "`:umask`", fn probe, _ -> probe["status"]["Umask"] end},
      {"`RELEASE_COOKIE` in the environment", "`:env`", &cookie/2},
      {"the rest of the environment", "`:env`", &environment/2},
      {"working directory", "`:cwd`", &same(&1, &2, ["cwd"])},
      {"leader of a session of its own", "", fn probe, _ -> yes(probe["session_leader"]) end},
      {"controlling terminal", "`stdio: :pty`", fn probe, _ -> yes(probe["ctty_group"]) end},
      {"user and group ids", "`:uid`, `:gid`",
       &same(&1, &2, ["status", "Uid"], ["status", "Gid"])},
      {"supplementary groups", "`:groups`", &same(&1, &2, ["status", "Groups"])},
      {"permitted and effective capabilities", "`Linx.Capabilities`",
       &same(&1, &2, ["status", "CapPrm"], ["status", "CapEff"])},
      {"inheritable capabilities", "`Linx.Capabilities`", &mask(&1, &2, "CapInh")},
      {"ambient capabilities", "`Linx.Capabilities`", &mask(&1, &2, "CapAmb")},
      {"no_new_privs", "`:no_new_privs`", &same(&1, &2, ["status", "NoNewPrivs"])},
      {"seccomp filters", "`Linx.Seccomp`", &same(&1, &2, ["status", "Seccomp"])},
      {"resource limits", "`:rlimits`", &same(&1, &2, ["limit"])},
      {"oom_score_adj", "`:oom_score_adj`", &same(&1, &2, ["oom_score_adj"])}
    ]
  end

  # The VM of the test may itself have been given more than it needs.
  defp descriptors(probe, _) do
    case Enum.filter(probe["fd"], &(&1 =~ "/etc")) do
      [] -> "none"
      some -> Enum.map_join(some, ", ", &(&1 |> String.split(" ") |> hd()))
    end
  end

  @names %{8 => "SIGFPE", 10 => "SIGUSR1", 13 => "SIGPIPE"}

  defp signals(hex, _) do
    {mask, ""} = Integer.parse(hex, 16)

    set? = fn n -> Bitwise.band(Bitwise.bsr(mask, n - 1), 1) == 1 end

    case for n <- 1..64, set?.(n), do: @names[n] || "#{n}" do
      [] -> "none"
      names -> Enum.join(names, ", ")
    end
  end

  defp cookie(probe, _),
    do: yes([to_string(Enum.any?(probe["env"], &String.starts_with?(&1, "RELEASE_COOKIE=")))])

  # Launchers of the VM add what its own start scripts set.
  defp environment(probe, parent) do
    if Enum.reject(parent["env"], &(&1 =~ ~r/^(RELEASE_COOKIE|_|PATH|PWD|OLDPWD)=/)) --
         probe["env"] == [],
       do: "the parent's",
       else: "another"
  end

  # The capabilities of the machine's own programs depend on the machine; a workload has none.
  defp mask(%{"launcher" => "linx"} = probe, _, key),
    do: if(probe["status"][key] =~ ~r/^0+$/, do: "none", else: probe["status"][key])

  defp mask(probe, parent, key), do: same(probe, parent, ["status", key])

  defp same(probe, parent, path, other \\ nil) do
    paths = Enum.reject([path, other], &is_nil/1)

    if Enum.all?(paths, &(get_in(probe, &1) == get_in(parent, &1))),
      do: "the parent's",
      else: Enum.map_join(paths, ", ", &inspect(get_in(probe, &1)))
  end

  defp yes(["true"]), do: "yes"
  defp yes(_), do: "no"
end
