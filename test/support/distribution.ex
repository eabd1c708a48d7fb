defmodule Linx.Test.Distribution do
  @moduledoc false
  # Nodes on loopback that find each other without epmd, which would stay behind as a daemon: the
  # port is in the name, as in `linx-40123@127.0.0.1`. What erl_epmd(3) asks of an `-epmd_module`.

  @doc "The arguments for `elixir` that make a VM such a node."
  def arguments(port) do
    # The VM looks for the module before elixir's own -pa counts.
    erl =
      "-pa #{Application.app_dir(:linx, "ebin")} -start_epmd false -epmd_module " <>
        "#{inspect(__MODULE__) |> then(&"Elixir.#{&1}")} " <>
        "-kernel inet_dist_use_interface {127,0,0,1}"

    ["--name", "linx-#{port}@127.0.0.1", "--cookie", "linx-test", "--erl", erl]
  end

  # Below those that the kernel hands out (net.ipv4.ip_local_port_range): none of these is taken
  # by a connection or a listener of another test between our look and the node's start.
  @ports 20_000..31_999

  @doc "A port that nobody listens on."
  def free_port do
    port = :crypto.strong_rand_bytes(4) |> :binary.decode_unsigned() |> rem(Range.size(@ports))
    port = Enum.at(@ports, port)

    case :gen_tcp.listen(port, ip: {0, 0, 0, 0}) do
      {:ok, socket} ->
        :gen_tcp.close(socket)
        port

      {:error, :eaddrinuse} ->
        free_port()
    end
  end

  @doc "Owns a session: sends `parent` all the output and the last event, once that has come."
  def own(parent, output \\ []) do
    receive do
      {:linx_process, stream, bytes} when is_binary(bytes) and stream in [:stdout, :pty_out] ->
        own(parent, [bytes | output])

      {:linx_process, :exited, code} ->
        send(parent, {:owned, IO.iodata_to_binary(Enum.reverse(output)), code, node()})

      _other ->
        own(parent, output)
    end
  end

  def start_link, do: :ignore
  def register_node(_name, _port), do: {:ok, 1}
  def register_node(_name, _port, _family), do: {:ok, 1}
  def names(_host), do: {:error, :address}
  def listen_port_please(name, _host), do: {:ok, port(name)}
  def port_please(name, _host), do: {:port, port(name), 6}
  def port_please(name, _host, _timeout), do: {:port, port(name), 6}
  def address_please(name, _host, _family), do: {:ok, {127, 0, 0, 1}, port(name), 6}

  defp port(name),
    do: name |> to_string() |> String.split("-") |> List.last() |> String.to_integer()
end
