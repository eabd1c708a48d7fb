defmodule Mix.Tasks.Compile.LinxNative.Cargo do
  @moduledoc false
  # The native parts from their sources, by cargo: one call for the NIF library and one for the
  # agent, since static linking is a flag for a whole call and no shared library can be built with
  # it.

  alias Mix.Tasks.Compile.LinxNative.Target

  import Target, only: [present: 1]

  @with_musl ~w(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu)

  @doc "Whether there is a cargo to call."
  @spec there?() :: boolean()
  def there?, do: System.find_executable(path()) != nil

  @doc "Builds both parts and gives each part and its path to `install`."
  @spec build(Target.t(), (:nif | :agent, Path.t() -> :ok | {:error, String.t()})) ::
          :ok | {:error, String.t()}
  def build(target, install) do
    with {:ok, target} <- host(target), :ok <- build_nif(target, install) do
      build_agent(target, install)
    end
  end

  # Without a target that is named, cargo's own host: its linker is known to work.
  defp host(%Target{cross?: true} = target), do: {:ok, target}

  defp host(%Target{cross?: false} = target) do
    with {output, 0} <- System.cmd(path(), ["-vV"], stderr_to_stdout: true),
         [_, triple] <- Regex.run(~r/^host: (\S+)$/m, output) do
      {:ok, %{target | triple: triple}}
    else
      _ -> {:error, "#{path()} does not say its host; is the Rust installation complete?"}
    end
  end

  defp build_nif(target, install) do
    with :ok <-
           cargo(["-p", "linx_nif", "--profile", "release"], "nif", target, nif_flags(target)) do
      install.(:nif, built(target, "nif", "release/liblinx_nif.so"))
    end
  end

  # A process of its own may have a C library of its own. musl's starts in half the time of
  # glibc's, whose start asks the CPU for all its features: each such question is a trap to the
  # hypervisor where there is one.
  defp build_agent(%{cross?: false, triple: triple} = target, install)
       when triple in @with_musl do
    musl = %{target | triple: String.replace_suffix(triple, "-gnu", "-musl")}

    with true <- std?(musl.triple),
         {:error, message} <- build_agent_for(musl, install) do
      Mix.shell().info("#{message}\nFor #{triple} instead.")
      build_agent_for(target, install)
    else
      false -> build_agent_for(target, install)
      :ok -> :ok
    end
  end

  defp build_agent(target, install), do: build_agent_for(target, install)

  defp build_agent_for(target, install) do
    args = ["-p", "linx_process", "--profile", "agent"]
    flags = "-C target-feature=+crt-static -C relocation-model=static"

    with :ok <- cargo(args, "agent", target, flags) do
      install.(:agent, built(target, "agent", "agent/linx_process"))
    end
  end

  defp std?(triple) do
    case System.cmd("rustc", ["--print", "target-libdir", "--target", triple],
           stderr_to_stdout: true
         ) do
      {directory, 0} -> directory |> String.trim() |> Path.join("libstd-*.rlib") |> any_file?()
      _no_such_target -> false
    end
  rescue
    # cargo without a rustc of that name.
    ErlangError -> false
  end

  defp any_file?(pattern), do: Path.wildcard(pattern) != []

  # musl's Rust targets link statically unless told otherwise, which rules a shared library out.
  defp nif_flags(target) do
    if String.contains?(target.triple, "musl"), do: "-C target-feature=-crt-static", else: ""
  end

  defp cargo(args, part, target, flags) do
    env =
      [{"RUSTFLAGS", String.trim("#{System.get_env("RUSTFLAGS")} #{flags}")}] ++ linker(target)

    args =
      [
        "build",
        "--quiet",
        "--locked",
        "--target",
        target.triple,
        "--target-dir",
        target_dir(part)
      ] ++ args

    Mix.shell().info("Compiling #{Enum.at(args, -3)} (cargo, #{target.triple})")

    case System.cmd(path(), args, env: env, stderr_to_stdout: true) do
      {output, 0} ->
        if output != "", do: Mix.shell().info(output)
        :ok

      {output, status} ->
        {:error, "cargo ended with #{status}#{hint(output, target)}\n#{output}"}
    end
  end

  defp hint(output, target) do
    cond do
      output =~ "can't find crate for `std`" or output =~ "can't find crate for `core`" ->
        ": Rust's standard library for #{target.triple} is missing " <>
          "(rustup target add #{target.triple})"

      output =~ "linker `" and output =~ "not found" ->
        ": no linker for #{target.triple}; set CC to the cross compiler, or install gcc"

      true ->
        ""
    end
  end

  defp linker(%{cross?: false}), do: []

  defp linker(%{triple: triple}) do
    case present("CC") do
      nil -> []
      cc -> [{"CARGO_TARGET_#{triple |> String.upcase() |> String.replace("-", "_")}_LINKER", cc}]
    end
  end

  defp built(target, part, file), do: Path.join([target_dir(part), target.triple, file])

  # Shared by the environments of one checkout, so that `mix test` after `mix compile` builds no
  # Rust again; inside MIX_BUILD_PATH where that is set, since nothing outside it is ours.
  defp target_dir(part) do
    base =
      if System.get_env("MIX_BUILD_PATH"),
        do: Mix.Project.build_path(),
        else: Path.dirname(Mix.Project.build_path())

    Path.join([base, "linx_native", part])
  end

  defp path, do: present("CARGO") || "cargo"
end
