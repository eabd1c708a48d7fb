defmodule Mix.Tasks.Compile.LinxNative do
  @shortdoc "Unpacks or builds the NIF library and the agent"

  @moduledoc """
  Puts the two native parts of Linx into the built application's `priv`.

    * `priv/linx_nif.so`, the NIF library;
    * `priv/linx_process`, the agent of each session, linked statically where the target's C
      library allows it, so that it starts inside any root filesystem.

  The Hex package carries both for common targets, in `precompiled/`, as archives whose SHA-256
  sums are listed in `lib/`. An archive for the target is unpacked, and needs neither Rust nor a C
  compiler. One whose sum differs from the list, or that is for another processor, is refused, and
  compiling fails. Without an archive, as in a checkout, cargo builds both parts from source.
  Nothing is done when no source, setting or artefact has changed since the last time, unless
  `mix compile --force` asks for it.

  | Variable | Meaning |
  |---|---|
  | `LINX_BUILD=1` | build from source, whatever archives there are |
  | `CARGO` | the cargo to use |

  `mix linx.verify` builds the archives again and compares.

  ## Target

  The host, unless one of these says otherwise (the first that is set wins):

    * `CARGO_BUILD_TARGET`, a Rust target triple;
    * `TARGET_ARCH`, `TARGET_OS`, `TARGET_ABI` and `TARGET_CPU`, as Nerves sets them.

  The host's C library, glibc or musl, is the one that the running VM is linked with. `CC` is
  taken as the linker when a target is set.

  ## A faster start of sessions

  For the host cargo links the agent with musl where Rust has a standard library for it, and with
  the host's C library elsewhere. With musl it is less than half the size and a session starts
  sooner:

      rustup target add x86_64-unknown-linux-musl
      mix compile --force
  """

  use Mix.Task.Compiler

  alias Mix.Tasks.Compile.LinxNative.{Archive, Cargo, Target}

  @recursive true
  @manifest "compile.linx_native"
  @sources ["native", "c_src_replacement", "Cargo.toml", "Cargo.lock", Archive.folder()]
  @environment ~w(CARGO CARGO_BUILD_TARGET RUSTFLAGS TARGET_ARCH TARGET_OS TARGET_ABI TARGET_CPU
                  CC LINX_BUILD)

  @impl true
  def run(args) do
    target = Target.current()
    stamp = stamp(target)

    if "--force" not in args and File.read(manifest()) == {:ok, stamp} and
         Enum.all?(artefacts(), &File.exists?/1) do
      {:noop, []}
    else
      with {:ok, target} <- target, :ok <- provide(target) do
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

  # -- archive or cargo --------------------------------------------------------------------------

  defp provide(target) do
    if Target.present("LINX_BUILD") in [nil, "0"] do
      case Archive.fetch(target.triple) do
        {:ok, contents} -> unpack(target, contents)
        :none -> build(target, "")
        {:error, message} -> {:error, message <> "\n" <> after_refusal()}
      end
    else
      build(target, "LINX_BUILD is set, and ")
    end
  end

  defp after_refusal do
    "Fetch the package again (mix deps.get after removing this folder), or build from source " <>
      "with LINX_BUILD=1, which takes Rust."
  end

  defp unpack(target, %{nif: nif, agent: agent}) do
    with :ok <- install(nif_path(), &File.write(&1, nif)),
         :ok <- install(agent_path(), &File.write(&1, agent)) do
      Mix.shell().info("Unpacked linx_nif and linx_process (#{Archive.name(target.triple)})")
    end
  end

  defp build(target, because) do
    if Cargo.there?() do
      Cargo.build(target, fn
        :nif, path -> install(nif_path(), &File.cp(path, &1))
        :agent, path -> install(agent_path(), &File.cp(path, &1))
      end)
    else
      archive = Path.join(Archive.folder(), Archive.name(target.triple))

      {:error,
       because <>
         "no cargo on PATH. Target: #{target.triple}. Linx takes #{archive}, which the Hex " <>
         "package has for its targets, or builds from source. Take the package from Hex " <>
         "without LINX_BUILD, or install Rust (https://rustup.rs); CARGO may name the cargo " <>
         "to use."}
    end
  end

  # Elsewhere and then moved to its place: a loaded library must not be overwritten, since the VM
  # that has it mapped would run the new bytes, and a part that is there is whole. Not in priv,
  # which a release copies as it is, and by a name of this VM's own: another may do the same.
  defp install(destination, write) do
    new = Path.join(Mix.Project.manifest_path(), "#{Path.basename(destination)}.#{System.pid()}")

    with :ok <- File.mkdir_p(Path.dirname(destination)),
         :ok <- File.mkdir_p(Path.dirname(new)),
         :ok <- write.(new),
         :ok <- File.chmod(new, 0o755),
         :ok <- File.rename(new, destination) do
      :ok
    else
      {:error, reason} ->
        _ = File.rm(new)
        {:error, "cannot write #{destination}: #{:file.format_error(reason)}"}
    end
  end

  # -- where -------------------------------------------------------------------------------------

  defp manifest, do: Path.join(Mix.Project.manifest_path(), @manifest)
  defp nif_path, do: Path.join([Mix.Project.app_path(), "priv", "linx_nif.so"])
  defp agent_path, do: Path.join([Mix.Project.app_path(), "priv", "linx_process"])
  defp artefacts, do: [nif_path(), agent_path()]

  # -- when --------------------------------------------------------------------------------------

  # Size and time of each source and archive, and the settings that decide what is made of them.
  defp stamp(target) do
    files =
      for root <- @sources,
          path <- sources(root),
          {:ok, stat} <- [File.stat(path, time: :posix)] do
        {path, stat.mtime, stat.size}
      end

    settings = for name <- @environment, do: {name, System.get_env(name)}

    :crypto.hash(:sha256, :erlang.term_to_binary({files, settings, target, Archive.list()}))
    |> Base.encode16()
  end

  defp sources(root) do
    if File.dir?(root), do: Path.wildcard(root <> "/**/*.{rs,toml,gz}"), else: [root]
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
