defmodule Linx.Process.OptionsTest do
  use ExUnit.Case, async: true

  alias Linx.Process.Options

  defp request(opts) do
    {:ok, options} = Options.parse(:spawn, [argv: ["/bin/true"]] ++ opts)
    options.request
  end

  defp refused(opts) do
    {:error, reason} = Options.parse(:spawn, [argv: ["/bin/true"]] ++ opts)
    reason
  end

  test "argv is required, and a path with strings" do
    assert Options.parse(:spawn, []) == {:error, :argv_required}
    assert Options.parse(:enter, namespaces: [:net]) == {:error, :argv_required}

    for argv <- [[], "/bin/true", [1], [""], ["/bin/true", "a\0b"], [~c"/bin/true"], :argv] do
      assert Options.parse(:spawn, argv: argv) == {:error, {:bad_argv, argv}}
    end
  end

  test "an improper list is refused like any other bad value" do
    assert Options.parse(:spawn, argv: ["/bin/true" | "x"]) ==
             {:error, {:bad_argv, ["/bin/true" | "x"]}}

    assert refused(env: ["A=1" | "x"]) == {:bad_env, ["A=1" | "x"]}
    assert refused(groups: [1 | 2]) == {:bad_groups, [1 | 2]}
    assert refused(namespaces: [:uts | :pid]) == {:bad_namespaces, [:uts | :pid]}
  end

  test "what is no option is named" do
    assert refused(typo: 1) == {:bad_option, :typo}
    assert Options.parse(:spawn, :none) == {:error, {:bad_options, :none}}
    assert Options.parse(:spawn, [1]) == {:error, {:bad_options, [1]}}
  end

  test "a misspelt option comes with the one that it is near to" do
    for {typo, option} <- [
          nmaespaces: :namespaces,
          namespace: :namespaces,
          oom_score: :oom_score_adj,
          stdoi: :stdio,
          schedular: :scheduler,
          hostnmae: :hostname,
          orphan_polcy: :orphan_policy
        ] do
      assert refused([{typo, 1}]) == {:bad_option, {typo, did_you_mean: option}}
    end

    # Those of run/1 and stream/1 are suggested by these only.
    for {typo, option} <- [inptu: :input, timeuot: :timeout, max_outptu: :max_output] do
      opts = [argv: ["/bin/true"]] ++ [{typo, 1}]
      wrong = {:bad_option, {typo, did_you_mean: option}}
      assert Linx.Process.run(opts) == {:error, wrong}
      assert_raise ArgumentError, ~r/#{option}/, fn -> Linx.Process.stream(opts) end
      assert {:bad_option, ^typo} = refused([{typo, 1}])
    end

    # An option of enter/2 only, which spawn/1 does not suggest.
    assert refused(like: :target) == {:bad_option, :like}
  end

  test "priorities and processors" do
    assert %{nice: -20, oom_score_adj: 1000, cpus: [0, 2, 4], io_priority: 0x6000} =
             request(nice: -20, oom_score_adj: 1000, cpus: 0..4//2, io_priority: :idle)

    assert request(cpus: [3, 1, 3]).cpus == [1, 3]
    assert request(io_priority: {:best_effort, 7}).io_priority == 0x4007
    assert request(scheduler: {:rr, 99}).scheduler == {2, 99}
    assert request(scheduler: :idle).scheduler == {5, 0}
    deadline = [period: 9_000, runtime: 2_000, deadline: 3_000]
    assert request(scheduler: {:deadline, deadline}).scheduler == {6, 2_000, 3_000, 9_000}

    for {key, values} <- [
          nice: [-21, 20, 1.0, "1"],
          cpus: [[], [-1], [8192], 1..0//1, 1..0//-1, 0..8192, [0 | 1], 0, [0, "1"]],
          oom_score_adj: [-1001, 1001, :max],
          io_priority: [:realtime, {:idle, 1}, {:best_effort, 8}, {:best_effort, -1}, 4],
          scheduler: [
            :fifo,
            {:fifo, 0},
            {:rr, 100},
            {:batch, 1},
            {:deadline, []},
            {:deadline, runtime: 1_000, deadline: 3_000, period: 9_000},
            {:deadline, runtime: 3_001, deadline: 3_000, period: 9_000},
            {:deadline, runtime: 2_000, deadline: 9_001, period: 9_000},
            {:deadline, runtime: 2_000, deadline: 9_000, period: 2 ** 63}
          ]
        ],
        value <- values do
      assert refused([{key, value}]) == {:"bad_#{key}", value}
    end
  end

  test "options that need a new namespace" do
    assert request(hostname: "a", namespaces: [:uts]).hostname == "a"
    assert refused(hostname: "a") == {:bad_hostname, :no_new_uts_namespace}
    assert refused(time_offsets: [boottime: 1]) == {:bad_time_offsets, :no_new_time_namespace}
    offsets = [boottime: -3]
    assert request(time_offsets: offsets, namespaces: [:time]).time_offsets == {0, -3}

    for bad <- ["", "a\0", String.duplicate("a", 65), :a] do
      assert refused(hostname: bad, namespaces: [:uts]) == {:bad_hostname, bad}
    end

    for bad <- [[], [real: 1], [boottime: 1.0], [boottime: 2 ** 62], 5] do
      assert refused(time_offsets: bad, namespaces: [:time]) == {:bad_time_offsets, bad}
    end

    for option <- [hostname: "a", time_offsets: [boottime: 1], join: {1, [:net]}] do
      assert {:error, {_, _}} = Options.parse(:enter, [option, argv: ["/bin/true"]])
    end
  end

  test "namespaces are new or joined, not both" do
    assert request(join: {7, [:net, :uts]}).join == {7, 0x44000000}
    assert refused(join: {7, [:net]}, namespaces: [:net, :pid]) == {:bad_join, [:net]}

    for bad <- [{0, [:net]}, {7, []}, {7, [:typo]}, {7, :net}, {7, [:net | :uts]}, 7] do
      assert refused(join: bad) == {:bad_join, bad}
    end
  end

  @tag :nsfs
  test "a network namespace that is held is joined with [:net] alone" do
    {:ok, netns} = Linx.Netns.open(:host)
    assert request(join: {netns, [:net]}).join == {netns, 0x40000000}
    assert refused(join: {netns, [:net]}, namespaces: [:net]) == {:bad_join, [:net]}

    for kinds <- [[], [:uts], [:net, :uts], :net, [:net | :net]],
        do: assert(refused(join: {netns, kinds}) == {:bad_join, {netns, kinds}})
  end

  test "standard error is standard output's" do
    assert request(stdio: [stdout: :pipe, stderr: :stdout]).stdio == {:inherit, :pipe, :stdout}
    one = {:file, "/x", :write}
    assert request(stdio: [stdout: one, stderr: one]).stdio == {:inherit, one, one}

    for bad <- [
          [stdout: :stdout],
          [stdin: :stdout],
          [stdout: one, stderr: {:file, "/x", :append}]
        ] do
      assert refused(stdio: bad) == {:bad_stdio, bad}
    end
  end

  test "namespaces become clone flags; the bad ones are listed" do
    assert request(namespaces: [:net, :pid]).namespaces == 0x60000000
    assert request(namespaces: []).namespaces == 0
    assert refused(namespaces: [:net, :typo, "pid"]) == {:bad_namespaces, [:typo, "pid"]}
    assert refused(namespaces: :net) == {:bad_namespaces, :net}
    refute Map.has_key?(request([]), :namespaces)
    {:ok, options} = Options.parse(:enter, argv: ["/bin/true"])
    assert options.request.namespaces == 0x7E020080
  end

  test "an environment is KEY=VALUE strings" do
    assert request(env: ["A=b", "C="]).env == ["A=b", "C="]
    assert request(env: []).env == []
    assert ["PATH=" <> _, "A=b"] = request(env: {:clean, ["A=b"]}).env
    assert request(env: {:clean, ["PATH=/x"]}).env == ["PATH=/x"]
    refute Map.has_key?(request(env: nil), :env)

    for bad <- [["A"], ["=b"], [:a], "A=b", ["A=\0"], %{}, {:clean, ["A"]}] do
      assert refused(env: bad) == {:bad_env, bad}
    end
  end

  test "ids are the kernel's range without the one that means none" do
    assert request(uid: 0, gid: 0xFFFFFFFE, groups: [1, 2]) |> Map.take([:uid, :gid, :groups]) ==
             %{uid: 0, gid: 0xFFFFFFFE, groups: [1, 2]}

    for bad <- [-1, 0xFFFFFFFF, 0x100000000, "0", 1.0] do
      assert refused(uid: bad) == {:bad_uid, bad}
      assert refused(gid: bad) == {:bad_gid, bad}
      assert refused(groups: [bad]) == {:bad_groups, [bad]}
    end
  end

  test "limits by name, one number or two" do
    assert request(rlimits: [nofile: 5, core: {0, :infinity}]).rlimits ==
             [{7, 5, 5}, {4, 0, 0xFFFFFFFFFFFFFFFF}]

    for bad <- [[typo: 1], [nofile: {2, 1}], [nofile: -1], [nofile: "1"], [1], :x] do
      assert refused(rlimits: bad) == {:bad_rlimits, bad}
    end
  end

  test "flags are booleans" do
    assert request(no_new_privs: true, init: false) |> Map.take([:no_new_privs, :init]) ==
             %{no_new_privs: true, init: false}

    assert refused(no_new_privs: 1) == {:bad_no_new_privs, 1}
    assert refused(init: nil) == {:bad_init, nil}
    assert refused(linger: :x) == {:bad_linger, :x}
    assert refused(auto_proceed: "true") == {:bad_auto_proceed, "true"}
  end

  test "the rest" do
    assert request(umask: 0o77).umask == 0o77
    assert refused(umask: 0o1000) == {:bad_umask, 0o1000}
    assert request(cwd: "relative").cwd == "relative"
    assert refused(cwd: "") == {:bad_cwd, ""}
    assert refused(cgroup: "relative") == {:bad_cgroup, "relative"}
    assert refused(owner: "name") == {:bad_owner, "name"}
    assert refused(owner: true) == {:bad_owner, true}
    assert request(arg0: "x") |> Map.take([:argv, :path]) == %{argv: ["x"], path: "/bin/true"}
    assert refused(arg0: 1) == {:bad_arg0, 1}
  end

  describe "stdio" do
    test "one word for all" do
      assert request([]).stdio == {:inherit, :inherit, :inherit}
      assert request(stdio: :devnull).stdio == {:devnull, :devnull, :devnull}
      assert request(stdio: :pipe).stdio == {:pipe, :pipe, :pipe}
      assert request(stdio: :pty).stdio == {:pty, nil, true, true}

      assert request(pty: [rows: 2, cols: 3, echo: false]).stdio ==
               {:pty, {2, 3, 0, 0}, false, true}
    end

    test "each by itself; what is not named is inherited" do
      assert request(stdio: [stdout: :pipe]).stdio == {:inherit, :pipe, :inherit}

      assert request(stdio: [stdin: {:file, "/a", :read}, stderr: {:connect_unix, "/s"}]).stdio ==
               {{:file, "/a", :read}, :inherit, {:connect_unix, "/s"}}
    end

    test "nonsense" do
      for bad <- [
            :typo,
            [stdout: :pty],
            [other: :pipe],
            [stdin: {:file, "/a", :write}],
            [stdout: {:file, "/a", :read}],
            [stdout: {:file, "", :write}],
            [stdout: {:connect_unix, String.duplicate("a", 108)}],
            [stdout: {:connect_unix, ""}],
            [stdout: {:connect_unix, "/"}],
            [stdout: {:connect_unix, "/dev/null"}],
            [stdin: {:connect_unix, "/bin/sh"}],
            "inherit"
          ] do
        assert refused(stdio: bad) == {:bad_stdio, bad}
      end

      assert refused(pty: [rows: -1]) == {:bad_pty, [rows: -1]}
      assert refused(pty: [typo: 1]) == {:bad_pty, [typo: 1]}
      assert refused(stdio: :pipe, pty: [rows: 1]) == {:bad_pty, [rows: 1]}
    end
  end

  test "no option makes an atom of what it is given" do
    atoms = :erlang.system_info(:atom_count)
    for n <- 1..100, do: refused(cwd: n)
    assert :erlang.system_info(:atom_count) - atoms < 100
  end
end
