defmodule Linx.Tty.Otp do
  @moduledoc false
  # The undocumented parts of OTP's terminal processes that an attach needs. Only this module
  # knows their shapes (kernel and ssh of OTP 28 and 29) and checks them before each change: an
  # unknown shape is left alone, and the attach works without it.
  #
  #   user_drv     the driver of the VM's own terminal, a gen_statem: {:server, data}, or
  #                {:switch_loop, _} in the ^G menu. data is a record whose first field is
  #                prim_tty's state
  #   ssh_cli      the driver of an ssh session's shell, in a ssh_client_channel:
  #                {:state, cm, :ssh_cli, data, ...}. data is a record whose last field is
  #                prim_tty's state: {:state, cm, channel, pty, encoding, deduced_encoding, group,
  #                ...}
  #   prim_tty     {:state, tty, reader, writer, options, ...} with options
  #                %{input: _, output: :cooked | :raw}
  #   group        a group leader with one of these as its driver
  #
  # Without it: :controlling shares the terminal's input with iex, and :group_leader's output
  # passes prim_tty's line editor, which shows control characters as ^X.

  alias Linx.Tty.{Group, Program}

  @timeout 5_000
  # The number of attempts at a change that has to wait, and the milliseconds between them.
  @tries 50
  @again 2
  @encodings [:utf8, :latin1, :undefined]

  @doc """
  Whether the VM's own terminal is not the one behind `group_leader`: it is an ssh session's, or
  another node's.
  """
  @spec elsewhere?(pid()) :: boolean()
  def elsewhere?(group_leader) when node(group_leader) != node(), do: true

  def elsewhere?(group_leader) do
    ancestors = dictionary(group_leader)[:"$ancestors"]
    is_list(ancestors) and Enum.any?(ancestors, &(&1 in [:ssh_sup, :sshd_sup]))
  end

  @doc "The driver of a group leader that is OTP's, else nil."
  @spec driver(pid()) :: pid() | nil
  def driver(group_leader) do
    if dictionary(group_leader)[:"$initial_call"] == {:group, :init, 1} do
      # A process of its own: an answer that comes too late is nobody's message.
      case bounded(fn -> ask_driver(group_leader) end) do
        {:ok, driver} when is_pid(driver) -> driver
        _ -> nil
      end
    end
  end

  # A request of group's own: user_drv and the shells ask it.
  defp ask_driver(group_leader) do
    send(group_leader, {:driver_id, self()})

    receive do
      {^group_leader, :driver_id, driver} -> driver
    end
  end

  @doc "Whether a driver is the one of this VM's own terminal."
  @spec user_drv?(pid() | nil) :: boolean()
  def user_drv?(driver), do: is_pid(driver) and driver == Process.whereis(:user_drv)

  # -- the terminal's reader ---------------------------------------------------------------------

  @doc """
  Stops iex's reader from taking keys. Gives what `enable_reader/1` needs; `:none` where there is
  no reader, `:busy` where something else (the ^G menu, an editor opened from the shell) has
  stopped it.
  """
  @spec disable_reader() :: {:ok, tuple()} | :none | :busy
  def disable_reader do
    with driver when is_pid(driver) <- Process.whereis(:user_drv),
         {:ok, {:server, data}} <- state(driver),
         {:ok, {:state, _tty, {reader, _ref}, _writer, _options} = tty} when is_pid(reader) <-
           prim_tty(data, 1) do
      cond do
        editor?(data) -> :busy
        bounded(fn -> :prim_tty.disable_reader(elem(data, 1)) end) == {:ok, :ok} -> {:ok, tty}
        true -> :busy
      end
    else
      {:ok, {:switch_loop, _}} -> :busy
      _ -> :none
    end
  end

  @doc """
  Whether the reader of a shell was disabled, which takes keys as they come, and not a program's,
  which is asked.
  """
  @spec reads_ahead?(tuple()) :: boolean()
  def reads_ahead?({:state, _tty, _reader, _writer, %{input: input}}), do: input != :cooked

  # A disabled reader waits for `enable` and nothing else; enabling one that is not disabled would
  # wait for ever.
  @doc "Lets iex's reader read again."
  @spec enable_reader(tuple()) :: :ok
  def enable_reader({:state, _, {reader, _}, _, _}) do
    with driver when is_pid(driver) <- Process.whereis(:user_drv),
         {:ok, {_name, data}} <- state(driver),
         {:ok, {:state, _, {^reader, _}, _, _}} <- prim_tty(unwrap(data), 1) do
      bounded(fn -> :prim_tty.enable_reader(elem(unwrap(data), 1)) end)
    end

    :ok
  end

  # In the ^G menu the data is beside the menu's own state.
  defp unwrap({_menu, data}) when is_tuple(data), do: data
  defp unwrap(data), do: data

  defp editor?(data),
    do: data |> Tuple.to_list() |> Enum.any?(&(is_tuple(&1) and elem(&1, 0) == :editor))

  # -- output without the line editor ------------------------------------------------------------

  @doc """
  Sets how a driver writes, `:raw` (as it comes) or `:cooked`. Gives how it wrote before; `:none`
  when it is no driver that we know. Only this one option is touched: the rest of the driver's
  state moves on meanwhile.
  """
  @spec output(pid() | nil, :raw | :cooked) :: {:ok, :raw | :cooked} | :none
  def output(nil, _mode), do: :none

  def output(driver, mode) do
    with {:ok, state} <- state(driver),
         {:ok, path} <- path(state),
         {:state, _, _, _, %{output: before}} <- get(state, path),
         true <- before in [:raw, :cooked],
         :ok <- replace(driver, path, mode) do
      {:ok, before}
    else
      _ -> :none
    end
  end

  @replace Program.parse!(~C"""
           Tty = fun(T) when is_tuple(T), tuple_size(T) >= 5, element(1, T) =:= state ->
                       case element(5, T) of
                         #{input := _, output := _} = O -> setelement(5, T, O#{output := Mode})
                       end
                 end,
           Set = fun Set(T, []) -> Tty(T);
                     Set(T, [I | P]) -> setelement(I + 1, T, Set(element(I + 1, T), P))
                 end,
           Try = fun(Path, S) -> try Set(S, Path) catch _:_ -> S end end,
           sys:replace_state(D, fun(S) -> lists:foldl(Try, S, Paths) end, 5000),
           ok.
           """)

  defp replace(driver, path, mode),
    do: Program.run(driver, {@replace, %{D: driver, Paths: [path], Mode: mode}})

  @doc """
  Sets how a driver writes in one step, whatever it does: what a shell that is quick to ask for a
  line writes comes after.
  """
  @spec write(pid(), :raw | :cooked) :: :ok
  def write(driver, mode) do
    _ = Program.run(driver, writing(driver, mode))
    :ok
  end

  @doc "The program of `write/2`, for a process on the driver's node."
  @spec writing(pid(), :raw | :cooked) :: Program.t()
  def writing(driver, mode),
    do: {@replace, %{D: driver, Paths: [[1, 1], [1, 1, 1], [3, 9]], Mode: mode}}

  # Where prim_tty's state is, as tuple indexes from the outside in.
  defp path({:server, data}), do: path(data, [1, 1])
  defp path({:switch_loop, {_, data}}), do: path(data, [1, 1, 1])

  defp path({:state, _cm, :ssh_cli, data, _id, _closed}) when is_tuple(data),
    do: path(data, [3, tuple_size(data) - 1])

  defp path(_), do: :none

  defp path(data, path) do
    case prim_tty(data, List.last(path)) do
      {:ok, _} -> {:ok, path}
      :none -> :none
    end
  end

  # The first five fields of the record, which are all that is relied on.
  defp get(state, path) do
    tty =
      Enum.reduce(path, state, fn at, inner ->
        if is_tuple(inner) and tuple_size(inner) > at, do: elem(inner, at)
      end)

    case prim_tty({tty}, 0) do
      {:ok, fields} -> fields
      :none -> nil
    end
  end

  defp prim_tty(data, at) when is_tuple(data) and tuple_size(data) > at do
    with tty when is_tuple(tty) and tuple_size(tty) >= 5 <- elem(data, at),
         :state <- elem(tty, 0),
         %{input: _, output: _} = options <- elem(tty, 4) do
      {:ok, {:state, elem(tty, 1), elem(tty, 2), elem(tty, 3), options}}
    else
      _ -> :none
    end
  end

  defp prim_tty(_data, _at), do: :none

  # -- an ssh session's characters ---------------------------------------------------------------

  @doc """
  Has an ssh session's driver pass bytes, both ways and each as the character of that number,
  instead of UTF-8, and tells `keyboard` so (`{:bytes, true}`). Gives what `characters/4` needs;
  `:none` where that is not to be had.

  ssh_cli takes each packet for a text of its own: one that ends within a character it takes for
  Latin-1, and all that follow with it. A paste is cut into packets wherever they are full.

  The change is made while the driver stands still and a request waits in the group leader: so
  every character has been read by then, and every byte comes after.
  """
  @spec bytes(pid() | nil, pid(), pid()) :: {:ok, {atom(), atom()}} | :none
  def bytes(driver, leader, keyboard) when is_pid(driver) and node(driver) == node() do
    between(driver, leader, {@tries, :never}, fn state ->
      with {:ok, {:utf8, deduced} = before} when deduced != :latin1 <- encodings(state, leader) do
        send(keyboard, {:bytes, true})
        {{:ok, before}, encode(state, {:latin1, :latin1})}
      else
        _ -> {:none, state}
      end
    end)
  end

  def bytes(_driver, _leader, _keyboard), do: :none

  @doc """
  Undoes `bytes/3`, and does `also` between the last byte and the first character.
  """
  @spec characters(pid(), pid(), pid(), {atom(), atom()}, (-> term())) :: :ok
  def characters(driver, leader, keyboard, before, also) do
    tries = if Process.alive?(keyboard), do: @tries, else: 0

    done =
      between(driver, leader, {tries, :at_last}, fn state ->
        with {:ok, _} <- encodings(state, leader) do
          also.()
          {:ok, encode(state, before)}
        else
          _ -> {:none, state}
        end
      end)

    if done != :ok, do: also.()
    :ok
  end

  # `change` of the driver's state gives {answer, state}. Where no request waits the driver goes
  # on and is asked again. With :at_last the change is made in the end all the same: a reader that
  # is dead makes no request.
  defp between(_driver, _leader, {0, :never}, _change), do: :none

  defp between(driver, leader, {tries, then}, change) do
    me = self()
    ref = make_ref()

    attempt(fn ->
      :sys.replace_state(
        driver,
        fn state ->
          {answer, state} =
            case tries == 0 or Group.waits?(leader) do
              true -> change.(state)
              false -> {:again, state}
              :none -> {:none, state}
            end

          send(me, {ref, answer})
          state
        end,
        3 * @timeout
      )
    end)

    receive do
      {^ref, :again} ->
        receive after: (@again -> between(driver, leader, {tries - 1, then}, change))

      {^ref, answer} ->
        answer
    after
      0 -> :none
    end
  end

  defp encode(state, {encoding, deduced}) do
    data = state |> elem(3) |> put_elem(4, encoding) |> put_elem(5, deduced)
    put_elem(state, 3, data)
  end

  defp encodings({:state, _cm, :ssh_cli, data, _id, _closed}, leader)
       when is_tuple(data) and tuple_size(data) > 6 and elem(data, 0) == :state and
              elem(data, 4) in @encodings and elem(data, 5) in @encodings and
              elem(data, 6) == leader,
       do: {:ok, {elem(data, 4), elem(data, 5)}}

  defp encodings(_state, _leader), do: :none

  # -- the group leader --------------------------------------------------------------------------

  @doc """
  Gives `text` to the group leader as if its driver had read it: the next to read gets it.
  """
  @spec typed(pid(), pid() | nil, String.t()) :: :ok
  def typed(_group_leader, nil, _text), do: :ok
  def typed(_group_leader, _driver, ""), do: :ok

  def typed(group_leader, driver, text) do
    send(group_leader, {driver, {:data, text}})
    :ok
  end

  @doc "Waits until the VM's driver has acted on the signals that the VM has had."
  @spec settle() :: :ok
  def settle do
    attempt(fn -> :gen_event.which_handlers(:erl_signal_server) end)
    if driver = Process.whereis(:user_drv), do: state(driver)
    :ok
  end

  # -- asking processes that may not answer ------------------------------------------------------

  defp state(pid), do: attempt(fn -> {:ok, :sys.get_state(pid, @timeout)} end)

  defp attempt(ask) do
    ask.()
  catch
    _, _ -> :none
  end

  defp dictionary(pid) when node(pid) == node() do
    case Process.info(pid, :dictionary) do
      {:dictionary, dictionary} -> dictionary
      nil -> []
    end
  end

  defp dictionary(pid) do
    case attempt(fn ->
           :erpc.call(node(pid), :erlang, :process_info, [pid, :dictionary], @timeout)
         end) do
      {:dictionary, dictionary} -> dictionary
      _ -> []
    end
  end

  # prim_tty's calls have no timeout.
  defp bounded(call) do
    {pid, ref} = spawn_monitor(fn -> exit({:answer, call.()}) end)

    receive do
      {:DOWN, ^ref, _, _, {:answer, answer}} -> {:ok, answer}
      {:DOWN, ^ref, _, _, _} -> :none
    after
      @timeout ->
        Process.exit(pid, :kill)
        Process.demonitor(ref, [:flush])
        :none
    end
  end
end
