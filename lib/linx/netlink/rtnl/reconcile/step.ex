defmodule Linx.Netlink.Rtnl.Reconcile.Step do
  @moduledoc false
  # One operation of a pass: how the report names it, and what carries it out.

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Diff, Route}

  # `run` answers `:nothing` where there turned out to be nothing to do, `{:ok, unkept}` where the
  # kernel keeps values otherwise than they were sent. An error may come with
  # further ones: operations that put back what the step took away, and were refused too. A step
  # is `hopeless?` where what was read tells that the kernel refuses it.
  @enforce_keys [:op, :run]
  defstruct [:op, :run, hopeless?: false]

  @type result :: :ok | :nothing | {:error, term()}
  @type outcome :: result() | {:ok, map()} | {:error, term(), [{Diff.op(), term()}]}
  @type t :: %__MODULE__{op: Diff.op(), run: (Socket.t() -> outcome()), hopeless?: boolean()}

  @doc "A step that sends one request."
  @spec request(Diff.op(), Call.op()) :: t()
  def request(op, call), do: %__MODULE__{op: op, run: &Call.change(&1, call)}

  @doc "A deletion: what is gone already counts as deleted."
  @spec deletion(Diff.op(), Call.op()) :: t()
  def deletion(op, call), do: %__MODULE__{op: op, run: &delete(&1, call)}

  @doc "A step that cannot be carried out, for the reason given."
  @spec impossible(Diff.op() | {:create, term()}, term()) :: t()
  def impossible(op, reason), do: %__MODULE__{op: op, run: fn _socket -> {:error, reason} end}

  @doc """
  The outcome of a step that has failed and puts back what it took away: each operation of `back`
  is carried out, and those that fail are named too.
  """
  @spec undone({:error, term()}, [{Diff.op(), (-> result())}]) :: outcome()
  def undone({:error, error}, back) do
    case for({op, run} <- back, {:error, reason} <- [run.()], do: {op, reason}) do
      [] -> {:error, error}
      refused -> {:error, error, refused}
    end
  end

  @doc "Carries out a deletion."
  @spec delete(Socket.t(), Call.op()) :: :ok | {:error, term()}
  def delete(socket, call) do
    case remove(socket, call) do
      :nothing -> :ok
      result -> result
    end
  end

  @doc "Carries out a deletion and tells whether there was something to delete."
  @spec remove(Socket.t(), Call.op()) :: result()
  def remove(socket, call) do
    case Call.change(socket, call) do
      {:error, %Error{errno: errno, stage: nil}}
      when errno in [:esrch, :enoent, :enodev, :eaddrnotavail] ->
        :nothing

      result ->
        result
    end
  end

  @doc "Deletes a route as it was observed."
  @spec delete_route(Socket.t(), Route.t()) :: :ok | {:error, term()}
  def delete_route(socket, route),
    do: delete(socket, Route.change(:delete, Route.bare(route)))

  @doc """
  A step of several operations, which `runs` gives for the socket: those behind a failed one are
  left.
  """
  @spec sequence(Diff.op(), (Socket.t() -> [(-> outcome())])) :: t()
  def sequence(op, runs),
    do: %__MODULE__{op: op, run: fn socket -> all(runs.(socket)) end}

  @doc "Runs functions until one fails; `:ok` if one of them did something."
  @spec all([(-> outcome())]) :: outcome()
  def all(runs) do
    Enum.reduce_while(runs, :nothing, fn run, result ->
      case run.() do
        :nothing -> {:cont, result}
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end
end
