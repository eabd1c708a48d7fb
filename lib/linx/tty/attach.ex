defmodule Linx.Tty.Attach do
  @moduledoc false
  # The state machine of an attach, as a value: `{state, effects} = handle(state, event)`.
  # Linx.Tty.AttachLoop carries the effects out.
  #
  # Events                                      Effects, in order
  #   {:input, bytes}     typed                   {:workload, bytes}    to the workload's terminal
  #   {:output, bytes}    the workload wrote      {:terminal, bytes}    to the user's terminal
  #   {:size, size}       the user's terminal is  {:resize, size}       of the workload's terminal
  #   :held_too_long      the timer of :hold      {:hold, milliseconds} start a timer
  #                                               :release              stop it
  #                                               :want                 the next {:input, _}
  #   {:ended, outcome}   the session's end       {:stop, result, typed_ahead}
  #   {:closed, reason}   the terminal is gone
  #
  # The detach key may come in any number of pieces. What could still become it is held back: a
  # key that is the beginning of the sequence and useful to the workload (ctrl-p) must arrive when
  # the sequence is not completed. So it is passed on with the next key that does not fit, and at
  # the latest after @hold: the workload is not kept waiting for a key that a person may never
  # press. A sequence completed after that still detaches.

  @hold 1_000

  @type size ::
          {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer()}
  @type outcome ::
          {:exited, non_neg_integer()} | {:signaled, pos_integer()} | :aborted | {:error, term()}
  @type event ::
          {:input, binary()}
          | {:output, binary()}
          | {:size, size()}
          | {:ended, outcome()}
          | :held_too_long
          | {:closed, term()}
  @type result :: {:ok, {:exited, non_neg_integer()} | {:signaled, pos_integer()} | :detached}
  @type effect ::
          {:workload, binary()}
          | {:terminal, binary()}
          | {:resize, size()}
          | {:hold, pos_integer()}
          | :release
          | :want
          | {:stop, result() | {:error, term()}, binary()}

  # `matched` is how much of the key has been typed, `passed` how much of that the workload has
  # been given already. `tail` is the beginning of a character that the workload has not finished
  # writing.
  defstruct key: "", matched: 0, passed: 0, size: nil, output: :bytes, tail: ""

  @type t :: %__MODULE__{
          key: binary(),
          matched: non_neg_integer(),
          passed: non_neg_integer(),
          size: size() | nil,
          output: :bytes | :characters,
          tail: binary()
        }

  @doc """
  `key` is the detach sequence, "" for none. `output` is what the terminal takes: any bytes, or
  whole UTF-8 characters.
  """
  @spec new(binary(), :bytes | :characters) :: t()
  def new(key, output), do: %__MODULE__{key: key, output: output}

  @spec handle(t(), event()) :: {t(), [effect()]}
  def handle(state, {:input, bytes}) do
    case type(bytes, state, []) do
      {:detach, done, given, rest} ->
        {done, release(state, workload(given) ++ [{:stop, {:ok, :detached}, rest}])}

      {:typed, typed, given} ->
        {typed, timer(state, typed, workload(given)) ++ [:want]}
    end
  end

  def handle(%{output: :bytes} = state, {:output, bytes}), do: {state, [{:terminal, bytes}]}

  def handle(state, {:output, bytes}) do
    {characters, tail} = characters(state.tail <> bytes)
    {%{state | tail: tail}, terminal(characters)}
  end

  # 0 is a terminal that does not know its size; the workload's stays as it is.
  def handle(state, {:size, {rows, cols, _, _}}) when rows == 0 or cols == 0, do: {state, []}
  def handle(%{size: size} = state, {:size, size}), do: {state, []}
  def handle(state, {:size, size}), do: {%{state | size: size}, [{:resize, size}]}

  def handle(%{matched: matched, passed: passed} = state, :held_too_long),
    do: {%{state | passed: matched}, workload(slice(state.key, passed, matched))}

  def handle(state, {:ended, outcome}) do
    # Undelivered input belongs to the terminal's next reader.
    held = slice(state.key, state.passed, state.matched)
    {%{state | tail: ""}, release(state, unfinished(state) ++ [{:stop, result(outcome), held}])}
  end

  def handle(state, {:closed, reason}),
    do: {state, release(state, [{:stop, {:error, reason}, ""}])}

  defp result({:error, _} = error), do: error
  defp result(:aborted), do: {:error, :aborted}
  defp result(outcome), do: {:ok, outcome}

  # -- the detach key ----------------------------------------------------------------------------

  defp type(bytes, %{key: ""} = state, []), do: {:typed, state, bytes}
  defp type("", state, given), do: {:typed, state, IO.iodata_to_binary(given)}

  defp type(<<byte, rest::binary>>, state, given) do
    %{key: key, matched: matched, passed: passed} = state

    case follow(key, matched, byte) do
      n when n == byte_size(key) ->
        {:detach, %{state | matched: 0, passed: 0}, IO.iodata_to_binary(given), rest}

      # Everything typed and not given yet is key[passed..matched] and the byte; all but the last
      # n of it can be no beginning of the key any more.
      n ->
        typed = slice(key, 0, matched) <> <<byte>>
        free = byte_size(typed) - n
        now = slice(typed, passed, max(free, passed))
        type(rest, %{state | matched: n, passed: max(passed - free, 0)}, [given, now])
    end
  end

  # The length of the typed part of the key after one more byte: the longest suffix of the input
  # that is a prefix of the key.
  defp follow(key, matched, byte) do
    typed = slice(key, 0, matched) <> <<byte>>

    Enum.find((matched + 1)..0//-1, fn n ->
      slice(typed, byte_size(typed) - n, byte_size(typed)) == slice(key, 0, n)
    end)
  end

  defp slice(bytes, from, to), do: binary_part(bytes, from, to - from)

  defp timer(before, now, effects) do
    case {holds?(before), holds?(now)} do
      {true, false} -> [:release | effects]
      {true, true} when before == now -> effects
      {true, true} -> [:release | effects] ++ [{:hold, @hold}]
      {false, true} -> effects ++ [{:hold, @hold}]
      {false, false} -> effects
    end
  end

  defp release(state, effects), do: if(holds?(state), do: [:release | effects], else: effects)

  defp holds?(%{matched: matched, passed: passed}), do: matched > passed

  defp workload(""), do: []
  defp workload(bytes), do: [{:workload, bytes}]

  # -- output as characters ----------------------------------------------------------------------

  defp terminal(""), do: []
  defp terminal(characters), do: [{:terminal, characters}]

  defp unfinished(%{tail: ""}), do: []
  defp unfinished(_state), do: [{:terminal, "\uFFFD"}]

  # Whole characters, each byte that is part of none as U+FFFD, and an unfinished character at the
  # end.
  defp characters(bytes) do
    if String.valid?(bytes), do: {bytes, ""}, else: scan(bytes, [])
  end

  defp scan(<<char::utf8, rest::binary>>, given), do: scan(rest, [given, <<char::utf8>>])
  defp scan("", given), do: {IO.iodata_to_binary(given), ""}

  defp scan(<<_, rest::binary>> = bytes, given) do
    incomplete? = match?({:incomplete, "", _}, :unicode.characters_to_binary(bytes))

    if byte_size(bytes) < 4 and incomplete?,
      do: {IO.iodata_to_binary(given), bytes},
      else: scan(rest, [given, "\uFFFD"])
  end
end
