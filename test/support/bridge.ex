defmodule Linx.Test.Bridge do
  @moduledoc false
  # Bridges with ports, and the output of bridge(8) in a network namespace. The newest that the
  # host has: an older one leaves out fields.

  alias Linx.Netlink.Rtnl.Bridge.Port
  alias Linx.Netlink.Rtnl.Link
  alias Linx.Netlink.Socket
  alias Linx.Test.{Netns, NewerIproute2}

  @doc """
  Makes veth pairs, puts each first end into the bridge, brings both ends up, and waits until the
  ports forward: their carrier comes a moment later, and with it multicast groups of the kernel's.
  """
  @spec ports!(Socket.t(), String.t(), [{String.t(), String.t()}]) :: :ok
  def ports!(socket, bridge, pairs) do
    :ok = Link.set_up(socket, bridge)

    for {name, peer} <- pairs do
      :ok = Link.create_veth(socket, name, peer)
      :ok = Link.set_master(socket, name, bridge)
      for link <- [name, peer], do: :ok = Link.set_up(socket, link)
    end

    true =
      Netns.eventually(fn ->
        {:ok, ports} = Port.list(socket, bridge)
        Enum.all?(ports, &(&1.state == :forwarding))
      end)

    :ok
  end

  @doc "What `bridge -json -details` prints of something, as terms."
  @spec show!(%Netns{}, String.t()) :: [term()]
  def show!(ns, what) do
    case ns |> Netns.run!("#{path()} -json -details #{what}") |> String.trim() do
      "" -> []
      json -> JSON.decode!(json)
    end
  end

  @doc "Runs it with arguments that change something: `{output, status}`."
  @spec run(%Netns{}, String.t()) :: {String.t(), non_neg_integer()}
  def run(ns, arguments), do: Netns.run(ns, "#{path()} #{arguments}")

  @spec run!(%Netns{}, String.t()) :: String.t()
  def run!(ns, arguments), do: Netns.run!(ns, "#{path()} #{arguments}")

  defp path do
    case NewerIproute2.find("bridge") do
      {:ok, path} -> path
      {:error, _} -> System.find_executable("bridge")
    end
  end
end
