defmodule Linx.Tty.Watcher do
  @moduledoc false
  # A process on the node of a group leader that is not this one's: when this node is gone before
  # the terminal was put back, it does so there.

  alias Linx.Tty.{Group, Otp, Program}

  @watch Program.parse!(~c"""
         process_flag(priority, high),
         M = monitor(process, Hold),
         receive
           {released, Hold} -> ok;
           {'DOWN', M, _, _, _} -> [catch erl_eval:exprs(F, B) || {F, B} <- Undo]
         end.
         """)

  @doc "Watches the calling process for a group leader elsewhere; nil for one that is here."
  @spec start(pid(), Group.t()) :: pid() | nil
  def start(_driver, %Group{leader: leader}) when node(leader) == node(), do: nil

  def start(driver, %Group{leader: leader} = held) do
    undo = [Otp.writing(driver, :cooked), Group.giving_back(held, :alive)]
    forms = [@watch, %{Hold: self(), Undo: undo}]
    :erlang.spawn(node(leader), :erl_eval, :exprs, forms)
  end
end
