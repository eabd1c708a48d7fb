defmodule Linx.Netfilter.Error do
  @moduledoc """
  What the kernel refused, and where.

  | field | meaning |
  |---|---|
  | `:operation` | what was being done: `:push`, `:pull`, `:create_table`, `:get_gen`, `:open`, ...; for a message of a batch its kind: `:newrule`, `:newset`, ... |
  | `:errno`, `:code` | the errno as an atom and as a number; an errno without a name is `:unknown` with its number |
  | `:message` | the kernel's own words (extended ack), when it had any |
  | `:subsys` | the nfnetlink subsystem: `:nftables`, `:ulog`, ... |
  | `:msg_type`, `:batch_seq` | the message's type within the subsystem and its place in the batch, counted from 1 |
  | `:attr_offset` | offset of the attribute in that message that the kernel pointed at |
  | `:ruleset_gen` | the ruleset's generation, after a lost race (`:erestart`) |
  | `:at` | where in the ruleset: `[family: :inet, table: "fw", chain: "input", rule: 6, expr: 1]` |
  | `:others` | the further errors of the same batch, each an error of its own |

  Mistakes in the values themselves are found before anything is sent and come as tuples such as
  `{:error, {:bad_set_element, _}}`.

      iex> Linx.Netfilter.Error.from_posix(:eperm, :push).code
      1
  """

  defexception [
    :operation,
    :errno,
    :code,
    :message,
    :subsys,
    :msg_type,
    :batch_seq,
    :attr_offset,
    :ruleset_gen,
    at: [],
    others: []
  ]

  @type operation ::
          :open
          | :close
          | :get_gen
          | :push
          | :pull
          | :diff
          | :subscribe
          | :log_listen
          | :create_table
          | :delete_rule
          | :batch_begin
          | :batch_end
          | :newtable
          | :newchain
          | :newrule
          | :newset
          | :newsetelem
          | :newobj
          | :newflowtable
          | :deltable
          | :delchain
          | :delrule
          | :delset
          | :delsetelem
          | :destroysetelem
          | :getset
          | :getsetelem
          | :reset
          | :delobj
          | :delflowtable
          | :destroytable
          | :delgen
          | :open_ns
          | :setns
          | :unshare
          | :thread

  @type subsys :: :nftables | :ctnetlink | :queue | :ulog | nil

  @type t :: %__MODULE__{
          __exception__: true,
          at: keyword(),
          attr_offset: non_neg_integer() | nil,
          batch_seq: non_neg_integer() | nil,
          code: pos_integer() | nil,
          errno: atom(),
          message: String.t() | nil,
          msg_type: 0..255 | nil,
          operation: operation(),
          others: [t()],
          ruleset_gen: non_neg_integer() | nil,
          subsys: subsys()
        }

  @doc """
  An error of `operation` from an errno atom; `:code` is looked up, nil for an atom that is no
  errno.

  `opts` set further fields. An unknown key raises `KeyError`.
  """
  @spec from_posix(atom(), operation(), keyword()) :: t()
  def from_posix(errno, operation, opts \\ []) do
    error = %__MODULE__{
      errno: Linx.Errno.canonical(errno),
      operation: operation,
      code: Linx.Errno.code(errno)
    }

    struct!(error, opts)
  end

  @doc false
  @spec from_netlink(Linx.Netlink.Error.t() | term(), operation()) :: t() | term()
  def from_netlink(%Linx.Netlink.Error{} = error, operation) do
    %__MODULE__{
      operation: operation,
      errno: error.errno,
      code: error.code,
      message: error.message,
      subsys: :nftables,
      attr_offset: error.offset
    }
  end

  def from_netlink(other, _operation), do: other

  # nfnetlink asks for CAP_NET_ADMIN in the user namespace that owns the socket's network
  # namespace (netlink_net_capable).
  @doc false
  @spec from_netlink(Linx.Netlink.Error.t() | term(), operation(), Linx.Netlink.Socket.t()) ::
          t() | term()
  def from_netlink(error, operation, socket) do
    case from_netlink(error, operation) do
      %__MODULE__{errno: :eperm, message: nil} = denied ->
        %{denied | message: "CAP_NET_ADMIN is missing in #{namespace(socket.netns)}"}

      other ->
        other
    end
  end

  defp namespace(:host), do: "this VM's network namespace"
  defp namespace({:pid, pid}), do: "the network namespace of process #{pid}"
  defp namespace({:path, path}), do: "the network namespace #{path}"
  defp namespace(_session), do: "the socket's network namespace"

  @impl true
  def message(%__MODULE__{} = error) do
    IO.iodata_to_binary([
      "#{error.operation} failed: #{error.errno}",
      if(error.code, do: " (#{error.code})", else: ""),
      place(error.at),
      if(error.message, do: ": #{error.message}", else: ""),
      more(error.others)
    ])
  end

  defp place([]), do: ""

  defp place(at),
    do: [" at " | at |> Enum.map(fn {k, v} -> "#{k} #{text(v)}" end) |> Enum.intersperse(", ")]

  defp text(value) when is_binary(value), do: inspect(value)
  defp text(value), do: to_string(value)

  defp more([]), do: ""
  defp more(others), do: " (and #{length(others)} more)"
end
