defmodule Linx.Process.Descriptors do
  @moduledoc false
  # Descriptors of the VM on their way to the agent, which listens on an abstract socket: they are
  # sent with SCM_RIGHTS (unix(7)), after SO_PEERCRED has shown that the listener is the session's
  # agent.

  alias Linx.Errno

  @typedoc """
  A socket of `:socket`, a port of `:inet`, or the number that a raw file of the caller has.
  """
  @type source() :: {:socket, :socket.socket()} | {:port, port()} | {:raw, non_neg_integer()}
  @type t() :: [source()]

  # Loopback in the kernel, to a process that waits for it.
  @timeout 5_000

  # asm-generic/socket.h, and struct ucred: pid, uid, gid.
  @sol_socket 1
  @so_peercred 17
  @ucred_size 12

  @doc """
  The source that an argument names, if that is open. To be called by the process that opened a
  raw file.
  """
  @spec source(term()) :: {:ok, source()} | :error
  def source({:"$socket", _} = socket), do: open({:socket, socket})
  def source({:"$inet", _module, {_pid, {:"$socket", _} = socket}}), do: open({:socket, socket})
  def source(port) when is_port(port), do: open({:port, port})

  def source({:file_descriptor, :prim_file, _} = file) do
    case :prim_file.get_handle(file) do
      <<number::32-native>> -> {:ok, {:raw, number}}
      _ -> :error
    end
  end

  # A raw file without :binary gives lists, by a module around the file.
  def source({:file_descriptor, :raw_file_io_list, file}), do: source(file)
  def source(_other), do: :error

  defp open(source), do: if(number(source) == :error, do: :error, else: {:ok, source})

  # The number belongs to the socket as long as that is open.
  defp number({:raw, number}), do: number

  defp number({:socket, socket}) do
    case :socket.getopt(socket, {:otp, :fd}) do
      {:ok, number} -> number
      {:error, _reason} -> :error
    end
  end

  defp number({:port, port}) do
    with {:name, name} when name in [~c"tcp_inet", ~c"udp_inet", ~c"sctp_inet"] <-
           Port.info(port, :name),
         {:ok, number} when number >= 0 <- :inet.getfd(port) do
      number
    else
      _ -> :error
    end
  end

  @doc """
  Sends `sources` to the process `agent`, which listens at the abstract `name`.

  `{:error, errno}`: EBADF for one that has been closed meanwhile, EPERM where another process
  listens.
  """
  @spec send(t(), binary(), pos_integer()) :: :ok | {:error, pos_integer()}
  def send(sources, name, agent) do
    with {:ok, socket} <- :socket.open(:local, :stream) do
      try do
        with :ok <-
               :socket.connect(socket, %{family: :local, path: <<0, name::binary>>}, @timeout),
             :ok <- check_peer(socket, agent),
             {:ok, numbers} <- numbers(sources),
             :ok <- :socket.sendmsg(socket, rights(numbers), @timeout),
             # One that is still open under the number that was sent had it all the time.
             {:ok, ^numbers} <- numbers(sources) do
          :socket.send(socket, <<1>>, @timeout)
        end
      after
        :socket.close(socket)
      end
    end
    |> answer()
  end

  defp check_peer(socket, agent) do
    case :socket.getopt_native(socket, {@sol_socket, @so_peercred}, @ucred_size) do
      {:ok, <<^agent::32-native, _uid::32, _gid::32>>} -> :ok
      {:ok, _other} -> {:error, :eperm}
      error -> error
    end
  end

  defp numbers(sources) do
    numbers = Enum.map(sources, &number/1)
    if :error in numbers, do: {:error, :ebadf}, else: {:ok, numbers}
  end

  defp rights(numbers) do
    data = for number <- numbers, into: <<>>, do: <<number::32-native>>
    %{iov: [<<1>>], ctrl: [%{level: :socket, type: :rights, data: data}]}
  end

  defp answer(:ok), do: :ok
  defp answer({:error, reason}) when is_atom(reason), do: {:error, code(reason)}
  defp answer(_other), do: {:error, Errno.code(:ebadf)}

  defp code(:timeout), do: Errno.code(:etimedout)
  defp code(:closed), do: Errno.code(:epipe)
  defp code(reason), do: Errno.code(reason) || Errno.code(:eio)
end
