# Probes the host once, excludes what it cannot run with the reason, and fails if LINX_REQUIRE names what is missing.
excluded = Linx.Test.Host.exclusions()

for {tag, reason} <- excluded do
  IO.puts("excluding tests that need #{tag}: #{reason}")
end

required =
  System.get_env("LINX_REQUIRE", "") |> String.split(",", trim: true) |> Enum.map(&String.trim/1)

missing = for {tag, reason} <- excluded, to_string(tag) in required, do: "#{tag}: #{reason}"

if missing != [] do
  IO.puts(
    :stderr,
    "LINX_REQUIRE asks for what this host lacks:\n  " <> Enum.join(missing, "\n  ")
  )

  System.halt(1)
end

ExUnit.start(
  exclude: Keyword.keys(excluded),
  capture_log: true,
  assert_receive_timeout: Linx.Test.Poll.patience(),
  timeout: 600_000
)
