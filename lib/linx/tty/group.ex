defmodule Linx.Tty.Group do
  @moduledoc false
  # OTP's group leader (kernel, group.erl of OTP 28 and 29) for the time of an attach: taken by
  # take/3, put back at once by give_back/2, each a sys:replace_state/3, so inside the group
  # leader and between two of its messages.
  #
  # Taken, it echoes nothing, and ctrl-c between two requests goes to the attach's reader of keys
  # instead of to the shell: that reader stands in the field of the shell. The shell's own death
  # is looked for by Linx.Tty.Hold, which has the group leader act on it.
  #
  # The reader makes a request for a character, which is armed while it waits (arm/2): the
  # function by which the group leader takes what the driver has read is replaced by one that
  # sends it to the reader and goes on waiting. So one request serves for the whole attach, and a
  # shell that asks for a line meanwhile is served by OTP's own rules. When the reader is dead the
  # function ends the request and leaves the characters for the next one, which is the shell's.
  #
  # Put back, the requests of the attach's reader are gone, wherever they were: the one that
  # waits, those behind the shell's, those in the mailbox. What the reader was given and has not
  # delivered goes before whatever comes next. A line that the shell asked for meanwhile, without
  # echo and editor, is asked for again with them. So nothing of an attach is left in the group
  # leader's input, and nothing was ever put there to get it out.
  #
  # A group leader of another shape is left alone (`:none`).
  #
  # The record, with indexes from 1:
  #   1 state  2 read_type  3 driver  4 echo  5 log  6 dumb  7 shell  8 terminal_mode
  #   9 line_history  10 save_history
  #   11 expand_fun  12 expand_below  13 input_queue  14 buf  15 input
  # An input; the queue holds {state_name, input}:
  #   1 input_state  2 from  3 reply_as  4 prompt_bytes  5 encoding  6 collect  7 cont  8 lines
  #   9 save_history
  #   10 get_fun  11 io_lib_state

  alias Linx.Tty.Program

  defstruct [:leader, :driver, :keyboard, :before]

  @typedoc "A group leader that was taken, with its echo and its shell as they were."
  @type t :: %__MODULE__{
          leader: pid(),
          driver: pid(),
          keyboard: pid(),
          before: {boolean(), pid() | atom()}
        }

  @known """
  is_tuple(S), tuple_size(S) =:= 15, element(1, S) =:= state, element(3, S) =:= D,
  is_boolean(element(4, S)), is_boolean(element(6, S)),
  is_tuple(element(13, S)), tuple_size(element(13, S)) =:= 2
  """

  @take Program.parse!(~c"""
        Me = self(), Ref = make_ref(),
        sys:replace_state(G, fun
          ({Name, S}) when #{@known} ->
            Me ! {Ref, {element(4, S), element(7, S)}},
            Shell = case is_pid(element(7, S)) of true -> K; false -> element(7, S) end,
            {Name, setelement(4, setelement(7, S, Shell), false)};
          (Other) ->
            Other
        end, 5000),
        receive {Ref, Before} -> Before after 0 -> none end.
        """)

  @doc """
  Takes the group leader for `keyboard`, which reads it with `request/1` and `arm/2` from then on.
  """
  @spec take(pid(), pid(), pid()) :: {:ok, t()} | :none
  def take(leader, driver, keyboard) do
    case Program.run(leader, {@take, %{G: leader, D: driver, K: keyboard}}) do
      {_, _} = before ->
        {:ok, %__MODULE__{leader: leader, driver: driver, keyboard: keyboard, before: before}}

      _ ->
        :none
    end
  end

  # More than anybody types before the request is armed: it must not be answered with a part. A
  # part that goes on its own would be overtaken by the ctrl-c that was typed behind the rest.
  @all 0x100000

  @doc """
  Asks for one character, `{:io_reply, ref, characters}`; with `:all` for all that is typed, of a
  group leader that is taken, where `arm/2` follows.
  """
  @spec request(pid(), :one | :all) :: reference()
  def request(leader, count \\ :one) do
    ref = make_ref()
    number = if count == :all, do: @all, else: 1
    send(leader, {:io_request, self(), ref, {:get_chars, :unicode, "", number}})
    ref
  end

  # A request for no character ends with the next ones, and leaves them: what the function of a
  # dead reader makes of it.
  @arm Program.parse!(~c"""
       Me = self(), Done = make_ref(),
       Keys = fun(eof, _, _, _, _) -> {done, eof, eof};
                 ([], _, _, _, _) -> {more_chars, []};
                 (<<>>, _, _, _, _) -> {more_chars, []};
                 (Typed, _, _, _, _) ->
                   case node(K) =/= node() orelse is_process_alive(K) of
                     true -> K ! {keys, Ref, Typed}, {more_chars, []};
                     false when is_list(Typed) -> {done, Typed, []};
                     false -> {done, unicode:characters_to_list(Typed), []}
                   end
              end,
       Arm = fun(I) when is_tuple(I), tuple_size(I) =:= 11,
                         element(2, I) =:= K, element(3, I) =:= Ref ->
                   Me ! {Done, ok},
                   case element(11, I) of
                     {list, [_ | _] = Chars, _} -> K ! {keys, Ref, lists:reverse(Chars)};
                     {binary, [_ | _] = Parts, _} ->
                       K ! {keys, Ref, iolist_to_binary(lists:reverse(Parts))};
                     _ -> ok
                   end,
                   setelement(11, setelement(6, setelement(10, I, Keys), {collect_chars, 0}),
                              start);
                (I) -> I
             end,
       sys:replace_state(G, fun
         ({Name, S}) when #{@known} ->
           Q = queue:from_list([{N, Arm(I)} || {N, I} <- queue:to_list(element(13, S))]),
           {Name, setelement(15, setelement(13, S, Q), Arm(element(15, S)))};
         (Other) ->
           Other
       end, 5000),
       receive {Done, ok} -> ok after 0 -> none end.
       """)

  @doc """
  Has the request `ref` of the reader go on waiting and send what is typed:
  `{:keys, ref, characters}`. `:none` when it waits no more.
  """
  @spec arm(t(), reference()) :: :ok | :none
  def arm(held, ref) do
    bindings = %{G: held.leader, D: held.driver, K: held.keyboard, Ref: ref}
    Program.run(held.leader, {@arm, bindings})
  end

  @give_back Program.parse!(~c"""
             Died = fun(S, Shell) ->
                      case How of
                        {died, Reason} -> self() ! {'EXIT', Shell, Reason};
                        alive when is_pid(Shell), element(7, S) =:= K -> link(Shell);
                        alive -> ok
                      end
                    end,
             sys:replace_state(G, fun
               ({Name, S}) when #{@known} ->
                 {Echo, Shell} = Before,
                 M = monitor(process, K),
                 K ! {give_back, self(), M},
                 Typed = receive
                           {M, Text} -> Text;
                           {'DOWN', M, _, _, _} -> []
                         after 2000 -> []
                         end,
                 demonitor(M, [flush]),
                 Unread = fun F() -> receive {io_request, K, _, _} -> F() after 0 -> ok end end,
                 Unread(),
                 Died(S, Shell),
                 Others = queue:filter(fun({_, I}) -> element(2, I) =/= K end, element(13, S)),
                 Own = case element(7, S) of K -> Shell; Another -> Another end,
                 S1 = setelement(4, setelement(7, setelement(13, S, Others), Own), Echo),
                 Input = element(15, S1),
                 Ours = is_tuple(Input) andalso element(2, Input) =:= K,
                 Later = fun F(Acc) ->
                           receive {D, {data, Data}} -> F([Acc, Data]) after 0 -> Acc end
                         end,
                 Again = fun(Chars) ->
                           self() ! {D, {data, unicode:characters_to_list(Later(Chars))}}
                         end,
                 Next = fun(dumb, I, T) ->
                              Collect = element(6, I), Line = element(7, I),
                              Plain = Echo andalso not element(6, T)
                                      andalso element(1, Collect) =/= collect_line_no_eol
                                      andalso element(11, I) =:= start
                                      andalso (Line =:= undefined orelse is_list(Line)),
                              case Plain of
                                true ->
                                  Part = case Line of
                                           undefined -> [];
                                           _ -> lists:reverse(Line)
                                         end,
                                  Again([Typed, Part]),
                                  {xterm, setelement(15, T, setelement(7, I, undefined))};
                                false ->
                                  [Again(Typed) || Typed =/= []],
                                  {dumb, setelement(15, T, I)}
                              end;
                           (N, I, T) ->
                              [Again(Typed) || Typed =/= []],
                              {N, setelement(15, T, I)}
                        end,
                 case {Ours, queue:out(Others)} of
                   {true, {{value, {Name1, Input1}}, Rest}} ->
                     Name1 =:= xterm andalso (self() ! {D, activate}),
                     Next(Name1, Input1, setelement(13, S1, Rest));
                   {false, _} when Input =/= undefined ->
                     Next(Name, Input, S1);
                   {_, _} ->
                     Buf = case element(14, S1) of
                             eof -> eof;
                             Left -> Typed ++ unicode:characters_to_list(Left)
                           end,
                     {server, setelement(14, setelement(15, S1, undefined), Buf)}
                 end;
               (Other) ->
                 Other
             end, 5000),
             ok.
             """)

  @doc """
  Puts a group leader back. `how` is what the shell meanwhile died of, `:alive` if it did not.

  The reader is asked for the text that it has not delivered (`{:give_back, from, ref}`), a list
  of characters, and makes no request after that.
  """
  @spec give_back(t(), :alive | {:died, term()}) :: :ok
  def give_back(held, how) do
    _ = Program.run(held.leader, giving_back(held, how))
    :ok
  end

  @doc "The program of `give_back/2`, for a process on the group leader's node."
  @spec giving_back(t(), :alive | {:died, term()}) :: Program.t()
  def giving_back(%__MODULE__{} = held, how) do
    bindings = %{
      G: held.leader,
      D: held.driver,
      K: held.keyboard,
      Before: held.before,
      How: how
    }

    {@give_back, bindings}
  end

  @doc """
  Whether a request waits in the group leader: then nothing that the driver has sent it is unread.
  `:none` when the group leader does not say.
  """
  @spec waits?(pid()) :: boolean() | :none
  def waits?(leader) do
    case :sys.get_state(leader, 5_000) do
      {name, state} when is_tuple(state) and tuple_size(state) == 15 ->
        name in [:dumb, :xterm] and elem(state, 14) != :undefined

      _ ->
        :none
    end
  catch
    _, _ -> :none
  end
end
