defmodule Linx.Process.Options do
  @moduledoc false
  # The options of spawn/1 and enter/2, checked in one place before anything is started. What
  # comes out is the map that the agent reads, and the settings of the session itself.

  import Bitwise

  alias Linx.Process.Credit
  alias Linx.Process.Options.{Descriptors, Namespaces, Schedule, Stdio}

  @schedule Schedule.keys()
  @namespaced Namespaces.keys()
  @descriptors Descriptors.keys()

  # linux/sched.h.
  @namespaces [
    net: 0x40000000,
    mount: 0x00020000,
    pid: 0x20000000,
    uts: 0x04000000,
    ipc: 0x08000000,
    user: 0x10000000,
    cgroup: 0x02000000,
    time: 0x00000080
  ]
  @all_namespaces @namespaces |> Keyword.values() |> Enum.sum()

  # MS_* of linux/mount.h.
  @propagation %{private: 0x40000, slave: 0x80000, shared: 0x100000, unchanged: 0}

  # asm-generic/resource.h.
  @rlimits [
    cpu: 0,
    fsize: 1,
    data: 2,
    stack: 3,
    core: 4,
    rss: 5,
    nproc: 6,
    nofile: 7,
    memlock: 8,
    as: 9,
    locks: 10,
    sigpending: 11,
    msgqueue: 12,
    nice: 13,
    rtprio: 14,
    rttime: 15
  ]

  # ~0UL; as a limit it means none, as an id it means "leave it", so it is no id.
  @infinity 0xFFFFFFFFFFFFFFFF
  @max_id 0xFFFFFFFE

  # Every option, for the hint at a misspelt one, which is about as near as a word with two
  # letters swapped.
  @keys ~w(argv namespaces propagation env cwd arg0 stdio pty uid gid groups)a ++
          [
            :no_new_privs,
            :rlimits,
            :umask,
            :init,
            :cgroup,
            :owner,
            :id,
            :linger,
            :auto_proceed,
            :orphan_policy
          ] ++
          @schedule ++ @namespaced ++ @descriptors
  @near 0.85

  @default_path "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  @type t() :: %{
          request: map(),
          id: term(),
          descriptors: {Linx.Process.Descriptors.t(), binary()} | nil,
          owner: pid() | atom(),
          linger: boolean(),
          auto_proceed: boolean(),
          pty?: boolean(),
          stdin?: boolean()
        }

  @doc """
  Checks `opts` of `mode`; `{:error, reason}` names the first that is wrong. A misspelt one comes
  with the option that it is near to, of these or of `others`, which the caller takes itself.
  """
  @spec parse(:spawn | :enter, keyword(), [atom()]) :: {:ok, t()} | {:error, term()}
  def parse(mode, opts, others \\ [])

  def parse(mode, opts, others) when is_list(opts) do
    initial = %{
      request: initial_request(mode),
      owner: self(),
      linger: true,
      auto_proceed: false,
      pty: nil,
      stdio: nil,
      propagation: nil
    }

    with :ok <- argv_given(opts),
         {:ok, parsed} <- reduce(opts, initial, others),
         {:ok, parsed} <- propagation(mode, parsed),
         :ok <- Namespaces.check(mode, parsed.request, namespaces()),
         {:ok, stdio} <- Stdio.parse(parsed.stdio, parsed.pty),
         {:ok, request, sources} <- Descriptors.finish(parsed.request, parsed) do
      {:ok, finish(%{parsed | request: request}, stdio, sources)}
    end
  end

  def parse(_mode, opts, _others), do: {:error, {:bad_options, opts}}

  defp initial_request(:spawn), do: %{}
  defp initial_request(:enter), do: %{namespaces: @all_namespaces}

  defp argv_given(opts) do
    cond do
      not Keyword.keyword?(opts) -> {:error, {:bad_options, opts}}
      Keyword.get(opts, :argv) == nil -> {:error, :argv_required}
      true -> :ok
    end
  end

  # The first of several values counts, as everywhere with keyword lists.
  defp reduce(opts, initial, others) do
    opts
    |> Enum.uniq_by(&elem(&1, 0))
    |> Enum.reduce_while({:ok, initial}, fn {key, value}, {:ok, parsed} ->
      case option(key, value) do
        {:ok, :session, setting} -> {:cont, {:ok, Map.merge(parsed, setting)}}
        {:ok, field, value} -> {:cont, {:ok, put_in(parsed, [:request, field], value)}}
        :default -> {:cont, {:ok, parsed}}
        :unknown -> {:halt, {:error, {:bad_option, hint(key, others ++ @keys)}}}
        {:error, reason} -> {:halt, {:error, reason}}
      end
    end)
  end

  # -- one clause an option ----------------------------------------------------------------------

  defp option(:argv, argv) do
    with true <- proper?(argv) and argv != [] and Enum.all?(argv, &string?/1),
         [path | _] when path != "" <- argv do
      {:ok, :argv, argv}
    else
      _ -> {:error, {:bad_argv, argv}}
    end
  end

  defp option(:namespaces, names) do
    case proper?(names) && Enum.reject(names, &is_map_key(namespaces(), &1)) do
      false -> {:error, {:bad_namespaces, names}}
      [] -> {:ok, :namespaces, names |> Enum.map(&namespaces()[&1]) |> Enum.reduce(0, &bor/2)}
      bad -> {:error, {:bad_namespaces, bad}}
    end
  end

  defp option(:propagation, nil), do: :default

  defp option(:propagation, kind) do
    if is_map_key(@propagation, kind),
      do: {:ok, :session, %{propagation: kind}},
      else: {:error, {:bad_propagation, kind}}
  end

  defp option(:env, nil), do: :default

  defp option(:env, {:clean, entries} = env) do
    if entries?(entries) do
      path =
        if Enum.any?(entries, &String.starts_with?(&1, "PATH=")), do: [], else: [@default_path]

      {:ok, :env, path ++ entries}
    else
      {:error, {:bad_env, env}}
    end
  end

  defp option(:env, entries) do
    if entries?(entries), do: {:ok, :env, entries}, else: {:error, {:bad_env, entries}}
  end

  defp option(:cwd, nil), do: :default

  defp option(:cwd, cwd) do
    if string?(cwd) and cwd != "", do: {:ok, :cwd, cwd}, else: {:error, {:bad_cwd, cwd}}
  end

  # argv[0] is what the workload sees; what is executed stays the first of argv.
  defp option(:arg0, nil), do: :default

  defp option(:arg0, arg0) do
    if string?(arg0), do: {:ok, :session, %{arg0: arg0}}, else: {:error, {:bad_arg0, arg0}}
  end

  defp option(:id, id), do: {:ok, :session, %{id: id}}

  defp option(:owner, nil), do: :default

  defp option(:owner, owner) when is_pid(owner) or (is_atom(owner) and not is_boolean(owner)),
    do: {:ok, :session, %{owner: owner}}

  defp option(:owner, owner), do: {:error, {:bad_owner, owner}}

  defp option(:orphan_policy, nil), do: :default
  defp option(:orphan_policy, :kill), do: :default

  defp option(:orphan_policy, {:kill, grace}) when grace in 0..0xFFFFFFFF,
    do: {:ok, :orphan_grace, grace}

  defp option(:orphan_policy, policy), do: {:error, {:bad_orphan_policy, policy}}

  defp option(flag, value) when flag in [:linger, :auto_proceed] do
    if is_boolean(value),
      do: {:ok, :session, %{flag => value}},
      else: {:error, {:"bad_#{flag}", value}}
  end

  defp option(flag, value) when flag in [:no_new_privs, :init] do
    if is_boolean(value), do: {:ok, flag, value}, else: {:error, {:"bad_#{flag}", value}}
  end

  defp option(:stdio, stdio), do: {:ok, :session, %{stdio: stdio}}
  defp option(:pty, pty), do: {:ok, :session, %{pty: pty}}

  defp option(id, nil) when id in [:uid, :gid, :groups, :umask, :cgroup, :rlimits], do: :default

  defp option(id, value) when id in [:uid, :gid] do
    if id?(value), do: {:ok, id, value}, else: {:error, {:"bad_#{id}", value}}
  end

  # NGROUPS_MAX, linux/limits.h.
  defp option(:groups, groups) do
    if proper?(groups) and length(groups) <= 65_536 and Enum.all?(groups, &id?/1),
      do: {:ok, :groups, groups},
      else: {:error, {:bad_groups, groups}}
  end

  defp option(:umask, umask) do
    if is_integer(umask) and umask in 0..0o777,
      do: {:ok, :umask, umask},
      else: {:error, {:bad_umask, umask}}
  end

  defp option(:cgroup, path) do
    if string?(path) and Path.type(path) == :absolute,
      do: {:ok, :cgroup, path},
      else: {:error, {:bad_cgroup, path}}
  end

  defp option(:rlimits, limits) do
    parsed = if Keyword.keyword?(limits), do: Enum.map(limits, &rlimit/1), else: [:error]

    if :error in parsed,
      do: {:error, {:bad_rlimits, limits}},
      else: {:ok, :rlimits, parsed}
  end

  defp option(key, nil) when key in @schedule or key in @namespaced or key in @descriptors,
    do: :default

  defp option(key, value) when key in @descriptors do
    case Descriptors.parse(key, value) do
      {:ok, parsed} -> {:ok, :session, %{key => parsed}}
      :error -> {:error, {:"bad_#{key}", value}}
    end
  end

  defp option(key, value) when key in @schedule,
    do: checked(key, value, Schedule.parse(key, value))

  defp option(key, value) when key in @namespaced,
    do: checked(key, value, Namespaces.parse(key, value, namespaces()))

  defp option(_key, _value), do: :unknown

  defp checked(key, _value, {:ok, parsed}), do: {:ok, key, parsed}
  defp checked(key, value, :error), do: {:error, {:"bad_#{key}", value}}

  # A key that is nearly an option comes with that one's name.
  defp hint(key, keys) do
    distance = &String.jaro_distance(Atom.to_string(key), Atom.to_string(&1))
    near = Enum.max_by(keys, distance)
    if distance.(near) >= @near, do: {key, did_you_mean: near}, else: key
  end

  # `propagation:` needs a new mount namespace.
  defp propagation(mode, %{request: request, propagation: kind} = parsed) do
    new? = mode == :spawn and band(Map.get(request, :namespaces, 0), @namespaces[:mount]) != 0

    cond do
      new? -> {:ok, put_in(parsed.request[:propagation], @propagation[kind || :private])}
      kind == nil -> {:ok, parsed}
      true -> {:error, {:bad_propagation, kind}}
    end
  end

  # -- values ------------------------------------------------------------------------------------

  defp rlimit({name, {soft, hard}}) do
    with number when number != nil <- @rlimits[name],
         {:ok, soft} <- limit(soft),
         {:ok, hard} <- limit(hard),
         true <- soft <= hard do
      {number, soft, hard}
    else
      _ -> :error
    end
  end

  defp rlimit({name, both}), do: rlimit({name, {both, both}})

  defp limit(:infinity), do: {:ok, @infinity}
  defp limit(value) when is_integer(value) and value in 0..(@infinity - 1)//1, do: {:ok, value}
  defp limit(_value), do: :error

  defp id?(value), do: is_integer(value) and value in 0..@max_id

  # The kernel's strings end at their first NUL: what follows one would be lost without a word.
  defp string?(value), do: is_binary(value) and not String.contains?(value, <<0>>)

  defp entries?(entries), do: proper?(entries) and Enum.all?(entries, &entry?/1)

  defp proper?(list), do: is_list(list) and not List.improper?(list)

  defp entry?(entry), do: string?(entry) and entry =~ ~r/\A[^=]+=/s

  @doc "Kinds of namespaces and their bits in clone(2)."
  @spec namespaces() :: %{Linx.Process.namespace() => pos_integer()}
  def namespaces, do: Map.new(@namespaces)

  @doc "Names of limits and their numbers in setrlimit(2)."
  @spec rlimits() :: [{atom(), non_neg_integer()}]
  def rlimits, do: @rlimits

  # -- the result --------------------------------------------------------------------------------

  defp finish(parsed, stdio, sources) do
    request =
      parsed.request
      |> Map.merge(%{stdio: stdio, auto_proceed: parsed.auto_proceed, credit: Credit.initial()})
      |> arg0(parsed[:arg0])

    %{
      request: request,
      id: parsed[:id],
      descriptors: sources && {sources, elem(request.fds, 0)},
      owner: parsed.owner,
      linger: parsed.linger,
      auto_proceed: parsed.auto_proceed,
      pty?: match?({:pty, _, _, _}, stdio),
      stdin?: match?({:pipe, _, _}, stdio)
    }
  end

  defp arg0(request, nil), do: request

  defp arg0(%{argv: [path | rest]} = request, arg0),
    do: Map.merge(request, %{argv: [arg0 | rest], path: path})
end
