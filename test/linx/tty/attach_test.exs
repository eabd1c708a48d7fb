defmodule Linx.Tty.AttachTest do
  use ExUnit.Case, async: true

  alias Linx.Tty.Attach

  @key <<16, 17>>

  defp new(opts \\ []), do: Attach.new(opts[:key] || @key, opts[:output] || :bytes)

  defp run(state, events) do
    Enum.reduce(events, {state, []}, fn event, {state, effects} ->
      {state, more} = Attach.handle(state, event)
      {state, effects ++ more}
    end)
  end

  defp given({_state, effects}), do: for({:workload, bytes} <- effects, into: "", do: bytes)
  defp shown({_state, effects}), do: for({:terminal, bytes} <- effects, into: "", do: bytes)

  test "what is typed goes to the workload, and more is asked for" do
    assert {_, [{:workload, "ls\r"}, :want]} = Attach.handle(new(), {:input, "ls\r"})
  end

  describe "the detach key" do
    test "detaches in one piece, and what follows it is the next reader's" do
      assert {_, [{:workload, "a"}, {:stop, {:ok, :detached}, "b"}]} =
               Attach.handle(new(), {:input, "a" <> @key <> "b"})
    end

    test "detaches in two pieces" do
      {state, effects} = Attach.handle(new(), {:input, <<16>>})
      assert [{:hold, _}, :want] = effects

      assert {_, [:release, {:stop, {:ok, :detached}, ""}]} =
               Attach.handle(state, {:input, <<17>>})
    end

    test "its beginning is given ahead of a key that does not complete it" do
      assert given(run(new(), [{:input, <<16>>}, {:input, "x"}])) == <<16, "x">>
      assert given(run(new(), [{:input, <<16>>}, {:input, <<16>>}])) == <<16>>
    end

    test "its beginning is not held for ever, and completes it all the same" do
      {state, effects} = run(new(), [{:input, <<16>>}, :held_too_long])
      assert {:workload, <<16>>} in effects
      assert {_, [{:stop, {:ok, :detached}, ""}]} = Attach.handle(state, {:input, <<17>>})
      assert given(run(state, [{:input, "x"}])) == "x"
    end

    test "none is none" do
      assert given(run(new(key: ""), [{:input, @key}])) == @key
    end

    test "one byte is enough" do
      assert {_, [{:stop, {:ok, :detached}, ""}]} =
               Attach.handle(new(key: <<29>>), {:input, <<29>>})
    end

    # The reference: everything typed up to the first occurrence of the key.
    test "whatever the key and the pieces, the workload gets all but the key" do
      for _ <- 1..2_000 do
        key = random(1 + :rand.uniform(4))
        typed = random(:rand.uniform(12))
        events = typed |> pieces() |> Enum.map(&{:input, &1}) |> sprinkle(:held_too_long)
        {_state, effects} = all = run_until_stop(new(key: key), events)

        case :binary.split(typed, key) do
          [before, rest] ->
            assert {:stop, {:ok, :detached}, tail} = List.last(effects)
            assert String.starts_with?(rest, tail)
            # A part of the key that was held too long has been given.
            assert String.starts_with?(given(all), before)
            assert String.starts_with?(before <> key, given(all))

          [_none] ->
            {state, _} = all
            held = binary_part(key, state.passed, state.matched - state.passed)
            assert given(all) <> held == typed
        end
      end
    end

    defp random(n), do: for(_ <- 1..n, into: "", do: <<Enum.random(~c"ab")>>)

    defp pieces(""), do: []

    defp pieces(bytes) do
      n = :rand.uniform(byte_size(bytes))
      [binary_part(bytes, 0, n) | pieces(binary_part(bytes, n, byte_size(bytes) - n))]
    end

    defp sprinkle(events, extra),
      do: Enum.flat_map(events, &if(:rand.uniform(4) == 1, do: [&1, extra], else: [&1]))

    defp run_until_stop(state, events) do
      Enum.reduce_while(events, {state, []}, fn event, {state, effects} ->
        {state, more} = Attach.handle(state, event)
        stop? = match?({:stop, _, _}, List.last(more))
        {if(stop?, do: :halt, else: :cont), {state, effects ++ more}}
      end)
    end
  end

  describe "output" do
    test "passes byte for byte where the terminal takes bytes" do
      bytes = <<0, 255, 0xC3, "é", 27>>
      assert shown(run(new(), [{:output, bytes}])) == bytes
    end

    test "waits for the rest of a character where it takes characters" do
      <<one, two>> = "é"
      state = new(output: :characters)
      assert {state, [{:terminal, "a"}]} = Attach.handle(state, {:output, <<"a", one>>})
      assert {_, [{:terminal, "é"}]} = Attach.handle(state, {:output, <<two>>})
    end

    test "shows what is no character as U+FFFD" do
      state = new(output: :characters)
      assert shown(run(state, [{:output, <<255, "a", 0xE2, "(b">>}])) == "\uFFFDa\uFFFD(b"
      assert shown(run(state, [{:output, <<0xE2>>}, {:ended, {:exited, 0}}])) == "\uFFFD"
    end

    test "of any bytes in any pieces is the same characters" do
      for _ <- 1..500 do
        bytes =
          for(_ <- 1..40, into: "", do: Enum.random(["é", "€", "𝄞", "a", <<0x80>>, <<0xE2>>]))

        whole = shown(run(new(output: :characters), [{:output, bytes}, {:ended, {:exited, 0}}]))
        split = pieces(bytes) |> Enum.map(&{:output, &1})
        assert shown(run(new(output: :characters), split ++ [{:ended, {:exited, 0}}])) == whole
        assert String.valid?(whole)
      end
    end
  end

  test "a size is passed on when it changes and is known" do
    size = {24, 80, 0, 0}
    {state, effects} = run(new(), [{:size, size}, {:size, size}, {:size, {0, 0, 0, 0}}])
    assert effects == [{:resize, size}]
    assert {_, [{:resize, {25, 80, 0, 0}}]} = Attach.handle(state, {:size, {25, 80, 0, 0}})
  end

  test "the workload's end is the result, and what was held is the next reader's" do
    assert {_, [{:stop, {:ok, {:exited, 3}}, ""}]} = Attach.handle(new(), {:ended, {:exited, 3}})

    assert {_, [{:stop, {:ok, {:signaled, 9}}, ""}]} =
             Attach.handle(new(), {:ended, {:signaled, 9}})

    assert {_, [{:stop, {:error, :aborted}, ""}]} = Attach.handle(new(), {:ended, :aborted})
    assert {_, [{:stop, {:error, :why}, ""}]} = Attach.handle(new(), {:ended, {:error, :why}})

    {state, _} = Attach.handle(new(), {:input, <<16>>})

    assert {_, [:release, {:stop, {:ok, {:exited, 0}}, <<16>>}]} =
             Attach.handle(state, {:ended, {:exited, 0}})
  end

  test "a terminal that is gone ends the attach" do
    assert {_, [{:stop, {:error, :gl_eof}, ""}]} = Attach.handle(new(), {:closed, :gl_eof})
  end
end
