defmodule Linx.Netlink.Rtnl.Call do
  @moduledoc false
  # rtnetlink requests as the verbs make them: a codec's struct in, structs out.
  #
  # A verb that changes something is an `op`, which is a value; it is carried out alone
  # (`change/2`) or with others (Linx.Netlink.Rtnl.Batch). Modules with such verbs have
  # `__op__(verb, args, index)`, where `index` turns an interface name into `{:ok, index}`, and
  # `__names__(verb, args)`, the names it will ask for.

  import Bitwise
  import Linx.Netlink.Constants

  alias Linx.Netlink.Codec.Place
  alias Linx.Netlink.{Error, Request, Socket}
  alias Linx.Netlink.Rtnl.Objects

  @typedoc "`explain` says in words what an errno without text means for this request."
  @type op ::
          {:ok,
           {type :: 0..65535, flags :: non_neg_integer(), struct(),
            explain :: (Error.t() -> Error.t())}}
          | {:error, term()}

  @spec op(0..65535, non_neg_integer(), struct(), (Error.t() -> Error.t())) :: op()
  def op(type, flags, message, explain \\ &Function.identity/1),
    do: {:ok, {type, flags, message, explain}}

  @spec change(Socket.t(), op()) :: :ok | {:error, term()}
  def change(socket, {:ok, {type, flags, message, explain}}) do
    body = encode(message)

    case Request.run(checked!(socket), type, flags, body, :rtnl) do
      {:ok, _messages} -> :ok
      {:error, error} -> {:error, explained(error, message, body, explain)}
    end
  end

  def change(_socket, {:error, reason}), do: {:error, reason}

  @doc """
  The struct that answers a GET of one object. An answer of more than 32 KiB comes as a dump does.
  """
  @spec get(Socket.t(), 0..65535, struct(), (Error.t() -> Error.t())) ::
          {:ok, struct()} | {:error, Error.t()}
  def get(socket, type, message, explain \\ &Function.identity/1) do
    body = encode(message)

    with {:ok, answers} <- Request.run(checked!(socket), type, 0, body, :rtnl),
         [answer | _] <- Objects.all(answers) do
      {:ok, answer}
    else
      [] -> {:error, explain.(Error.from_errno(61, "the kernel answered without data"))}
      {:error, error} -> {:error, explained(error, message, body, explain)}
    end
  end

  @doc "All that a dump gives. A filter on something that does not exist gives nothing."
  @spec dump(Socket.t(), 0..65535, binary() | struct()) :: {:ok, [struct()]} | {:error, Error.t()}
  def dump(socket, type, request) do
    case Request.run(checked!(socket), type, nlm_f_dump(), encode(request), :rtnl) do
      {:ok, answers} -> {:ok, Objects.all(answers)}
      {:error, %Error{partial: nil} = error} -> {:error, error}
      {:error, error} -> {:error, %{error | partial: Objects.all(error.partial)}}
    end
  end

  @doc "The body of a message."
  @spec encode(binary() | struct()) :: binary()
  def encode(%module{} = message), do: module.encode(message)
  def encode(body) when is_binary(body), do: body

  @doc "The kernel's error for an op that was sent, in terms of what the caller gave."
  @spec refused(op(), Error.t()) :: {:error, Error.t()}
  def refused({:ok, {_type, _flags, message, explain}}, error),
    do: {:error, explained(error, message, encode(message), explain)}

  defp explained(error, message, body, explain),
    do: error |> place(message, body) |> explain.() |> permission()

  # The one EPERM of rtnetlink without text of its own: netlink_net_capable() before any handler
  # runs.
  defp permission(%Error{errno: :eperm, message: nil, stage: nil} = error),
    do: %{error | message: "needs CAP_NET_ADMIN over the network namespace"}

  defp permission(error), do: error

  @doc """
  The socket, if it is one of rtnetlink. Anything else raises `ArgumentError` with what was given.
  """
  @spec checked!(term()) :: Socket.t()
  def checked!(socket), do: Socket.check!(socket, netlink_route(), "Linx.Netlink.Rtnl.open/1")

  # Offsets count from the start of the request, its 16 bytes of header included.
  defp place(%Error{offset: offset} = error, %module{}, body) when is_integer(offset) do
    case Place.locate(module, body, offset - 16) do
      [] -> error
      path -> %{error | at: path}
    end
  end

  defp place(error, _message, _body), do: error

  @doc "For `explain`: words for a refusal that the kernel sends without any, by its errno."
  @spec words((atom() -> String.t() | nil)) :: (Error.t() -> Error.t())
  def words(text) do
    fn
      %Error{message: nil, stage: nil} = error -> %{error | message: text.(error.errno)}
      error -> error
    end
  end

  @doc "The same: which name was wrong, and what else `text` knows."
  @spec no_such(String.t(), String.t() | integer(), (atom() -> String.t() | nil)) ::
          (Error.t() -> Error.t())
  def no_such(what, name, text \\ fn _errno -> nil end) do
    words(fn
      errno when errno in [:enodev, :enxio] -> "no such #{what} #{inspect(name)}"
      errno -> text.(errno)
    end)
  end

  @doc "Flags of a NEW: strict creation, creation or replacement, creation beside what is there."
  @spec create() :: non_neg_integer()
  def create, do: nlm_f_create() ||| nlm_f_excl()

  @spec replace() :: non_neg_integer()
  def replace, do: nlm_f_create() ||| nlm_f_replace()

  @spec append() :: non_neg_integer()
  def append, do: nlm_f_create() ||| nlm_f_append()
end
