defmodule Linx.Tty.Keyboard do
  @moduledoc false
  # Reads a group leader for an attach: characters as they are typed, ctrl-c, and the terminal's size. Speaks the Erlang
  # I/O protocol, so the group leader may be another node's.
  #
  # To `owner`, each with `id`:
  #   {:linx_tty, id, {:data, bytes}}   one for each `want/1`
  #   {:linx_tty, id, :interrupt}       ctrl-c, where the driver makes it a signal (ssh_cli, user_drv)
  #   {:linx_tty, id, {:size, size}}    at first, and when it has changed
  #   {:linx_tty, id, :eof}             the group leader is gone, or has no more input
  #
  # Several requests for one character each are kept open. OTP answers them in the order of the characters; one alone
  # would leave a moment between two requests in which ctrl-c reaches the shell process instead, and would make a paste
  # slow. At the end they must not stay behind to eat what is typed next: as many marks are put into the input as there
  # are requests. Real characters that came before them are put back.
  #
  # A shell that asks for a line meanwhile comes in between. OTP serves the newest request first, so one more of ours
  # leads the marks past the shell's; what the shell's line gets all the same is erased from it, as by the key.

  alias Linx.Tty.Otp

  @open 32
  @poll 250
  @most 65_536
  @patience 2_000
  # Noncharacters: no keyboard sends them.
  @mark 0x10FFFE
  @switch 0x10FFFF
  # DEL, what a terminal sends for the key that erases.
  @erase 0x7F
  @rounds 5

  defstruct [
    :leader,
    :driver,
    :owner,
    :id,
    :size,
    :asked,
    pending: %{},
    typed: [],
    count: 0,
    marks: 0,
    wanted: false,
    ended: false,
    bytes: false
  ]

  @doc "The character after which characters are bytes, and after the next of which they are characters again."
  @spec switch() :: char()
  def switch, do: @switch

  @doc "Starts reading. `driver` is nil for a group leader that is not OTP's."
  @spec start(pid(), pid() | nil, pid(), non_neg_integer()) :: pid()
  def start(leader, driver, owner, id) do
    # Ahead of the shell, so that no request of the shell's comes between those of ours.
    Process.spawn(
      fn ->
        Process.monitor(leader)
        send(self(), :poll)

        loop(read(%__MODULE__{leader: leader, driver: driver, owner: owner, id: id}))
      end,
      priority: :high
    )
  end

  @doc """
  What a group leader, whose echo is off, has in store for its next reader.
  """
  @spec typed(pid(), pid()) :: String.t()
  def typed(leader, driver) do
    state = request(%__MODULE__{leader: leader, driver: driver})
    send(leader, {driver, {:data, <<@mark::utf8>>}})
    text(stored(state, System.monotonic_time(:millisecond) + @patience).typed)
  end

  defp stored(state, deadline) do
    receive do
      {:io_reply, ref, reply} when is_map_key(state.pending, ref) ->
        state = %{state | pending: Map.delete(state.pending, ref)}

        cond do
          mark?(reply) -> state
          is_list(reply) or is_binary(reply) -> stored(request(answered(state, reply)), deadline)
          true -> state
        end
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> state
    end
  end

  @spec want(pid()) :: :ok
  def want(keyboard) do
    send(keyboard, :want)
    :ok
  end

  @doc "Stops reading, leaving no request behind. What was typed and not delivered goes back to the group leader."
  @spec stop(pid(), timeout()) :: :ok
  def stop(keyboard, timeout \\ 1_000) do
    ref = Process.monitor(keyboard)
    send(keyboard, :stop)

    receive do
      {:DOWN, ^ref, _, _, _} -> :ok
    after
      timeout ->
        Process.exit(keyboard, :kill)
        Process.demonitor(ref, [:flush])
        :ok
    end
  end

  defp loop(state) do
    leader = state.leader

    receive do
      {:io_reply, ref, reply} when is_map_key(state.pending, ref) ->
        state = %{state | pending: Map.delete(state.pending, ref)}

        # Requests first: what is delivered may end the attach, and a shell that then asks for a line must find ours
        # before it in the queue. Else its line would swallow the marks.
        state |> answered(reply) |> drain() |> read() |> deliver() |> read() |> loop()

      {:io_reply, ref, reply} ->
        loop(measured(state, ref, reply))

      :want ->
        loop(read(deliver(%{state | wanted: true})))

      :poll ->
        Process.send_after(self(), :poll, @poll)
        loop(measure(state))

      :stop ->
        leave(state)

      {:DOWN, _, _, ^leader, _} ->
        tell(state, :eof)
    end
  end

  # -- characters ------------------------------------------------------------------------------------------------------

  # A group leader that is not OTP's need not answer in the order of the characters.
  defp most_open(%{driver: nil}), do: 1
  defp most_open(_state), do: @open

  defp read(%{ended: true} = state), do: state

  defp read(state) do
    if map_size(state.pending) < most_open(state) and state.count < @most,
      do: read(request(state)),
      else: state
  end

  defp request(state) do
    ref = make_ref()
    send(state.leader, {:io_request, self(), ref, {:get_chars, :unicode, "", 1}})
    %{state | pending: Map.put(state.pending, ref, true)}
  end

  # More answers may have come with the first: a paste is one message.
  defp drain(state) do
    receive do
      {:io_reply, ref, reply} when is_map_key(state.pending, ref) ->
        drain(answered(%{state | pending: Map.delete(state.pending, ref)}, reply))
    after
      0 -> state
    end
  end

  defp answered(state, {:error, :interrupted}) do
    state = deliver(%{state | wanted: true})
    tell(state, :interrupt)
    state
  end

  # A character that the group leader could not give us: the loss is its.
  defp answered(state, {:error, {:no_translation, _, _}}), do: state

  defp answered(state, chars) when is_list(chars) or is_binary(chars) do
    case IO.chardata_to_string(chars) do
      <<@switch::utf8>> -> %{state | bytes: not state.bytes}
      <<@mark::utf8>> -> %{state | marks: state.marks + 1}
      text -> %{state | typed: [encode(text, state.bytes) | state.typed], count: state.count + 1}
    end
  end

  # eof, {:error, :terminated}, {:error, :enotsup}
  defp answered(%{ended: true} = state, _end), do: state

  defp answered(state, _end) do
    state = deliver(%{state | wanted: true})
    tell(state, :eof)
    %{state | ended: true}
  end

  defp deliver(%{wanted: true, typed: [_ | _] = typed} = state) do
    tell(state, {:data, text(typed)})
    %{state | wanted: false, typed: [], count: 0}
  end

  defp deliver(state), do: state

  defp encode(text, false), do: text
  defp encode(text, true), do: for(<<char::utf8 <- text>>, into: "", do: <<char>>)

  defp text(typed), do: typed |> Enum.reverse() |> IO.iodata_to_binary()

  # -- the size --------------------------------------------------------------------------------------------------------

  # Asked again only when the last answer is in: a group leader that waits must not collect questions.
  defp measure(%{asked: nil} = state) do
    asked = for what <- [:rows, :columns], into: %{}, do: {ask(state, what), what}
    %{state | asked: {asked, %{}}}
  end

  defp measure(state), do: state

  defp ask(state, what) do
    ref = make_ref()
    send(state.leader, {:io_request, self(), ref, {:get_geometry, what}})
    ref
  end

  defp measured(%{asked: {asked, known}} = state, ref, reply) do
    case Map.pop(asked, ref) do
      {nil, _} -> state
      {what, rest} -> sized(%{state | asked: {rest, Map.put(known, what, reply)}})
    end
  end

  defp measured(state, _ref, _reply), do: state

  defp sized(%{asked: {open, %{rows: rows, columns: cols}}} = state) when open == %{} do
    size = {rows, cols, 0, 0}

    if is_integer(rows) and is_integer(cols) and size != state.size do
      tell(state, {:size, size})
      %{state | size: size, asked: nil}
    else
      %{state | asked: nil}
    end
  end

  defp sized(state), do: state

  # -- the end ---------------------------------------------------------------------------------------------------------

  # Nothing can be put into the input of a group leader that is not OTP's; a request left there is its own affair.
  defp leave(%{driver: nil}), do: :ok
  defp leave(%{ended: true}), do: :ok

  defp leave(state), do: leave(state, @rounds)

  defp leave(state, rounds) do
    state = request(state)
    marks = map_size(state.pending)
    type(state, @mark, marks)
    # Answered behind all that the marks have answered.
    _ = Otp.driver(state.leader)
    state = drain(%{state | marks: 0})
    type(state, @erase, marks - state.marks)

    if map_size(state.pending) > 0 and rounds > 1 and not state.ended,
      do: leave(state, rounds - 1),
      else: left(state)
  end

  # The switch back to characters is before the marks in the input. If it has not come, a shell's line has it.
  defp left(state) do
    if state.bytes, do: type(state, @erase, 1)
    Otp.typed(state.leader, state.driver, String.replace_invalid(text(state.typed)))
  end

  defp type(state, character, count) do
    text = List.to_string(List.duplicate(character, count))
    Otp.typed(state.leader, state.driver, text)
  end

  defp mark?(reply), do: reply in [[@mark], <<@mark::utf8>>]

  defp tell(state, what), do: send(state.owner, {:linx_tty, state.id, what})
end
