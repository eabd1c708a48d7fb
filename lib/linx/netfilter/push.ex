defmodule Linx.Netfilter.Push do
  @moduledoc false
  # The ways a ruleset reaches the kernel: whole tables anew, or what differs and only if nobody else has committed meanwhile.

  alias Linx.Netfilter.Encoder.{Batch, Frames, Patches}
  alias Linx.Netfilter.{Diff, Error, Interfaces, Pull, Ruleset, Transaction}
  alias Linx.Netlink.Heap
  alias Linx.Netlink.Nfnl.Codec
  alias Linx.Netlink.Socket

  # A push that lost the race is computed anew this often, after 1, 2, 4, ... ms.
  @reconcile_retries 3

  # Bytes that a rule and an element take outside the heap while they are encoded: a binary that grows is up to twice as large as
  # what is in it, and elements are copied once from their message to the batch.
  @rule 1_200
  @element 100

  @doc "Deletes each table that the ruleset names, if it is there, and makes it anew."
  @spec replace(Socket.t(), Ruleset.t()) :: :ok | {:error, Error.t() | term()}
  def replace(sock, ruleset) do
    with {:ok, ruleset} <- Interfaces.resolve(ruleset, sock), do: replace(sock, ruleset, :destroy)
  end

  defp replace(sock, ruleset, destroy) do
    encoded = Heap.roomy(0, room(ruleset), fn -> Batch.frames(ruleset, destroy: destroy) end)

    with {:ok, frames} <- encoded do
      case Transaction.commit(sock, frames, []) do
        # Linux before 6.3 does not know DESTROYTABLE.
        {:error, %Error{operation: :destroytable, errno: errno}}
        when errno in [:einval, :eopnotsupp] and destroy == :destroy ->
          replace(sock, ruleset, :delete)

        result ->
          result
      end
    end
  end

  defp room(%Ruleset{tables: tables}) do
    for {_key, table} <- tables, reduce: 0 do
      sum ->
        rules = for {_, c} <- table.chains, reduce: 0, do: (sum -> sum + length(c.rules))
        sets = for {_, s} <- table.sets, reduce: 0, do: (sum -> sum + length(s.elements))
        maps = for {_, m} <- table.maps, reduce: 0, do: (sum -> sum + length(m.elements))
        sum + rules * @rule + (sets + maps) * @element
    end
  end

  @doc "Sends what differs from the tables as they are."
  @spec reconcile(Socket.t(), Ruleset.t()) :: :ok | {:error, Error.t() | term()}
  def reconcile(sock, ruleset) do
    with :ok <- Diff.validate_for_reconcile(ruleset),
         {:ok, ruleset} <- Interfaces.resolve(ruleset, sock),
         do: reconcile(sock, ruleset, 0)
  end

  defp reconcile(sock, ruleset, tries) do
    with {:ok, gen, current} <- Pull.named(sock, ruleset),
         {:ok, patch} <- patch(current, ruleset),
         {:ok, frames} <- Patches.frames(patch) do
      case commit(sock, frames, gen) do
        # ERESTART: another writer moved the generation since we read it (nfnetlink_rcv_batch); the diff is stale.
        {:error, %Error{errno: :erestart}} when tries < @reconcile_retries ->
          Process.sleep(Bitwise.bsl(1, tries))
          reconcile(sock, ruleset, tries + 1)

        {:error, %Error{errno: :erestart} = error} ->
          {:error, %{error | operation: :push, ruleset_gen: latest_gen(sock, gen)}}

        result ->
          result
      end
    end
  end

  # Where there is nothing to send the kernel compares no generations, and what was read in parts may never have been so.
  defp commit(sock, %Frames{count: 0}, gen) do
    case Pull.generation(sock) do
      {:ok, %{id: ^gen}} -> :ok
      {:ok, _moved} -> {:error, Error.from_posix(:erestart, :push, subsys: :nftables)}
      {:error, error} -> {:error, error}
    end
  end

  defp commit(sock, frames, gen), do: Transaction.commit(sock, frames, genid: gen)

  defp patch(current, ruleset) do
    {:ok, Diff.diff(current, ruleset)}
  rescue
    error in ArgumentError -> {:error, {:bad_ruleset, Exception.message(error)}}
  end

  defp latest_gen(sock, known) do
    case Codec.get_gen(sock) do
      {:ok, gen} -> gen.id
      {:error, _} -> known
    end
  end
end
