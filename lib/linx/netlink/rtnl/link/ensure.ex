defmodule Linx.Netlink.Rtnl.Link.Ensure do
  @moduledoc false
  # Whether a link is there as a creation would make it.

  import Bitwise

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Link.Elsewhere

  @eexist 17

  @doc """
  Carries out the creation unless its link is there. `again?` tells the first try from the one
  after EEXIST.
  """
  @spec run(Socket.t(), Call.op(), boolean()) :: :ok | {:error, term()}
  def run(socket, op, again? \\ true)

  def run(socket, {:ok, {_type, _flags, wanted, _explain}} = op, again?) do
    case Link.get(socket, wanted.name) do
      {:ok, link} -> compare(wanted, link, fn -> far_end(socket, link) end)
      {:error, %Error{errno: :enodev, stage: nil}} -> made(socket, op, again?)
      error -> error
    end
  end

  def run(_socket, error, _again?), do: error

  # EEXIST: made by someone else since it was looked for.
  defp made(socket, op, again?) do
    case Elsewhere.create(socket, op, nil) do
      {:error, %Error{errno: :eexist, stage: nil}} when again? -> run(socket, op, false)
      result -> result
    end
  end

  # The index of a far end in another namespace means another link here.
  defp far_end(_socket, %{link_netnsid: id}) when id != nil, do: nil

  defp far_end(socket, link) do
    case Link.get(socket, link.link) do
      {:ok, %{name: name}} -> name
      {:error, _} -> nil
    end
  end

  defp compare(wanted, link, far_end) do
    case differing(wanted, link, far_end) do
      [] ->
        :ok

      fields ->
        text = "#{inspect(wanted.name)} is there with another #{Enum.join(fields, ", ")}"
        {:error, %{Error.from_errno(@eexist, text) | at: fields}}
    end
  end

  defp differing(wanted, link, far_end) do
    general =
      for {field, false} <- [
            name: link.name == wanted.name,
            kind: link.linkinfo != nil and link.linkinfo.kind == wanted.linkinfo.kind,
            index: wanted.index in [0, link.index],
            mtu: wanted.mtu in [nil, link.mtu],
            address: wanted.address in [nil, link.address],
            txqlen: wanted.txqlen in [nil, link.txqlen],
            group: wanted.group in [nil, link.group],
            alias: wanted.alias in [nil, link.alias || ""],
            master: wanted.master in [nil, link.master || 0],
            link: wanted.link == nil or (link.link == wanted.link and link.link_netnsid == nil),
            flags: (bxor(wanted.flags, link.flags) &&& wanted.change) == 0
          ],
          do: field

    if general == [], do: own(wanted.linkinfo, link.linkinfo, far_end), else: general
  end

  defp own(%{info_data: %LinkInfo.Veth{peer: %{name: name}}}, _seen, far_end),
    do: if(far_end.() == name, do: [], else: [:peer])

  defp own(wanted, seen, _far_end), do: LinkInfo.differing(wanted, seen)
end
