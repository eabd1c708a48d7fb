# Probes the host once, excludes what it cannot run with the reason, and fails if LINX_REQUIRE
# names what is missing.
excluded = Linx.Test.Host.exclusions()

for {tag, reason} <- excluded do
  IO.puts("excluding tests that need #{tag}: #{reason}")
end

missing = Linx.Test.Host.missing(System.get_env("LINX_REQUIRE", ""), excluded)

if missing != [] do
  IO.puts(
    :stderr,
    "LINX_REQUIRE asks for what this host lacks:\n  " <> Enum.join(missing, "\n  ")
  )

  System.halt(1)
end

ExUnit.start(
  formatters: Linx.Test.Ran.formatters(),
  exclude: Keyword.keys(excluded),
  capture_log: true,
  assert_receive_timeout: Linx.Test.Poll.patience(),
  timeout: 600_000
)
