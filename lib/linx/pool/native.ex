defmodule Linx.Pool.Native do
  @moduledoc false
  # The answer of a native call that may come late. Not a function of Linx.Native: a process that
  # waits in that module would be killed when its code is purged.

  @doc "The answer itself, waiting for one that is pending."
  @spec await(answer | {:pending, reference()}) :: answer when answer: term()
  def await({:pending, reference}) do
    receive do
      {^reference, answer} -> answer
    end
  end

  def await(answer), do: answer
end
