defmodule Linx.Test.Vm do
  @moduledoc false
  # Another VM with this library, started under a command that changes what the kernel gives it
  # (unshare, setpriv), for what a test must not do to the machine's own namespaces or cannot do
  # with this VM's privileges.

  @doc """
  Evaluates `code`, with `bindings`, in a VM that `wrapper` starts, and gives its value.

      Vm.eval(["unshare", "--mount"], quote do
        Linx.Mount.list()
      end)
  """
  @spec eval([String.t()], Macro.t(), keyword()) :: term()
  def eval([command | args], code, bindings \\ []) do
    folder = Linx.Test.Scratch.path("vm")
    File.mkdir_p!(folder)
    File.write!(Path.join(folder, "in"), :erlang.term_to_binary({code, bindings}))

    try do
      {output, status} = System.cmd(command, args ++ elixir(folder), stderr_to_stdout: true)

      case File.read(Path.join(folder, "out")) do
        {:ok, answer} -> value(:erlang.binary_to_term(answer), output)
        {:error, _} -> raise "the VM under #{command} ended with #{status}: #{output}"
      end
    after
      File.rm_rf!(folder)
    end
  end

  defp value({:ok, value}, _output), do: value
  defp value({:raised, text}, output), do: raise("in the VM: #{text}\n#{output}")

  defp elixir(folder) do
    paths = [Application.app_dir(:linx, "ebin"), :code.lib_dir(:ex_unit) |> Path.join("ebin")]

    [System.find_executable("elixir")] ++
      Enum.flat_map(paths, &["-pa", to_string(&1)]) ++
      ["-e", "Linx.Test.Vm.main(#{inspect(folder)})"]
  end

  @doc """
  The command that gives a VM a cgroup2 hierarchy of its own at /mnt, where no other process sees
  it.
  """
  @spec cgroup2() :: [String.t()]
  def cgroup2 do
    script = "mount -t cgroup2 none /mnt && exec \"$@\""
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
  end

  @doc """
  The command that gives a VM uid and gid 1000 and none of root's powers but to write what it is
  to answer.

  The VM finds its own files with access(2), which does not ask for capabilities, so where they
  lie in a home that is closed to others they are mounted in an open one.
  """
  @spec ordinary_user() :: [String.t()]
  def ordinary_user do
    home = System.user_home!()
    needed = [to_string(:code.root_dir()), System.find_executable("elixir"), File.cwd!()]

    # The needed paths inside the home directory.
    closed =
      for(
        path <- needed,
        String.starts_with?(path, home <> "/"),
        do: Path.relative_to(path, home)
      )
      |> Enum.map(&Path.join(home, hd(Path.split(&1))))
      |> Enum.uniq()
      |> Enum.with_index()

    script =
      ["mount -t tmpfs none /mnt"] ++
        for({path, n} <- closed, do: "mkdir /mnt/#{n} && mount --rbind '#{path}' /mnt/#{n}") ++
        if(closed == [], do: [], else: ["mount -t tmpfs -o mode=755 none '#{home}'"]) ++
        for({path, n} <- closed, do: "mkdir -p '#{path}' && mount --rbind /mnt/#{n} '#{path}'") ++
        [
          "umount -l /mnt",
          "cd '#{File.cwd!()}'",
          "exec setpriv #{Enum.join(powers(), " ")} \"$@\""
        ]

    ["unshare", "--mount", "--propagation", "private", "sh", "-ec", Enum.join(script, "\n"), "sh"]
  end

  defp powers do
    ["--reuid=1000", "--regid=1000", "--clear-groups"] ++
      for set <- ["--inh-caps=", "--ambient-caps=", "--bounding-set=-all,"],
          do: set <> "+dac_read_search,+dac_override"
  end

  @doc "What the other VM runs."
  @spec main(String.t()) :: :ok
  def main(folder) do
    {code, bindings} = folder |> Path.join("in") |> File.read!() |> :erlang.binary_to_term()

    answer =
      try do
        {value, _} = Code.eval_quoted(code, bindings)
        {:ok, value}
      catch
        kind, reason -> {:raised, Exception.format(kind, reason, __STACKTRACE__)}
      end

    # Under another name first: the reader may look at any time.
    out = Path.join(folder, "out")
    File.write!(out <> ".new", :erlang.term_to_binary(answer))
    File.rename!(out <> ".new", out)
  end
end
