defmodule Linx.Process.Run do
  @moduledoc false
  # run/1: a reader collects in a process of its own; its end carries the answer, so that the
  # caller's mailbox gets one message and loses it again.

  alias Linx.Process.{Plan, Reader}

  @spec run(keyword()) :: {:ok, map()} | {:error, term()}
  def run(opts) do
    with {:ok, plan} <- Plan.parse(opts), do: Reader.collect(plan)
  end
end
