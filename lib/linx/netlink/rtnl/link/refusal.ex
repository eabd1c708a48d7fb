defmodule Linx.Netlink.Rtnl.Link.Refusal do
  @moduledoc false
  # Texts for an errno that the kernel sends without a message of its own, for
  # Linx.Netlink.Rtnl.Call.words/1.

  alias Linx.Netlink.Rtnl.{Link, LinkInfo}

  @spec taken(atom(), String.t()) :: String.t() | nil
  def taken(:eexist, name), do: "interface #{inspect(name)} exists already"
  def taken(_errno, _name), do: nil

  # A pair has two names, and the kernel does not tell which is taken.
  @spec taken(atom(), String.t(), struct()) :: String.t() | nil
  def taken(:eexist, name, %LinkInfo{info_data: %{peer: %{name: peer}}}),
    do: "interface #{inspect(name)} or its peer #{inspect(peer)} exists already"

  def taken(errno, name, _linkinfo), do: taken(errno, name)

  # In the namespace that a link is to move to.
  @spec taken_there(atom(), Link.ref()) :: String.t() | nil
  def taken_there(:eexist, name) when is_binary(name),
    do: "interface #{inspect(name)} exists already in that namespace"

  def taken_there(:eexist, _index), do: "its name is taken in that namespace"
  def taken_there(_errno, _name), do: nil

  @spec altname(atom(), String.t()) :: String.t() | nil
  def altname(:enoent, name), do: "no such alternative name #{inspect(name)}"
  def altname(errno, name), do: taken(errno, name)

  @spec undeletable(atom(), Link.ref()) :: String.t() | nil
  def undeletable(:eopnotsupp, ref), do: "interface #{inspect(ref)} cannot be deleted"
  def undeletable(_errno, _ref), do: nil

  @spec no_process(atom(), term()) :: String.t() | nil
  def no_process(:esrch, pid) when is_integer(pid), do: "no such process #{pid}"
  def no_process(_errno, _netns), do: nil

  # The kernel's driver has no changelink, or not for this option.
  @spec unchangeable(atom(), Link.ref(), keyword()) :: String.t() | nil
  def unchangeable(:eopnotsupp, ref, own),
    do: "#{inspect(Keyword.keys(own))} of #{inspect(ref)} cannot be changed"

  def unchangeable(_errno, _ref, _own), do: nil
end
