defmodule Mix.Tasks.Compile.LinxNative do
  @shortdoc "Builds the NIF library and the agent with cargo"

  @moduledoc """
  Builds the two native parts of Linx with cargo and copies them into the built application's
  `priv`.

    * `priv/linx_nif.so`, the NIF library;
    * `priv/linx_process`, the agent of each session, linked statically where the target's C
      library allows it, so that it starts inside any root filesystem.

  They are two cargo calls because static linking is a flag for a whole call, and no shared
  library can be built with it. Nothing is built when no source, setting or artefact has changed
  since the last time.

  ## Target

  The host, unless one of these says otherwise (the first that is set wins):

    * `CARGO_BUILD_TARGET`, a Rust target triple;
    * `TARGET_ARCH`, `TARGET_OS`, `TARGET_ABI` and `TARGET_CPU`, as Nerves sets them.

  `CC` is taken as the linker when a target is set. `CARGO` names the cargo to use.

  ## A faster start of sessions

  For the host the agent is linked with musl where Rust has a standard library for it, and with
  the host's C library elsewhere. With musl it is less than half the size and a session starts
  sooner:

      rustup target add x86_64-unknown-linux-musl
      mix compile --force
  """

  use Mix.Task.Compiler

  @recursive true
  @manifest "compile.linx_native"
  @sources ["native", "c_src_replacement", "Cargo.toml", "Cargo.lock"]
  @with_musl ~w(x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu)
  @environment ~w(CARGO CARGO_BUILD_TARGET RUSTFLAGS TARGET_ARCH TARGET_OS TARGET_ABI TARGET_CPU
                  CC)

  @impl true
  def run(_args) do
    stamp = stamp()

    if File.read(manifest()) == {:ok, stamp} and Enum.all?(artefacts(), &File.exists?/1) do
      {:noop, []}
    else
      with {:ok, target} <- target(),
           :ok <- build_nif(target),
           :ok <- build_agent(target) do
        File.mkdir_p!(Path.dirname(manifest()))
        File.write!(manifest(), stamp)
        {:ok, []}
      else
        {:error, message} ->
          Mix.shell().error("linx_native: " <> message)
          {:error, [diagnostic(message)]}
      end
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    Enum.each([manifest() | artefacts()], &File.rm/1)
  end

  # -- what is built -----------------------------------------------------------------------------

  defp build_nif(target) do
    with :ok <-
           cargo(["-p", "linx_nif", "--profile", "release"], "nif", target, nif_flags(target)) do
      install(target, "nif", "release/liblinx_nif.so", nif_path())
    end
  end

  # A process of its own may have a C library of its own. musl's starts in half the time of
  # glibc's, whose start asks the CPU for all its features: each such question is a trap to the
  # hypervisor where there is one.
  defp build_agent(%{cross?: false, triple: triple} = target) when triple in @with_musl do
    musl = %{target | triple: String.replace_suffix(triple, "-gnu", "-musl")}

    with true <- std?(musl.triple),
         {:error, message} <- build_agent_for(musl) do
      Mix.shell().info("#{message}\nFor #{triple} instead.")
      build_agent_for(target)
    else
      false -> build_agent_for(target)
      :ok -> :ok
    end
  end

  defp build_agent(target), do: build_agent_for(target)

  defp build_agent_for(target) do
    args = ["-p", "linx_process", "--profile", "agent"]
    flags = "-C target-feature=+crt-static -C relocation-model=static"

    with :ok <- cargo(args, "agent", target, flags) do
      install(target, "agent", "agent/linx_process", agent_path())
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

    case System.cmd(cargo_path(), args, env: env, stderr_to_stdout: true) do
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

  # A loaded library must not be overwritten in place: the VM that has it mapped would run the new
  # bytes.
  defp install(target, part, built, destination) do
    source = Path.join([target_dir(part), target.triple, built])
    File.mkdir_p!(Path.dirname(destination))
    File.rm(destination)

    case File.cp(source, destination) do
      :ok ->
        :ok

      {:error, reason} ->
        {:error, "cannot copy #{source} to #{destination}: #{:file.format_error(reason)}"}
    end
  end

  # -- where -------------------------------------------------------------------------------------

  defp manifest, do: Path.join(Mix.Project.manifest_path(), @manifest)
  defp nif_path, do: Path.join([Mix.Project.app_path(), "priv", "linx_nif.so"])
  defp agent_path, do: Path.join([Mix.Project.app_path(), "priv", "linx_process"])
  defp artefacts, do: [nif_path(), agent_path()]

  # Shared by the environments of one checkout, so that `mix test` after `mix compile` builds no
  # Rust again; inside MIX_BUILD_PATH where that is set, since nothing outside it is ours.
  defp target_dir(part) do
    base =
      if System.get_env("MIX_BUILD_PATH"),
        do: Mix.Project.build_path(),
        else: Path.dirname(Mix.Project.build_path())

    Path.join([base, "linx_native", part])
  end

  # -- for which machine -------------------------------------------------------------------------

  defp target do
    cond do
      System.find_executable(cargo_path()) == nil ->
        {:error,
         "no cargo on PATH. Linx builds its native part from source: install Rust " <>
           "(https://rustup.rs), or set CARGO to the cargo to use."}

      triple = present("CARGO_BUILD_TARGET") ->
        {:ok, %{triple: triple, cross?: true}}

      present("TARGET_ARCH") && present("TARGET_OS") ->
        nerves_target(
          System.get_env("TARGET_ARCH"),
          System.get_env("TARGET_OS"),
          present("TARGET_ABI") || "gnu"
        )

      true ->
        host()
    end
  end

  defp nerves_target(arch, os, abi) do
    case rust_arch(arch, System.get_env("TARGET_CPU", "")) do
      nil ->
        {:error,
         "TARGET_ARCH=#{arch} has no Rust target known here; set CARGO_BUILD_TARGET to its " <>
           "triple."}

      arch ->
        {:ok, %{triple: "#{arch}-unknown-#{os}-#{abi}", cross?: true}}
    end
  end

  # ARM's architecture level is not in TARGET_ARCH; the CPU tells ARMv6 (Raspberry Pi Zero) from
  # ARMv7.
  defp rust_arch("arm", "arm1176" <> _), do: "arm"
  defp rust_arch("arm", "arm926" <> _), do: "armv5te"
  defp rust_arch("arm", _cpu), do: "armv7"
  defp rust_arch("riscv64", _cpu), do: "riscv64gc"
  defp rust_arch(arch, _cpu) when arch in ["aarch64", "x86_64", "i686"], do: arch
  defp rust_arch(_arch, _cpu), do: nil

  defp host do
    with {output, 0} <- System.cmd(cargo_path(), ["-vV"], stderr_to_stdout: true),
         [_, triple] <- Regex.run(~r/^host: (\S+)$/m, output) do
      {:ok, %{triple: triple, cross?: false}}
    else
      _ -> {:error, "#{cargo_path()} does not say its host; is the Rust installation complete?"}
    end
  end

  defp linker(%{cross?: false}), do: []

  defp linker(%{triple: triple}) do
    case present("CC") do
      nil -> []
      cc -> [{"CARGO_TARGET_#{triple |> String.upcase() |> String.replace("-", "_")}_LINKER", cc}]
    end
  end

  defp cargo_path, do: present("CARGO") || "cargo"

  defp present(name) do
    case System.get_env(name) do
      empty when empty in [nil, ""] -> nil
      value -> value
    end
  end

  # -- when --------------------------------------------------------------------------------------

  # Size and time of each source, and the settings that change what cargo makes of them.
  defp stamp do
    files =
      for root <- @sources,
          path <- sources(root),
          {:ok, stat} <- [File.stat(path, time: :posix)] do
        {path, stat.mtime, stat.size}
      end

    settings = for name <- @environment, do: {name, System.get_env(name)}
    :crypto.hash(:sha256, :erlang.term_to_binary({files, settings})) |> Base.encode16()
  end

  defp sources(root) do
    if File.dir?(root), do: Path.wildcard(root <> "/**/*.{rs,toml}"), else: [root]
  end

  defp diagnostic(message) do
    %Mix.Task.Compiler.Diagnostic{
      compiler_name: "linx_native",
      file: Path.expand("Cargo.toml"),
      message: message,
      position: 0,
      severity: :error
    }
  end
end
