defmodule Linx.Test.Ran do
  @moduledoc false
  # An ExUnit formatter that writes a line a test to the file that LINX_RAN names: its state,
  # module and name. What ran on no kernel is found by comparing such files (bin/test-kernel
  # --all).

  use GenServer

  @doc "The formatters of this run."
  @spec formatters() :: [module()]
  def formatters do
    case System.get_env("LINX_RAN") do
      empty when empty in [nil, ""] -> [ExUnit.CLIFormatter]
      _path -> [ExUnit.CLIFormatter, __MODULE__]
    end
  end

  @impl true
  def init(_opts), do: {:ok, []}

  @impl true
  def handle_cast({:test_finished, test}, lines), do: {:noreply, [line(test) | lines]}

  def handle_cast({:suite_finished, _times}, lines) do
    File.write!(System.fetch_env!("LINX_RAN"), Enum.sort(lines))
    {:noreply, []}
  end

  def handle_cast(_event, lines), do: {:noreply, lines}

  defp line(%{state: state, module: module, name: name, tags: tags}) do
    reason =
      case state do
        {:excluded, reason} -> reason
        _ran -> ""
      end

    file = Path.relative_to_cwd(tags.file)
    "#{state(state)}\t#{inspect(module)}\t#{name}\t#{file}\t#{reason}\n"
  end

  defp state(nil), do: "passed"
  defp state({state, _}), do: state
end
