defmodule Linx.Process.ExplainTest do
  use ExUnit.Case, async: true

  alias Linx.Process.{Error, Explain, Subject}

  @source Path.expand("../../../c_src_replacement/src/stage.rs", __DIR__)
  @external_resource @source

  # Stages in the agent's source, and those that the VM's side makes itself.
  @stages for(
            "    " <> line <- @source |> File.read!() |> String.split("\n"),
            [_variant, text] <- [String.split(line, ~s( => "))],
            String.ends_with?(text, ~s(",)),
            do: text |> String.trim_trailing(~s(",)) |> String.to_atom()
          )
          |> Kernel.++([:malformed_ready, :agent_died, :open_port, :like, :timeout, :max_output])

  defp subject(request),
    do: Subject.new({:spawn, Map.merge(%{argv: ["/bin/true"]}, request)}, nil)

  defp text(stage, code, request),
    do: stage |> then(&Error.from_agent(code, &1)) |> Explain.explain(subject(request))

  # Seen failing for each stage that had no text: :kill, :fds, :hostname, :propagation, :keyring,
  # :image, :init, ...
  test "every stage has a text, whatever its errno" do
    assert length(@stages) > 55

    for stage <- @stages, code <- [1, 2, 5, 9, 11, 12, 13, 16, 22, 24, 28, 38, 110, 122, 4_000] do
      %{detail: detail} = error = text(stage, code, %{})

      # The caller's own argv says it all.
      if {stage, code} != {:execve, 2} do
        assert is_binary(detail) and byte_size(detail) in 3..300, inspect({stage, code, detail})
        refute detail =~ "nil"
        assert Exception.message(error) =~ "#{stage}" or stage == :agent_died
      end
    end
  end

  test "every stage of the table in Linx.Process's documentation is one, and every stage is " <>
         "in it" do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Linx.Process)
    [_, table] = String.split(doc, "## Stages of `:error`")
    [table, _] = String.split(table, "## What a workload inherits")
    named = Regex.scan(~r/`:([a-z_0-9]+)`/, table, capture: :all_but_first) |> List.flatten()
    types = ~w(user mnt uts ipc cgroup net time pid)

    for stage <- @stages, stage not in [:like, :timeout, :max_output, :open_port, :signal] do
      name = Atom.to_string(stage)
      assert name in named or Enum.any?(types, &String.ends_with?(name, "_" <> &1)), name
    end
  end

  test "the CPUs and the limits that were asked for are named" do
    assert text(:cpus, 22, %{cpus: [0, 1, 2, 700]}).detail =~ "CPU 0-2, 700:"
    assert text(:cpus, 1, %{cpus: [5]}).detail == "CPU 5"
    many = text(:cpus, 22, %{cpus: Enum.to_list(0..8190//2)}).detail
    assert many =~ "0, 2, 4, 6, ..., 8184, 8186, 8188, 8190"
    limits = [{7, 10, 4_000_000_000}, {4, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF}]
    detail = text(:rlimit, 1, %{rlimits: limits}).detail
    assert detail =~ "nofile 10/4000000000, core infinity: "
    assert text(:rlimit, 22, %{rlimits: [{7, 10, 10}]}).detail == "nofile 10"
  end
end
