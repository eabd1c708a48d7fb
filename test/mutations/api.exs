[
  %{
    name: "run-lets-go",
    promise: "A caller of run/1 that is killed takes the workload with it.",
    file: "lib/linx/process/reader.ex",
    replace: "      {:DOWN, ^caller, _, _, _reason} ->\n        leave(session)\n",
    with: "      {:DOWN, ^caller, _, _, _reason} ->\n        loop(state)\n",
    run: ["mix", "test", "test/integration/process/run_test.exs"]
  },
  %{
    name: "run-max-output",
    promise: "Output past max_output ends the workload, and none of it is in the error.",
    file: "lib/linx/process/reader.ex",
    replace: "total when total > most ->",
    with: "total when total > most + 65_536 ->",
    run: ["mix", "test", "test/integration/process/run_test.exs"]
  },
  %{
    name: "stream-halt",
    promise: "Halting a stream ends the session and its tree.",
    file: "lib/linx/process/stream.ex",
    replace: "  defp stop(reader), do: Reader.stop(reader)",
    with: "  defp stop(_reader), do: :ok",
    run: ["mix", "test", "test/integration/process/run_test.exs"]
  },
  %{
    name: "credit-blind",
    promise: "An owner that reads nothing is given little.",
    file: "lib/linx/process/credit.ex",
    replace: "  defp unread_at_most(owner) when not is_pid(owner), do: 0\n",
    with: "  defp unread_at_most(owner) when is_pid(owner) or owner == nil, do: 0\n",
    run: ["mix", "test", "test/integration/process/credit_test.exs"]
  },
  %{
    name: "credit-any-fall",
    promise:
      "An owner that works through other messages does not pass for one that reads output.",
    file: "lib/linx/process/credit.ex",
    replace:
      "  defp slow(%{stage: {:settling, _other}} = credit, _length, now), do: " <>
        "pause(failed(credit), now)",
    with:
      "  defp slow(%{stage: {:settling, _other}} = credit, length, _now), do: full(credit) " <>
        "|> then(fn {:grant, n, c} -> {:grant, n, %{c | stage: {:granted, length}}} end)",
    run: ["mix", "test", "test/integration/process/credit_test.exs"]
  },
  %{
    name: "credit-no-experiment",
    promise: "An owner that reads its output gets it, however long its mailbox.",
    file: "lib/linx/process/credit.ex",
    replace:
      "  defp slow(%{stage: {:pausing, _due}} = credit, length, _now), do: " <>
        "experiment(credit, length)",
    with:
      "  defp slow(%{stage: {:pausing, _due}} = credit, _length, now), do: pause(credit, now)",
    run: ["mix", "test", "test/integration/process/credit_test.exs"]
  },
  %{
    name: "tee-unbounded",
    promise: "A listener that does not read is dropped and told.",
    file: "lib/linx/process/tee.ex",
    replace: "%{listener | behind_since: listener.behind_since || now}",
    with: "%{listener | behind_since: nil && now}",
    run: ["mix", "test", "test/integration/process/tee_test.exs"]
  },
  %{
    name: "input-piece-free",
    promise: "Many small pieces of input are bounded like few large ones.",
    file: "lib/linx/process/input_window.ex",
    replace: "  @overhead 64\n",
    with: "  @overhead 0\n",
    run: ["mix", "test", "test/linx/process/flow_test.exs"]
  },
  %{
    name: "report-raw",
    promise: "No report of a session shows its state or a message of its channel.",
    file: "lib/linx/process.ex",
    replace: "  defdelegate format_status(status), to: Status, as: :format\n",
    with: "  def format_status(status), do: status |> tap(&Status.format/1)\n",
    run: ["mix", "test", "test/integration/process/report_test.exs"]
  }
]
