defmodule Linx.Process.FlowTest do
  use ExUnit.Case, async: true

  alias Linx.Process.{Credit, InputWindow}

  describe "credit" do
    test "is granted in steps while the mailbox is short" do
      credit = Credit.spend(Credit.new(), 1_000)
      assert {:nothing, credit} = Credit.grant(credit, self())
      credit = Credit.spend(credit, 64 * 1024)
      assert {:nothing, credit} = Credit.grant(credit, self())
      credit = Credit.spend(credit, 64 * 1024)
      # A small frame counts for 4096.
      assert {:grant, 135_168, credit} = Credit.grant(credit, self())
      assert {:nothing, _credit} = Credit.grant(credit, self())
    end

    test "waits for an owner with much unread, and asks more and more seldom" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for _ <- 1..20, do: send(owner, {:linx_process, :pty_out, :binary.copy("x", 65_536)})
      credit = Credit.spend(Credit.new(), 131_072)
      assert {:ask_again, first, credit} = Credit.grant(credit, owner)
      # The timer runs; more output does not start another.
      assert {:nothing, credit} = Credit.grant(Credit.spend(credit, 65_536), owner)
      assert {:ask_again, second, _credit} = Credit.grant(Credit.woken(credit), owner)
      assert second > first
    end

    test "is granted by experiment when the mailbox is long for other reasons" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for n <- 1..1_000, do: send(owner, {:other, n})
      credit = Credit.spend(Credit.new(), 262_144)
      assert {:ask_again, delay, credit} = Credit.grant(credit, owner)
      # One frame at first. All of it sent and the mailbox no longer: it was read.
      {sizes, _credit} =
        Enum.map_reduce(1..4, wake(credit, delay, owner), &experiment(&1, &2, owner))

      assert [1, 16_384, 65_536, 262_144] = sizes
    end

    # Nothing is sent to this owner, so that its mailbox is back at its length at once.
    defp experiment(_round, {:grant, bytes, credit}, owner) do
      assert {:ask_again, delay, credit} = Credit.grant(Credit.spend(credit, bytes), owner)
      {bytes, wake(credit, delay, owner)}
    end

    defp wake(credit, delay, owner) do
      Process.sleep(delay)

      case Credit.grant(Credit.woken(credit), owner) do
        {:ask_again, delay, credit} -> wake(credit, delay, owner)
        granted -> granted
      end
    end

    test "an owner that passed with a full window is known by the number of its other messages" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for n <- 1..100, do: send(owner, {:other, n})
      {:ask_again, delay, credit} = Credit.grant(Credit.spend(Credit.new(), 262_144), owner)
      first = wake(credit, delay, owner)
      {_sizes, {:grant, _, credit}} = Enum.map_reduce(1..4, first, &experiment(&1, &2, owner))
      assert credit.others == 100
      # At once, for a mailbox that is hardly longer.
      for _ <- 1..10, do: send(owner, :output)
      assert {:grant, _, credit} = Credit.grant(Credit.spend(credit, 262_144), owner)
      for _ <- 1..10, do: send(owner, :output)
      assert {:ask_again, _, %{others: nil}} = Credit.grant(Credit.spend(credit, 262_144), owner)
    end

    test "an experiment that nobody reads is followed by one frame, later each time" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for n <- 1..1_000, do: send(owner, {:other, n})
      {:ask_again, delay, credit} = Credit.grant(Credit.spend(Credit.new(), 262_144), owner)

      Enum.reduce(1..2, wake(credit, delay, owner), fn _round, {:grant, 1, credit} ->
        send(owner, :output)
        {:ask_again, delay, next} = Credit.grant(Credit.spend(credit, 65_536), owner)
        assert {:grant, 1, later} = wake(next, delay, owner)
        assert later.pause == 2 * credit.pause
        {:grant, 1, later}
      end)
    end

    test "says nothing of an owner before" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for n <- 1..1_000, do: send(owner, {:other, n})
      {:ask_again, _delay, credit} = Credit.grant(Credit.spend(Credit.new(), 262_144), owner)
      credit = Credit.woken(Credit.handed_over(credit))
      assert {:grant, 262_144, _credit} = Credit.grant(credit, self())
    end

    test "is granted for an owner that is gone" do
      {owner, ref} = spawn_monitor(fn -> :ok end)
      assert_receive {:DOWN, ^ref, _, _, _}
      assert {:grant, _, _} = Credit.grant(Credit.spend(Credit.new(), 131_072), owner)
    end
  end

  describe "the input window" do
    defp push(input, bytes), do: input |> InputWindow.push(bytes) |> elem(1)
    defp sent(commands), do: for({:write, bytes} <- commands, into: "", do: bytes)

    test "sends no more than a window before it is confirmed, and loses nothing" do
      data = :rand.bytes(500_000)
      input = push(InputWindow.new(), data)

      {parts, _input} =
        Enum.map_reduce(1..20, input, fn _, input ->
          {commands, input} = InputWindow.take(input)
          bytes = sent(commands)
          assert byte_size(bytes) <= 48 * 1024
          assert {[], ^input} = InputWindow.take(input)
          {bytes, InputWindow.done(input, byte_size(bytes))}
        end)

      assert IO.iodata_to_binary(parts) == data
    end

    test "closes behind what was written, once" do
      input = InputWindow.new() |> push("ab") |> push("cd") |> InputWindow.close()
      assert {[{:write, "ab"}, {:write, "cd"}, :close_stdin], input} = InputWindow.take(input)
      assert {[], input} = InputWindow.take(InputWindow.done(input, 4))
      assert InputWindow.push(input, "x") == {:error, :closed}
      assert InputWindow.push(InputWindow.close(InputWindow.new()), "x") == {:error, :closed}
    end

    test "has a limit" do
      input = push(InputWindow.new(), :binary.copy(<<0>>, 64 * 1024 * 1024))
      assert InputWindow.push(input, "x") == {:error, :busy}
      assert InputWindow.push(input, "") == {:ok, input}
    end

    test "counts what a small piece costs" do
      {input, pushed} = fill(InputWindow.new(), 0)
      # A piece of one byte takes at least 64 bytes of the VM.
      assert pushed <= 1024 * 1024 + 1
      {commands, input} = InputWindow.take(input)
      assert byte_size(sent(commands)) == 48 * 1024
      assert {:ok, _input} = InputWindow.push(input, "x")
    end

    defp fill(input, pushed) do
      case InputWindow.push(input, "x") do
        {:ok, input} -> fill(input, pushed + 1)
        {:error, :busy} -> {input, pushed}
      end
    end

    test "keeps no large binary for a small part of it" do
      <<part::binary-size(100), _rest::binary>> = :binary.copy("x", 1024 * 1024)
      {:ok, input} = InputWindow.push(InputWindow.new(), part)
      {[{:write, kept}], _input} = InputWindow.take(input)
      assert :binary.referenced_byte_size(kept) == 100
    end
  end
end
