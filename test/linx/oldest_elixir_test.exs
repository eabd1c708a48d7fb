defmodule Linx.OldestElixirTest do
  use ExUnit.Case, async: true

  # mix.exs promises Elixir 1.18, the README OTP 28. Functions say in their documentation since
  # when they exist.
  @elixir Version.parse!("1.18.99")
  @otp 28

  # {module, function, arity} => the modules of ours that call it.
  defp calls do
    for beam <- Path.wildcard(Path.join(Application.app_dir(:linx, "ebin"), "*.beam")),
        {:ok, {caller, [imports: imports]}} =
          :beam_lib.chunks(String.to_charlist(beam), [:imports]),
        not String.starts_with?(inspect(caller), "Linx.Test."),
        {module, name, arity} <- imports,
        not String.starts_with?(inspect(module), "Linx"),
        reduce: %{} do
      calls -> Map.update(calls, {module, name, arity}, [caller], &[caller | &1])
    end
  end

  # [{what, since}] of a module: itself, and each of its functions for every arity that it may be
  # called with.
  defp ages(module) do
    case Code.fetch_docs(module) do
      {:docs_v1, _, _, _, _, meta, entries} ->
        functions =
          for {{:function, name, arity}, _, _, _, meta} <- entries,
              arity <- (arity - Map.get(meta, :defaults, 0))..arity,
              since = meta[:since],
              do: {{module, name, arity}, since}

        [{module, meta[:since]} | functions]

      {:error, _} ->
        []
    end
  end

  # Before 17 they were called R16B and the like.
  defp newer?("OTP " <> version), do: match?({major, _} when major > @otp, Integer.parse(version))

  defp newer?(version) when is_binary(version) do
    case version |> String.split(".") |> Enum.map(&Integer.parse/1) do
      [{major, _}, {minor, _} | _] ->
        Version.compare(%Version{major: major, minor: minor, patch: 0}, @elixir) == :gt

      _ ->
        false
    end
  end

  defp newer?(nil), do: false

  test "nothing is called that the oldest Elixir and OTP lack" do
    calls = calls()
    modules = calls |> Map.keys() |> Enum.map(&elem(&1, 0)) |> Enum.uniq()
    ages = modules |> Enum.flat_map(&ages/1) |> Map.new()

    # Documentation is there to be asked, and says such things.
    assert ages[{Enum, :sum_by, 2}] == "1.18.0"

    too_new =
      for {{module, _, _} = mfa, callers} <- calls,
          since <- [ages[module], ages[mfa]],
          newer?(since),
          do: {mfa, since, callers}

    assert too_new == []
  end

  # Since OTP 28 a compiled regular expression is a reference. Elixir 1.18 cannot put one into a
  # module's code.
  test "no regular expression stands in a module attribute or a struct's default" do
    found =
      for file <- Path.wildcard("{lib,test}/**/*.{ex,exs}"),
          file != "test/linx/oldest_elixir_test.exs",
          {line, number} <- file |> File.read!() |> String.split("\n") |> Enum.with_index(1),
          line =~ ~r/^\s*@\w+ .*~r\W/,
          do: "#{file}:#{number}"

    assert found == []
  end
end
