defmodule Linx.KernelTextTest do
  # Texts of procfs and cgroupfs, and nf_tables notices, with bytes changed: a value or an error,
  # never an exception.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Linx.{Capabilities, Mount, User}
  alias Linx.Cgroup.{Keyed, Pressure}
  alias Linx.Netfilter.Monitor

  @rounds 2_000

  defp mutations(text) do
    :rand.seed(:exsss, {8, 8, 8})
    Stream.repeatedly(fn -> mutated(text, :rand.uniform(5)) end) |> Enum.take(@rounds)
  end

  defp mutated(text, 0), do: text
  defp mutated("", _n), do: ""

  defp mutated(text, n) do
    at = :rand.uniform(byte_size(text)) - 1
    <<before::binary-size(^at), byte, rest::binary>> = text

    case :rand.uniform(5) do
      1 -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
      2 -> <<before::binary, Enum.random(~c" \n\t:=-\\0e.")::8, rest::binary>>
      3 -> <<before::binary, rest::binary>>
      4 -> <<before::binary, byte, byte, byte, byte, rest::binary>>
      5 -> before
    end
    |> mutated(n - 1)
  end

  test "mountinfo" do
    for text <- mutations(File.read!("/proc/self/mountinfo")) do
      entries = Mount.Mountinfo.parse(text)
      assert Enum.all?(entries, &is_struct(&1, Mount.Entry))
      assert is_binary(inspect(entries))
    end
  end

  test "the status of a process" do
    text = File.read!("/proc/self/status")

    # A bit without a name is warned of.
    capture_log(fn ->
      for text <- mutations(text), do: assert({_, _} = Capabilities.parse(text, "status"))
    end)
  end

  test "maps of user namespaces" do
    for text <- mutations("         0     100000      65536\n     65536          0          1\n"),
        do: assert(Enum.all?(User.Map.parse(text), &is_struct(&1, User.Map)))
  end

  test "files of a cgroup" do
    pressure =
      "some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\nfull avg10=0.00 avg60=0.00 " <>
        "avg300=0.00 total=7\n"

    for text <- mutations(pressure) do
      assert Pressure.parse(text) == nil or is_struct(Pressure.parse(text), Pressure)
      assert is_map(Keyed.nested(text))
    end

    for text <- mutations("anon 4096\nfile 12288\nkernel_stack 16384\n"),
        do: assert(is_map(Keyed.flat(text)))
  end

  test "nf_tables notices" do
    :rand.seed(:exsss, {1, 2, 3})
    # Noise is of generation 0.
    state = %{
      owner: self(),
      held: [],
      held_cost: 0,
      lost?: false,
      min_gen: -1,
      holds: [],
      kept: []
    }

    # NFNL_SUBSYS_NFTABLES, its messages in any order, their closing one among them.
    Enum.reduce(1..@rounds, state, fn _, state ->
      kind = 0x0A00 + :rand.uniform(40) - 1
      state = Monitor.message({kind, 0, 0, :rand.bytes(:rand.uniform(120) - 1)}, state)
      assert is_list(state.held)
      state
    end)

    assert_received {:linx_netfilter, :event, %Linx.Netfilter.Event{}}
  end
end
