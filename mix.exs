defmodule Linx.MixProject do
  use Mix.Project

  @version "0.3.0"

  def project do
    [
      app: :linx,
      version: @version,
      elixir: "~> 1.18",
      elixirc_paths: elixirc_paths(Mix.env()),
      # After Elixir's own: the task itself is in lib/, and a library that is rebuilt must not recompile a module.
      compilers: Mix.compilers() ++ [:linx_native],
      start_permanent: Mix.env() == :prod,
      deps: deps(),
      aliases: aliases(),
      test_ignore_filters: [&String.starts_with?(&1, "test/support/")],
      description: "The Linux kernel's primitives for Elixir",
      package: package()
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

  defp package do
    [
      licenses: ["MIT"],
      links: %{},
      files:
        ~w(lib native c_src_replacement docs examples bin Cargo.toml Cargo.lock .formatter.exs clippy.toml
        mix.exs README.md CHANGELOG.md LICENSE),
      exclude_patterns: [~r"/target/"]
    ]
  end
end
