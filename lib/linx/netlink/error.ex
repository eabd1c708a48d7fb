defmodule Linx.Netlink.Error do
  @moduledoc """
  What went wrong with a netlink request.

  Most often the kernel refused it. Then `errno` is the error's name as an atom, `code` its
  number, and `message` the kernel's own explanation (an extended acknowledgement), if it gave
  one; where it gives none, verbs say what they know, such as the name of the interface that does
  not exist. Match on `errno`; the text changes between kernels.

      {:error, %Linx.Netlink.Error{errno: :enodev}} = Link.get(socket, "nope0")

  A number that is in no table is `errno: :unknown` with the number in `code`.

  Further fields are set where they apply:

    * `stage` - what failed when it was not the kernel's answer: `:open`, `:setns`, `:socket`,
      `:bind`, `:sockopt`, `:send`, `:recv`, `:thread`. `nil` for an answer. A closed socket is
      `errno: :ebadf` at `:send`.
    * `offset` - the byte of the request, its header included, where the attribute stands that the
      kernel objects to.
    * `at` - the same as a path of field names, such as `[:gateway]` or
      `[:linkinfo, :info_data, :mode]`.
    * `partial` - what was read of a dump that changed under us each time it was tried
      (`errno: :eintr`). Objects may be missing from it or twice in it.

  It is an exception, so it may be raised.
  """

  alias Linx.Errno

  @type t :: %__MODULE__{
          __exception__: true,
          code: pos_integer(),
          errno: atom(),
          message: binary() | nil,
          stage: atom() | nil,
          offset: non_neg_integer() | nil,
          at: [atom()] | nil,
          partial: [struct()] | nil
        }

  @derive {Inspect, optional: [:stage, :offset, :at, :partial]}
  defexception [:errno, :code, :message, :stage, :offset, :at, :partial]

  @doc """
  Builds an error from the kernel's positive number and, if there is one, its text.

      iex> Linx.Netlink.Error.from_errno(17, "File exists")
      %Linx.Netlink.Error{errno: :eexist, code: 17, message: "File exists"}
  """
  @spec from_errno(pos_integer(), binary() | nil) :: t()
  def from_errno(code, message \\ nil) when is_integer(code) do
    %__MODULE__{errno: Errno.name(code), code: code, message: message}
  end

  # A step of ours that failed.
  @doc false
  @spec from_fault({atom(), pos_integer()}) :: t()
  def from_fault({stage, code}) do
    %{from_errno(code, fault_text(stage, Errno.name(code))) | stage: stage}
  end

  defp fault_text(:open, _), do: "cannot open the network namespace"
  defp fault_text(:setns, _), do: "cannot join the network namespace"
  defp fault_text(:thread, _), do: "cannot start a thread to join the network namespace"
  defp fault_text(_, :ebadf), do: "the socket is closed"

  defp fault_text(:send, :emsgsize),
    do: "the request is longer than the send buffer, which net.core.wmem_max limits"

  defp fault_text(:recv, :enobufs), do: "the receive buffer was full and answers were lost"
  defp fault_text(:recv, :emsgsize), do: "an answer was longer than the buffer for it"
  defp fault_text(:recv, :ebadmsg), do: "an answer could not be split into messages"
  defp fault_text(:recv, :etimedout), do: "no answer came"
  defp fault_text(_, _), do: nil

  @impl Exception
  def message(%__MODULE__{} = error), do: name(error) <> text(error.message)

  defp name(%{errno: :unknown, code: code}), do: "netlink errno #{code}"

  defp name(%{errno: errno, code: code}),
    do: "netlink #{errno |> Atom.to_string() |> String.upcase()} (#{code})"

  defp text(nil), do: ""
  defp text(message), do: ": " <> message
end
