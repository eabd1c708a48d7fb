defmodule Linx.Test.MulticastRouter do
  @moduledoc false
  # An IPv4 multicast router with one entry in its cache: MRT_INIT, MRT_ADD_VIF and MRT_ADD_MFC of
  # include/uapi/linux/mroute.h. The cache goes with the socket.

  @ipproto_ip 0
  @ipproto_igmp 2
  @mrt_init 200
  @mrt_add_vif 202
  @mrt_add_mfc 204
  @viff_use_ifindex 8

  @doc """
  Starts one on a link in the namespace of a file, for a source and a group of four bytes each.
  """
  def start(path, index, source, group) do
    {:ok, socket} = :socket.open(2, :raw, @ipproto_igmp, %{netns: String.to_charlist(path)})
    :ok = set(socket, @mrt_init, <<1::native-32>>)
    vif = <<0::native-16, @viff_use_ifindex, 1, 0::32, index::native-32, 0::32>>
    :ok = set(socket, @mrt_add_vif, vif)
    ttls = :binary.copy(<<255>>, 32)
    mfc = <<source::binary-4, group::binary-4, 0::native-16, ttls::binary, 0::16, 0::128>>
    :ok = set(socket, @mrt_add_mfc, mfc)
    socket
  end

  defp set(socket, option, bytes),
    do: :socket.setopt_native(socket, {@ipproto_ip, option}, bytes)
end
