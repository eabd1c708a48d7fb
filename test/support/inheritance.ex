defmodule Linx.Test.Inheritance do
  @moduledoc false
  # The program of c_src_replacement/examples/probe.rs: built once a run, and what it prints read
  # back.

  @doc "The program's absolute path. The first caller builds it."
  @spec path() :: Path.t()
  def path do
    :global.trans({__MODULE__, self()}, fn ->
      case :persistent_term.get(__MODULE__, nil) do
        nil ->
          path = build()
          :persistent_term.put(__MODULE__, path)
          path

        path ->
          path
      end
    end)
  end

  @doc """
  For `setup_all`: a test that is the first to build the program would have to do it within its
  own time.
  """
  @spec prepare(map()) :: :ok
  def prepare(_context) do
    _ = path()
    :ok
  end

  defp build do
    target = Path.expand("../linx_native/probe", Mix.Project.build_path())
    args = ~w(build --quiet --locked -p linx_process --example probe --target-dir) ++ [target]
    # Static, so that it starts in any root; that needs the target to be named.
    triple = host()
    env = [{"RUSTFLAGS", "-C target-feature=+crt-static"}]

    {output, 0} =
      System.cmd("cargo", args ++ ["--target", triple], env: env, stderr_to_stdout: true)

    if output != "", do: IO.puts(output)
    Path.join([target, triple, "debug", "examples", "probe"])
  end

  defp host do
    {output, 0} = System.cmd("rustc", ["-vV"])
    [_, triple] = Regex.run(~r/^host: (\S+)$/m, output)
    triple
  end

  @doc """
  The printed lines, as a map of each key to its values in order, and `status` as a map of its
  own.
  """
  @spec parse(binary()) :: map()
  def parse(text) do
    lines =
      for line <- String.split(text, "\n", trim: true) do
        [key | value] = String.split(line, " ", parts: 2)
        {key, Enum.join(value)}
      end

    found = Enum.group_by(lines, &elem(&1, 0), &elem(&1, 1))

    status =
      for line <- Map.get(found, "status", []),
          [key, value] <- [String.split(line, ":", parts: 2)] do
        {key, String.trim(value)}
      end

    %{found | "status" => Map.new(status)}
  end
end
