defmodule Linx.MixProject do
  use Mix.Project

  @version "0.3.0"

  def project do
    [
      app: :linx,
      version: @version,
      elixir: "~> 1.18",
      elixirc_paths: elixirc_paths(Mix.env()),
      # After Elixir's own: the task itself is in lib/, and a library that is rebuilt must not
      # recompile a module.
      compilers: Mix.compilers() ++ [:linx_native],
      start_permanent: Mix.env() == :prod,
      deps: deps(),
      aliases: aliases(),
      test_ignore_filters: [
        &String.starts_with?(&1, ~w(test/support/ test/soak/ test/fixtures/ test/mutations/))
      ],
      description: "The Linux kernel's primitives for Elixir",
      package: package(),
      docs: docs()
    ]
  end

  # No :mod: nothing starts at boot.
  def application do
    [extra_applications: [:logger, :crypto]]
  end

  def cli do
    [preferred_envs: [check: :test]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Compiling, testing and running need nothing from Hex; documentation is built where Hex is.
  defp deps do
    if Code.ensure_loaded?(Hex) do
      [{:ex_doc, "~> 0.34", only: :dev, runtime: false}]
    else
      []
    end
  end

  defp aliases do
    [
      check: [
        "format --check-formatted",
        "compile --warnings-as-errors",
        "xref graph --format cycles --label compile-connected --fail-above 0",
        "cmd cargo fmt --all --check",
        "cmd cargo clippy --workspace --all-targets -- -D warnings",
        "cmd cargo test --workspace",
        "test"
      ]
    ]
  end

  @subsystems ~w(process tty cgroup mount user capabilities seccomp sysctl netlink netns netfilter
                 reconcile)

  defp docs do
    [
      main: "readme",
      source_ref: "v#{@version}",
      extras:
        ["README.md"] ++
          Enum.flat_map(@subsystems, &guides/1) ++
          cookbook() ++
          Path.wildcard("docs/*.md") ++
          Path.wildcard("docs/development/*.md") ++
          ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"],
      groups_for_extras: [
        {"Cookbook", ~r"docs/cookbook/"},
        {"Development", ~r"docs/development/"}
        | for(name <- @subsystems, do: {String.capitalize(name), ~r"docs/#{name}/"})
      ],
      groups_for_modules: [
        "Processes and terminals": ~r/^Linx\.(Process|Tty)/,
        "Identity and privilege": ~r/^Linx\.(User|Capabilities|Seccomp)/,
        "Files and limits": ~r/^Linx\.(Mount|Cgroup|Sysctl)(?!\.Reconcile)/,
        "The nft language": ~r/^Linx\.NFT/,
        "Packet filtering": ~r/^Linx\.(Netfilter|Netlink\.Nfnl)/,
        Netlink: ~r/^Linx\.Netlink/,
        "Network namespaces": ~r/^Linx\.Netns/,
        Values: ~r/^Linx\.(IP|MAC)/,
        Reconciliation: ~r/Reconcile/
      ],
      # Its handle is the library's own business.
      skip_undefined_reference_warnings_on: ["lib/linx/netlink/socket.ex"],
      before_closing_body_tag: &mermaid/1
    ]
  end

  # The overview first, then the rest by name.
  defp guides(subsystem) do
    "docs/#{subsystem}/*.{md,livemd}"
    |> Path.wildcard()
    |> Enum.sort_by(&{Path.basename(&1) != "overview.md", &1})
    |> Enum.map(&page/1)
  end

  defp cookbook, do: "docs/cookbook/*.md" |> Path.wildcard() |> Enum.sort() |> Enum.map(&page/1)

  # Each subsystem has an overview: without its name the pages would be numbered, anew with each
  # page that is added.
  defp page(path) do
    ["docs", folder, file] = Path.split(path)
    {path, filename: folder <> "-" <> (file |> Path.rootname() |> String.downcase())}
  end

  # Diagrams in guides are fenced as mermaid; the script is the reader's browser's to fetch.
  defp mermaid(:html) do
    """
    <script defer src="https://cdn.jsdelivr.net/npm/mermaid@11/dist/mermaid.min.js"></script>
    <script>
      window.addEventListener("exdoc:loaded", () => {
        mermaid.initialize({startOnLoad: false});
        document.querySelectorAll("pre code.mermaid").forEach(async (code, i) => {
          const {svg} = await mermaid.render("mermaid-" + i, code.textContent);
          code.parentElement.outerHTML = svg;
        });
      });
    </script>
    """
  end

  defp mermaid(_format), do: ""

  defp package do
    [
      licenses: ["MIT"],
      links: %{},
      # The tests too: what a kernel does is best asked on the machine that will run it. A
      # checkout has no archives; bin/precompile makes them for a release.
      files:
        Enum.filter(["precompiled"], &File.dir?/1) ++
          ~w(lib native c_src_replacement test docs examples bin Cargo.toml Cargo.lock
        .formatter.exs clippy.toml mix.exs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md
        LICENSE),
      exclude_patterns: [~r"/target/"]
    ]
  end
end
