defmodule Linx.Netlink.Rtnl.Link.Elsewhere do
  @moduledoc false
  # Requests that put a link into another network namespace, which they name by a pid or by a
  # descriptor that is open until the kernel has answered.

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Link, LinkInfo}
  alias Linx.Netlink.Rtnl.Link.{Index, Options, Refusal}
  alias Linx.Target

  @esrch 3
  @eexist 17

  @type netns :: pos_integer() | Socket.netns()

  @doc "Moves a link, and gives it a name on the way where `opts` has one."
  @spec move(Socket.t(), Link.ref(), netns(), keyword()) :: :ok | {:error, term()}
  def move(socket, ref, netns, opts) do
    Call.checked!(socket)

    with {:ok, name} <- name(opts),
         {:ok, request} <- request(socket, ref, name),
         :ok <- free(netns, name) do
      taken = &(Refusal.taken_there(&1, name || ref) || Refusal.no_process(&1, netns))
      explain = Call.no_such("interface", ref, taken)
      carry_out(socket, Call.op(rtm_setlink(), 0, request, explain), netns)
    end
  end

  defp name([]), do: {:ok, nil}
  defp name([{:name, name}]), do: Options.new_name(name)
  defp name([option | _]), do: {:error, {:bad_option, option}}
  defp name(opts), do: {:error, {:bad_option, opts}}

  defp request(_socket, ref, nil), do: Options.identify(ref)

  # By its index: a name in the request is the new one, not the one to look for.
  defp request(socket, ref, name) do
    with {:ok, index} <- Index.of(socket, ref), do: {:ok, %Link{index: index, name: name}}
  end

  # Asked there beforehand. The kernel moves first, by the old name where that is free there, and
  # then renames: one that cannot be renamed would be left there, down and without its addresses.
  defp free(_netns, nil), do: :ok

  defp free(netns, name) do
    with {:ok, there} <- open(netns) do
      found = Link.get(there, name)
      Socket.close(there)

      case found do
        {:error, %Error{errno: :enodev, stage: nil}} -> :ok
        {:ok, _link} -> {:error, Error.from_errno(@eexist, Refusal.taken_there(:eexist, name))}
        error -> error
      end
    end
  end

  defp open(pid) when is_integer(pid),
    do: explained(Socket.open(netlink_route(), {:pid, pid}), pid)

  defp open(netns), do: Socket.open(netlink_route(), netns)

  defp explained({:error, %Error{errno: :enoent}}, pid), do: no_process(pid)
  defp explained({:error, %Error{errno: :esrch}}, pid), do: no_process(pid)
  defp explained(result, _pid), do: result

  defp no_process(pid), do: {:error, Error.from_errno(@esrch, Refusal.no_process(:esrch, pid))}

  @doc """
  Carries out the op of a creation, in the namespace that the caller asked for or with `nil` as
  the op has it.

  The kernel takes no alias for a link that it makes, so it is set in a second request. It passes
  over an option of the kind that it does not know: where that may be, the link is read, and
  deleted if it lacks one.
  """
  @spec create(Socket.t(), Call.op(), netns() | nil) :: :ok | {:error, term()}
  def create(socket, {:ok, {type, flags, %{alias: none} = link, explain}}, netns)
      when none in [nil, ""] do
    pid = netns || link.net_ns_pid
    explain = fn error -> explain.(Call.words(&Refusal.no_process(&1, pid)).(error)) end
    op = Call.op(type, flags, %{link | alias: nil}, explain)
    made = if netns, do: carry_out(socket, op, netns), else: Call.change(socket, op)

    with :ok <- made,
         do: if(LinkInfo.lacking(link.linkinfo), do: kept(socket, link, pid), else: :ok)
  end

  def create(socket, {:ok, {type, flags, %{net_ns_pid: nil} = link, explain}}, nil) do
    with :ok <- create(socket, {:ok, {type, flags, %{link | alias: nil}, explain}}, nil) do
      named = %Link{name: link.name, alias: link.alias}
      Call.change(socket, Call.op(rtm_setlink(), 0, named, Call.no_such("interface", link.name)))
    end
  end

  def create(_socket, {:ok, {_type, _flags, link, _explain}}, _netns),
    do: {:error, {:bad_option, {:alias, link.alias}}}

  def create(_socket, error, _netns), do: error

  defp kept(socket, link, nil) do
    with {:ok, seen} <- Link.get(socket, link.name),
         key when key != nil <- LinkInfo.lacking(link.linkinfo, seen.linkinfo),
         :ok <- Link.delete(socket, seen.index) do
      {:error, LinkInfo.unknown_to_kernel(key)}
    else
      nil -> :ok
      error -> error
    end
  end

  defp kept(_socket, link, netns) do
    with {:ok, there} <- open(netns) do
      result = kept(there, link, nil)
      Socket.close(there)
      result
    end
  end

  defp carry_out(socket, {:ok, {type, flags, link, explain}}, pid)
       when is_integer(pid) and pid in 1..0x7FFFFFFF,
       do: Call.change(socket, Call.op(type, flags, %{link | net_ns_pid: pid}, explain))

  defp carry_out(socket, {:ok, {type, flags, link, explain}}, netns) do
    with {:ok, target} <- target(netns) do
      change = &Call.change(socket, Call.op(type, flags, %{link | net_ns_fd: &1}, explain))

      case Target.with_netns(target, change) do
        {:error, {stage, errno}} when is_atom(stage) -> {:error, Error.from_fault({stage, errno})}
        other -> other
      end
    end
  end

  defp target(:host), do: {:ok, ""}

  defp target(netns) do
    with {:error, {:bad_in, _}} <- Target.resolve(netns),
         do: raise(ArgumentError, Socket.no_netns(netns))
  end
end
