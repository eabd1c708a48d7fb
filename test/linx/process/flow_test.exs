defmodule Linx.Process.FlowTest do
  use ExUnit.Case, async: true

  alias Linx.Process.{Credit, Inlet}

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

    test "is granted after a closer look when the mailbox is long for other reasons" do
      owner = spawn_link(fn -> Process.sleep(:infinity) end)
      for n <- 1..1_000, do: send(owner, {:other, n})
      credit = Credit.spend(Credit.new(), 131_072)
      assert {:ask_again, _delay, credit} = Credit.grant(credit, owner)
      assert {:grant, 131_072, _credit} = Credit.grant(Credit.woken(credit), owner)
    end

    test "is granted for an owner that is gone" do
      {owner, ref} = spawn_monitor(fn -> :ok end)
      assert_receive {:DOWN, ^ref, _, _, _}
      assert {:grant, _, _} = Credit.grant(Credit.spend(Credit.new(), 131_072), owner)
    end
  end

  describe "the inlet" do
    defp push(inlet, bytes), do: inlet |> Inlet.push(bytes) |> elem(1)
    defp sent(commands), do: for({:write, bytes} <- commands, into: "", do: bytes)

    test "sends no more than a window before it is confirmed, and loses nothing" do
      data = :rand.bytes(500_000)
      inlet = push(Inlet.new(), data)

      {parts, _inlet} =
        Enum.map_reduce(1..20, inlet, fn _, inlet ->
          {commands, inlet} = Inlet.take(inlet)
          bytes = sent(commands)
          assert byte_size(bytes) <= 48 * 1024
          assert {[], ^inlet} = Inlet.take(inlet)
          {bytes, Inlet.done(inlet, byte_size(bytes))}
        end)

      assert IO.iodata_to_binary(parts) == data
    end

    test "closes behind what was written, once" do
      inlet = Inlet.new() |> push("ab") |> push("cd") |> Inlet.close()
      assert {[{:write, "ab"}, {:write, "cd"}, :close_stdin], inlet} = Inlet.take(inlet)
      assert {[], inlet} = Inlet.take(Inlet.done(inlet, 4))
      assert Inlet.push(inlet, "x") == {:error, :closed}
      assert Inlet.push(Inlet.close(Inlet.new()), "x") == {:error, :closed}
    end

    test "has a limit" do
      inlet = push(Inlet.new(), :binary.copy(<<0>>, 64 * 1024 * 1024))
      assert Inlet.push(inlet, "x") == {:error, :busy}
      assert Inlet.push(inlet, "") == {:ok, inlet}
    end
  end
end
