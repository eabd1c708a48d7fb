defmodule Linx.Netlink.Rtnl.Read do
  @moduledoc false
  # GETs of message types that the native walk has no table for
  # (native/linx_wire/src/netlink/rtnl.rs). The bodies come as bytes, and a codec reads them.

  import Linx.Netlink.Constants

  alias Linx.Netlink.{Error, Heap, Request, Socket}
  alias Linx.Netlink.Rtnl.Call

  # An FDB entry with its attributes as they are read.
  @words 100

  @type explain :: (Error.t() -> Error.t())

  @doc "The answer to a GET of one object, as `module` reads it."
  @spec get(Socket.t(), 0..65535, struct(), module(), explain()) ::
          {:ok, struct()} | {:error, Error.t()}
  def get(socket, type, request, module, explain \\ &Function.identity/1) do
    case Request.run(Call.checked!(socket), type, 0, Call.encode(request), :raw) do
      {:ok, [{_type, _flags, _seq, body} | _]} ->
        {:ok, module.decode(body)}

      {:ok, []} ->
        {:error, explain.(Error.from_errno(61, "the kernel answered without data"))}

      {:error, error} ->
        Call.refused(Call.op(type, 0, request, explain), error)
    end
  end

  @doc "The objects of a dump, as `module` reads them."
  @spec dump(Socket.t(), 0..65535, struct(), module()) :: {:ok, [struct()]} | {:error, Error.t()}
  def dump(socket, type, request, module) do
    case Request.run(Call.checked!(socket), type, nlm_f_dump(), Call.encode(request), :raw) do
      {:ok, messages} -> {:ok, decode(messages, module)}
      {:error, %Error{partial: nil} = error} -> {:error, error}
      {:error, error} -> {:error, %{error | partial: decode(error.partial, module)}}
    end
  end

  defp decode(messages, module) do
    Heap.roomy(length(messages) * @words, fn ->
      for {_type, _flags, _seq, body} <- messages, do: module.decode(body)
    end)
  end
end
