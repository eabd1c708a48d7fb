defmodule Linx.Process.Like do
  @moduledoc false
  # `like: :target` of enter/2: the target's cgroup, ids, no_new_privs and capability sets as
  # options of the visitor and as orders for its checkpoint. All of it is read through the
  # target's pin. Sources: proc_pid_status(5), user_namespaces(7), cgroups(7), capabilities(7).

  import Bitwise

  alias Linx.Native
  alias Linx.Process.Error

  # PROC_SUPER_MAGIC, linux/magic.h.
  @proc 0x9FA0

  @all 0xFFFFFFFFFFFFFFFF

  @type order() ::
          {:drop_bounding, non_neg_integer()}
          | {:set_thread_sets, non_neg_integer(), non_neg_integer(), non_neg_integer()}
          | {:set_ambient, non_neg_integer()}

  @doc "`opts` without `:like`, and its value; nil where it is not given."
  @spec pop(term()) :: {:ok, nil | :target, term()} | {:error, {:bad_like, term()}}
  def pop(opts) do
    case Keyword.keyword?(opts) && Keyword.pop_first(opts, :like) do
      false -> {:ok, nil, opts}
      {like, opts} when like in [nil, :target] -> {:ok, like, Keyword.delete(opts, :like)}
      {like, _opts} -> {:error, {:bad_like, like}}
    end
  end

  @doc """
  `opts` with what they leave open as the process of `pin` has it, and the orders for the
  checkpoint.

  A visitor that does not join the target's user namespace gets the ids that the target has in the
  VM's, and no capability: the target has none there.
  """
  @spec resolve(Native.pin(), keyword()) ::
          {:ok, keyword(), [order()]} | {:error, Error.t() | :no_process}
  def resolve(pin, opts) do
    with {:ok, user} <- user_namespace(pin, opts),
         {:ok, status} <- read(pin, "status"),
         {:ok, uid_map} <- id_map(user, pin, "uid_map"),
         {:ok, gid_map} <- id_map(user, pin, "gid_map"),
         {:ok, setgroups} <- read(pin, "setgroups"),
         {:ok, uid} <- inside(numbers(status, "Uid:", 10), uid_map, :setuid),
         {:ok, gid} <- inside(numbers(status, "Gid:", 10), gid_map, :setgid),
         {:ok, cgroup} <- cgroup(pin, opts) do
      like =
        [uid: uid, gid: gid] ++
          groups(user, status, gid_map, setgroups) ++
          no_new_privs(status) ++ cgroup

      {:ok, Keyword.merge(like, opts), orders(user, status, Keyword.get(opts, :uid, uid))}
    end
  end

  # -- ids ---------------------------------------------------------------------------------------

  # The visitor's user namespace: the VM's, which is the target's too (`:shared`) or not
  # (`:outside`), or the target's (`:joined`).
  defp user_namespace(pin, opts) do
    case Native.pid_shares_user_namespace(pin) do
      {:ok, true} -> {:ok, :shared}
      {:ok, false} -> {:ok, if(joins_user?(opts), do: :joined, else: :outside)}
      {:error, {_stage, 3}} -> {:error, :no_process}
      {:error, {_stage, errno}} -> {:error, error(:like, Linx.Errno.name(errno), "ns/user")}
    end
  end

  defp joins_user?(opts), do: :user in Keyword.get(opts, :namespaces, [:user])

  # A target's `status` has the ids of the VM's user namespace. Its map, from inside to there, is
  # that of another user namespace only: for the VM's own it leads to the parent's.
  defp id_map(:joined, pin, name), do: read(pin, name)
  defp id_map(_vm, _pin, _name), do: {:ok, :identity}

  # The effective id, as the target's own user namespace has it.
  defp inside([_real, effective | _], map, stage) do
    case translate(effective, map) do
      nil -> {:error, error(stage, :einval, "the target's id has no name in its user namespace")}
      id -> {:ok, id}
    end
  end

  # A namespace that denies setgroups(2) has none that could be taken over.
  defp groups(user, status, map, setgroups) do
    if user != :outside and String.trim(setgroups) == "deny" do
      []
    else
      ids = status |> numbers("Groups:", 10) |> Enum.map(&translate(&1, map))
      [groups: Enum.reject(ids, &(&1 == nil))]
    end
  end

  defp translate(id, :identity), do: id

  defp translate(id, map) do
    map
    |> String.split("\n", trim: true)
    |> Enum.find_value(fn line ->
      [inside, outside, length] = line |> String.split() |> Enum.map(&String.to_integer/1)
      if id in outside..(outside + length - 1)//1, do: inside + id - outside
    end)
  end

  defp no_new_privs(status) do
    if numbers(status, "NoNewPrivs:", 10) == [1], do: [no_new_privs: true], else: []
  end

  # -- capabilities ------------------------------------------------------------------------------

  # An exec as root raises the permitted set to the bounding set. If the target's bounding set is
  # smaller, the visitor's shrinks to it, so that the visitor never has more capabilities than the
  # target.
  defp orders(:outside, _status, _uid),
    do: [{:drop_bounding, known()}, {:set_thread_sets, 0, 0, 0}, {:set_ambient, 0}]

  defp orders(_user, status, uid) do
    [inheritable, permitted, effective, bounding, ambient] =
      for label <- ~w(CapInh: CapPrm: CapEff: CapBnd: CapAmb:),
          do: status |> numbers(label, 16) |> hd()

    bounding = if uid == 0, do: bounding &&& permitted, else: bounding

    [
      {:drop_bounding, bxor(@all, bounding) &&& known()},
      {:set_thread_sets, effective, permitted, inheritable},
      {:set_ambient, ambient}
    ]
  end

  # PR_CAPBSET_DROP of a number that the kernel has no capability for is EINVAL.
  defp known do
    with {:ok, text} <- own("/proc/sys/kernel/cap_last_cap"),
         {last, _} <- Integer.parse(text),
         do: (1 <<< (last + 1)) - 1,
         else: (_ -> 0x1FFFFFFFFFF)
  end

  # -- the cgroup --------------------------------------------------------------------------------

  defp cgroup(pin, opts) do
    if Keyword.has_key?(opts, :cgroup) do
      {:ok, []}
    else
      with {:ok, theirs} <- read(pin, "cgroup"),
           {:ok, ours} <- own("/proc/self/cgroup"),
           {:ok, mounts} <- own("/proc/self/mountinfo") do
        place(unified(theirs), unified(ours), mounts)
      end
    end
  end

  defp unified(text) do
    text
    |> String.split("\n")
    |> Enum.find_value(&with("0::" <> path <- &1, do: path, else: (_ -> nil)))
  end

  # The VM's own needs no move, and a machine without the unified hierarchy has none.
  defp place(same, same, _mounts), do: {:ok, []}
  defp place(nil, _ours, _mounts), do: {:ok, []}

  defp place(path, _ours, mounts) do
    found =
      for line <- String.split(mounts, "\n", trim: true),
          [before, behind] = String.split(line, " - ", parts: 2),
          String.starts_with?(behind, "cgroup2 "),
          [_, _, _, root, point | _] = String.split(before, " "),
          below = below(path, unescape(root)),
          below != nil,
          do: Path.join(unescape(point), below)

    case found do
      [path | _] -> {:ok, [cgroup: path]}
      [] -> {:error, error(:cgroup, :enoent, "no mount of cgroup2 shows the target's #{path}")}
    end
  end

  defp below("/.." <> _, _root), do: nil
  defp below(path, "/"), do: path
  defp below(path, path), do: ""

  defp below(path, root) do
    if String.starts_with?(path, root <> "/"), do: String.replace_prefix(path, root, "")
  end

  defp unescape(text),
    do: Regex.replace(~r/\\([0-7]{3})/, text, fn _, octal -> <<String.to_integer(octal, 8)>> end)

  # -- files -------------------------------------------------------------------------------------

  defp numbers(status, label, base) do
    line = status |> String.split("\n") |> Enum.find(label, &String.starts_with?(&1, label))

    for word <- line |> String.replace_prefix(label, "") |> String.split(),
        do: String.to_integer(word, base)
  end

  defp read(pin, name) do
    case pin |> Native.procfs_read(name) |> Linx.Pool.Native.await() do
      {:ok, text} -> {:ok, text}
      {:error, {_stage, 3}} -> {:error, :no_process}
      {:error, {_stage, errno}} -> {:error, error(:like, Linx.Errno.name(errno), name)}
    end
  end

  defp own(path) do
    case path |> Native.kernel_file_read(@proc) |> Linx.Pool.Native.await() do
      {:ok, text} -> {:ok, text}
      {:error, {_stage, errno}} -> {:error, error(:like, Linx.Errno.name(errno), path)}
    end
  end

  defp error(stage, errno, detail),
    do: %Error{stage: stage, errno: errno, code: Linx.Errno.code(errno), detail: detail}
end
