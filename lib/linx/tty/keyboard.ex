defmodule Linx.Tty.Keyboard do
  @moduledoc false
  # Reads a group leader for an attach: characters as they are typed, ctrl-c, and the terminal's
  # size. Speaks the Erlang I/O protocol, so the group leader may be another node's.
  #
  # To `owner`, each with `id`:
  #   {:linx_tty, id, {:data, bytes}}   one for each `want/1`
  #   {:linx_tty, id, :interrupt}       ctrl-c, where ssh_cli or user_drv makes it a signal
  #   {:linx_tty, id, {:size, size}}    at first, and when it has changed
  #   {:linx_tty, id, :eof}             the group leader is gone, or has no more input
  #
  # OTP's group leader is taken (Linx.Tty.Group): one request brings all that is typed until
  # ctrl-c ends it, ctrl-c between two requests comes to this process, and at the end no request
  # is left behind.
  #
  # A group leader that is not OTP's, or of an unknown OTP release, is asked for characters one by
  # one. The I/O protocol cannot take a request back: the one that waits at the end gets the next
  # character that is typed there.

  alias Linx.Tty.Group

  @poll 250
  # Characters that are kept for an owner that does not want them yet.
  @max_waiting 65_536
  @patience 3_000

  defstruct [
    :leader,
    :owner,
    :id,
    :held,
    :pending,
    :size,
    :asked,
    :halt,
    typed: [],
    count: 0,
    wanted: false,
    ended: false,
    bytes: false,
    stopping: false
  ]

  @doc "Starts reading. `driver` is nil for a group leader that is not OTP's."
  @spec start(pid(), pid() | nil, pid(), non_neg_integer()) :: pid()
  def start(leader, driver, owner, id) do
    Process.spawn(
      fn ->
        # Ctrl-c comes as an exit signal of the group leader.
        Process.flag(:trap_exit, true)
        Process.monitor(leader)
        send(self(), :poll)
        state = %__MODULE__{leader: leader, owner: owner, id: id, held: take(leader, driver)}
        loop(read(state))
      end,
      priority: :high
    )
  end

  defp take(_leader, nil), do: nil

  defp take(leader, driver) do
    case Group.take(leader, driver, self()) do
      {:ok, held} -> held
      :none -> nil
    end
  end

  @doc "The group leader as it was taken; nil when it was not."
  @spec held(pid()) :: Group.t() | nil
  def held(keyboard), do: call(keyboard, :held, :infinity)

  @doc """
  The input that a group leader keeps for its next reader.
  """
  @spec typed(pid(), pid()) :: String.t()
  def typed(leader, driver) do
    reader = start(leader, driver, self(), 0)

    case held(reader) do
      nil ->
        Process.exit(reader, :kill)
        ""

      held ->
        text = collected(held, reader)
        stop(reader)
        text
    end
  end

  # A request that waits proves that nothing is in store any more.
  defp collected(held, reader) do
    deadline = System.monotonic_time(:millisecond) + @patience
    until(fn -> Group.waits?(held.leader) end, deadline)
    call(reader, :typed, @patience) || ""
  end

  defp until(condition, deadline) do
    if condition.() == false and System.monotonic_time(:millisecond) < deadline,
      do: receive(after: (1 -> until(condition, deadline)))
  end

  @spec want(pid()) :: :ok
  def want(keyboard) do
    send(keyboard, :want)
    :ok
  end

  @doc "Has the reader deliver nothing more: what it has belongs to `give_back/4`."
  @spec halt(pid()) :: :ok
  def halt(keyboard) do
    _ = call(keyboard, :halt, @patience)
    :ok
  end

  @doc """
  Stops reading and puts the group leader back, with `rest` and what was typed and not delivered
  before its next input.
  """
  @spec give_back(pid(), Group.t() | nil, :alive | {:died, term()}, String.t()) :: :ok
  def give_back(keyboard, nil, _died, _rest), do: stopped(keyboard)

  def give_back(keyboard, held, died, rest) do
    send(keyboard, {:rest, rest})
    Group.give_back(held, died)
    stopped(keyboard)
  end

  # The group leader, where it was taken, has had the answer that ends the reader.
  defp stopped(keyboard) do
    Process.exit(keyboard, :kill)
    :ok
  end

  defp stop(keyboard) do
    halt(keyboard)
    give_back(keyboard, held(keyboard), :alive, "")
  end

  defp call(keyboard, what, timeout) do
    ref = Process.monitor(keyboard)
    send(keyboard, {what, self(), ref})

    receive do
      {^ref, answer} ->
        Process.demonitor(ref, [:flush])
        answer

      {:DOWN, ^ref, _, _, _} ->
        nil
    after
      timeout ->
        Process.demonitor(ref, [:flush])
        nil
    end
  end

  defp loop(%{leader: leader, pending: pending} = state) do
    receive do
      {:io_reply, ^pending, reply} when pending != nil ->
        %{state | pending: nil} |> answered(reply) |> read() |> deliver() |> read() |> loop()

      {:keys, ^pending, chars} ->
        state |> answered(chars) |> deliver() |> loop()

      {:io_reply, ref, reply} ->
        loop(halted(measured(state, ref, reply)))

      {:EXIT, ^leader, :interrupt} ->
        state |> interrupted() |> loop()

      :want ->
        loop(read(deliver(%{state | wanted: true})))

      {:bytes, bytes} ->
        loop(%{state | bytes: bytes})

      :poll ->
        Process.send_after(self(), :poll, @poll)
        loop(measure(state))

      {:held, from, ref} ->
        send(from, {ref, state.held})
        loop(state)

      {:typed, from, ref} ->
        send(from, {ref, text(state.typed)})
        loop(%{state | typed: [], count: 0})

      {:halt, from, ref} ->
        loop(halted(%{state | stopping: true, halt: {from, ref}}))

      {:rest, bytes} ->
        loop(%{state | typed: state.typed ++ [bytes], stopping: true})

      {:give_back, from, ref} ->
        state = drain(state)
        typed = state.typed |> text() |> String.replace_invalid()
        send(from, {ref, String.to_charlist(typed)})

      {:DOWN, _, _, ^leader, _} ->
        tell(state, :eof)

      _other ->
        loop(state)
    end
  end

  # OTP's group leader answers a question for the size within two seconds, another may never.
  defp halted(%{halt: {from, ref}} = state) when state.asked == nil or state.held == nil do
    send(from, {ref, :ok})
    %{state | halt: nil}
  end

  defp halted(state), do: state

  # -- characters --------------------------------------------------------------------------------

  defp read(%{ended: true} = state), do: state
  defp read(%{pending: nil, count: count} = state) when count < @max_waiting, do: request(state)
  defp read(state), do: state

  # At the end the group leader waits for this process, which must not wait for it.
  defp request(state) do
    armed? = state.held != nil and not state.stopping
    ref = Group.request(state.leader, if(armed?, do: :all, else: :one))
    if armed?, do: Group.arm(state.held, ref)
    %{state | pending: ref}
  end

  # The group leader stands still: what it has sent is here.
  defp drain(%{pending: pending} = state) do
    receive do
      {:io_reply, ^pending, reply} when pending != nil -> drain(answered(state, reply))
      {:keys, ^pending, chars} -> drain(answered(state, chars))
    after
      0 -> state
    end
  end

  defp answered(state, {:error, :interrupted}), do: interrupted(state)

  # A character that the group leader could not give us: the loss is its.
  defp answered(state, {:error, {:no_translation, _, _}}), do: state

  defp answered(state, chars) when is_list(chars) or is_binary(chars) do
    text = IO.chardata_to_string(chars)

    %{
      state
      | typed: [encode(text, state.bytes) | state.typed],
        count: state.count + byte_size(text)
    }
  end

  # eof, {:error, :terminated}, {:error, :enotsup}
  defp answered(%{ended: true} = state, _end), do: state

  defp answered(state, _end) do
    state = deliver(%{state | wanted: true})
    tell(state, :eof)
    %{state | ended: true}
  end

  defp interrupted(%{stopping: true} = state), do: state

  defp interrupted(state) do
    state = deliver(%{state | wanted: true})
    tell(state, :interrupt)
    state
  end

  defp deliver(%{stopping: true} = state), do: state

  defp deliver(%{wanted: true, typed: [_ | _] = typed} = state) do
    tell(state, {:data, text(typed)})
    %{state | wanted: false, typed: [], count: 0}
  end

  defp deliver(state), do: state

  # A character that is no byte was not made of one: nothing of it is cut off.
  defp encode(text, false), do: text

  defp encode(text, true) do
    for <<char::utf8 <- text>>, into: "" do
      if char < 256, do: <<char>>, else: <<char::utf8>>
    end
  end

  defp text(typed), do: typed |> Enum.reverse() |> IO.iodata_to_binary()

  # -- the size ----------------------------------------------------------------------------------

  # Asked again only when the last answer is in: a group leader that waits must not collect
  # questions. At the end no more: the driver may be made to wait for the group leader then, which
  # asks the driver.
  defp measure(%{asked: nil, stopping: false} = state) do
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

  defp tell(state, what), do: send(state.owner, {:linx_tty, state.id, what})
end
